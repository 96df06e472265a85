"""The plots of a backtest's page."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from processes.pages import DOWN, FAINT, FILL, LINE, UP, Draw, figure
from processes.replay.backtest.result import Result

MOST_TRADES: Final = 200
"""Drawn one by one: the last ones."""


def plots(result: Result) -> list[str]:
    """SVG elements, each with its title."""
    found = [
        figure("Equity, fees included", _equity(result)),
        figure("Below the highest point before", _drawdown(result)),
        figure("Exposure", _exposure(result)),
    ]
    if result.trades:
        found.append(figure("Trades, net", _trades(result)))
    return found


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
