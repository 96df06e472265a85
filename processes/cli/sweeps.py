"""backtest --sweep: what is swept, how far it is, and which settings did best."""

import sys
from functools import partial
from pathlib import Path
from typing import Final

from processes.cli.backtest import choose_settings, choose_span, read_changes
from processes.cli.screen import complain, say, say_json, table
from processes.clock import monotonic_s
from processes.operations.figures import span
from processes.operations.instance import find_paths
from processes.replay.backtest.main import nothing_there
from processes.replay.backtest.sweep import (
    Outcome,
    Swept,
    check_metric,
    make_points,
    read_axis,
    sweep,
)
from schemas.errors import OperatorError, UsageError

BAR: Final = 24


def run_sweep(
    profile: str,
    file: Path | None,
    changes: dict[str, str],
    texts: list[str],
    asked: tuple[str, str, str],
    by: str,
    where: tuple[int, str],
    *,
    as_json: bool,
) -> None:
    """Run it and print the table.

    Args:
        asked: --from, --to, --session. where: --workers, --cluster.

    Raises:
        OperatorError: not one point came to anything.
    """
    check_metric(by)
    axes = dict(read_axis(text) for text in texts)
    if len(axes) < len(texts):
        raise UsageError("--sweep names a key twice: put all its values behind one")
    read_changes([f"{key}={values[0]}" for key, values in axes.items()])
    data = find_paths().data
    chosen, sessions = choose_span(*asked, data)
    load = partial(choose_settings, profile, file)
    points = make_points(data, chosen, sessions, axes, lambda values: load({**changes, **values}))
    if not points:
        raise nothing_there(data, chosen)
    progress = Progress(len(points))
    swept = sweep(points, by, *where, progress.report)
    if not any(point.summary for point in swept.points) and not any(
        point.error for point in swept.points
    ):
        raise nothing_there(data, chosen)
    if as_json:
        say_json(swept)
    else:
        show(swept)
    if not any(point.summary for point in swept.points):
        raise OperatorError(f"every point failed; the first: {swept.points[0].error}")


class Progress:
    """A bar on a terminal, a line now and then elsewhere; on standard error."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began_s = monotonic_s()
        self._live = sys.stderr.isatty()

    def report(self, done: int, outcome: Outcome) -> None:
        """A point is done."""
        share = done / self._total
        left_s = (monotonic_s() - self._began_s) * (1 - share) / share
        bar = f"[{'#' * round(share * BAR)}{'.' * (BAR - round(share * BAR))}] "
        text = f"{bar if self._live else ''}{done} of {self._total} points, {span(left_s)} left"
        if outcome.error:
            self._line(f"failed: {_said(outcome)}: {outcome.error}", last=True)
        self._line(text, last=done == self._total or not self._live)

    def _line(self, text: str, *, last: bool) -> None:
        if self._live:
            sys.stderr.write(f"\r\x1b[K{text}{chr(10) if last else ''}")
            sys.stderr.flush()
        else:
            complain(text)


def _said(outcome: Outcome) -> str:
    return " ".join([outcome.day, *(f"{key}={value}" for key, value in outcome.values.items())])


def show(swept: Swept) -> None:
    """The table, the best settings first."""
    head = [
        *swept.points[0].values, "days", "net", "fees", "slippage", "turnover", "trades",
        "hit rate", "drawdown", "failed",
    ]  # fmt: skip
    rows = [
        [
            *row.values.values(), str(row.days), row.net, row.fees, row.slippage, row.turnover,
            str(row.trades), f"{row.hit_rate:.0%}", row.max_drawdown, str(row.failed),
        ]
        for row in swept.rows
    ]  # fmt: skip
    say(table(head, rows, right=range(len(head))))
    say(f"\nsorted by {swept.by}; each day begins without positions")
