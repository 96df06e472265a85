"""What looks for each alert of `schemas/alert_rules.py`: a function of the moment's sight.

They hold no state and know no channel. A rule that something must hold for some time before it is
an alert stands in the table, not here.
"""

from collections.abc import Callable, Iterator
from typing import Final

from processes.alerts.book import Finding
from processes.alerts.sight import Sight
from schemas.alert_rules import CHECKSUMS, DEADLINES, DRIFTED, RECONNECTS, RESTARTS
from schemas.messages import AccountAlarmed, TriggerFired
from schemas.predictions import NETWORK, RULES, Rung
from schemas.trading import Step

Found = Iterator[tuple[str, str]]
"""(subject, text) of each."""
Finder = Callable[[Sight], Found]
MEMORY_PERCENT: Final = 95.0
CHANNEL_FAILURES: Final = 2
GIGA: Final = 10**9
NAMED_ALARMS: Final = frozenset({"foreign_order", "vanished", "ambiguous"})


def _collectors(sight: Sight) -> list[str]:
    return [one.name for one in sight.processes() if one.name.startswith("collector.")]


def _grew(metric: str, at_least: int, text: str, *processes: str) -> Finder:
    """A counter has grown by so much; of every collector where no process is named."""

    def find(sight: Sight) -> Found:
        for process in processes or _collectors(sight):
            grown = sight.growth.of(f"{process} {metric}")
            if grown >= at_least:
                yield ("" if processes else process, text.format(grown))

    return find


def _detail(sight: Sight, process: str) -> str:
    """What a process says of itself in `dcctl status`."""
    return next((one.detail for one in sight.processes() if one.name == process), "")


def _gauge(process: str, metric: str, at_least: int, text: str, most: int = 1 << 62) -> Finder:
    """A gauge stands between two values; told in the process's own words unless `text` counts."""

    def find(sight: Sight) -> Found:
        value = sight.gauge(process, metric)
        if at_least <= value <= most:
            own = "" if "{}" in text else _detail(sight, process)
            yield "", own or text.format(value)

    return find


def _step(step: Step, text: str) -> Finder:
    """Trading has fallen so far. While an instance begins it has no prediction yet."""
    look = _gauge("execution", "trading_step", step, text, step)

    def find(sight: Sight) -> Found:
        if sight.has_run:
            yield from look(sight)

    return find


def kill_switch(sight: Sight) -> Found:
    """Whatever its level."""
    switch = sight.status.kill_switch if sight.status else None
    if switch is not None and switch.level != "none":
        yield "", f"level {switch.level}, by {switch.latched_by or '?'}, since {switch.since}"


def _triggers(*, pulls: bool) -> Finder:
    def find(sight: Sight) -> Found:
        for fact in sight.facts:
            if isinstance(fact, TriggerFired) and bool(fact.level) == pulls:
                yield fact.code, fact.text

    return find


def _alarms(code: str = "") -> Finder:
    """Alarms of accounts under a code; those that have no rule of their own without one."""

    def find(sight: Sight) -> Found:
        for fact in sight.facts:
            if isinstance(fact, AccountAlarmed):
                if fact.code == code:
                    yield fact.account, fact.text
                elif not code and fact.code not in NAMED_ALARMS:
                    yield f"{fact.account}.{fact.code}", fact.text

    return find


def feed_down(sight: Sight) -> Found:
    """A collector that is not ready, for whatever reason; `process_failed` tells of its end."""
    for one in sight.processes():
        if one.name.startswith("collector.") and one.state not in {"ready", "failed"}:
            yield one.name, f"{one.state}: {one.detail}"


def feed_stale(sight: Sight) -> Found:
    """A collector says it is ready, and its tape stands still."""
    limit_s = sight.settings.alerts.stale_s
    for one in sight.processes():
        if one.name.startswith("collector.") and one.state == "ready":
            ring = f"tape.{one.name.partition('.')[2]}"
            silent_s = sight.tapes.silent_s(ring, sight.now_ns)
            if silent_s >= limit_s:
                yield one.name, f"nothing for {silent_s:.0f} s: {one.detail}"


def streams_refused(sight: Sight) -> Found:
    """Fewer subscriptions than the settings ask for."""
    for name in _collectors(sight):
        live, wanted = (sight.gauge(name, f"subscriptions{s}") for s in ("", "_wanted"))
        if live < wanted:
            yield name, f"{live} of {wanted} subscriptions"


def _rung(rung: Rung) -> Finder:
    def find(sight: Sight) -> Found:
        settings = sight.settings.inference
        best = (
            Rung.CPU if settings.device == "numpy" or NETWORK not in settings.families else Rung.MLX
        )
        if set(settings.families) <= set(RULES):
            best = Rung.POSITIONS_ONLY
        if not settings.enabled or rung <= best:
            return  # it is meant to be so
        if sight.status is not None and sight.status.rung == rung.name.lower():
            yield "", _detail(sight, "inference")

    return find


def disk_low(sight: Sight) -> Found:
    """Before storage has to wait."""
    if sight.free_bytes < sight.settings.alerts.disk_low_bytes:
        yield "", f"{sight.free_bytes / GIGA:.1f} GB free"


def reader_lost(sight: Sight) -> Found:
    """Of each ring and reader; a tap's loss is its own."""
    for ring in sight.status.rings if sight.status else ():
        for reader in ring.readers:
            lost = sight.growth.of(f"{ring.name} {reader.name} lost")
            if lost:
                yield f"{reader.name}.{ring.name}", f"{lost} slots of {ring.name} lost"


def bridge_away(sight: Sight) -> Found:
    """A bridge that lives and has no Redis."""
    if "bridge" in sight.values and not sight.gauge("bridge", "bridge_connected"):
        yield "", _detail(sight, "bridge")


def archive_refused(sight: Sight) -> Found:
    """Credentials, or files that are other than ours."""
    refused = sight.gauge("archive", "archive_refused")
    if sight.gauge("archive", "archive_state") == 2 or refused:
        yield "", _detail(sight, "archive") or f"{refused} files are other than ours"


def process_failed(sight: Sight) -> Found:
    """The supervisor does not start it again."""
    for one in sight.processes():
        if one.state == "failed":
            yield one.name, one.detail


def process_not_ready(sight: Sight) -> Found:
    """Any but collectors, which have a rule of their own."""
    for one in sight.processes():
        if one.state in {"starting", "backing_off"} and not one.name.startswith("collector."):
            yield one.name, f"{one.state}: {one.detail}"


def _restarts(at_least: int, below: int) -> Finder:
    def find(sight: Sight) -> Found:
        for one in sight.processes():
            grown = sight.growth.of(f"{one.name} restarts")
            if at_least <= grown < below:
                yield one.name, f"{grown} restarts in ten minutes: {one.detail}"

    return find


def memory_low(sight: Sight) -> Found:
    """Of the whole machine."""
    if sight.memory_percent >= MEMORY_PERCENT:
        yield "", f"{sight.memory_percent:.0f} % of memory is used"


def supervisor_silent(sight: Sight) -> Found:
    """It lives, or this process would have ended."""
    if sight.status is None and not sight.is_orphan:
        yield "", "it did not answer status"


def supervisor_gone(sight: Sight) -> Found:
    """The last that this process can say."""
    if sight.is_orphan:
        yield "", "nothing trades, records or watches any more"


def channel_failing(sight: Sight) -> Found:
    """Told by the others; by itself once it is back."""
    yield from sight.failing.items()


FINDERS: Final[dict[str, Finder]] = {
    "kill_switch": kill_switch,
    "trigger": _triggers(pulls=True),
    "trigger_told": _triggers(pulls=False),
    "foreign_order": _alarms("foreign_order"),
    "vanished": _alarms("vanished"),
    "ambiguous": _alarms("ambiguous"),
    "account_alarm": _alarms(),
    "accounts_away": _gauge("execution", "accounts_away", 1, "not reconciled"),
    "ledger_away": _gauge("execution", "ledger_away", 1, "nothing is sent"),
    "trading_positions_only": _step(Step.POSITIONS_ONLY, "nothing is opened"),
    "trading_flat": _step(Step.FLAT, "nothing is sent"),
    "feed_down": feed_down,
    "feed_stale": feed_stale,
    "feed_unstable": _grew("reconnects", RECONNECTS, "{} reconnects in ten minutes"),
    "book_faults": _grew("checksums_failed", CHECKSUMS, "{} checksums failed in ten minutes"),
    "trades_missing": _grew("holes_unfilled", 1, "{} gaps stay in ten minutes"),
    "instrument_changed": _grew("instrument_changes", 1, "{} instruments changed"),
    "streams_refused": streams_refused,
    "frames_unrecorded": _grew("frames_unrecorded", 1, "{} frames not kept in ten minutes"),
    "rung_cpu": _rung(Rung.CPU),
    "rung_positions_only": _rung(Rung.POSITIONS_ONLY),
    "deadline_misses": _grew(
        "deadline_misses", DEADLINES, "{} cuts late in ten minutes", "inference"
    ),
    "model_left_out": _grew("models_left_out", 1, "{} in ten minutes", "inference"),
    "model_refused": _grew("model_refusals", 1, "{} in ten minutes", "inference"),
    "drift": _gauge("inference", "drift_columns", DRIFTED, "{} columns have drifted"),
    "training_failed": _grew("retrainings_failed", 1, "{} failed", "retraining"),
    "training_refused": _grew("retrainings_refused", 1, "{} not promoted", "retraining"),
    "storage_paused": _gauge("storage", "storage_paused", 1, "nothing is recorded"),
    "disk_low": disk_low,
    "storage_behind": _gauge("storage", "storage_step", 1, "books are thinned"),
    "storage_owed": _gauge("storage", "storage_owed", 1, "{} levels"),
    "storage_lost": _grew("storage_lost", 1, "{} slots lost in ten minutes", "storage"),
    "reader_lost": reader_lost,
    "history_away": _gauge("storage", "history_away", 1, "{} database is away"),
    "history_holes": _grew("history_holes", 1, "{} stretches missed", "storage"),
    "archive_away": _gauge("archive", "archive_state", 1, "tried again by itself", 1),
    "archive_refused": archive_refused,
    "influx_held": _gauge("influx", "influx_sender_state", 3, "nothing is sent"),
    "influx_dropped": _grew("influx_lines_dropped", 1, "{} lines in ten minutes", "influx"),
    "bridge_away": bridge_away,
    "process_failed": process_failed,
    "process_not_ready": process_not_ready,
    "process_restarted": _restarts(1, RESTARTS),
    "process_unstable": _restarts(RESTARTS, 1 << 62),
    "memory_low": memory_low,
    "supervisor_silent": supervisor_silent,
    "supervisor_gone": supervisor_gone,
    "channel_failing": channel_failing,
}


def find_all(sight: Sight) -> list[Finding]:
    """What every rule finds; of one name the last."""
    return [
        Finding(rule, text, subject)
        for rule, finder in FINDERS.items()
        for subject, text in finder(sight)
    ]
