"""What Prometheus works out by itself: quantiles and rates that are often asked for, and alerts.

Alerts have the names, the words and the patience of `schemas/alert_rules.py`, so that a phone says
the same whoever called it; here stand only those which a number on `/metrics` can tell. What
Prometheus alone can tell is that nobody answers any more.
"""

from typing import Any, Final, NamedTuple

from schemas.alert_rules import CHECKSUMS, DEADLINES, DRIFTED, RECONNECTS, RESTARTS, RULES, Rule
from schemas.metrics import PREFIX, TABLE

JOB: Final = "data-controller"
"""As prometheus.yml names it."""
INTERVAL: Final = "15s"
QUANTILES: Final = (0.5, 0.99)
WINDOW: Final = "1m"
"""Of rates and quantiles; twelve scrapes."""
RESTART_S: Final = 60.0
GREW: Final = "10m"
"""How long something that happened is an alert, as `dcctl alert` has it."""
HISTOGRAMS: Final = tuple(one.exposed for one in TABLE if one.kind == "histogram")


class Watch(NamedTuple):
    """An alert, and the expression that has a row for each subject it holds of."""

    rule: Rule
    expression: str

    @property
    def patience_s(self) -> float:
        """How long it must hold. Who is scraped may be starting, or a scrape may be lost."""
        gone = self.rule.name == "supervisor_gone"
        return max(self.rule.for_s, RESTART_S) if gone else self.rule.for_s


def quantile_name(histogram: str, quantile: float) -> str:
    """The recorded series of a histogram's quantile, by process."""
    return f"process:{histogram}:p{f'{quantile:g}'.removeprefix('0.').ljust(2, '0')}"


def rate_name(counter: str) -> str:
    """The recorded series of a counter's rate a second, by process."""
    return f"process:{counter}:rate1m"


RATES: Final = (
    "ingest_frames", "ingest_bytes", "feature_rows", "predictions", "decisions", "orders_sent",
    "fills", "journal_slots", "lake_rows",
)  # fmt: skip
"""Counters whose rates are asked for often."""


def recordings() -> dict[str, str]:
    """Expressions by the name of the series that they are recorded as."""
    found = {
        quantile_name(histogram, quantile): (
            f"histogram_quantile({quantile:g}, "
            f"sum by (process, le) (rate({histogram}_bucket[{WINDOW}])))"
        )
        for histogram in HISTOGRAMS
        for quantile in QUANTILES
    }
    for name in RATES:
        counter = f"{PREFIX}_{name}_total"
        found[rate_name(counter)] = f"sum by (process) (rate({counter}[{WINDOW}]))"
    return found


def _grew(name: str, process: str, at_least: int = 1) -> str:
    """A counter has grown by so much; of each process whose name fits."""
    grown = f'increase({PREFIX}_{name}_total{{process=~"{process}"}}[{GREW}])'
    # Between two scrapes Prometheus reckons on: of one event it makes a little more or less.
    return f"{grown} > {at_least - 0.5:g}"


def _is(name: str, process: str, condition: str) -> str:
    return f'{PREFIX}_{name}{{process="{process}"}} {condition}'


_VENUES: Final = "collector\\\\..+"
_EXPRESSIONS: Final = {
    "kill_switch": "kill_switch_active == 1",
    "accounts_away": _is("accounts_away", "execution", "> 0"),
    "ledger_away": _is("ledger_away", "execution", "== 1"),
    "trading_positions_only": _is("trading_step", "execution", "== 1"),
    "trading_flat": _is("trading_step", "execution", "== 2"),
    "feed_down": f'{PREFIX}_process_up{{process=~"{_VENUES}"}} == 0',
    "feed_unstable": _grew("reconnects", _VENUES, RECONNECTS),
    "book_faults": _grew("checksums_failed", _VENUES, CHECKSUMS),
    "trades_missing": _grew("holes_unfilled", _VENUES),
    "instrument_changed": _grew("instrument_changes", _VENUES),
    "streams_refused": f"{PREFIX}_subscriptions < {PREFIX}_subscriptions_wanted",
    "frames_unrecorded": _grew("frames_unrecorded", _VENUES),
    "deadline_misses": _grew("deadline_misses", "inference", DEADLINES),
    "model_left_out": _grew("models_left_out", "inference"),
    "model_refused": _grew("model_refusals", "inference"),
    "drift": _is("drift_columns", "inference", f">= {DRIFTED}"),
    "training_failed": _grew("retrainings_failed", "retraining"),
    "training_refused": _grew("retrainings_refused", "retraining"),
    "storage_paused": _is("storage_paused", "storage", "== 1"),
    "storage_behind": _is("storage_step", "storage", "> 0"),
    "storage_owed": _is("storage_owed", "storage", "> 0"),
    "storage_lost": _grew("storage_lost", "storage"),
    "reader_lost": f"increase({PREFIX}_ring_reader_lost_total[{GREW}]) > 0.5",
    "history_away": _is("history_away", "storage", "> 0"),
    "history_holes": _grew("history_holes", "storage"),
    "archive_away": _is("archive_state", "archive", "== 1"),
    "archive_refused": _is("archive_refused", "archive", "> 0"),
    "influx_held": _is("influx_sender_state", "influx", "== 3"),
    "influx_dropped": _grew("influx_lines_dropped", "influx"),
    "bridge_away": _is("bridge_connected", "bridge", "== 0"),
    "process_not_ready": f"{PREFIX}_process_up == 0",
    "process_unstable": f"increase({PREFIX}_process_restarts_total[{GREW}]) > {RESTARTS - 0.5:g}",
    "channel_failing": _grew("alerts_failed", "alerts"),
}


def watches() -> list[Watch]:
    """All alerts, the worst of all first."""
    known = {rule.name: rule for rule in RULES}
    gone = f'up{{job="{JOB}"}} == 0'
    return [
        Watch(known["supervisor_gone"], gone),
        *(Watch(known[name], text) for name, text in _EXPRESSIONS.items()),
    ]


_SUBJECTS: Final = {"channel_failing": "CHANNEL", "reader_lost": "{{ $labels.reader }}"}
"""What stands for an alert's subject; elsewhere the process."""


def _todo(rule: Rule) -> str:
    return rule.todo.replace("{subject}", _SUBJECTS.get(rule.name, "{{ $labels.process }}"))


def rules_file() -> dict[str, Any]:
    """`rules.yml` as Prometheus reads it."""
    recorded = [{"record": name, "expr": text} for name, text in sorted(recordings().items())]
    alerts = [
        {
            "alert": watch.rule.name,
            "expr": watch.expression,
            "for": f"{watch.patience_s:g}s",
            "keep_firing_for": f"{watch.rule.clear_s:g}s",
            "labels": {"severity": watch.rule.severity},
            "annotations": {"summary": watch.rule.means, "description": _todo(watch.rule)},
        }
        for watch in watches()
    ]
    return {
        "groups": [
            {"name": "recordings", "interval": INTERVAL, "rules": recorded},
            {"name": "alerts", "interval": INTERVAL, "rules": alerts},
        ]
    }
