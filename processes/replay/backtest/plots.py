"""The plots of a backtest's page: SVG by matplotlib with a fixed salt and no date.

Colours are stand-ins that become variables of the page, so that one drawing is readable on light
and on dark.
"""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from processes.replay.backtest.result import Result

MOST_TRADES: Final = 200
"""Drawn one by one: the last ones."""
INK, FAINT, UP, DOWN, LINE, FILL = (f"#01020{n}" for n in range(3, 9))
"""Stand-ins that become the page's variables."""
_VARIABLES: Final = {
    INK: "ink", FAINT: "faint", UP: "up", DOWN: "down", LINE: "line", FILL: "fill",
}  # fmt: skip

Draw = Callable[[Any], None]


def plots(result: Result) -> list[str]:
    """SVG elements, each with its title."""
    found = [
        _figure("Equity, fees included", _equity(result)),
        _figure("Below the highest point before", _drawdown(result)),
        _figure("Exposure", _exposure(result)),
    ]
    if result.trades:
        found.append(_figure("Trades, net", _trades(result)))
    return found


def _figure(title: str, draw: Draw) -> str:
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    style: dict[Any, Any] = {
        "svg.hashsalt": "backtest", "svg.fonttype": "none", "font.family": "sans-serif",
        "font.size": 9, "text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK,
        "xtick.color": FAINT, "ytick.color": FAINT, "axes.spines.top": False,
        "axes.spines.right": False, "axes.grid": True, "grid.color": FAINT, "grid.alpha": 0.25,
        "grid.linewidth": 0.5, "axes.titlesize": 10, "axes.titleweight": "bold",
        "axes.titlelocation": "left", "axes.titlecolor": INK,
    }  # fmt: skip
    with mpl.rc_context({**mpl.rcParamsDefault, **style}):
        figure = Figure(figsize=(9.6, 2.5), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes)
        out = io.StringIO()
        nothing: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    for colour, name in _VARIABLES.items():
        drawn = drawn.replace(colour, f"var(--{name})")
    return drawn


def _times(result: Result) -> list[datetime]:
    return [datetime.fromtimestamp(point.time_ns / 1e9, UTC) for point in result.equity]


def _clock(axes: Any) -> None:
    import matplotlib.dates  # noqa: PLC0415

    dates: Any = matplotlib.dates  # it is not typed
    locator = dates.AutoDateLocator(maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
    axes.margins(x=0.01)


def _equity(result: Result) -> Draw:
    def draw(axes: Any) -> None:
        values = [float(point.equity) for point in result.equity]
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.plot(_times(result), values, color=LINE, linewidth=1.4)
        for trade in result.trades[-MOST_TRADES:]:
            closed = datetime.fromtimestamp(trade.closed_ns / 1e9, UTC)
            tone = UP if Decimal(trade.net) > 0 else DOWN
            axes.axvline(closed, color=tone, linewidth=0.8, alpha=0.45)
        _clock(axes)

    return draw


def _drawdown(result: Result) -> Draw:
    def draw(axes: Any) -> None:
        peak, fallen = 0.0, []
        for point in result.equity:
            peak = max(peak, float(point.equity))
            fallen.append(float(point.equity) - peak)
        axes.fill_between(_times(result), fallen, color=DOWN, alpha=0.35, linewidth=0)
        axes.plot(_times(result), fallen, color=DOWN, linewidth=1.0)
        _clock(axes)

    return draw


def _exposure(result: Result) -> Draw:
    def draw(axes: Any) -> None:
        values = [float(point.exposure) for point in result.equity]
        axes.fill_between(_times(result), values, step="post", color=FILL, linewidth=0)
        axes.plot(_times(result), values, color=LINE, linewidth=1.0, drawstyle="steps-post")
        _clock(axes)

    return draw


def _trades(result: Result) -> Draw:
    def draw(axes: Any) -> None:
        values = [float(trade.net) for trade in result.trades[-MOST_TRADES:]]
        tones = [UP if value > 0 else DOWN for value in values]
        axes.bar(range(1, len(values) + 1), values, color=tones, width=0.7)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.xaxis.get_major_locator().set_params(integer=True)

    return draw
