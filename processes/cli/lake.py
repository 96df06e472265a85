"""lake: what is recorded, looked at, proved, packed, asked and pushed to a store."""

from pathlib import Path
from typing import Annotated

import typer

from processes.cli.options import ConfigFile, IdleProfile, Json

app = typer.Typer(
    help="List, show, verify, compact, query and push what is recorded.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
LakeFolder = Annotated[
    str,
    typer.Option(
        "--lake", help="A lake's folder, or s3://, gs:// or file:// URI; this instance's if absent."
    ),
]
Local = Annotated[
    bool, typer.Option("--local", help="Only what is on this machine, not what its store has.")
]
Venue = Annotated[str, typer.Option("--venue", help="Only this venue's.")]
Channel = Annotated[
    str, typer.Option("--channel", help="Only this channel, or features, predictions, decisions.")
]
Symbol = Annotated[str, typer.Option("--symbol", help="Only this symbol, or pair like BTC/USD.")]


@app.command()
def ls(
    venue: Venue = "",
    channel: Channel = "",
    symbol: Symbol = "",
    start: Annotated[str, typer.Option("--from", help="Only files with later rows.")] = "",
    end: Annotated[str, typer.Option("--to", help="Only files with earlier rows.")] = "",
    lake: LakeFolder = "",
    local: Local = False,
    json: Json = False,
) -> None:
    """List files, open ones too, with rows, bytes, times, sessions and sequences."""
    from processes.cli.lake_tools import list_files

    wanted = (venue, channel, symbol, start, end)
    list_files(lake, *wanted, local=local, as_json=json)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A file as ls prints it, or any path to one.")],
    limit: Annotated[int, typer.Option(min=0, help="Most records.")] = 10,
    start: Annotated[
        str,
        typer.Option("--from", help="First record: a sequence, or a time like 2026-11-21T10:00."),
    ] = "",
    columns: Annotated[str, typer.Option(help="Only these, with commas between.")] = "",
    lake: LakeFolder = "",
    local: Local = False,
    json: Json = False,
) -> None:
    """Show what a file says of itself, and its records from any place on."""
    from processes.cli.lake_tools import show_file

    show_file(lake, file, limit, start, columns, local=local, as_json=json)


@app.command()
def verify(
    session: Annotated[int, typer.Option(min=0, help="Only this session; 0 = all.")] = 0,
    fix: Annotated[
        bool, typer.Option("--fix", help="Remove leftovers of crashes that count for nothing.")
    ] = False,
    lake: LakeFolder = "",
    local: Local = False,
    json: Json = False,
) -> None:
    """Read everything: files whole, each row once, holes explained. Exit 1 if not."""
    from processes.cli.lake_tools import verify_lake

    verify_lake(lake, session, fix=fix, local=local, as_json=json)


@app.command()
def compact(
    before: Annotated[
        str, typer.Option(help="Pack days before this one, 2026-11-21; today if not given.")
    ] = "",
    venue: Venue = "",
    channel: Channel = "",
    symbol: Symbol = "",
    lake: LakeFolder = "",
    local: Local = False,
    json: Json = False,
) -> None:
    """Pack each series' past days into Parquet, prove every value, then remove the Arrow files."""
    from processes.cli.lake_tools import compact_lake

    compact_lake(lake, before, venue, channel, symbol, local=local, as_json=json)


@app.command()
def query(
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="One SELECT over ticker, trades, books ...")
    ],
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, help="Most rows that the table for people shows.")
    ] = 100,
    lake: LakeFolder = "",
    local: Local = False,
    json: Json = False,
) -> None:
    """Ask with SQL (DuckDB); nothing can be written."""
    from processes.cli.lake_tools import query_lake

    query_lake(lake, sql, limit=limit, local=local, as_csv=csv, as_json=json)


@app.command()
def push(
    profile: IdleProfile = "",
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Bring sealed and packed files to lake.store now; a running instance is asked to."""
    from processes.cli.lake_push import push_lake

    push_lake(profile, config, as_json=json)
