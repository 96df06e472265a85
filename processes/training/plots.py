"""The plots of a training's page."""

from typing import Any

from processes.pages import DOWN, FAINT, FILL, LINE, UP, Draw, figure
from processes.training.evaluation import Bin
from processes.training.result import TrainingReport

SHOWN_COLUMNS = 16


def plots(report: TrainingReport) -> dict[str, str]:
    """SVG elements, each with its title, by what they are of."""
    return {
        "folds": figure("Log loss of each test, and of the flat baseline", _folds(report)),
        "reliability": figure("What chances are worth", _reliability(report), height=3.4),
        "value": figure("An entry after costs, bp, by threshold", _value(report)),
        "trades": figure("Trades a day, by threshold", _trades(report), height=2.0),
        "hours": figure("Log loss less the flat baseline's, by hour (UTC)", _hours(report)),
        "columns": figure("What moves forecasts, share", _columns(report), height=3.6),
    }


def _folds(report: TrainingReport) -> Draw:
    def draw(axes: Any) -> None:
        numbers = [fold.number for fold in report.folds]
        flat = [fold.log_loss_flat for fold in report.folds]
        axes.plot(numbers, flat, color=FAINT, marker="o", label="flat")
        own = [fold.log_loss for fold in report.folds]
        axes.plot(numbers, own, color=LINE, marker="o", label=report.family)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)

    return draw


def _reliability(report: TrainingReport) -> Draw:
    def side(axes: Any, bins: list[Bin], colour: str, name: str) -> None:
        most = max((one.count for one in bins), default=1)
        sizes = [12 + 90 * one.count / most for one in bins]
        said, came = [one.said for one in bins], [one.came for one in bins]
        axes.plot(said, came, color=colour, linewidth=1.0)
        axes.scatter(said, came, s=sizes, color=colour, label=name, zorder=3)

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
        side(axes, report.evaluation.reliability.up, UP, "up")
        side(axes, report.evaluation.reliability.down, DOWN, "down")
        axes.set_xlabel("said")
        axes.set_ylabel("came true")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.legend(frameon=False, loc="upper left")

    return draw


def _value(report: TrainingReport) -> Draw:
    def draw(axes: Any) -> None:
        rows = [one for one in report.evaluation.thresholds if one.entries]
        at = [one.threshold for one in rows]
        low, high = [one.net_bps.low for one in rows], [one.net_bps.high for one in rows]
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.fill_between(at, low, high, color=FILL, linewidth=0)
        axes.plot(at, [one.net_bps.value for one in rows], color=LINE, marker="o")

    return draw


def _trades(report: TrainingReport) -> Draw:
    def draw(axes: Any) -> None:
        rows = report.evaluation.thresholds
        axes.bar([f"{one.threshold:g}" for one in rows], [one.trades_per_day for one in rows],
                 color=LINE, width=0.6)  # fmt: skip

    return draw


def _hours(report: TrainingReport) -> Draw:
    def draw(axes: Any) -> None:
        parts = report.evaluation.by_hour
        gains = [one.log_loss - one.log_loss_flat for one in parts]
        axes.bar([one.name for one in parts], gains, width=0.7,
                 color=[UP if gain < 0 else DOWN for gain in gains])  # fmt: skip
        axes.axhline(0, color=FAINT, linewidth=0.8)

    return draw


def _columns(report: TrainingReport) -> Draw:
    def draw(axes: Any) -> None:
        shown = report.importances[:SHOWN_COLUMNS][::-1]
        axes.barh([one.column for one in shown], [one.share for one in shown], color=LINE)

    return draw
