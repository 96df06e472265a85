"""Every alert there is: its name, how bad it is, what it means and what to type.

`processes/alerts/finders.py` has for each of them what looks for it, docs/runbook.md what more
there is to do. A name is never used for another thing: people have it in their filters.
"""

from typing import Final, Literal

from msgspec import Struct

Severity = Literal["info", "warning", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""From the least to the worst."""
RECONNECTS: Final = 5
CHECKSUMS: Final = 10
DEADLINES: Final = 60
RESTARTS: Final = 3
"""So many in ten minutes are an alert."""
DRIFTED: Final = 5
"""So many columns that have drifted are one."""


class Rule(Struct, frozen=True, kw_only=True):
    """One rule."""

    name: str
    severity: Severity
    means: str
    todo: str
    """What to type or look at; `{subject}` is of what it is: a process, a venue, an account."""
    for_s: float = 0.0
    """It must hold for so long before it is an alert."""
    clear_s: float = 30.0
    """It must not hold for so long before it is over."""
    passing: bool = False
    """Something that happened, not something that lasts: its end is not told."""


def _lasting(
    name: str, severity: Severity, means: str, todo: str, for_s: float = 0.0, clear_s: float = 30.0
) -> Rule:
    return Rule(name=name, severity=severity, means=means, todo=todo, for_s=for_s, clear_s=clear_s)


def _passing(name: str, severity: Severity, means: str, todo: str) -> Rule:
    return Rule(name=name, severity=severity, means=means, todo=todo, passing=True)


RULES: Final[tuple[Rule, ...]] = (
    # trading
    _lasting(
        "kill_switch", "critical", "the kill switch is on",
        "dcctl status says who pulled it, dcctl why last what was decided; dcctl arm releases it",
    ),
    _passing(
        "trigger", "critical", "a trigger of risk has pulled the kill switch",
        "dcctl pnl, dcctl why last; then dcctl arm",
    ),
    _passing(
        "trigger_told", "warning", "a trigger of risk has fired that only tells",
        "dcctl pnl, dcctl why last",
    ),
    _passing(
        "foreign_order", "warning", "an open order at the venue that is not ours",
        "look at the venue; it is left alone, dcctl kill --level cancel takes it too",
    ),
    _passing(
        "vanished", "critical", "the venue knows an order no more that it had",
        "look at the venue, then dcctl arm",
    ),
    _passing(
        "ambiguous", "critical", "an answer of the venue fits several orders",
        "look at the venue, then dcctl settle ORDER and dcctl arm",
    ),
    _passing(
        "account_alarm", "critical", "something about an account that a person must look at",
        "dcctl logs execution; docs/freqtrade.md of a Freqtrade bot",
    ),
    _lasting(
        "accounts_away", "critical", "nothing is sent to an account: it is not reconciled",
        "dcctl logs execution says what it waits for", for_s=60.0,
    ),
    _lasting(
        "ledger_away", "critical", "the ledger does not answer, so nothing is sent",
        "look at its database; what waited is written when it is back", for_s=10.0,
    ),
    _lasting(
        "trading_positions_only", "warning", "no usable prediction: nothing is opened",
        "dcctl logs inference; it climbs back by itself", for_s=30.0,
    ),
    _lasting(
        "trading_flat", "critical", "trading is flat and stopped for want of predictions",
        "dcctl logs inference, dcctl status; it climbs back by itself",
    ),
    # market data
    _lasting(
        "feed_down", "critical", "a venue's collector is not ready",
        "dcctl logs {subject}", for_s=60.0,
    ),
    _lasting(
        "feed_stale", "critical", "a venue's collector is ready and nothing comes",
        "dcctl logs {subject}; dcctl restart {subject}", for_s=5.0,
    ),
    _passing(
        "feed_unstable", "warning", "a venue's connections break again and again",
        "dcctl logs {subject}; look at the network",
    ),
    _passing(
        "book_faults", "warning", "book checksums fail again and again",
        "dcctl logs {subject}; dcctl restart {subject}",
    ),
    _passing(
        "trades_missing", "warning", "REST did not bring all trades of a gap",
        "dcctl history download",
    ),
    _passing(
        "instrument_changed", "info", "a venue changed a subscribed instrument",
        "dcctl restart {subject} when convenient, to use the new tick",
    ),
    _lasting(
        "streams_refused", "warning", "a venue has not taken all subscriptions",
        "dcctl status, dcctl logs {subject}", for_s=120.0,
    ),
    _passing(
        "frames_unrecorded", "warning", "the disk was too slow or full for raw frames",
        "free some disk, or turn record_frames off",
    ),
    # models
    _lasting(
        "rung_cpu", "warning", "the model chain has fallen to the processor",
        "dcctl logs inference; it is tried again by itself", for_s=60.0,
    ),
    _lasting(
        "rung_positions_only", "critical", "no model runs: positions are only closed",
        "dcctl logs inference; dcctl restart inference", for_s=5.0,
    ),
    _passing(
        "deadline_misses", "warning", "predictions come after their deadline",
        "dcctl status shows latencies; look for what else the machine does",
    ),
    _passing(
        "model_left_out", "warning", "a model failed or was late: its place says nothing",
        "dcctl status, dcctl logs inference; it is tried again by itself",
    ),
    _passing(
        "model_refused", "warning", "a promoted version is not sound; what stood goes on",
        "dcctl logs inference; dcctl models rollback FAMILY",
    ),
    _lasting(
        "drift", "info", "features have drifted from what the models were trained on",
        "dcctl models list; dcctl train all", for_s=600.0, clear_s=600.0,
    ),
    _passing(
        "training_failed", "warning", "a retraining came to no model",
        "dcctl logs retraining",
    ),
    _passing(
        "training_refused", "info", "a retrained model was not promoted",
        "dcctl models list",
    ),
    # storage
    _lasting(
        "storage_paused", "critical", "the disk is full, storage waits",
        "free some disk; it goes on within a second",
    ),
    _lasting(
        "disk_low", "warning", "the disk of the data folder is getting full",
        "free some disk, or set lake.store and lake.keep_local_days", for_s=10.0, clear_s=60.0,
    ),
    _lasting(
        "storage_behind", "warning", "storage keeps less of the books: it cannot follow",
        "look at metrics storage_step and journal_bytes; it goes back by itself", for_s=30.0,
    ),
    _lasting(
        "storage_owed", "info", "book levels that were left out are still to come",
        "nothing: they come when the levels change", for_s=900.0,
    ),
    _passing(
        "storage_lost", "critical", "a ring lost slots before they were journalled",
        "a larger rings.*, a faster disk",
    ),
    _passing(
        "reader_lost", "warning", "a reader of a ring was slower than the ring is long",
        "a larger rings.*, or a faster machine",
    ),
    _lasting(
        "history_away", "warning", "the history's database is away",
        "look at its database; it catches up by itself", for_s=60.0,
    ),
    _passing(
        "history_holes", "warning", "history missed rows", "dcctl history rebuild",
    ),
    _lasting(
        "archive_away", "warning", "the lake's store does not answer",
        "dcctl lake push; nothing local is removed meanwhile", for_s=900.0, clear_s=60.0,
    ),
    _lasting(
        "archive_refused", "warning", "the lake's store refuses us, or holds other files",
        "mend its credentials; dcctl lake push", clear_s=60.0,
    ),
    # other machines
    _lasting(
        "influx_held", "warning", "InfluxDB refuses the token or does not know a bucket",
        "dcctl influx status; dcctl influx init", for_s=60.0,
    ),
    _passing(
        "influx_dropped", "warning", "lines for InfluxDB were dropped at a bound",
        "dcctl influx status; a larger influx.spool_bytes",
    ),
    _lasting(
        "bridge_away", "warning", "Redis does not answer the bridge",
        "look at Redis; dcctl logs bridge", for_s=60.0,
    ),
    # the program and the machine
    _lasting(
        "process_failed", "critical", "a process was given up: too many restarts",
        "dcctl logs {subject}; mend the cause, then dcctl restart {subject}",
    ),
    _lasting(
        "process_not_ready", "warning", "a process is not ready for long",
        "dcctl status, dcctl logs {subject}", for_s=120.0,
    ),
    _passing(
        "process_restarted", "info", "a process ended by itself and was started again",
        "dcctl logs {subject}",
    ),
    _passing(
        "process_unstable", "warning", "a process ends again and again",
        "dcctl logs {subject}",
    ),
    _lasting(
        "memory_low", "critical", "the machine has hardly any memory left",
        "dcctl top shows who takes it; end what is not needed", for_s=30.0, clear_s=60.0,
    ),
    _lasting(
        "supervisor_silent", "critical", "the supervisor does not answer",
        "dcctl status; dcctl stop, then dcctl start", for_s=15.0, clear_s=5.0,
    ),
    _lasting(
        "supervisor_gone", "critical", "the supervisor was killed, and all with it",
        "look whether positions are open at the venues; dcctl start", clear_s=0.0,
    ),
    _lasting(
        "channel_failing", "warning", "a channel of alerts does not take messages",
        "dcctl alert test {subject}", clear_s=0.0,
    ),
)  # fmt: skip
BY_NAME: Final[dict[str, Rule]] = {rule.name: rule for rule in RULES}
