"""backtest: a span of recorded sessions, or a sweep of settings over it, and what comes of it."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from config.loader import load
from processes.cli.screen import complain, say, say_json, table
from processes.clock import monotonic_s
from processes.files import write_whole
from processes.operations.figures import span
from processes.operations.instance import find_paths
from processes.recordings.recording import find_session
from processes.recordings.span import Span, sessions_in
from processes.replay.backtest.main import backtest, nothing_there
from processes.replay.backtest.result import Result
from schemas.errors import ConfigError, UsageError
from schemas.settings import Settings

LINE_S: Final = 2.0
SHOWN: Final = 12


def choose_settings(profile: str, file: Path | None, changes: dict[str, str]) -> Settings:
    """A profile's settings with changes over them.

    Raises:
        UsageError: a change is wrong. ConfigError: the profile is.
    """
    load(profile, file=file)  # what is wrong without the changes is not their fault
    try:
        return load(profile, file=file, changes=changes)
    except ConfigError as error:
        raise UsageError(f"{error}; dcctl config shows all keys") from None


def read_changes(texts: list[str]) -> dict[str, str]:
    """`key=value` words.

    Raises:
        UsageError: one is not of that form.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", key):
            raise UsageError(f"--set {text}: type it like --set strategy.enter_threshold=0.5")
        if key.split(".")[0] in {"profile", "venues", "paths"}:
            raise UsageError(f"--set {text}: {key} is as it was recorded and cannot be changed")
        found[key] = value
    return found


def read_time(name: str, text: str) -> int:
    """A UTC time as a person types it, in ns.

    Raises:
        UsageError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{name} {text}: type a UTC time like 2026-11-21 or 2026-11-21T10:00:00"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def choose_span(begin: str, end: str, session: str, data: Path) -> tuple[Span, list[int]]:
    """What a user asks for, and the sessions that may hold it.

    Raises:
        UsageError: nothing is asked for, or nothing of it is there.
    """
    if not begin and not end and not session:
        raise UsageError("say which span: --from and --to, or --session last")
    asked = Span(
        from_ns=read_time("--from", begin) if begin else Span().from_ns,
        to_ns=read_time("--to", end) if end else Span().to_ns,
    )
    if asked.from_ns >= asked.to_ns:
        raise UsageError(f"--from {begin} is not before --to {end}")
    sessions = [find_session(data, session)] if session else sessions_in(data, asked)
    if not sessions:
        raise nothing_there(data, asked)
    return asked, sessions


class Watch:
    """Progress on standard error, so that results stay clean."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._began_s = self._told_s = monotonic_s()
        self._begin_ns = 0

    def report(self, time_ns: int, events: int) -> None:
        """The tapes have come to this time."""
        now_s = monotonic_s()
        self._begin_ns = self._begin_ns or time_ns
        if self._quiet or now_s - self._told_s < LINE_S:
            return
        self._told_s = now_s
        rate = events / max(now_s - self._began_s, 1e-9)
        told = span((time_ns - self._begin_ns) / 1e9)
        complain(f"{told} of tape, {events:,} events, {rate:,.0f} events/s")

    def end(self, events: int) -> None:
        """It is done."""
        if not self._quiet:
            took_s = max(monotonic_s() - self._began_s, 1e-9)
            complain(f"{events:,} events in {took_s:.1f} s: {events / took_s:,.0f} events/s")


def run_backtest(
    settings: Settings, begin: str, end: str, session: str, report: Path | None, *, as_json: bool
) -> None:
    """Run it, print what comes of it, and write the report."""
    paths = find_paths()
    asked, sessions = choose_span(begin, end, session, paths.data)
    watch = Watch(quiet=as_json and not sys.stderr.isatty())
    result = backtest(paths.data, sessions, asked, settings, watch.report)
    watch.end(result.events)
    if report is not None:
        from processes.replay.backtest.report import page

        write_whole(report, page(result).encode())
    if as_json:
        say_json(result)
        return
    show(result)
    if report is not None:
        say(f"\nreport: {report}")


def show(result: Result) -> None:
    """The figures for a reader."""
    one = result.summary
    rows = [
        ["net", one.net], ["fees", one.fees], ["spread", one.spread],
        ["slippage", one.slippage], ["turnover", one.turnover],
        ["net of turnover", f"{one.net_bps:.2f} bp"],
        ["orders, fills", f"{one.orders}, {one.fills} ({one.maker_fills} as maker)"],
        ["trades, won", f"{one.trades}, {one.won} ({one.hit_rate:.0%})"],
        ["largest drawdown", one.max_drawdown],
        ["exposure, mean and largest", f"{one.mean_exposure}, {one.max_exposure}"],
        ["time in market", f"{one.time_in_market:.1%}"],
        ["open positions", ", ".join(f"{p.quantity} {p.symbol}" for p in result.positions) or "-"],
        ["triggers", ", ".join(f"{p.code}: {p.level}" for p in result.pulled) or "-"],
        ["gaps", str(len(result.gaps))],
        ["model", result.model],
        ["digest", result.digest],
    ]  # fmt: skip
    say(table(["what", " ".join(result.currencies)], rows))
    say()
    hours = [
        [h.hour, str(h.decisions), str(h.orders), str(h.fills), h.turnover, h.fees, h.realized,
         h.equity]
        for h in result.hours
    ]  # fmt: skip
    head = ["hour", "decisions", "orders", "fills", "turnover", "fees", "realized", "equity"]
    say(table(head, hours[-SHOWN:], right=range(1, 8)))
    say()
    reasons = [[one.action, one.reason, str(one.decisions)] for one in result.reasons[:SHOWN]]
    say(table(["action", "reason", "decisions"], reasons, right=[2]))
    if len(result.currencies) > 1:
        complain(f"amounts in {', '.join(result.currencies)} were added up as they are")
