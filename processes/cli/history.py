"""history: downloads of past market data, many at once, resumable at any instant."""

from typing import Annotated

import typer

from processes.cli.options import Json

app = typer.Typer(
    help="Download past market data over REST; make the history tables again from the lake.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command()
def download(
    venue: Annotated[str, typer.Argument(help="bitfinex, kraken or gmo.")],
    channel: Annotated[str, typer.Argument(help="candles, trades or tickers.")],
    symbols: Annotated[
        list[str], typer.Argument(help="The venue's names, or pairs like BTC/USD; several at once.")
    ],
    start: Annotated[
        str,
        typer.Option("--from", help="First time, ISO 8601 (UTC if no zone is named) or ms."),
    ] = "",
    end: Annotated[
        str, typer.Option("--to", help="First time that is not wanted any more; now if not given.")
    ] = "",
    timeframe: Annotated[str, typer.Option(help="Of candles: 1m if not given.")] = "",
    file_format: Annotated[str, typer.Option("--format", help="arrow or csv.")] = "arrow",
    limit: Annotated[int, typer.Option(min=0, help="Most rows of a symbol; 0 = all.")] = 0,
    sort: Annotated[str, typer.Option(help="asc = oldest first, desc = newest first.")] = "asc",
    json: Json = False,
) -> None:
    """Download a range into a file of the lake. Ended by whatever, it can be resumed."""
    from processes.cli.downloads import Wanted, download_all

    wanted = Wanted(
        venue=venue,
        channel=channel,
        symbols=tuple(symbols),
        start=start,
        end=end,
        timeframe=timeframe,
        format=file_format,
        limit=limit,
        sort=sort,
    )
    download_all(wanted, as_json=json)


@app.command()
def jobs(json: Json = False) -> None:
    """Show all downloads: what they are, how far they are, where their files are."""
    from processes.cli.jobs import show_jobs

    show_jobs(as_json=json)


@app.command()
def cancel(
    names: Annotated[list[str], typer.Argument(metavar="JOB...", help="As in history jobs.")],
    json: Json = False,
) -> None:
    """End downloads, from this terminal or another; what they have stays and can be resumed."""
    from processes.cli.jobs import cancel_all

    cancel_all(names, as_json=json)


@app.command()
def resume(
    names: Annotated[list[str], typer.Argument(metavar="JOB...", help="As in history jobs.")],
    json: Json = False,
) -> None:
    """Go on with downloads that were interrupted, cancelled, or failed."""
    from processes.cli.downloads import resume_all

    resume_all(names, as_json=json)


@app.command()
def rebuild(
    start: Annotated[
        str, typer.Option("--from", help="Only what came or was decided since then, by minutes.")
    ] = "",
    end: Annotated[str, typer.Option("--to", help="Only what came or was decided before.")] = "",
    venue: Annotated[str, typer.Option("--venue", help="Only this venue's.")] = "",
    symbol: Annotated[
        str, typer.Option("--symbol", help="Only this symbol, or pair like BTC/USD.")
    ] = "",
    json: Json = False,
) -> None:
    """Make bars, signals, profit and execution's audit log again from the lake.

    It can be done while an instance runs, with which it takes turns, and as often as you like.
    """
    from processes.cli.rebuild import rebuild_history

    rebuild_history(venue, symbol, start, end, as_json=json)
