"""influx: the buckets of the server, what waits for it on disk, and sending that."""

from typing import Annotated

import typer

from processes.cli.options import ConfigFile, IdleProfile, Json

app = typer.Typer(
    help="InfluxDB: make its buckets, see what waits for it on disk, send that.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command()
def init(profile: IdleProfile = "", config: ConfigFile = None, json: Json = False) -> None:
    """Make the three buckets with their retentions; those that are right stay as they are."""
    from processes.cli.spool import make_buckets

    make_buckets(profile, config, as_json=json)


@app.command()
def status(profile: IdleProfile = "", config: ConfigFile = None, json: Json = False) -> None:
    """Show whether the server answers, what waits on disk and since when, and the counters."""
    from processes.cli.spool import show_status

    show_status(profile, config, as_json=json)


@app.command()
def drain(
    timeout: Annotated[float, typer.Option(help="Seconds; what is left then stays.")] = 600.0,
    profile: IdleProfile = "",
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Send all that waits on disk, quickly, whether or not the instance runs."""
    from processes.cli.spool import drain_spool

    drain_spool(profile, config, timeout_s=timeout, as_json=json)
