"""replay: a recorded session through the code that made it, and what was found."""

import sys
from typing import Final

import numpy as np

from processes.cli.screen import colour, say, say_json
from processes.clock import monotonic_s, utc_text
from processes.logs import open_screen_log
from processes.operations.figures import span
from processes.operations.instance import find_paths
from processes.recordings.recording import find_session
from processes.replay.main import Verdict, replay
from schemas.decisions import STRATEGIES, SlotKind
from schemas.errors import OperatorError, UsageError
from schemas.trading import Action, Reason

DRAW_S: Final = 0.2
EXCLUDED_SHOWN: Final = 10


class Screen:
    """What a user sees while a replay runs: how far it is, and at a recorded pace what was done."""

    def __init__(self, *, quiet: bool, decisions: bool) -> None:
        self._live = sys.stderr.isatty() and not quiet
        self._decisions = decisions and not quiet
        self._done: dict[str, int] = {}
        self._drawn_s = 0.0

    def report(self, stage: str, block: np.ndarray) -> None:
        """A stage has made so much again."""
        self._done[stage] = self._done.get(stage, 0) + len(block)
        if self._decisions and stage == "decisions":
            self._tell(block)
        now_s = monotonic_s()
        if self._live and now_s - self._drawn_s >= DRAW_S:
            self._drawn_s = now_s
            told = ", ".join(f"{count:,} of {name}" for name, count in self._done.items())
            sys.stderr.write(f"\r\x1b[K{told}")
            sys.stderr.flush()

    def _tell(self, block: np.ndarray) -> None:
        acted = (block["kind"] == SlotKind.DECISION) & (block["action"] != Action.HOLD)
        for slot in block[acted]:
            say(
                f"{utc_text(int(slot['time_ns']))}  {Action(int(slot['action'])).name.lower()}  "
                f"instrument {slot['instrument']}  {STRATEGIES[int(slot['strategy'])]}  "
                f"{Reason(int(slot['reason'])).name}"
            )

    def end(self) -> None:
        """Leave the line."""
        if self._live:
            sys.stderr.write("\r\x1b[K")


def replay_session(session: str, speed: str, *, verify: bool, as_json: bool) -> None:
    """Replay a session and print what was found.

    Raises:
        UsageError: the speed is none. OperatorError: no such session; or with `verify`, something
            was not the same.
    """
    pace = _pace(speed)
    data = find_paths().data
    number = find_session(data, session)
    screen = Screen(quiet=as_json, decisions=bool(pace))
    verdict = replay(data, number, open_screen_log(), screen.report, pace)
    screen.end()
    if as_json:
        say_json(verdict)
    else:
        _show(verdict)
    if verify and not verdict.identical:
        raise OperatorError(f"session {number} did not come out as it is recorded")


def _pace(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        pace = float(text)
    except ValueError:
        pace = 0.0
    if not 0 < pace <= 1e6:
        raise UsageError(f"--speed {text}: say max, or how many times as fast as recorded, like 10")
    return pace


def _show(verdict: Verdict) -> None:
    say(
        f"session {verdict.session}: {verdict.events:,} events, {verdict.rows:,} rows, "
        f"{verdict.predictions:,} predictions, {verdict.decisions:,} decisions"
    )
    say(
        f"{verdict.events_per_s:,.0f} events/s through features; "
        + ", ".join(f"{name} {span(seconds)}" for name, seconds in verdict.seconds.items())
    )
    for told in verdict.excluded[:EXCLUDED_SHOWN]:
        say(colour(f"not compared: {told.stage} {told.first} to {told.last}: {told.why}", "yellow"))
    if len(verdict.excluded) > EXCLUDED_SHOWN:
        say(f"and {len(verdict.excluded) - EXCLUDED_SHOWN} more spans; all of them: --json")
    for difference in verdict.made_elsewhere:
        say(colour(f"another machine recorded it: {difference}", "yellow"))
    first = verdict.first_difference
    if first is not None:
        field = f", {first.field}" if first.field else ""
        say(
            colour(
                f"differs first in {first.stage}, sequence {first.sequence}{field}: recorded "
                f"{first.recorded}, replayed {first.replayed}", "red",
            )
        )  # fmt: skip
    elif verdict.identical:
        say(colour("identical, to the bit", "green"))
    else:
        say("nothing could be compared")
