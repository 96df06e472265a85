"""The metrics table: every number a process counts, its Prometheus name, and its place in the page.

A process's counter page is a row of 64-bit slots. `place` gives each metric's first slot; a
histogram takes BUCKETS + 2 (the buckets, the sum, the count), a metric that is split one a value of
its label. The same table makes `/metrics`, `dcctl status` and the reference page of the documents.

Histograms are of nanoseconds on a logarithmic scale, four buckets an octave from 1 µs on: bucket 0
is below 1024 ns, bucket i ends at `bucket_bounds_ns()[i]`, the last one is everything above.
"""

from typing import Literal

from msgspec import Struct

from schemas.features import COLUMN
from schemas.instruments import CHANNELS
from schemas.predictions import SPEAKERS

BUCKETS = 104
FIRST_OCTAVE = 10

PREFIX = "data_controller"
MetricKind = Literal["counter", "gauge", "histogram"]
LABELS: dict[str, tuple[str, ...]] = {
    "": (), "channel": CHANNELS, "feature": tuple(COLUMN), "model": SPEAKERS,
}  # fmt: skip
"""Values of the label that a metric is split by."""


class Metric(Struct, frozen=True):
    """One metric. `by` names the label whose values it is split by, if it is."""

    name: str
    kind: MetricKind
    unit: str
    help: str
    by: Literal["", "channel", "feature", "model"] = ""

    @property
    def exposed(self) -> str:
        """Its Prometheus name: a counter's samples have `_total` behind it, ns become seconds."""
        if self.kind != "histogram":
            return f"{PREFIX}_{self.name}"
        # The users' own name for this one has no prefix.
        prefix = "" if self.name == "prediction_latency" else f"{PREFIX}_"
        return f"{prefix}{self.name}_seconds"

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of its samples."""
        return ("process", self.by) if self.by else ("process",)

    @property
    def slots(self) -> int:
        """64-bit slots it takes in the page."""
        if self.kind == "histogram":
            return BUCKETS + 2
        return len(LABELS[self.by]) or 1


TABLE: tuple[Metric, ...] = (
    # collector
    Metric("ingest_events", "counter", "events", "events written to the tape", "channel"),
    Metric("ingest_frames", "counter", "frames", "frames received"),
    Metric("ingest_bytes", "counter", "bytes", "bytes received in frames"),
    Metric("frames_bad", "counter", "frames", "frames that could not be decoded, skipped"),
    Metric("frames_unknown", "counter", "frames", "frames on a channel never acknowledged"),
    Metric("sequence_gaps", "counter", "gaps", "breaks in the venue's frame numbers"),
    Metric("checksums_verified", "counter", "checksums", "book checksums that matched"),
    Metric("checksums_failed", "counter", "checksums", "book checksums that did not match"),
    Metric("reconnects", "counter", "connections", "connections opened after the first"),
    Metric("resyncs", "counter", "channels", "channels subscribed anew after a fault"),
    Metric("trades_backfilled", "counter", "trades", "trades of gaps that came over REST"),
    Metric("holes_open", "gauge", "holes", "gaps of trades streams that wait for REST"),
    Metric("holes_unfilled", "counter", "holes", "gaps whose trades REST did not bring whole"),
    Metric(
        "instrument_changes", "counter", "instruments", "instruments the venue changed or added"
    ),
    Metric("subscriptions", "gauge", "channels", "channels the venue has acknowledged"),
    Metric("subscriptions_wanted", "gauge", "channels", "channels the configuration asks for"),
    Metric("frames_recorded", "counter", "frames", "raw frames kept on disk"),
    Metric(
        "frames_unrecorded", "counter", "frames", "raw frames the disk was too slow or full for"
    ),
    Metric("recorded_bytes", "counter", "bytes", "raw frames on disk, compressed"),
    Metric("recv_to_tape", "histogram", "ns", "received to committed on the tape"),
    # features
    Metric("feature_events", "counter", "events", "tape events read"),
    Metric("feature_rows", "counter", "rows", "feature rows written"),
    Metric("feature_rows_invalid", "counter", "rows", "feature rows with an invalid bit set"),
    Metric("feature_rows_dropped", "counter", "rows", "feature rows that no model sees"),
    Metric("feature_rows_stuck", "counter", "rows", "feature rows of books that do not move"),
    Metric("inputs_refused", "counter", "events", "books and trades that cannot be true"),
    Metric("inputs_crossed", "counter", "events", "books whose best bid is not below the best ask"),
    Metric("inputs_far", "counter", "events", "trades and steps too far from the book to be used"),
    Metric("columns_missing", "counter", "columns", "columns of rows that were not to be had"),
    Metric("columns_out_of_range", "counter", "columns", "columns outside their range"),
    Metric("columns_stuck", "counter", "columns", "columns that stayed the same for too long"),
    Metric("columns_outlier", "counter", "columns", "columns far from what they usually are"),
    Metric("columns_filled", "counter", "columns", "columns given their last good value"),
    Metric("columns_masked", "counter", "columns", "columns given their neutral value"),
    Metric("column_faults", "counter", "columns", "columns that were not believed", "feature"),
    Metric("feature_late_cuts", "counter", "cuts", "boundaries cut more than 100 ms late"),
    Metric(
        "recv_to_feature",
        "histogram",
        "ns",
        "cut to feature row; of a trigger: newest event received",
    ),
    Metric("feature_compute", "histogram", "ns", "time of one block through the kernel"),
    # inference
    Metric("predictions", "counter", "predictions", "predictions written"),
    Metric("prediction_steps", "counter", "rows", "feature rows stepped through the network"),
    Metric(
        "predictions_superseded", "counter", "rows", "rows stepped but not published: newer ones"
    ),
    Metric("deadline_misses", "counter", "cuts", "cuts whose prediction came after its deadline"),
    Metric("rung_falls", "counter", "falls", "falls to a lower rung"),
    Metric("models_standing", "gauge", "models", "1 while a model speaks in its place", "model"),
    Metric("model_spent_us", "gauge", "microseconds", "a place's last drain took", "model"),
    Metric("model_misses", "counter", "cuts", "shares of the deadline missed in a place", "model"),
    Metric("model_swaps", "counter", "swaps", "versions taken while running"),
    Metric("model_refusals", "counter", "versions", "versions that are not sound, not taken"),
    Metric("models_left_out", "counter", "models", "models left out: they raised or were late"),
    Metric("learner_samples", "counter", "samples", "matured rows the online model learnt from"),
    Metric("learner_rows_lost", "counter", "rows", "rows it could not learn from: gone, no room"),
    Metric("model_rung", "gauge", "rung", "rung in force: 0 MLX, 1 CPU, 2 positions only"),
    Metric("prediction_latency", "histogram", "ns", "one batch through the model chain"),
    Metric(
        "recv_to_prediction",
        "histogram",
        "ns",
        "cut to prediction; of a trigger: newest event received",
    ),
    Metric(
        "drift_psi_milli",
        "gauge",
        "thousandths",
        "population stability index against the training: 100 is much, 250 another market",
        "feature",
    ),
    Metric("drift_columns", "gauge", "columns", "columns whose index is above a quarter"),
    Metric("drift_rows", "gauge", "rows", "rows that the index is made of; none below 500"),
    # execution
    Metric("decisions", "counter", "decisions", "decisions made, hold and denied included"),
    Metric("decisions_denied", "counter", "decisions", "signals that a check denied"),
    Metric("orders_sent", "counter", "orders", "orders handed to a broker"),
    Metric("fills", "counter", "fills", "fills booked"),
    Metric("open_orders", "gauge", "orders", "orders not in a final state"),
    Metric("open_positions", "gauge", "positions", "instruments with a position"),
    Metric("realized_pnl_micros", "gauge", "quote", "realized profit and loss today, millionths"),
    Metric("unrealized_pnl_micros", "gauge", "quote", "unrealized profit and loss, millionths"),
    Metric("drawdown_micros", "gauge", "quote", "loss since the highest equity, millionths"),
    Metric("losing_streak", "gauge", "trades", "trades in a row that ended with a loss"),
    Metric("trading_step", "gauge", "step", "0 in full, 1 positions only, 2 flat and stopped"),
    Metric("trading_falls", "counter", "falls", "falls to a lower step of trading"),
    Metric("ledger_away", "gauge", "flag", "1 while the ledger does not answer"),
    Metric("accounts_away", "gauge", "accounts", "accounts that are not reconciled"),
    Metric("triggers_fired", "counter", "triggers", "triggers of risk that have fired"),
    Metric(
        "recv_to_decision",
        "histogram",
        "ns",
        "cut to decision; of a trigger: newest event received",
    ),
    # storage
    Metric("journal_slots", "counter", "slots", "slots appended to journals"),
    Metric("journal_bytes", "gauge", "bytes", "size of the journals on disk"),
    Metric("lake_rows", "counter", "rows", "rows written to the lake"),
    Metric("lake_files_sealed", "counter", "files", "lake files sealed"),
    Metric("storage_lost", "counter", "slots", "slots a ring lost before they were journalled"),
    Metric("storage_paused", "gauge", "flag", "1 while storage waits for room on the disk"),
    Metric("storage_step", "gauge", "step", "0 all kept, 1 books sampled, 2 best levels only"),
    Metric("storage_steps", "counter", "steps", "changes of that step, both ways"),
    Metric("storage_left_out", "counter", "slots", "book slots left out of the journals by design"),
    Metric("storage_owed", "gauge", "levels", "book levels left out that books still need"),
    Metric("disk_free_bytes", "gauge", "bytes", "free space where the data folder lives"),
    Metric("storage_flush", "histogram", "ns", "time of one pass over all rings"),
    Metric("history_rows", "counter", "rows", "rows written to the history tables"),
    Metric("history_holes", "counter", "holes", "stretches gone before history could read them"),
    Metric("history_away", "gauge", "databases", "1 while the history's database takes nothing"),
    # retraining
    Metric("retrainings", "counter", "models", "models that were trained by themselves"),
    Metric("retrainings_failed", "counter", "trainings", "trainings that came to no model"),
    Metric("retrainings_refused", "counter", "models", "models trained that were not promoted"),
    # alerts
    Metric("alerts_active", "gauge", "alerts", "alerts that last"),
    Metric("alerts_critical", "gauge", "alerts", "critical alerts that last"),
    Metric("alerts_owed", "gauge", "messages", "words that channels are owed and not told yet"),
    Metric("alerts_told", "counter", "messages", "messages that channels have taken"),
    Metric("alerts_failed", "counter", "messages", "messages that channels have not taken"),
    Metric("alerts_dropped", "counter", "alerts", "alerts beyond the bounds, told to nobody"),
    Metric("heartbeats", "counter", "heartbeats", "heartbeats that the outside has taken"),
    Metric("heartbeats_failed", "counter", "heartbeats", "heartbeats it has not taken"),
    # archive
    Metric("archive_files", "counter", "files", "files proved to be in the lake's store"),
    Metric("archive_bytes", "counter", "bytes", "size of the files brought to the store"),
    Metric("archive_replaced", "counter", "files", "Arrow files in the store that were packed"),
    Metric("archive_removed", "counter", "files", "files removed here that the store has"),
    Metric("archive_failures", "counter", "passes", "passes that the store did not let end"),
    Metric("archive_refused", "gauge", "files", "files that the store has other than they are"),
    Metric("archive_pending_files", "gauge", "files", "files not proved to be in the store"),
    Metric("archive_pending_bytes", "gauge", "bytes", "size of the files not proved to be there"),
    Metric("archive_oldest_s", "gauge", "s", "age of the oldest of these files"),
    Metric("archive_state", "gauge", "state", "0 ok, 1 store away, 2 store refuses us"),
    # influx
    Metric("influx_lines", "counter", "lines", "lines made for InfluxDB"),
    Metric("influx_lines_sent", "counter", "lines", "lines that the server has acknowledged"),
    Metric("influx_lines_dropped", "counter", "lines", "lines dropped because a bound was reached"),
    Metric("influx_lines_expired", "counter", "lines", "lines older than their bucket keeps"),
    Metric("influx_lines_refused", "counter", "lines", "lines put aside: the server refused them"),
    Metric("influx_records_damaged", "counter", "records", "batches on disk that were not whole"),
    Metric("influx_rows_late", "counter", "rows", "rows too late for their 30 s, not in the mean"),
    Metric("influx_requests_failed", "counter", "requests", "writes that the server did not take"),
    Metric(
        "influx_spool_errors", "counter", "errors", "batches that the disk did not take at once"
    ),
    Metric("influx_spool_bytes", "gauge", "bytes", "size on disk of what is not sent yet"),
    Metric("influx_sender_state", "gauge", "state", "0 ok, 1 backing off, 2 probing, 3 held"),
    Metric("influx_write", "histogram", "ns", "one write request to its answer"),
    # bridge
    Metric("bridge_entries", "counter", "entries", "stream entries that Redis has taken"),
    Metric("bridge_slots_lost", "counter", "slots", "slots overwritten while Redis was away"),
    Metric("bridge_entries_refused", "counter", "entries", "stream entries that Redis refused"),
    Metric("bridge_books_conflated", "counter", "books", "order books left out for newer ones"),
    Metric("bridge_redis_failures", "counter", "failures", "calls that Redis failed or left open"),
    Metric("bridge_connected", "gauge", "state", "1 while Redis answers, 0 while it does not"),
    Metric("bridge_signals_taken", "counter", "signals", "signals that execution has journaled"),
    Metric("bridge_signals_refused", "counter", "signals", "signals refused before execution"),
    Metric("bridge_write", "histogram", "ns", "one transaction to Redis and back"),
    # simulator
    Metric("simulator_frames", "counter", "frames", "frames sent to clients"),
    Metric("simulator_clients", "gauge", "clients", "sockets open at the simulator"),
)


class Told(Struct, frozen=True):
    """A number that the supervisor tells of the instance, and no process counts."""

    exposed: str
    """Its Prometheus name."""
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


PROCESS_UP = Told(f"{PREFIX}_process_up", "gauge", "1 while ready", ("process",))
PROCESS_RESTARTS = Told(
    f"{PREFIX}_process_restarts", "counter", "restarts by the supervisor", ("process",)
)
PROCESS_MEMORY = Told(
    f"{PREFIX}_process_memory_bytes",
    "gauge",
    "resident memory, shared rings included",
    ("process",),
)
PROCESS_CPU = Told(
    f"{PREFIX}_process_cpu_seconds", "counter", "processor time, user and system", ("process",)
)
INGEST_RATE = Told(f"{PREFIX}_ingest_rate", "gauge", "events a second", ("exchange", "channel"))
KILL_SWITCH_ACTIVE = Told("kill_switch_active", "gauge", "1 while the kill switch is on")
KILL_SWITCH_LEVEL = Told(
    f"{PREFIX}_kill_switch_level", "gauge", "0 off, 1 pause, 2 cancel, 3 flatten, 4 shutdown"
)
RING_COMMITTED = Told(f"{PREFIX}_ring_committed", "counter", "slots committed", ("ring",))
RING_READER_LAG = Told(
    f"{PREFIX}_ring_reader_lag", "gauge", "slots a reader is behind", ("ring", "reader")
)
RING_READER_LOST = Told(
    f"{PREFIX}_ring_reader_lost", "counter", "slots a reader has missed", ("ring", "reader")
)
TOLD: tuple[Told, ...] = (
    PROCESS_UP, PROCESS_RESTARTS, PROCESS_MEMORY, PROCESS_CPU, INGEST_RATE, KILL_SWITCH_ACTIVE,
    KILL_SWITCH_LEVEL, RING_COMMITTED, RING_READER_LAG, RING_READER_LOST,
)  # fmt: skip


def series() -> dict[str, tuple[str, ...]]:
    """Every name that a query of Prometheus may use, with the labels of its samples."""
    of_processes = [(one.exposed, one.kind, one.labels) for one in TABLE]
    of_instance = [(one.exposed, one.kind, one.labels) for one in TOLD]
    found: dict[str, tuple[str, ...]] = {}
    for name, kind, labels in (*of_processes, *of_instance):
        if kind == "histogram":
            found[f"{name}_bucket"] = (*labels, "le")
            found[f"{name}_sum"] = found[f"{name}_count"] = labels
        else:
            found[name + ("_total" if kind == "counter" else "")] = labels
    return found


def _places() -> dict[str, int]:
    places: dict[str, int] = {}
    at = 0
    for metric in TABLE:
        places[metric.name] = at
        at += metric.slots
    places[""] = at
    return places


_PLACES = _places()
SLOTS = _PLACES.pop("")
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in TABLE}
assert len(BY_NAME) == len(TABLE)


def place(name: str, label: str = "") -> int:
    """Index of a metric's (first) slot in the page; of one label's slot where it is split."""
    metric = BY_NAME[name]
    assert bool(label) == bool(metric.by), name
    offset = LABELS[metric.by].index(label) if label else 0
    return _PLACES[name] + offset


def bucket_bounds_ns() -> list[int]:
    """Upper bounds of all buckets but the last, in ns: 1024, 1280, 1536, 1792, 2048, 2560 ..."""
    bounds = [1 << FIRST_OCTAVE]
    while len(bounds) < BUCKETS - 1:
        octave, quarter = divmod(len(bounds) - 1, 4)
        bounds.append((1 << (FIRST_OCTAVE + octave)) * (5 + quarter) // 4)
    return bounds


def quantile_ns(counts: list[int], share: float) -> float:
    """The quantile of a histogram, interpolated inside its bucket; 0.0 of an empty one."""
    total = sum(counts)
    if total == 0:
        return 0.0
    bounds = bucket_bounds_ns()
    target = share * total
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= target:
            low = bounds[index - 1] if index else 0
            high = bounds[index] if index < len(bounds) else bounds[-1] * 2
            return low + (high - low) * (target - below) / count
        below += count
    return float(bounds[-1])
