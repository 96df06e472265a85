"""Every rule of the table is looked for, and found when it holds."""

import msgspec
import pytest

from config.loader import load
from processes.alerts.finders import FINDERS, find_all
from processes.alerts.sight import GROWING, WINDOW_S, Growth, Watch
from schemas.alert_rules import BY_NAME, RULES, SEVERITIES
from schemas.messages import (
    AccountAlarmed,
    KillChanged,
    KillSwitchStatus,
    ProcessStatus,
    ReaderStatus,
    RingStatus,
    Status,
    TriggerFired,
)  # fmt: skip
from schemas.metrics import SLOTS, place

S = 10**9
NOW = 1_800_057_600 * S
SETTINGS = load("demo", environment={}, changes={"alerts.disk_low_bytes": "0"})


def process(name, state="ready", restarts=0, detail="word"):
    return ProcessStatus(
        name=name, pid=1, state=state, restarts=restarts, uptime_s=1.0, rss_bytes=1,
        heartbeat_age_ms=1.0, detail=detail,
    )  # fmt: skip


NAMES = (
    "collector.bitfinex", "features", "inference", "execution", "storage", "archive", "influx",
    "bridge", "retraining",
)  # fmt: skip


class World:
    """An instance in which all is well, until it is made otherwise."""

    def __init__(self, tmp_path):
        self.settings = SETTINGS
        self.watch = Watch(self.settings, tmp_path)
        self.processes = {name: process(name) for name in NAMES}
        self.values = {name: [0] * SLOTS for name in NAMES}
        self.values["bridge"][place("bridge_connected")] = 1
        self.committed, self.lost = 1, 0
        self.rung, self.level = "mlx", "none"
        self.answers, self.state = True, "running"
        self.failing: dict[str, str] = {}
        self.orphan = False
        self.now_ns = NOW

    def set(self, name, metric, value):
        self.values[name][place(metric)] = value

    def status(self):
        reader = ReaderStatus(name="features", position=1, lag=0, lost=self.lost)
        rings = [RingStatus(name="tape.bitfinex", committed=self.committed, rate_per_s=1.0,
                            readers=[reader])]  # fmt: skip
        return Status(
            state=self.state, profile="demo", mode="paper", rung=self.rung,
            kill_switch=KillSwitchStatus(level=self.level, latched_by="you", since="now"),
            processes=list(self.processes.values()), rings=rings, latency_us={}, endpoints={},
        )  # fmt: skip

    def found(self, seconds=2):
        self.now_ns += int(seconds * S)
        status = self.status() if self.answers else None
        values = {n: list(v) for n, v in self.values.items()}
        sight = self.watch.look(
            status, values, self.failing, self.now_ns, is_orphan=self.orphan
        )  # fmt: skip
        sight.memory_percent = min(sight.memory_percent, 50.0)
        self.sight = sight
        return {one.name: one.text for one in find_all(sight)}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    assert made.found() == {}
    made.committed += 1
    return made


def test_the_table_and_what_looks_are_the_same():
    assert set(FINDERS) == set(BY_NAME)
    assert len(BY_NAME) == len(RULES)
    for rule in RULES:
        assert rule.severity in SEVERITIES
        assert rule.means
        assert rule.todo


GAUGES = [
    ("ledger_away", "execution", "ledger_away", 1),
    ("accounts_away", "execution", "accounts_away", 2),
    ("trading_positions_only", "execution", "trading_step", 1),
    ("trading_flat", "execution", "trading_step", 2),
    ("drift", "inference", "drift_columns", 5),
    ("storage_paused", "storage", "storage_paused", 1),
    ("storage_behind", "storage", "storage_step", 1),
    ("storage_owed", "storage", "storage_owed", 3),
    ("history_away", "storage", "history_away", 1),
    ("archive_away", "archive", "archive_state", 1),
    ("archive_refused", "archive", "archive_state", 2),
    ("archive_refused", "archive", "archive_refused", 1),
    ("influx_held", "influx", "influx_sender_state", 3),
    ("bridge_away", "bridge", "bridge_connected", 0),
    ("streams_refused.collector.bitfinex", "collector.bitfinex", "subscriptions_wanted", 1),
]


@pytest.mark.parametrize(("alert", "name", "metric", "value"), GAUGES)
def test_a_gauge_is_an_alert_while_it_stands(world, alert, name, metric, value):
    before = world.values[name][place(metric)]
    world.set(name, metric, value)
    assert list(world.found()) == [alert]
    world.set(name, metric, before)
    assert world.found() == {}


GROWTHS = [
    ("feed_unstable.collector.bitfinex", "collector.bitfinex", "reconnects", 5),
    ("book_faults.collector.bitfinex", "collector.bitfinex", "checksums_failed", 10),
    ("trades_missing.collector.bitfinex", "collector.bitfinex", "holes_unfilled", 1),
    ("instrument_changed.collector.bitfinex", "collector.bitfinex", "instrument_changes", 1),
    ("frames_unrecorded.collector.bitfinex", "collector.bitfinex", "frames_unrecorded", 1),
    ("deadline_misses", "inference", "deadline_misses", 60),
    ("model_left_out", "inference", "models_left_out", 1),
    ("model_refused", "inference", "model_refusals", 1),
    ("training_failed", "retraining", "retrainings_failed", 1),
    ("training_refused", "retraining", "retrainings_refused", 1),
    ("storage_lost", "storage", "storage_lost", 1),
    ("history_holes", "storage", "history_holes", 1),
    ("influx_dropped", "influx", "influx_lines_dropped", 1),
]


@pytest.mark.parametrize(("alert", "name", "metric", "value"), GROWTHS)
def test_a_count_is_an_alert_for_ten_minutes_after_it_grew(world, alert, name, metric, value):
    world.set(name, metric, value - 1)
    world.found()
    world.set(name, metric, value)
    assert list(world.found()) == [alert]
    world.committed += 1
    assert list(world.found(20)) == [alert]
    world.committed += 1
    assert world.found(WINDOW_S) == {}


def test_every_count_that_is_kept_is_asked_for():
    assert {metric for _, _, metric, _ in GROWTHS} == set(GROWING)


def test_what_counted_before_we_looked_is_no_news(tmp_path):
    fresh = World(tmp_path)
    fresh.set("storage", "storage_lost", 7)
    fresh.processes["features"] = process("features", restarts=9)
    assert fresh.found() == {}


def test_a_process_that_begins_anew_counts_from_nothing():
    growth = Growth()
    for second, value in enumerate((10, 12, 3, 4)):
        growth.note("a", value, NOW + second * S, is_first=not second)
    assert growth.of("a") == 2 + 3 + 1


@pytest.mark.parametrize(
    ("change", "alerts"),
    [
        (("features", "failed", 0), ["process_failed.features"]),
        (("features", "backing_off", 0), ["process_not_ready.features"]),
        (("collector.bitfinex", "starting", 0), ["feed_down.collector.bitfinex"]),
        (("collector.bitfinex", "failed", 0), ["process_failed.collector.bitfinex"]),
        (("features", "ready", 1), ["process_restarted.features"]),
        (("features", "ready", 3), ["process_unstable.features"]),
    ],
)
def test_what_becomes_of_a_process(world, change, alerts):
    name, state, restarts = change
    world.processes[name] = process(name, state, restarts)
    assert list(world.found()) == alerts


def test_a_tape_that_stands_still_is_stale(world):
    assert world.found(1) == {}
    assert world.found(29) == {}
    assert world.found(1) == {"feed_stale.collector.bitfinex": "nothing for 30 s: word"}
    world.committed += 1
    assert world.found() == {}


def test_an_instance_that_begins_has_no_prediction_yet(tmp_path):
    fresh = World(tmp_path)
    fresh.state = "starting"
    fresh.set("execution", "trading_step", 1)
    assert fresh.found() == {}
    fresh.state = "running"
    assert fresh.found() == {"trading_positions_only": "word"}
    fresh.state = "degraded"
    assert fresh.found() == {"trading_positions_only": "word"}


def test_rungs(world):
    world.rung = "cpu"
    assert world.found() == {"rung_cpu": "word"}
    world.rung = "positions_only"
    assert world.found() == {"rung_positions_only": "word"}
    inference = msgspec.structs.replace(world.settings.inference, device="numpy")
    world.watch._settings = msgspec.structs.replace(world.settings, inference=inference)
    world.rung = "cpu"
    assert world.found() == {}


@pytest.mark.parametrize(
    ("families", "rung", "alerts"),
    [
        (("moving_average_cross",), "positions_only", []),  # there is nothing to fall
        (("moving_average_cross", "rsi_thresholds"), "positions_only", []),
        (("moving_average_cross", "gbdt"), "cpu", []),
        (("gbdt",), "positions_only", ["rung_positions_only"]),  # it was left out
        (("tcn", "gbdt"), "cpu", ["rung_cpu"]),
    ],
)
def test_a_line_up_without_a_network_is_on_no_lower_rung_than_was_asked_for(
    world, families, rung, alerts
):
    inference = msgspec.structs.replace(world.settings.inference, families=families)
    world.watch._settings = msgspec.structs.replace(world.settings, inference=inference)
    world.rung = rung
    assert list(world.found()) == alerts


def test_the_kill_switch(world):
    world.level = "flatten"
    assert world.found() == {"kill_switch": "level flatten, by you, since now"}


def test_what_the_bus_tells_is_an_alert_for_ten_minutes(world):
    facts = [
        TriggerFired(code="daily_loss", level=1, text="lost", time_ns=NOW),
        TriggerFired(code="accounts_away", level=0, text="away", time_ns=NOW),
        AccountAlarmed(account="a", code="foreign_order", text="f", time_ns=NOW),
        AccountAlarmed(account="a", code="vanished", text="v", time_ns=NOW),
        AccountAlarmed(account="a", code="ambiguous", text="m", time_ns=NOW),
        AccountAlarmed(account="a", code="VENUE_CHECK", text="c", time_ns=NOW),
        KillChanged(level=1, by="", time_ns=NOW),
    ]
    for fact in facts:
        world.watch.hear(fact, NOW)
    assert world.found() == {
        "trigger.daily_loss": "lost",
        "trigger_told.accounts_away": "away",
        "foreign_order.a": "f",
        "vanished.a": "v",
        "ambiguous.a": "m",
        "account_alarm.a.VENUE_CHECK": "c",
    }
    world.committed += 1
    assert world.found(WINDOW_S) == {}


def test_readers_disk_memory_supervisor_and_channels(world):
    world.lost = 5
    assert world.found() == {"reader_lost.features.tape.bitfinex": "5 slots of tape.bitfinex lost"}
    world.failing = {"slack": "it answered with error 403"}
    assert world.found()["channel_failing.slack"] == "it answered with error 403"
    world.sight.memory_percent = 99.0
    assert [one.name for one in find_all(world.sight) if one.rule == "memory_low"] == ["memory_low"]
    alerts = msgspec.structs.replace(world.settings.alerts, disk_low_bytes=1 << 62)
    world.watch._settings = msgspec.structs.replace(world.settings, alerts=alerts)
    assert "disk_low" in world.found()
    world.answers = False
    assert "supervisor_silent" in world.found()
    world.orphan = True
    assert "supervisor_gone" in world.found()
    assert "supervisor_silent" not in world.found()
