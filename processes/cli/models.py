"""models: what is trained, looked at, compared, promoted and taken back."""

from typing import Annotated

import typer

from processes.cli.options import Json

app = typer.Typer(
    help="Trained models: list, show, compare, promote, roll back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Family = Annotated[str, typer.Argument(help="As in models list.")]
Version = Annotated[str, typer.Argument(help="Its first letters, last, or promoted.")]


@app.command("list")
def list_(
    family: Annotated[str, typer.Argument(help="Only this family.")] = "", json: Json = False
) -> None:
    """List versions with what they were trained on and how good they are."""
    from processes.cli.model_tools import list_models

    list_models(family, as_json=json)


@app.command()
def show(family: Family, version: Version = "last", json: Json = False) -> None:
    """Show a version: its figures, its checks, its promotions."""
    from processes.cli.model_tools import show_model

    show_model(family, version, as_json=json)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="FAMILY or FAMILY/VERSION; the last if absent.")],
    second: Annotated[str, typer.Argument(help="Another one; FAMILY/promoted too.")],
    json: Json = False,
) -> None:
    """Compare two models on the tests that both have been through."""
    from processes.cli.model_tools import compare_models

    compare_models(first, second, as_json=json)


@app.command()
def promote(
    family: Family,
    version: Version = "last",
    force: Annotated[
        bool, typer.Option("--force", help="Although something speaks against it; say --reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    json: Json = False,
) -> None:
    """Promote a version, unless it is of other rows, too old, worse, or has seen the future."""
    from processes.cli.model_tools import promote_model

    promote_model(family, version, force=force, reason=reason, as_json=json)


@app.command()
def rollback(
    family: Family,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    json: Json = False,
) -> None:
    """Go back to what was promoted before."""
    from processes.cli.model_tools import roll_back_model

    roll_back_model(family, reason, as_json=json)
