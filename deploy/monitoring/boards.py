"""The dashboards that ask Prometheus: what is shown, and in which order.

Every expression uses names of `schemas/metrics.py` and of `rules.py` only; a test asks a real
Prometheus for each of them. `history.py` has the dashboard that asks InfluxDB.
"""

from typing import Final

from grafana_foundation_sdk.builders import timeseries

from deploy.monitoring.panels import (
    BAD,
    GOOD,
    TOLERABLE,
    WIDTH,
    Board,
    Panel,
    Series,
    graph,
    number,
)
from deploy.monitoring.rules import QUANTILES, quantile_name, rate_name
from schemas.metrics import BY_NAME, PREFIX


def _rate(name: str, by: str = "process") -> str:
    return f"sum by ({by}) (rate({PREFIX}_{name}_total[1m]))"


def _gauge(name: str) -> str:
    return f"{PREFIX}_{name}"


def _recorded(name: str) -> str:
    return rate_name(f"{PREFIX}_{name}_total")


def _latency(title: str, name: str, says: str, span: int = WIDTH // 2) -> timeseries.Panel:
    histogram = BY_NAME[name].exposed
    lines = [
        Series(quantile_name(histogram, one), f"{{{{process}}}} p{one * 100:g}")
        for one in QUANTILES
    ]
    return graph(title, "s", says, *lines, span=span)


_ZERO_IS_GOOD: Final = ((None, GOOD), (1.0, BAD))
_ONE_IS_GOOD: Final = ((None, BAD), (1.0, GOOD))


def pipeline() -> Board:
    """Is all of it running, and does it keep up?"""
    now: list[Panel] = [
        number(
            "Ready", "short", "Processes that are ready.",
            Series(f"sum({PREFIX}_process_up)", ""),
        ),
        number(
            "Not ready", "short", "Processes that should be and are not; dcctl status says why.",
            Series(f"sum(1 - {PREFIX}_process_up)", ""), steps=_ZERO_IS_GOOD,
        ),
        number(
            "Kill switch", "short", "dcctl arm releases it.",
            Series(f"{PREFIX}_kill_switch_level", ""), steps=_ZERO_IS_GOOD,
            words={"0": "off", "1": "pause", "2": "cancel", "3": "flatten", "4": "shutdown"},
        ),
        number(
            "Models", "short", "The rung in force.",
            Series(_gauge('model_rung{process="inference"}'), ""),
            steps=((None, GOOD), (1.0, TOLERABLE), (2.0, BAD)),
            words={"0": "MLX", "1": "CPU", "2": "positions only"},
        ),
        number(
            "Trading", "short", "How far trading has fallen.",
            Series(_gauge('trading_step{process="execution"}'), ""),
            steps=((None, GOOD), (1.0, TOLERABLE), (2.0, BAD)),
            words={"0": "in full", "1": "positions only", "2": "flat, stopped"},
        ),
        number(
            "Alerts", "short", "Alerts that last; dcctl alert list names them.",
            Series(_gauge('alerts_active{process="alerts"}'), ""), steps=_ZERO_IS_GOOD,
        ),
    ]  # fmt: skip
    flow: list[Panel] = [
        graph(
            "Events from venues", "ops", "Events a second that came onto the tapes.",
            Series(f"sum by (exchange, channel) ({PREFIX}_ingest_rate) > 0",
                   "{{exchange}} {{channel}}"), stacked=True,
        ),
        graph(
            "Slots written", "ops", "What flows through each ring.",
            Series(f"sum by (ring) (rate({PREFIX}_ring_committed_total[1m]))", "{{ring}}"),
        ),
        graph(
            "Readers behind", "short", "Slots that a reader has yet to read. One that grows is too "
            "slow; one that stands is dead.",
            Series(f"{PREFIX}_ring_reader_lag", "{{reader}} of {{ring}}"),
        ),
        graph(
            "Slots lost by readers", "short", "Overwritten before they were read, in ten minutes. "
            "Storage must have none.",
            Series(f"increase({PREFIX}_ring_reader_lost_total[10m])", "{{reader}} of {{ring}}"),
        ),
    ]  # fmt: skip
    kept: list[Panel] = [
        graph("Rows written to the lake", "ops", "", Series(_recorded("lake_rows"), "rows")),
        graph(
            "Journals", "bytes", "What is not sealed into lake files yet.",
            Series(_gauge('journal_bytes{process="storage"}'), "journals"),
        ),
        graph(
            "Storage thins", "short", "0 all kept, 1 books sampled, 2 best levels only.",
            Series(_gauge('storage_step{process="storage"}'), "step"),
        ),
        graph(
            "Restarts", "short", "By the supervisor, in ten minutes.",
            Series(f"increase({PREFIX}_process_restarts_total[10m])", "{{process}}"),
        ),
        graph(
            "InfluxDB", "ops", "Lines a second made, acknowledged, and dropped by a bound.",
            Series(_rate("influx_lines"), "made"), Series(_rate("influx_lines_sent"), "sent"),
            Series(_rate("influx_lines_dropped"), "dropped"),
        ),
        graph(
            "Redis", "ops", "Stream entries a second that Redis has taken, and refused.",
            Series(_rate("bridge_entries"), "taken"),
            Series(_rate("bridge_entries_refused"), "refused"),
        ),
    ]  # fmt: skip
    return Board(
        "dc-pipeline", "Pipeline", "Is all of it running, and does it keep up?",
        {"Now": now, "What flows": flow, "What is kept": kept},
    )  # fmt: skip


def venues() -> Board:
    """Do the venues send what they should, and is it whole?"""
    arrives: list[Panel] = [
        graph(
            "Frames", "ops", "", Series(_recorded("ingest_frames") + " > 0", "{{process}}"),
        ),
        graph(
            "Bytes", "Bps", "", Series(_recorded("ingest_bytes") + " > 0", "{{process}}"),
        ),
        graph(
            "Events by channel", "ops", "",
            Series(_rate("ingest_events", "process, channel"), "{{process}} {{channel}}"),
        ),
        graph(
            "Subscriptions missing", "short", "Wanted, and not acknowledged by the venue.",
            Series(f"{_gauge('subscriptions_wanted')} - {_gauge('subscriptions')}", "{{process}}"),
        ),
    ]  # fmt: skip
    whole: list[Panel] = [
        graph(
            "Checksums that failed", "short", "In ten minutes; such a book is subscribed anew.",
            Series(f"increase({PREFIX}_checksums_failed_total[10m])", "{{process}}"),
        ),
        graph(
            "Checksums that matched", "ops", "", Series(_rate("checksums_verified"), "{{process}}"),
        ),
        graph(
            "Breaks in frame numbers", "short", "In ten minutes.",
            Series(f"increase({PREFIX}_sequence_gaps_total[10m])", "{{process}}"),
        ),
        graph(
            "Connections and channels opened anew", "short", "In ten minutes.",
            Series(f"increase({PREFIX}_reconnects_total[10m])", "{{process}} connections"),
            Series(f"increase({PREFIX}_resyncs_total[10m])", "{{process}} channels"),
        ),
        graph(
            "Gaps of trades", "short", "Those that wait for REST; those it did not bring whole.",
            Series(_gauge("holes_open"), "{{process}} open"),
            Series(f"increase({PREFIX}_holes_unfilled_total[10m])", "{{process}} unfilled"),
        ),
        graph(
            "Frames that could not be read", "short", "In ten minutes.",
            Series(f"increase({PREFIX}_frames_bad_total[10m])", "{{process}} bad"),
            Series(f"increase({PREFIX}_frames_unknown_total[10m])", "{{process}} unknown"),
        ),
    ]  # fmt: skip
    return Board(
        "dc-venues", "Venues", "Do the venues send what they should, and is it whole?",
        {"What arrives": arrives, "Is it whole": whole},
    )  # fmt: skip


def latency() -> Board:
    """How old is what is decided upon?"""
    way: list[Panel] = [
        _latency("Received → tape", "recv_to_tape", "Decoding and the commit."),
        _latency("Cut → feature row", "recv_to_feature", "Of a trigger: newest event received."),
        _latency("Cut → prediction", "recv_to_prediction", ""),
        _latency("Cut → decision", "recv_to_decision", "What a strategy acts upon is so old."),
    ]
    steps: list[Panel] = [
        _latency("One block through the features", "feature_compute", ""),
        _latency("One batch through the models", "prediction_latency", ""),
        _latency("One pass of storage", "storage_flush", "It never holds up anybody."),
        _latency("One write to InfluxDB", "influx_write", ""),
        _latency("One write to Redis", "bridge_write", ""),
        graph(
            "Deadlines missed", "short", "Cuts in ten minutes.",
            Series(f"increase({PREFIX}_deadline_misses_total[10m])", "{{process}}"),
        ),
    ]  # fmt: skip
    return Board(
        "dc-latency", "Latency", "How old is what is decided upon?",
        {"From the venue to a decision": way, "Parts of it": steps},
    )  # fmt: skip


def _money(name: str) -> str:
    return f'{PREFIX}_{name}_micros{{process="execution"}} / 1e6'


def trading() -> Board:
    """What is earned, what is open, and what was denied?"""
    now: list[Panel] = [
        number("Realized today", "none", "Quote currency.", Series(_money("realized_pnl"), ""),
               steps=((None, BAD), (0.0, GOOD))),
        number("Unrealized", "none", "Marked to our own books.",
               Series(_money("unrealized_pnl"), ""), steps=((None, BAD), (0.0, GOOD))),
        number("Drawdown", "none", "Since the highest equity.", Series(_money("drawdown"), "")),
        number("Positions", "short", "", Series(_gauge('open_positions{process="execution"}'), "")),
        number("Open orders", "short", "", Series(_gauge('open_orders{process="execution"}'), "")),
        number("Losing streak", "short", "Trades in a row that ended with a loss.",
               Series(_gauge('losing_streak{process="execution"}'), "")),
    ]  # fmt: skip
    money: list[Panel] = [
        graph(
            "Profit and loss", "none", "Quote currency; of the day, and of what is held.",
            Series(_money("realized_pnl"), "realized"),
            Series(_money("unrealized_pnl"), "unrealized"),
        ),
        graph("Drawdown", "none", "", Series(_money("drawdown"), "drawdown")),
        graph(
            "Orders and fills", "ops", "",
            Series(_recorded("orders_sent"), "orders"), Series(_recorded("fills"), "fills"),
        ),
        graph(
            "Decisions", "ops", "All of them, and the signals that a check denied; dcctl why tells "
            "of each.",
            Series(_recorded("decisions"), "all"), Series(_rate("decisions_denied"), "denied"),
        ),
    ]  # fmt: skip
    safe: list[Panel] = [
        graph(
            "Accounts not reconciled", "short", "Nothing is sent to them.",
            Series(_gauge('accounts_away{process="execution"}'), "accounts"),
        ),
        graph(
            "Ledger away", "short", "1: nothing is sent at all.",
            Series(_gauge('ledger_away{process="execution"}'), "away"),
        ),
        graph(
            "Triggers of risk", "short", "Fired in ten minutes.",
            Series(f"increase({PREFIX}_triggers_fired_total[10m])", "triggers"),
        ),
        graph(
            "Falls of trading", "short", "In ten minutes.",
            Series(f"increase({PREFIX}_trading_falls_total[10m])", "falls"),
        ),
    ]  # fmt: skip
    return Board(
        "dc-trading", "Trading", "What is earned, what is open, and what was denied?",
        {"Now": now, "Money": money, "Safety": safe},
    )  # fmt: skip


def models() -> Board:
    """Who speaks, how quickly, and is the market still the one that was learnt?"""
    who: list[Panel] = [
        graph(
            "Who speaks", "short", "1 while a model stands in its place.",
            Series(_gauge("models_standing") + " > 0", "{{model}}"), stacked=True,
        ),
        graph(
            "Time of a place's last drain", "µs", "", Series(_gauge("model_spent_us"), "{{model}}")
        ),
        graph(
            "Left out, refused, late", "short", "In ten minutes.",
            Series(f"increase({PREFIX}_models_left_out_total[10m])", "left out"),
            Series(f"increase({PREFIX}_model_refusals_total[10m])", "refused"),
            Series(
                f"sum by (model) (increase({PREFIX}_model_misses_total[10m]))", "late: {{model}}"
            ),
        ),
        graph(
            "Predictions", "ops", "", Series(_recorded("predictions"), "written"),
            Series(_rate("predictions_superseded"), "overtaken by newer rows"),
        ),
    ]  # fmt: skip
    worth: list[Panel] = [
        graph(
            "Columns that have drifted", "short", "Their stability index is above a quarter.",
            Series(_gauge('drift_columns{process="inference"}'), "columns"),
        ),
        graph(
            "The ten columns that drifted most", "none", "Population stability index against the "
            "training: 0.1 is much, 0.25 another market.",
            Series(f"topk(10, {_gauge('drift_psi_milli')}) / 1000", "{{feature}}"),
        ),
        graph(
            "Learnt while running", "ops", "Matured rows of the online model.",
            Series(_rate("learner_samples"), "learnt"), Series(_rate("learner_rows_lost"), "lost"),
        ),
        graph(
            "Trained by themselves", "short", "In a day.",
            Series(f"increase({PREFIX}_retrainings_total[1d])", "trained"),
            Series(f"increase({PREFIX}_retrainings_failed_total[1d])", "failed"),
            Series(f"increase({PREFIX}_retrainings_refused_total[1d])", "not promoted"),
        ),
        graph(
            "Rows that no model should see", "ops", "With an invalid bit; dropped.",
            Series(_rate("feature_rows_invalid"), "invalid"),
            Series(_rate("feature_rows_dropped"), "dropped"),
        ),
        graph(
            "Columns that were not believed", "ops", "",
            Series(f"topk(10, {_rate('column_faults', 'feature')})", "{{feature}}"),
        ),
    ]  # fmt: skip
    return Board(
        "dc-models", "Models",
        "Who speaks, how quickly, and is the market still the one that was learnt?",
        {"Who speaks": who, "Is it worth trusting": worth},
    )  # fmt: skip


def machine() -> Board:
    """Is there room, and who takes it?"""
    now: list[Panel] = [
        number("Disk free", "bytes", "Where the data folder lives.",
               Series(_gauge('disk_free_bytes{process="storage"}'), ""),
               steps=((None, BAD), (1e9, TOLERABLE), (1e10, GOOD))),
        number("Processors", "short", "Processors in use by all of it.",
               Series(f"sum(rate({PREFIX}_process_cpu_seconds_total[1m]))", "")),
        number("Memory", "bytes", "Resident, shared rings counted in each process that maps them.",
               Series(f"sum({PREFIX}_process_memory_bytes)", "")),
    ]  # fmt: skip
    used: list[Panel] = [
        graph(
            "Processors", "percentunit", "1 is one processor, wholly.",
            Series(f"rate({PREFIX}_process_cpu_seconds_total[1m])", "{{process}}"), stacked=True,
        ),
        graph(
            "Memory", "bytes", "Resident. One that only grows is a leak.",
            Series(f"{PREFIX}_process_memory_bytes", "{{process}}"),
        ),
        graph(
            "Disk", "bytes", "", Series(_gauge('disk_free_bytes{process="storage"}'), "free"),
            Series(_gauge('influx_spool_bytes{process="influx"}'), "waits for InfluxDB"),
            Series(_gauge('archive_pending_bytes{process="archive"}'), "waits for the store"),
        ),
        graph(
            "Alerts", "short", "That last; messages that channels are owed.",
            Series(_gauge('alerts_active{process="alerts"}'), "alerts"),
            Series(_gauge('alerts_critical{process="alerts"}'), "critical"),
            Series(_gauge('alerts_owed{process="alerts"}'), "messages owed"),
        ),
    ]  # fmt: skip
    return Board(
        "dc-machine", "Machine", "Is there room, and who takes it?", {"Now": now, "Used": used}
    )
