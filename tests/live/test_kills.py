"""Kill -9 under load, each process and then the supervisor: nothing is lost that is not marked,
nothing is doubled, no decision has two orders, and nothing is left behind.

The suite kills execution and two others; all of them, and a hundred times at random:
./scripts/test --long tests/live/test_kills.py
"""

import collections
import json
import os
import random
import signal
import sqlite3
from decimal import Decimal

import msgspec
import pytest

from processes.clock import monotonic_s
from processes.replay.main import replay
from processes.sessions import sessions_of
from schemas.trading import Intent
from tests.helpers import QuietLog, wait_until
from tests.live.evidence import Lake, SimulatorLog, check_nothing_unaccounted

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]

CHILDREN = ("collector.bitfinex", "features", "inference", "execution", "storage", "simulator")
SAMPLED = 2


def busy(project) -> None:
    """Much market, and a strategy that orders whenever it may."""
    project.set(
        simulator__log_sent=True,
        simulator__events_per_s=150.0,
        strategy__min_expected_value_bps=-1000.0,
        strategy__enter_threshold=0.05,
        strategy__cooldown_s=0.0,
        strategy__horizon_s=3.0,
        execution__paper__latency_ms=200.0,
        risk__max_orders_per_minute=1000,
        supervisor__budget=1000,
        supervisor__backoff_longest_s=0.5,
    )


def test_each_process_killed_in_turn_and_then_the_supervisor(project, seed, long_run):
    busy(project)
    project.dcctl("start")
    draw = random.Random(seed)
    wait_until(lambda: orders(project) >= 4, 60, "orders flow")
    # Execution first, while orders are in the air.
    others = [name for name in CHILDREN if name != "execution"]
    for name in ("execution", *draw.sample(others, len(others) if long_run else SAMPLED)):
        project.wait_slots("tape.bitfinex", draw.randint(200, 1500))
        pid = project.kill(name)
        project.wait_back(name, pid)
    project.wait_running()
    session = session_of(project)
    committed = {ring.name: ring.committed for ring in project.status().rings}
    project.wait_slots("decisions", 20)
    project.kill("supervisor")
    wait_until(lambda: not project.children(), 30, "the orphans end")
    assert "not running" in project.dcctl("status", code=3)
    project.dcctl("start")
    assert session_of(project) == session, "the rings were not taken over"
    for ring in project.status().rings:
        assert ring.committed >= committed[ring.name]
    project.wait_slots("decisions", 40)
    restarts = {p.name: p.restarts for p in project.status().processes}
    assert set(restarts.values()) == {0}  # the new supervisor's own count
    project.dcctl("stop")
    project.assert_clean()
    check_evidence(project)


@pytest.mark.long
def test_a_hundred_kills_at_random(project, seed):
    busy(project)
    project.dcctl("start")
    draw = random.Random(seed)
    kills = collections.Counter()
    for _ in range(100):
        project.wait_slots("tape.bitfinex", draw.randint(50, 1500), 120)
        name = draw.choice((*CHILDREN, "supervisor"))
        kills[name] += 1
        if name == "supervisor":
            project.kill("supervisor")
            wait_until(lambda: not project.children(), 30, "the orphans end")
            project.dcctl("start")
        else:
            pid = project.kill(name)
            project.wait_back(name, pid, 120)
    project.wait_running(120)
    project.wait_slots("decisions", 40)
    project.dcctl("stop")
    project.assert_clean()
    print("kills", dict(kills), check_evidence(project))


def orders(project) -> int:
    """Intents in the ledger."""
    path = project.data / "ledger.sqlite"
    if not path.exists():
        return 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as ledger:
        count = ledger.execute("SELECT count(*) FROM intents").fetchone()[0]
    ledger.close()
    return count


def session_of(project) -> int:
    return json.loads((project.run / "registry.json").read_text())["session"]


def check_evidence(project) -> dict[str, int]:
    lake = Lake(project.data)
    rows = lake.check_sequences()
    found = check_nothing_unaccounted(SimulatorLog(project.data / "simulator"), lake)
    assert found["frames"] > 1000
    found |= check_ledger(project)
    project.dcctl("lake", "verify")
    found |= check_replay(project)
    print("rows", rows, found)
    return found


def check_replay(project) -> dict[str, int]:
    """All that was computed comes out of the lake again, to the bit, over every life of
    everybody."""
    (session,) = sessions_of(project.data)
    verdict = replay(project.data, session, QuietLog())
    assert verdict.first_difference is None
    assert verdict.excluded == []
    assert verdict.identical
    assert min(verdict.rows, verdict.predictions, verdict.decisions) > 20
    return {"replayed events": verdict.events, "replayed decisions": verdict.decisions}


def check_ledger(project) -> dict[str, int]:
    """One order a decision; the ledger and the paper venue agree to the last unit."""
    with sqlite3.connect(project.data / "ledger.sqlite") as ledger:
        intents = [
            msgspec.json.decode(body, type=Intent)
            for (body,) in ledger.execute("SELECT body FROM intents")
        ]
        fills = dict(ledger.execute("SELECT fill_id, quantity FROM fills"))
        states = dict(ledger.execute("SELECT command_id, state FROM orders"))
    ledger.close()
    decisions = [(i.decision_sequence, i.instrument, i.strategy) for i in intents]
    assert len(decisions) == len(set(decisions)), "a decision with two orders"
    assert len(intents) > 3
    with sqlite3.connect(project.data / "paper.sqlite") as venue:
        known = {row[0] for row in venue.execute("SELECT command_id FROM orders")}
        events = [msgspec.json.decode(body) for (body,) in venue.execute("SELECT body FROM events")]
    venue.close()
    assert known <= {intent.command_id for intent in intents}, "an order without an intent"
    told = {e["fill_id"]: e["quantity"] for e in events if e["type"] == "filled"}
    open_now = {
        c
        for c, state in states.items()
        if state in {"new", "sent", "acked", "unknown", "partially_filled"}
    }
    # What the venue told in its last moment may not be booked; a restart would ask for it.
    unbooked = {f: q for f, q in told.items() if f not in fills}
    assert all(any(f.startswith(c[:16]) for c in open_now) for f in unbooked)
    assert {f: Decimal(q) for f, q in fills.items()} == {
        f: Decimal(q) for f, q in told.items() if f not in unbooked
    }
    return {"orders": len(intents), "fills": len(fills)}


def test_a_standstill_of_everything_ends_nobody_and_recovers_by_itself(project):
    """What a machine's pause looks like from inside: all are stopped, and all go on."""
    project.dcctl("start")
    before = {process.name: process.pid for process in project.status().processes}
    pids = [project.supervisor_pid(), *before.values()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    began_s = monotonic_s()
    # Longer than `hung_after_s`: whoever is stopped alone for so long is ended.
    wait_until(lambda: monotonic_s() - began_s > 12.0, 20, "the standstill")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    project.wait_running(60)
    committed = project.ring("decisions").committed
    wait_until(lambda: project.ring("decisions").committed > committed + 10, 60, "decisions")
    after = {process.name: process.pid for process in project.status().processes}
    assert after == before, "nobody was killed"
    assert all(process.restarts == 0 for process in project.status().processes)
    log = (project.logs / "supervisor.jsonl").read_text()
    assert '"nothing ran for a while"' in log
    assert "hung" not in log
    project.dcctl("stop")
    project.assert_clean()
