"""Storage killed at any step of journalling, writing and sealing: nothing lost, nothing twice,
and at no instant an unreadable file under a final name."""

import random

import pytest

from processes.lake import verify
from processes.lake.verify import Verification
from processes.storage import lake as lake_module
from tests.dying import run_and_kill
from tests.lakes import Ring, counted_sequences

ALSO = [(lake_module, "_write_sealed"), (lake_module.Series, "write"), (lake_module.Series, "_end")]


@pytest.fixture
def ring(tmp_path, instance):
    made = Ring(tmp_path, instance, journal_segment_bytes=65_536)
    yield made
    made.close()


def life(ring, session=5):
    """A storage process's whole life, but for the ring, which the parent keeps."""
    store = ring.open(session)
    store.take()
    store.flush()
    store.journal.sync()
    store.seal()
    store.finish()


def check(ring) -> verify.Report:
    report = Verification(ring.folder / "lake", ring.folder / "journal").run()
    assert report.faults == []
    return report


def test_killed_at_any_step_of_a_seal(ring, seed, long_run):
    """Each life is killed at another step; what it leaves is looked at before the next begins."""
    draw = random.Random(seed)
    ring.send(900)
    steps = run_and_kill(lambda: life(ring), ring.folder, 0, ALSO)
    assert steps > 40
    assert counted_sequences(ring.folder / "lake") == list(range(1, 901))
    kills = 0
    wanted = list(range(1, steps + 1)) if long_run else draw.sample(range(1, steps + 1), 10)
    for at in wanted:
        ring.send(draw.randrange(1, 300))
        kills += run_and_kill(lambda: life(ring), ring.folder, at, ALSO) == 0
        check(ring)
    run_and_kill(lambda: life(ring), ring.folder, 0, ALSO)
    report = check(ring)
    assert kills > len(wanted) / 2
    assert counted_sequences(ring.folder / "lake") == list(range(1, ring.sent + 1))
    assert report.leftovers == []
    assert report.holes == []


def test_killed_while_it_brings_an_earlier_session_in(ring, seed):
    ring.send(700)
    run_and_kill(lambda: ring.open().take(), ring.folder, 0)
    draw = random.Random(seed)
    for at in sorted(draw.sample(range(1, 60), 8)):
        run_and_kill(lambda: ring.open(session=6), ring.folder, at, ALSO)
        check(ring)
    run_and_kill(lambda: ring.open(session=6), ring.folder, 0, ALSO)
    report = check(ring)
    assert [(one.session, one.rows, one.doubled) for one in report.rings] == [(5, 700, 0)]
