"""history rebuild: what is asked for, how far it is, what was made."""

import sys
from pathlib import Path
from typing import Final

from processes.cli.screen import say, say_json
from processes.cli.times import parse_time
from processes.clock import monotonic_s
from processes.operations.figures import span
from processes.operations.instance import find_paths
from processes.places import is_locked
from processes.replay.history import MINUTE_NS, Rebuild, Wanted
from processes.sessions import SessionFolder, sessions_of
from schemas.errors import OperatorError, UsageError
from schemas.settings import Settings

MS_NS: Final = 1_000_000
DRAW_S: Final = 0.2
LINE_S: Final = 5.0


class Screen:
    """How far it is: a line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._drawn_s = monotonic_s()
        self._done: dict[str, int] = {}

    def report(self, what: str, count: int) -> None:
        """So many rows more of something were read."""
        self._done[what] = self._done.get(what, 0) + count
        now_s = monotonic_s()
        if self._quiet or now_s - self._drawn_s < (DRAW_S if self._live else LINE_S):
            return
        self._drawn_s = now_s
        text = f"{what}: {self._done[what]:,} rows; {sum(self._done.values()):,} in all"
        sys.stderr.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._live and not self._quiet:
            sys.stderr.write("\r\x1b[K")


def _settings(data: Path) -> Settings:
    """What was in force last: there the history is."""
    known = sessions_of(data)
    folder = SessionFolder(data, known[-1] if known else 0)
    generations = folder.generations()
    if not generations:
        raise OperatorError(f"nothing is recorded in {data}; type: dcctl start")
    return folder.settings(generations[-1])


def _wanted(venue: str, symbol: str, start: str, end: str) -> Wanted:
    start_ns = parse_time(start, "--from") * MS_NS if start else 0
    end_ns = parse_time(end, "--to") * MS_NS if end else 0
    if end_ns and end_ns <= start_ns:
        raise UsageError(f"--to {end} is not later than --from {start}: give a later --to")
    return Wanted(
        venue=venue,
        symbol=symbol,
        start_ns=start_ns // MINUTE_NS * MINUTE_NS,
        end_ns=-(-end_ns // MINUTE_NS) * MINUTE_NS,
    )


def rebuild_history(venue: str, symbol: str, start: str, end: str, *, as_json: bool) -> None:
    """Make history again from the lake, and print what was read and written."""
    wanted = _wanted(venue, symbol, start, end)
    paths = find_paths()
    settings = _settings(paths.data)
    screen = Screen(quiet=as_json)
    began_s = monotonic_s()
    work = Rebuild(settings, paths.data, wanted, screen.report, beside=is_locked(paths.run))
    try:
        made = work.run()
    finally:
        screen.end()
    if as_json:
        say_json({"database": work.where, "seconds": round(monotonic_s() - began_s, 3),
                  "series": made.series, "tape_rows": made.slots, "decisions": made.decisions,
                  "statements": made.rows})  # fmt: skip
        return
    if not made.slots and not made.decisions:
        say("the lake has nothing of that: dcctl lake ls shows what it has")
        return
    say(
        f"{made.slots:,} candles and trades of {made.series} series and {made.decisions:,} "
        f"decisions read; {made.rows:,} statements written in {span(monotonic_s() - began_s)}"
    )
    say(f"history: {work.where}")
