"""The supervisor between its children: words, commands, status, /healthz and /metrics."""

import contextlib
import http.client
import json
import re
import socket
import urllib.error
import urllib.request

import msgspec
import numpy as np
import pytest

from processes.bus import request
from processes.latch import Latch, read_latch, write_latch
from processes.places import lock
from processes.rings import ring_layout
from processes.supervisor import main as module
from processes.supervisor import status as status_module
from processes.supervisor.child import State
from processes.supervisor.http import Endpoint, _buckets
from processes.supervisor.main import Supervisor, child_specs, with_ports
from processes.supervisor.status import WINDOW, Rates
from schemas import metrics
from schemas.control import Word
from schemas.errors import OperatorError
from schemas.instruments import CHANNELS
from schemas.messages import Status
from schemas.metrics import PREFIX
from schemas.trading import KillLevel
from shm.readers import RingReader
from shm.ring import RingWriter
from tests.instances import bare_instance
from tests.unit.test_bus import Serving


@pytest.fixture
def instance():
    with bare_instance() as made:
        yield made


@pytest.fixture
def supervise(instance, monkeypatch):
    """Makes supervisors that start nobody; the last one is stopped in order."""
    monkeypatch.setattr(module, "open_log", lambda *_: instance.log)
    serve = Endpoint.serve_forever  # which looks for its end twice a second
    monkeypatch.setattr(Endpoint, "serve_forever", lambda self: serve(self, 0.01))
    made = []

    def build() -> Supervisor:
        one = Supervisor(instance.settings, instance.paths, None, lock(instance.paths.run))
        made.append(one)
        return one

    yield build
    for one in made:
        if not one._held.closed:
            one._stop_all()


@pytest.fixture
def supervisor(supervise):
    return supervise()


def get(supervisor, path: str) -> tuple[int, str, str]:
    url = supervisor._endpoint.url + path
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def all_ready(supervisor) -> None:
    for child in supervisor._children:
        child.state = State.READY


# ---- words and commands


def test_a_start_obeys_the_latch_it_finds(instance, supervise):
    write_latch(instance.paths.data, Latch(level=KillLevel.CANCEL, by="yesterday", since_ns=77))
    supervisor = supervise()
    control = supervisor._memory.control
    assert control.get(Word.KILL_LEVEL) == KillLevel.CANCEL
    assert control.get(Word.KILL_SINCE_NS) == 77
    assert control.get(Word.KILL_ACKNOWLEDGED) == KillLevel.NONE
    switch = supervisor._observer.status().kill_switch
    assert (switch.level, switch.latched_by) == ("cancel", "yesterday")


def test_the_next_life_obeys_what_was_pulled_in_this_one(instance, supervise):
    first = supervise()
    first._on_kill({"level": "flatten", "by": "a test"})
    first._stop_all()
    assert read_latch(instance.paths.data).level == KillLevel.FLATTEN
    second = supervise()
    assert second._memory.control.get(Word.KILL_LEVEL) == KillLevel.FLATTEN
    assert second._memory.control.get(Word.KILL_ACKNOWLEDGED) == KillLevel.NONE


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("kill", {}, "there are pause, cancel, flatten, shutdown"),
        ("kill", {"level": "gently"}, "no level 'gently'"),
        ("kill", {"level": "none"}, "no level 'none'"),
        ("restart", {"processes": ["nobody"]}, "no process nobody; there are"),
        ("restart", {"processes": 5}, "restart"),
        ("nonsense", {}, "no command nonsense"),
    ],
)
def test_wrong_commands_are_refused_and_nothing_is_done(
    instance, supervisor, command, arguments, words
):
    with Serving(supervisor._bus):
        with pytest.raises(OperatorError, match=words):
            request(instance.paths.run, "supervisor", command, arguments)
        assert request(instance.paths.run, "supervisor", "ping")["process"] == "supervisor"
    assert read_latch(instance.paths.data).level == KillLevel.NONE
    assert {child.state for child in supervisor._children} == {State.STOPPED}


def test_kill_by_command(instance, supervisor):
    with Serving(supervisor._bus):
        told = request(
            instance.paths.run, "supervisor", "kill", {"level": "Flatten", "by": "a test"}
        )
    assert (told["level"], told["running"]) == ("flatten", False)
    assert read_latch(instance.paths.data).by == "a test"
    assert supervisor._memory.control.get(Word.KILL_LEVEL) == KillLevel.FLATTEN


def test_stop_says_what_there_was_and_leaves_nothing(instance, supervisor):
    with Serving(supervisor._bus):
        told = request(instance.paths.run, "supervisor", "stop")
    assert supervisor._stopping
    assert set(told["segments"]) == {e.name for e in supervisor._memory.registry.segments}
    assert told["pids"] == []


def test_a_second_supervisor_is_refused(instance, supervisor):
    with pytest.raises(OperatorError, match="runs here already"):
        lock(instance.paths.run)


def test_readers_are_started_before_writers_and_storage_ends_last(instance):
    specs = {spec.name: spec for spec in child_specs(instance.settings)}
    assert specs["storage"].stage < specs["execution"].stage < specs["collector.bitfinex"].stage
    stops = sorted(specs.values(), key=lambda spec: spec.stop_order)
    assert stops[0].name == "execution"
    assert stops[-1].name == "storage"


def test_a_port_that_was_found_is_kept_over_a_reload(instance):
    free = instance.load(simulator__port=0)
    running = with_ports(free)
    assert running.simulator.port > 0
    assert with_ports(free, running).simulator.port == running.simulator.port
    assert with_ports(instance.load(simulator__port=77)).simulator.port == 77


# ---- status


def test_status_has_its_shape(instance, supervisor):
    told = msgspec.to_builtins(supervisor._observer.status())
    assert msgspec.convert(told, Status)
    assert set(told) == {
        "state", "profile", "mode", "rung", "kill_switch", "processes", "rings", "latency_us",
        "endpoints",
    }  # fmt: skip
    assert set(told["kill_switch"]) == {"level", "latched_by", "since"}
    wanted = {"name", "pid", "state", "restarts", "uptime_s", "rss_bytes", "heartbeat_age_ms"}
    assert all(wanted <= set(process) for process in told["processes"])
    assert all(
        set(ring) == {"name", "committed", "rate_per_s", "readers"} for ring in told["rings"]
    )
    assert all(set(one) == {"p50", "p99", "count"} for one in told["latency_us"].values())
    assert told["endpoints"]["http"].startswith("http://127.0.0.1:")
    assert (told["state"], told["profile"], told["mode"]) == ("degraded", "demo", "paper")


def test_the_instance_in_a_word(supervisor):
    observer, children = supervisor._observer, supervisor._children
    all_ready(supervisor)
    assert observer.state() == "running"
    children[0].state = State.STARTING
    assert observer.state() == "starting"
    for state in (State.FAILED, State.BACKING_OFF, State.STOPPED):
        children[1].state = state
        assert observer.state() == "degraded"
    supervisor._memory.control.set(Word.DRAINING, 1)
    assert observer.state() == "stopping"
    for child in children:
        child.state = State.STOPPED


def test_readers_with_lag_and_loss_stand_in_the_status(supervisor):
    dtype, layout = ring_layout("features")
    segments = supervisor._memory._segments
    ring, page = segments["ring features"], segments["readers features"]
    made = RingWriter(ring, page, dtype, layout)
    RingReader(ring, page, dtype, layout, "slow")
    late = RingReader(ring, page, dtype, layout, "late", limit=1000)
    tap = RingReader(ring, page, dtype, layout, "tap.1", tap=True)
    for _ in range(10):
        made.append(np.zeros(50, dtype))
    assert len(late.read()) == 256
    late.acknowledge()
    found = next(r for r in supervisor._observer.status().rings if r.name == "features")
    assert found.committed == 500
    assert {(r.name, r.position, r.lag, r.lost) for r in found.readers} == {
        ("slow", 0, 500, 0), ("late", 500, 0, 244), ("tap.1", 0, 500, 0),
    }  # fmt: skip
    tap.release()
    found = next(r for r in supervisor._observer.status().rings if r.name == "features")
    assert {reader.name for reader in found.readers} == {"slow", "late"}


def test_rates_are_over_a_window_and_begin_anew_with_a_new_count(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(status_module, "monotonic_s", lambda: now[0])
    rates = Rates()
    assert rates.per_s("x") == 0
    for second in range(WINDOW + 10):
        now[0] = 100.0 + second
        rates.sample("x", 10 * second if second < 5 else 50 + 100 * (second - 5))
    assert rates.per_s("x") == 100
    now[0] += 1
    rates.sample("x", 3)
    assert rates.per_s("x") == 0
    now[0] += 2
    rates.sample("x", 13)
    assert rates.per_s("x") == 5


# ---- /healthz


def test_healthz_has_its_shape_and_says_what_is_not_well(supervisor):
    code, kind, body = get(supervisor, "/healthz")
    health = json.loads(body)
    assert (code, kind) == (503, "application/json")
    assert set(health) == {"overall", "components", "timestamp"}
    assert health["overall"] == "unhealthy"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", health["timestamp"])
    names = {child.spec.name for child in supervisor._children}
    assert names | {"disk", "memory", "kill_switch"} == set(health["components"])
    assert all(isinstance(part["healthy"], bool) for part in health["components"].values())


@pytest.mark.parametrize("fault", ["", "child", "disk", "memory", "kill"])
def test_one_thing_that_is_not_well_is_enough(supervisor, monkeypatch, fault):
    all_ready(supervisor)
    full = type("Usage", (), {"free": 1 if fault == "disk" else 10**12})
    monkeypatch.setattr(status_module.shutil, "disk_usage", lambda _: full)
    used = type("Memory", (), {"percent": 99.0 if fault == "memory" else 50.0})
    monkeypatch.setattr(status_module.psutil, "virtual_memory", lambda: used)
    if fault == "child":
        supervisor._children[2].state = State.BACKING_OFF
    if fault == "kill":
        supervisor._memory.control.set(Word.KILL_LEVEL, KillLevel.PAUSE)
    code, _, body = get(supervisor, "/healthz?pretty=1")
    assert code == (503 if fault else 200)
    health = json.loads(body)
    assert health["overall"] == ("unhealthy" if fault else "healthy")
    wrong = [name for name, part in health["components"].items() if not part["healthy"]]
    assert len(wrong) == bool(fault)
    for child in supervisor._children:
        child.state = State.STOPPED


# ---- /metrics


def samples(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name not in found, line
            found[name] = float(value)
    return found


def test_metrics_are_prometheus_text_with_help_for_each(supervisor):
    code, kind, text = get(supervisor, "/metrics")
    assert code == 200
    assert kind.startswith("text/plain")
    for line in text.splitlines():
        assert re.match(
            r"^(# HELP \S+ \S.*|# TYPE \S+ (counter|gauge|histogram)"
            r"|[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^}]*\})? \S+)$", line
        ), line  # fmt: skip
    found = samples(text)
    assert found["kill_switch_active"] == 0
    assert found[f'{PREFIX}_process_up{{process="features"}}'] == 0
    for channel in CHANNELS:
        assert f'{PREFIX}_ingest_rate{{channel="{channel}",exchange="bitfinex"}}' in found


def test_the_kill_switch_is_seen_in_metrics(supervisor):
    supervisor._memory.control.set(Word.KILL_LEVEL, KillLevel.PAUSE)
    assert samples(get(supervisor, "/metrics")[2])["kill_switch_active"] == 1


def test_counts_of_a_living_process_are_there_and_go_with_it(supervisor, monkeypatch):
    row = supervisor._memory.control.find("collector.bitfinex")
    page = supervisor._memory.counters.take(row)
    page.add(metrics.place("ingest_frames"), 5)
    page.add(metrics.place("ingest_events", "trades"), 7)
    page.observe(metrics.place("recv_to_tape"), 3_000)
    page.observe(metrics.place("recv_to_tape"), 5_000_000)
    page.observe(metrics.place("prediction_latency"), 2_000)
    of = 'process="collector.bitfinex"'
    found = samples(get(supervisor, "/metrics")[2])
    assert found[f"{PREFIX}_ingest_frames_total{{{of}}}"] == 5
    assert found[f'{PREFIX}_ingest_events_total{{channel="trades",{of}}}'] == 7
    assert f'{PREFIX}_ingest_events_total{{channel="books",{of}}}' not in found
    assert found[f"{PREFIX}_recv_to_tape_seconds_count{{{of}}}"] == 2
    assert found[f"{PREFIX}_recv_to_tape_seconds_sum{{{of}}}"] == pytest.approx(0.005003)
    assert found[f"prediction_latency_seconds_count{{{of}}}"] == 1
    latency = supervisor._observer.status().latency_us["recv_to_tape"]
    assert latency.count == 2
    assert latency.p50 == pytest.approx(3, rel=0.2)
    assert latency.p99 == pytest.approx(5000, rel=0.2)
    monkeypatch.setattr(status_module, "is_alive", lambda _: False)
    gone = samples(get(supervisor, "/metrics")[2])
    assert not [name for name in gone if of in name and "process_" not in name]


def test_buckets_add_up_and_every_bound_is_true():
    counts = [0] * metrics.BUCKETS
    counts[0], counts[3], counts[4], counts[-1] = 1, 2, 4, 8
    found = _buckets(counts)
    assert found[-1] == ("+Inf", 15.0)
    values = [value for _, value in found]
    assert values == sorted(values)
    bounds = metrics.bucket_bounds_ns()
    for text, below in found[:-1]:
        index = min(range(len(bounds)), key=lambda i: abs(bounds[i] - float(text) * 1e9))
        assert bounds[index] == pytest.approx(float(text) * 1e9, rel=1e-8)
        assert below == sum(counts[: index + 1])


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz/x", "/../etc", "/%00"])
def test_other_paths_are_not_there(supervisor, path):
    code, _, text = get(supervisor, path)
    assert code == 404
    assert "/healthz and /metrics" in text


def test_garbage_at_the_port_harms_nobody(supervisor):
    port = supervisor._endpoint.server_port
    for words in (b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 70_000):
        link = socket.create_connection(("127.0.0.1", port), 10)
        with link, contextlib.suppress(OSError):
            link.sendall(words)
            link.shutdown(socket.SHUT_WR)
            link.recv(1000)
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    asking.request("POST", "/healthz", b"x")
    assert asking.getresponse().status == 501
    asking.close()
    assert get(supervisor, "/healthz")[0] == 503


def test_it_listens_on_this_machine_only(supervisor):
    assert supervisor._endpoint.server_address[0] == "127.0.0.1"


def test_a_taken_port_is_said(supervisor):
    port = supervisor._endpoint.server_port
    with pytest.raises(OperatorError, match=rf"port {port} .* is taken.*http\.port"):
        Endpoint(port)
