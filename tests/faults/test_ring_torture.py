"""The ring under a writer at full speed, pausing readers and SIGKILLs. The oracle is a checksum a
slot that knows nothing of the protocol; two writers that break the protocol prove that it bites.

Alone: ./scripts/test --long tests/faults/test_ring_torture.py
"""

import json
import random
import signal

import pytest

from shm.atomics import read_word
from shm.readers import ReadersPage
from shm.ring import COMMITTED
from tests.helpers import make_ring, python, wait_until

CHILD = "tests.faults.torture_child"
SAMPLE, WHOLE = 1_000_000, 600_000_000
STARTED = []


@pytest.fixture(autouse=True)
def _nobody_outlives_a_test():
    """Also where a test fails in the middle: these children never end by themselves."""
    yield
    for child in STARTED:
        if child.poll() is None:
            child.kill()
        child.communicate()
    STARTED.clear()


def start(role, instance, name, seed, count=0):
    STARTED.append(python("-m", CHILD, role, instance, name, str(seed), str(count)))
    return STARTED[-1]


def start_reader(instance, name, seed, most_bad=0):
    child = start("reader", instance, name, seed, most_bad)
    assert child.stdout.readline() == "ready\n", child.communicate()
    return child


def finish(child):
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return json.loads(out)


@pytest.mark.parametrize("capacity", [1024, 65536])
def test_readers_get_good_slots_or_an_exact_count(instance, seed, long_run, capacity):
    total = WHOLE if long_run else SAMPLE
    draw = random.Random(seed + capacity)
    with make_ring(instance, capacity=capacity) as made:
        readers = {
            name: start_reader(instance, name, draw.randrange(2**31)) for name in ("r0", "r1", "r2")
        }
        writer = start("writer", instance, "w", draw.randrange(2**31))
        committed = lambda: read_word(made.ring.address + COMMITTED)  # noqa: E731
        kills = {"writer": 0, "reader": 0}
        while committed() < total:
            target = committed() + draw.randrange(total // 40, total // 10)
            wait_until(lambda goal=target: committed() >= goal, 600, "the writer goes on")
            if sum(kills.values()) % 2 == 0:
                writer.kill()
                writer.communicate()
                writer = start("writer", instance, "w", draw.randrange(2**31))
                kills["writer"] += 1
            else:
                name = draw.choice(sorted(readers))
                readers[name].kill()
                readers[name].communicate()
                readers[name] = start_reader(instance, name, draw.randrange(2**31))
                kills["reader"] += 1
        writer.kill()
        writer.communicate()
        reports = {name: finish(child) for name, child in readers.items()}
        rows = {row.name: row for row in ReadersPage(made.page).rows()}
        print(f"capacity {capacity}: {committed()} slots, kills {kills}, {reports}")
        for name, report in reports.items():
            assert report["bad"] == 0
            assert report["misnumbered"] == 0
            assert report["position"] == committed() == rows[name].position
            assert report["good"] > 0
        assert kills["writer"]
        assert kills["reader"]
        if capacity == 1024:
            assert sum(report["lapped"] for report in reports.values()), "nobody was ever lapped"


@pytest.mark.parametrize("broken", ["early", "unclaimed"])
def test_the_oracle_catches_a_writer_that_breaks_the_protocol(instance, seed, broken):
    """`early` commits before it has written, `unclaimed` overwrites without a reserve."""
    with make_ring(instance, capacity=1024):
        readers = [start_reader(instance, f"r{n}", seed + n, most_bad=1) for n in range(2)]
        writer = start(broken, instance, "w", seed)
        wait_until(
            lambda: any(child.poll() is not None for child in readers),
            100,
            "a reader has caught it",
        )
        writer.kill()
        writer.communicate()
        caught = 0
        for child in readers:
            child.send_signal(signal.SIGTERM)
            out, err = child.communicate(timeout=60)
            # Either the checksums did not match, or the stamp, the reader's own last line of
            # defence, ended it before.
            caught += 1 if "TornReadError" in err else json.loads(out)["bad"]
        assert caught > 0


def test_loss_is_exact_over_all_lives_of_a_reader(instance, seed):
    """Each life's good and lost slots fill its span, so that nothing is missed between lives."""
    draw = random.Random(seed)
    with make_ring(instance, capacity=1024) as made:
        writer = start("writer", instance, "w", seed, SAMPLE)
        spans = []
        while read_word(made.ring.address + COMMITTED) < SAMPLE:
            page = ReadersPage(made.page)
            before = next((row for row in page.rows() if row.name == "r"), None)
            child = start_reader(instance, "r", draw.randrange(2**31))
            report = finish(child)
            spans.append((before, report))
        assert writer.wait(60) == 0
        writer.communicate()
        lost = 0
        for before, report in spans:
            # A reader that nobody knew begins at the oldest slot there is when it comes.
            start_position = report["began"]
            assert before is None or start_position == before.position
            newly_lost = report["lost"] - (before.lost if before else 0)
            assert report["position"] - start_position == report["good"] + newly_lost
            assert report["bad"] == 0
            lost += newly_lost
        assert spans[-1][1]["lost"] == lost
