"""freqtrade: the bots of the accounts that have one, seen and steered by hand."""

from typing import Annotated

import typer

from processes.cli.options import ConfigFile, IdleProfile, Json, Yes

app = typer.Typer(
    help="Freqtrade bots: what they do; let them run, stop them, change their strategy.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Account = Annotated[
    str, typer.Option("--account", "-a", help="Whose bot; may be left out where there is one.")
]


@app.command()
def status(profile: IdleProfile = "", config: ConfigFile = None, json: Json = False) -> None:
    """Show all bots: state, mode, strategy, trades, money, and when each last did its round."""
    from processes.cli.bots import show_bots

    show_bots(profile, config, as_json=json)


@app.command()
def start(
    account: Account = "", profile: IdleProfile = "", config: ConfigFile = None, json: Json = False
) -> None:
    """Let a bot run: it takes entries."""
    from processes.cli.bots import steer

    steer("start", account, profile, config, as_json=json)


@app.command()
def stopentry(
    account: Account = "", profile: IdleProfile = "", config: ConfigFile = None, json: Json = False
) -> None:
    """Pause a bot: no entries; exits and cancels go on. Brings a stopped one to life."""
    from processes.cli.bots import steer

    steer("stopentry", account, profile, config, as_json=json)


@app.command()
def stop(
    account: Account = "",
    profile: IdleProfile = "",
    config: ConfigFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Stop a bot's loop: it then watches no order, and refuses entries, exits and cancels."""
    from processes.cli.bots import steer

    if not yes:
        typer.confirm("A stopped bot watches no order and takes no exit. Stop it?", abort=True)
    steer("stop", account, profile, config, as_json=json)


@app.command()
def reload(
    account: Account = "", profile: IdleProfile = "", config: ConfigFile = None, json: Json = False
) -> None:
    """Have a bot read its settings again; it begins anew, in its initial state."""
    from processes.cli.bots import steer

    steer("reload", account, profile, config, as_json=json)


@app.command()
def strategy(
    name: Annotated[str, typer.Argument(help="The strategy's class.")],
    account: Account = "",
    profile: IdleProfile = "",
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Have a bot use another of its strategies: its settings changed, reloaded, and proved."""
    from processes.cli.bots import use_strategy

    use_strategy(name, account, profile, config, as_json=json)


@app.command()
def absent(
    order: Annotated[str, typer.Argument(help="The order's command id, as the alarm names it.")],
    account: Account = "",
    profile: IdleProfile = "",
    config: ConfigFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Say that you have looked, and that the venue has no such order: it is closed as rejected."""
    from processes.cli.bots import note_absent

    if not yes:
        typer.confirm("Have you looked at the venue, and cancelled it if it was there?", abort=True)
    note_absent(order, account, profile, config, as_json=json)
