"""A training as one HTML page that needs nothing else: figures with their doubt, plots, tables."""

import html
from typing import Final

from processes import pages
from processes.clock import utc_text
from processes.pages import cards, table
from processes.training.bootstrap import Interval
from processes.training.evaluation import Part
from processes.training.plots import plots
from processes.training.result import TrainingReport

_OVERLAP: Final = (
    "<p>Entries overlap; trades are one at a time an instrument, held until the label was known. "
    "An entry needs chances of up and down that differ by the threshold.</p>"
)


def page(report: TrainingReport) -> str:
    """The page."""
    drawn = {name: f"<figure>{svg}</figure>" for name, svg in plots(report).items()}
    title = f"{report.family} {report.version}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _subtitle(report),
        _findings(report),
        _cards(report),
        drawn["folds"],
        _folds(report),
        "<h2>Beside others, on the same samples</h2>",
        _versus(report),
        "<h2>Chances</h2>",
        drawn["reliability"],
        _bins(report),
        "<h2>Entries after costs</h2>",
        drawn["value"],
        drawn["trades"],
        _entries(report),
        _OVERLAP,
        *_parts(report, drawn["hours"]),
        "<h2>Columns</h2>",
        drawn["columns"],
        _leaks(report),
        *_end(report),
    ]
    return pages.page(title, parts)


def _subtitle(report: TrainingReport) -> str:
    what = "first barrier touched" if report.labels == "triple_barrier" else "move of mid"
    return (
        f"<p>{what} over {report.horizon_s:g} s, flat below {report.move_bps:g} bp. "
        f"{report.known:,} labels of {report.made.rows:,} rows, {utc_text(report.from_ns)} to "
        f"{utc_text(report.to_ns)}: {html.escape(', '.join(report.made.instruments.values()))}. "
        f"Seed {report.seed}. All figures are of rows that nothing was learnt from; behind them "
        "stands the middle 95 % of blocks drawn again.</p>"
    )


def _findings(report: TrainingReport) -> str:
    found = report.leakage.findings
    if not found:
        return ""
    told = "".join(
        f'<p class="down"><b>{one.check}</b>: {html.escape(one.text)}</p>' for one in found
    )
    return f"<h2>This model has seen the future</h2>{told}"


def about(one: Interval, digits: int = 3) -> str:
    """A figure and its interval."""
    return f"{one.value:.{digits}f} ({one.low:.{digits}f} to {one.high:.{digits}f})"


def _cards(report: TrainingReport) -> str:
    told = report.evaluation
    gain = report.flat.difference
    tone = "up" if gain.high < 0 else "down" if gain.low > 0 else ""
    best = max(told.thresholds, key=lambda one: one.net_bps.low if one.entries else -1e9)
    return cards(
        [
            (f"{told.log_loss.value:.4f}", "log loss", ""),
            (f"{gain.value:+.4f}", f"less flat's ({gain.low:+.4f} to {gain.high:+.4f})", tone),
            (f"{told.auc_direction.value:.3f}", "AUC of up against down", ""),
            (f"{told.brier.value:.4f}", "Brier", ""),
            (f"{told.accuracy.value:.1%}", "labels told right", ""),
            (
                f"{best.net_bps.value:+.2f} bp", f"an entry after costs, from {best.threshold:g}",
                "up" if best.net_bps.low > 0 else "down" if best.net_bps.high < 0 else "",
            ),
            (f"{best.turnover_per_day:,.0f}", "positions turned over a day there", ""),
            (f"{len(report.leakage.findings)}", "findings of the leakage checks", ""),
        ]
    )  # fmt: skip


def _folds(report: TrainingReport) -> str:
    return table(
        ["fold", "tested from", "to", "learnt", "kept out", "tested", "log loss", "flat"],
        [
            [
                str(one.number), utc_text(one.from_ns), utc_text(one.to_ns), f"{one.learnt:,}",
                f"{one.purged:,}", f"{one.tested:,}", f"{one.log_loss:.4f}",
                f"{one.log_loss_flat:.4f}",
            ]
            for one in report.folds
        ],
        3,
    )  # fmt: skip


def _versus(report: TrainingReport) -> str:
    rows = [[report.family, f"{report.evaluation.log_loss.value:.4f}", ""]]
    rows += [
        [one.name, f"{one.log_loss:.4f}", about(one.difference, 4)]
        for one in report.evaluation.versus
    ]
    told = report.evaluation
    text = (
        f"AUC up {about(told.auc_up)}, down {about(told.auc_down)}; correlation of the expected "
        f"move {told.move_correlation:.3f}; labels up {told.shares[0]:.1%}, flat "
        f"{told.shares[1]:.1%}, down {told.shares[2]:.1%}; {told.unsaid:,} of {told.samples:,} "
        f"without a forecast. Intervals are drawn from {told.blocks} blocks of {told.block_s:g} s."
    )
    return table(["model", "log loss", "ours less its"], rows, 1) + f"<p>{text}</p>"


def _bins(report: TrainingReport) -> str:
    told = report.evaluation.reliability
    rows = [
        [name, f"{one.low:.1f} to {one.high:.1f}", f"{one.said:.3f}", f"{one.came:.3f}",
         f"{one.count:,}"]
        for name, bins in (("up", told.up), ("down", told.down))
        for one in bins
    ]  # fmt: skip
    head = ["side", "chance", "said", "came true", "samples"]
    return table(head, rows, 2) + f"<p>Mean distance {told.error:.4f}.</p>"


def _entries(report: TrainingReport) -> str:
    return table(
        ["threshold", "entries", "gross bp", "net bp", "won", "trades", "net a trade",
         "net in all", "trades a day", "turnover a day"],
        [
            [
                f"{one.threshold:g}", f"{one.entries:,}", f"{one.gross_bps:.2f}",
                about(one.net_bps, 2), f"{one.hit_rate:.1%}", f"{one.trades:,}",
                f"{one.trade_net_bps:.2f}", f"{one.total_net_bps:,.0f}",
                f"{one.trades_per_day:,.0f}", f"{one.turnover_per_day:,.0f}",
            ]
            for one in report.evaluation.thresholds
        ],
        0,
    )  # fmt: skip


def _parts(report: TrainingReport, drawn: str) -> list[str]:
    told = report.evaluation
    return [
        "<h2>By regime</h2>",
        _part_table(told.by_regime),
        "<h2>By instrument</h2>",
        _part_table(told.by_instrument),
        "<h2>By hour, UTC</h2>",
        drawn,
        _part_table(told.by_hour),
    ]


def _part_table(parts: list[Part]) -> str:
    return table(
        ["", "samples", "log loss", "flat", "told right", "AUC up/down", "net bp an entry"],
        [
            [
                one.name, f"{one.samples:,}", f"{one.log_loss:.4f}", f"{one.log_loss_flat:.4f}",
                f"{one.accuracy:.1%}", f"{one.auc_direction:.3f}", f"{one.net_bps:.2f}",
            ]
            for one in parts
        ],
        1,
    )  # fmt: skip


def _leaks(report: TrainingReport) -> str:
    told = report.leakage
    rows = [
        [one.name, f"{one.future:+.3f}", f"{one.past:+.3f}", f"{one.next_row:+.3f}"]
        for one in told.columns
    ]
    text = (
        f"A linear probe tells up from down with an AUC of {about(told.skill)}, with rows a "
        f"horizon older {about(told.skill_lagged)}. On shuffled labels the log loss less flat's "
        f"is {about(told.shuffled, 4)}."
    )
    head = ["alone, skill", "coming move", "move before", "next row"]
    return table(head, rows, 1) + f"<p>{text}</p>"


def _end(report: TrainingReport) -> list[str]:
    made = report.made
    again = f"{made.compared:,} rows were made again and compared with the recorded ones: "
    again += "identical, to the bit" if made.difference is None else f"{made.difference}"
    if not made.compared:
        again = "No row could be compared with a recorded one"
    rows = (
        f"<p>Sessions {', '.join(map(str, made.sessions))}; {made.events:,} events of the tapes. "
        f"{html.escape(again)}. {made.as_recorded:,} were taken as recorded, "
        f"{made.left_out:,} left out; {made.dropped:,} that were dropped are seen by no model.</p>"
    )
    spans = [[str(one.first), str(one.last), one.why] for one in made.excluded]
    return [
        "<h2>Rows</h2>",
        rows,
        table(["from row", "to", "not made again"], spans, 9),
        "<h2>Made with</h2>",
        table(["", ""], [[k, str(v)] for k, v in report.settings.items()], 9),
        table(["library", "version"], [[k, v] for k, v in report.libraries.items()], 9),
    ]
