"""Storage that is held up for real: books are left out, all else is whole, and it comes back.

The ring is small, and storage's process is stopped by the system until the ring is nearly full.
"""

import contextlib
import json
import os
import signal
import threading

import numpy as np
import pytest

from processes.lake_holes import BY_DESIGN, TOPS, read_holes
from processes.places import read_registry
from processes.recordings.recording import Recording
from processes.replay.main import replay
from processes.rings import ring_layout
from processes.sessions import sessions_of
from schemas import tape
from schemas.layout import join
from shm.readers import RingReader
from shm.segment import Segment
from tests.books import check_kept
from tests.helpers import QuietLog, wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
RING = "tape.bitfinex"
CAPACITY = 4096


class Witness:
    """All slots of the tape, read beside storage."""

    def __init__(self, project) -> None:
        self.lost = 0
        self._blocks: list[np.ndarray] = []
        self._over = threading.Event()
        registry = read_registry(project.run)
        dtype, layout = ring_layout(RING)
        self._segments = [
            Segment.attach(registry.find(kind, RING).name) for kind in ("ring", "readers")
        ]
        self._reader = RingReader(*self._segments, dtype, layout, "witness", tap=True, limit=1024)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            over = self._over.is_set()
            while len(block := self._reader.read()):
                self.lost += self._reader.lost_before
                self._blocks.append(block.copy())
            if over:
                return
            self._over.wait(0.02)

    def end(self) -> np.ndarray:
        """Slots until the writer's end."""
        self._over.set()
        self._thread.join()
        return join(self._blocks, tape.SLOT)


@contextlib.contextmanager
def witness(project):
    made = Witness(project)
    try:
        yield made
    finally:
        made.end()


def steps(project) -> list[str]:
    """The steps that storage has logged."""
    lines = (project.logs / "storage.jsonl").read_text().splitlines()
    return [entry["step"] for line in lines if "step" in (entry := json.loads(line))]


def tells(project) -> bool:
    """Whether status says what storage leaves out."""
    said = {p.name: p.detail for p in project.status().processes}["storage"]
    return said.startswith(f"behind: books of {RING} ")


def hold_up(project, share: float) -> None:
    """Stop storage until so much of the ring waits for it."""

    def lag() -> int:
        return next(reader.lag for reader in project.ring(RING).readers if reader.name == "storage")

    pid = project.pid("storage")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: lag() >= share * CAPACITY, 60, "storage is behind")
    finally:
        os.kill(pid, signal.SIGCONT)


def test_storage_held_up_steps_down_and_back(project):
    project.set(
        rings__tape=CAPACITY,
        simulator__events_per_s=300.0,
        supervisor__hung_after_s=60.0,
        storage__pressure__back_after_s=1.0,
        storage__pressure__sample_ms=500,
    )
    project.dcctl("start")
    with witness(project) as truth:
        project.wait_slots(RING, 300)
        for share, wanted in ((0.55, ["sampled", "full"]), (0.8, ["tops", "sampled", "full"])):
            before = len(steps(project))
            hold_up(project, share)
            wait_until(lambda n=before: len(steps(project)) > n, 20, "a step down")
            wait_until(lambda: steps(project)[-1] == "full" or tells(project), 20, "status says so")
            wait_until(lambda: steps(project)[-1] == "full", 60, "all is kept again")
            assert steps(project)[before:] == wanted
        project.wait_slots(RING, 300)
        project.dcctl("stop")
        sent = truth.end()
    assert truth.lost == 0
    assert project.json("lake", "verify")["ok"]
    check(project, sent)


def check(project, sent: np.ndarray) -> None:
    (session,) = sessions_of(project.data)
    lake = project.data / "lake"
    holes = [hole for hole in read_holes(lake, RING) if hole.session == session]
    assert [hole.reason for hole in holes] == ["sampled", "tops", "sampled"]
    assert {hole.reason for hole in holes} == BY_DESIGN
    kept = join(list(Recording(project.data, session).tape("bitfinex")), tape.SLOT)
    assert len(sent) - len(kept) == sum(hole.left_out for hole in holes) > 300
    tops = [(hole.first, hole.last) for hole in holes if hole.reason == TOPS]
    assert check_kept(sent, kept, tops, 1) > 100
    for ring in ("features", "predictions", "decisions"):
        numbers = np.concatenate(
            [block["sequence"] for block in getattr(Recording(project.data, session), ring)()]
        )
        assert numbers.tolist() == list(range(1, len(numbers) + 1)), ring
    verdict = replay(project.data, session, QuietLog())
    assert verdict.first_difference is None
    assert {span.why for span in verdict.excluded} == {"books were sampled by storage"}
    assert {span.stage for span in verdict.excluded} == {"features"}
