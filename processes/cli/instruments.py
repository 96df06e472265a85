"""instruments: what each venue lists, cached, refreshed by age or on demand."""

from typing import Annotated

import typer

from processes.cli.options import Json

app = typer.Typer(
    help="Show the instruments of each venue in one form, with steps and limits of their orders.",
    add_completion=False,
    rich_markup_mode=None,
)
Venue = Annotated[str, typer.Option("--venue", help="bitfinex, kraken or gmo; all if not given.")]


@app.callback(invoke_without_command=True)
def instruments(
    context: typer.Context,
    venue: Venue = "",
    search: Annotated[
        str, typer.Option(help="Only where symbol, pair or name holds this text.")
    ] = "",
    json: Json = False,
) -> None:
    """Show the instruments of each venue; fetched if they are older than a day or not there."""
    from processes.cli.listings import show

    if context.invoked_subcommand is None:
        show(venue, search, as_json=json)


@app.command()
def refresh(venue: Venue = "", json: Json = False) -> None:
    """Fetch the instruments of one venue or all of them now."""
    from processes.cli.listings import refresh as refresh_now

    refresh_now(venue, as_json=json)
