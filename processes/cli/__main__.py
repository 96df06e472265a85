"""The commands of dcctl; each imports what it needs when it runs, so that all start fast."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from processes.cli.alert import app as alert_app
from processes.cli.feeds import app as feeds_app
from processes.cli.freqtrade import app as freqtrade_app
from processes.cli.history import app as history_app
from processes.cli.influx import app as influx_app
from processes.cli.instruments import app as instruments_app
from processes.cli.lake import app as lake_app
from processes.cli.models import app as models_app
from processes.cli.options import ConfigFile, Json, Profile, Yes
from processes.cli.screen import complain
from schemas.errors import ConfigError, DataControllerError, NotRunningError, UsageError
from shm.errors import SharedMemoryError

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_RUNNING, EXIT_CONFIG = 1, 2, 3, 78

app = typer.Typer(
    help="Data Controller: market data, features, models and orders on this machine.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not running, 78 bad configuration.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(alert_app, name="alert")
app.add_typer(feeds_app, name="feeds")
app.add_typer(freqtrade_app, name="freqtrade")
app.add_typer(history_app, name="history")
app.add_typer(influx_app, name="influx")
app.add_typer(instruments_app, name="instruments")
app.add_typer(lake_app, name="lake")
app.add_typer(models_app, name="models")


@app.command()
def start(
    profile: Profile = "",
    config: ConfigFile = None,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", help="Stay; log to standard output, as containers do."),
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for readiness.")] = 300.0,
) -> None:
    """Start the pipeline; return when every process is ready, or say which is not and why."""
    from processes.cli.lifecycle import start_background, start_foreground

    if foreground:
        start_foreground(profile, config)
    else:
        start_background(profile, config, timeout)


@app.command()
def stop(
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 60.0,
) -> None:
    """Stop everything in order: orders first, storage last. Leaves nothing behind."""
    from processes.cli.lifecycle import stop as stop_all

    stop_all(timeout)


@app.command()
def restart(
    processes: Annotated[list[str] | None, typer.Argument(help="Names as in status; all.")] = None,
) -> None:
    """Restart one process, or several, or all of them; rings and positions stay."""
    from processes.cli.lifecycle import restart as restart_some

    restart_some(processes or [])


@app.command()
def status(
    json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, once a second.")] = False,
) -> None:
    """Show what runs: processes, rings with their readers, latencies, the kill switch."""
    from processes.cli.status import show, watch_status

    if watch:
        watch_status()
    else:
        show(as_json=json)


@app.command()
def top() -> None:
    """Watch the pipeline live; the same as status --watch."""
    from processes.cli.status import watch_status

    watch_status()


@app.command()
def logs(
    process: Annotated[str, typer.Argument(help="One process; all of them if not given.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, help="How many to begin with.")
    ] = 40,
    level: Annotated[str, typer.Option(help="Lowest level: debug, info, warning, error.")] = "info",
    json: Json = False,
) -> None:
    """Show the newest log lines of one process or all, in the order of time."""
    from processes.cli.logs import show_logs

    show_logs(process, follow=follow, lines=lines, level=level, as_json=json)


@app.command()
def tap(
    what: Annotated[str, typer.Argument(help="A ring (see status), or `bus` for the facts.")],
    match: Annotated[
        list[str] | None,
        typer.Option("--match", "-m", help="Only where field=value holds; may be repeated."),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=0, help="End after so many; 0 = never.")
    ] = 0,
    oldest: Annotated[
        bool, typer.Option("--oldest", help="Begin with the oldest there is.")
    ] = False,
    json: Json = False,
) -> None:
    """Look into a ring or the bus, live and decoded. Costs its writer nothing."""
    from processes.cli.tap import tap as tap_into

    tap_into(what, match or [], count=count, oldest=oldest, as_json=json)


@app.command()
def why(
    what: Annotated[
        str, typer.Argument(help="last, an order's id (its first letters), or a decision's number.")
    ] = "last",
    session: Annotated[
        str, typer.Option(help="Of a decision's number: last, or a number.")
    ] = "last",
    json: Json = False,
) -> None:
    """Show the whole chain behind an order or a decision: market, models, checks, fills, cost."""
    from processes.cli.why import why as show_why

    show_why(what, session, as_json=json)


@app.command()
def positions(
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    json: Json = False,
) -> None:
    """Show what is held, marked to our own books."""
    from processes.cli.trading import positions as show_positions

    show_positions(everything=everything, as_json=json)


@app.command()
def orders(
    open_only: Annotated[bool, typer.Option("--open", help="Only those not finished.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="So many, newest first.")] = 50,
    json: Json = False,
) -> None:
    """Show orders, newest first."""
    from processes.cli.trading import orders as show_orders

    show_orders(open_only=open_only, limit=limit, as_json=json)


@app.command()
def settle(
    order: Annotated[str, typer.Argument(help="The first letters of its id, as the alarm says.")],
    venue_order: Annotated[
        str, typer.Option("--venue-order", help="It is this order of the venue, by its id there.")
    ] = "",
    absent: Annotated[bool, typer.Option("--absent", help="The venue has no such order.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Say what you have found at the venue of an order that several there may be."""
    from processes.cli.settle import settle as settle_one

    settle_one(order, venue_order, absent=absent, yes=yes, as_json=json)


@app.command("take-over")
def take_over(
    instrument: Annotated[
        str, typer.Argument(help="kraken:BTC/USD; without it: what differs.")
    ] = "",
    price: Annotated[
        str, typer.Option("--price", help="What it was traded at; else the last mark.")
    ] = "",
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Book what a venue holds otherwise than we do, after you have looked at it there."""
    from processes.cli.settle import take_over as take_one_over

    take_one_over(instrument, price, yes=yes, as_json=json)


@app.command()
def fills(
    order: Annotated[str, typer.Option(help="Of one order: the first letters of its id.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="So many, newest first.")] = 50,
    json: Json = False,
) -> None:
    """Show fills, newest first."""
    from processes.cli.trading import fills as show_fills

    show_fills(order=order, limit=limit, as_json=json)


@app.command()
def pnl(
    days: Annotated[int, typer.Option(min=1, max=10_000, help="So many days back.")] = 30,
    json: Json = False,
) -> None:
    """Show profit and loss by day, and what is not realized yet, marked to our own books."""
    from processes.cli.trading import pnl as show_pnl

    show_pnl(days=days, as_json=json)


@app.command()
def kill(
    level: Annotated[
        str, typer.Option(help="pause entries, cancel all, flatten positions, or shutdown.")
    ] = "flatten",
    drill: Annotated[
        bool, typer.Option("--drill", help="Everything but the send: who would answer, how fast.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Pull the kill switch. It stays pulled, over restarts too, until `dcctl arm`."""
    from processes.cli.switch import kill as pull_switch

    pull_switch(level, drill=drill, yes=yes, as_json=json)


@app.command()
def arm(
    live: Annotated[
        bool, typer.Option("--live", help="Let orders go where money is; asks for a typed phrase.")
    ] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="Back to paper, at the next start of execution.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Release the kill switch, so that orders may be sent again; or arm accounts with money."""
    from processes.cli.switch import arm as release_switch

    release_switch(live=live, paper=paper, yes=yes, as_json=json)


@app.command()
def console(
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    json: Json = False,
) -> None:
    """Open the web page: prints its address, good once, and opens a browser where there is one."""
    from processes.cli.console import show_console

    show_console(no_browser=no_browser, as_json=json)


@app.command()
def reload(json: Json = False) -> None:
    """Take changed settings: live, or by restarting what needs it, or refused as a whole."""
    from processes.cli.lifecycle import reload as reload_settings

    reload_settings(as_json=json)


@app.command("set")
def set_(
    assignments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Values are YAML: lists are [a, b]."),
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", help="Undo the change of this key.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Change settings of what runs, for good: shows what would differ, asks, and has it taken."""
    from processes.cli.steering import set_settings

    set_settings(assignments or [], drop or [], is_sure=yes, as_json=json)


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended.")] = False,
    json: Json = False,
) -> None:
    """Check this machine and folder; each finding says what to type."""
    from processes.cli.doctor import examine

    examine(fix=fix, as_json=json)


@app.command()
def install(
    profile: Profile = "",
    config: ConfigFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the file that it would write.")
    ] = False,
) -> None:
    """Make Data Controller a service: launchd or systemd starts it at login and after a crash."""
    from processes.cli.service import install as install_service

    install_service(profile, config, dry_run=dry_run)


@app.command()
def uninstall() -> None:
    """Stop the service and remove it; data, logs and settings stay."""
    from processes.cli.service import uninstall as uninstall_service

    uninstall_service()


@app.command()
def config(
    profile: Profile = "",
    config: ConfigFile = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="The JSON schema of all settings.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the settings that a profile comes to, checked, without starting anything."""
    from processes.cli.settings import show_config

    show_config(profile, config, schema=schema, as_json=json)


@app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(help="Recorded frames; several are one stream.")],
    venue: Annotated[str, typer.Option(help="Whose frames they are.")],
    out: Annotated[Path, typer.Option(help="Folder for the lake that is made of them.")],
    json: Json = False,
) -> None:
    """Bring recorded frames through the real decoder, book, tape and lake."""
    from processes.cli.ingest import ingest_files

    ingest_files(files, venue, out, as_json=json)


@app.command()
def replay(
    session: Annotated[str, typer.Argument(help="Its number, or last.")] = "last",
    speed: Annotated[
        str, typer.Option(help="max, or how many times as fast as it was recorded: 1, 10 ...")
    ] = "max",
    verify: Annotated[
        bool, typer.Option("--verify", help="Fail unless all that can be compared is identical.")
    ] = False,
    json: Json = False,
) -> None:
    """Run a recorded session through the code that made it, and compare every bit."""
    from processes.cli.replay import replay_session

    replay_session(session, speed, verify=verify, as_json=json)


@app.command()
def backtest(
    begin: Annotated[str, typer.Option("--from", help="UTC time it begins at.")] = "",
    end: Annotated[str, typer.Option("--to", help="UTC time before which it ends.")] = "",
    session: Annotated[str, typer.Option(help="One session's number, or last.")] = "",
    profile: Profile = "",
    config: ConfigFile = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the profile; repeatable.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page here.")] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="key=a,b,c or key=1..5: each day with each of them; repeatable."),
    ] = None,
    by: Annotated[str, typer.Option(help="Figure of the summary a sweep is sorted by.")] = "net",
    workers: Annotated[int, typer.Option(min=1, help="Processes of a sweep.")] = 2,
    cluster: Annotated[
        str, typer.Option(help="Address of a Dask scheduler, in place of local processes.")
    ] = "",
    json: Json = False,
) -> None:
    """Run recorded sessions through today's code and settings, with fills from the tape."""
    from processes.cli import backtest as command

    told = command.read_changes(changes or [])
    if sweep:
        if report is not None:
            raise UsageError("--report is of one run: leave out --sweep, or --report")
        from processes.cli.sweeps import run_sweep

        where = (workers, cluster)
        run_sweep(profile, config, told, sweep, (begin, end, session), by, where, as_json=json)
    else:
        settings = command.choose_settings(profile, config, told)
        command.run_backtest(settings, begin, end, session, report, as_json=json)


@app.command()
def train(
    family: Annotated[str, typer.Argument(help="A family of models, or all.")],
    begin: Annotated[str, typer.Option("--from", help="UTC time the rows begin at.")] = "",
    end: Annotated[str, typer.Option("--to", help="UTC time before which they end.")] = "",
    days: Annotated[
        float, typer.Option(min=0, help="In place of both: so many up to the last whole hour.")
    ] = 0.0,
    symbols: Annotated[
        str, typer.Option(help="venue:symbol, symbol or pair, with commas between; all if absent.")
    ] = "",
    horizon: Annotated[
        str, typer.Option(help="Seconds, of training.targets; a model of each if absent.")
    ] = "",
    folds: Annotated[
        int, typer.Option(min=0, max=100, help="Walk-forward tests; 0 = training.folds.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same model.")] = 1,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Take rows as recorded, do not make them again.")
    ] = False,
    profile: Profile = "",
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Train models of recorded sessions, and judge them on what they have not seen."""
    from processes.cli.train import run_train

    span = (begin, end, days)
    asked = (symbols, horizon)
    run_train(
        profile, config, family, span, asked, folds=folds, seed=seed, recorded=recorded,
        as_json=json,
    )  # fmt: skip


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all if none is given.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short runs: a smoke test.")] = False,
    json: Json = False,
) -> None:
    """Measure this machine: decoding, latency, rings, features, lake, beside their peers."""
    from processes.cli.bench import run_benchmarks

    run_benchmarks(names or [], quick=quick, as_json=json)


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")],
) -> None:
    """Print what has a shell complete dcctl by TAB; its first line says where it goes."""
    from processes.cli.completion import show_script

    show_script(shell)


@app.command()
def version(json: Json = False) -> None:
    """Show the version of this program and of what it stands on."""
    from processes.cli.settings import show_version

    show_version(as_json=json)


def main() -> None:
    """Run a command; every fault on purpose becomes one sentence and its exit code."""
    if "_DCCTL_COMPLETE" in os.environ:
        from processes.cli.completion import make_ready

        make_ready()
    try:
        app(prog_name="dcctl")
    except ConfigError as error:
        complain(str(error))
        sys.exit(EXIT_CONFIG)
    except UsageError as error:
        complain(str(error))
        sys.exit(EXIT_USAGE)
    except NotRunningError as error:
        complain(str(error))
        sys.exit(EXIT_NOT_RUNNING)
    except (DataControllerError, SharedMemoryError) as error:
        complain(str(error))
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
