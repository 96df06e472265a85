"""feeds: connections to venues and what is subscribed on them, seen and changed while it runs."""

from typing import Annotated

import typer

from processes.cli.options import Json, Yes

app = typer.Typer(
    help="Connections to venues: list; connect, disconnect, subscribe, unsubscribe.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Venue = Annotated[str, typer.Argument(help="bitfinex, kraken or gmo.")]
Number = Annotated[
    int,
    typer.Option("--connection", "-c", min=-1, help="Its number, as list has it; -1: all of them."),
]
Symbol = Annotated[str, typer.Argument(help="As the venue spells it; instruments list finds it.")]


@app.command("list")
def list_(
    venue: Annotated[str, typer.Argument(help="Only this venue.")] = "",
    streams: Annotated[
        bool, typer.Option("--streams", "-s", help="Every stream, with the age of its data.")
    ] = False,
    json: Json = False,
) -> None:
    """List connections: how full each is, what was refused, its last error."""
    from processes.cli.steering import list_feeds

    list_feeds(venue, streams=streams, as_json=json)


@app.command()
def connect(venue: Venue, connection: Number = -1) -> None:
    """Connect again what was disconnected by hand."""
    from processes.cli.steering import connection_switched

    connection_switched("connect", venue, connection)


@app.command()
def disconnect(venue: Venue, connection: Number = -1, yes: Yes = False) -> None:
    """Disconnect, until connect or a restart; its markets become stale, and are not traded."""
    from processes.cli.steering import connection_switched

    if not yes:
        typer.confirm(f"No data of {venue} will come until you connect again. Sure?", abort=True)
    connection_switched("disconnect", venue, connection)


@app.command()
def subscribe(venue: Venue, symbol: Symbol, yes: Yes = False, json: Json = False) -> None:
    """Subscribe a symbol, for good; shows what it restarts, and asks."""
    from processes.cli.steering import subscribed

    subscribed(venue, symbol, wanted=True, is_sure=yes, as_json=json)


@app.command()
def unsubscribe(venue: Venue, symbol: Symbol, yes: Yes = False, json: Json = False) -> None:
    """End the subscription of a symbol, for good; shows what it restarts, and asks."""
    from processes.cli.steering import subscribed

    subscribed(venue, symbol, wanted=False, is_sure=yes, as_json=json)
