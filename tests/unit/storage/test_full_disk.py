"""Disks without room and writes that take less than they were given: real ones, and ENOSPC at any
write. Storage waits with one clear reason, keeps its place in the ring, and goes on when there is
room; no file under a final name is ever unreadable, and what the ring lost is a noted hole."""

import contextlib
import errno
import os
import random
import shutil
import subprocess

import pytest

from processes.lake.verify import Verification
from processes.lake_holes import FOLDER, LAPPED, Hole, note_hole, read_holes
from processes.places import read_registry
from processes.rings import ring_layout
from processes.storage import journal as journal_module
from processes.storage import lake as lake_module
from processes.storage.pause import NO_ROOM
from schemas.control import ProcessState
from shm.control import ControlBlock
from shm.ring import RingWriter
from shm.segment import Segment
from tests.helpers import python, wait_until
from tests.instances import bare_instance
from tests.lakes import Ring, counted_sequences, tape_slots


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("a small tmpfs needs a user who may mount")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        assert not os.environ.get("CI"), told.stderr
        pytest.skip(f"a small tmpfs cannot be mounted here: {told.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, leave: int = 0) -> None:
    """Take all room but for some bytes."""
    free = shutil.disk_usage(folder).free - leave
    with contextlib.suppress(OSError), (folder / "filler").open("ab", buffering=0) as file:
        file.write(b"x" * max(free, 0))


def attempt(work) -> bool:
    try:
        work()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return False
    return True


def check(ring) -> None:
    report = Verification(ring.folder / "lake", ring.folder / "journal", running=True).run()
    assert report.faults == []


@pytest.fixture
def ring(tmp_path, instance):
    made = Ring(tmp_path, instance, journal_segment_bytes=65_536)
    yield made
    made.close()


def test_a_real_full_disk_loses_and_doubles_nothing(small_disk, instance, seed, long_run):
    """Room for a random number of bytes, then none: every step that fails is simply done again."""
    ring = Ring(small_disk, instance, journal_segment_bytes=131_072)
    with contextlib.closing(ring):
        _fill_again_and_again(ring, small_disk, random.Random(seed), 150 if long_run else 10)


def _fill_again_and_again(ring, small_disk, draw, rounds):
    failures = 0
    for _ in range(rounds):
        ring.send(draw.randrange(1, 700))
        fill(small_disk, leave=draw.randrange(0, 200_000))
        for work in draw.choices([ring.store.take, ring.store.flush, ring.store.seal], k=4):
            failures += not attempt(work)
        check(ring)
        (small_disk / "filler").unlink(missing_ok=True)
        ring.store.take()
        if draw.random() < 0.3:
            if draw.random() < 0.5:
                ring.open()  # killed and begun anew
            ring.store.seal()
        if shutil.disk_usage(small_disk).free < 1_500_000:
            ring.store.seal()
            break
    ring.store.finish()
    check(ring)
    assert counted_sequences(small_disk / "lake") == list(range(1, ring.sent + 1))
    assert failures > 3


class Failing:
    """Calls of a function of which one, or each, fails for want of room; some after a part."""

    def __init__(self, monkeypatch, owner, name, fails):
        self.calls = 0
        self._fails = fails
        self._real = getattr(owner, name)
        monkeypatch.setattr(owner, name, self)

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self._fails(self.calls):
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._real(*arguments, **options)


def test_enospc_in_the_middle_of_a_journal_slot(ring, monkeypatch):
    """Half a slot is written, then there is no room: it is cut off, and written whole later."""
    real = os.write
    ring.send(300)
    ring.store.take()
    ring.send(400)
    path = ring.store.journal.segments[-1].path
    size = path.stat().st_size

    def stuck(file, content):
        if len(content) < 256 * 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, content[:150])

    monkeypatch.setattr(journal_module.os, "write", stuck)
    assert not attempt(ring.store.take)
    assert path.stat().st_size == size
    assert ring.store.journal.position == 300
    monkeypatch.setattr(journal_module.os, "write", lambda f, c: real(f, c[:977]))
    assert ring.store.take() == 400
    monkeypatch.undo()
    ring.open().finish()
    assert counted_sequences(ring.folder / "lake") == list(range(1, 701))


def test_short_writes_are_gone_on_with(ring, monkeypatch):
    real = os.write
    monkeypatch.setattr(journal_module.os, "write", lambda file, content: real(file, content[:37]))
    ring.send(500)
    ring.store.take()
    monkeypatch.undo()
    ring.open().finish()
    assert counted_sequences(ring.folder / "lake") == list(range(1, 501))


@pytest.mark.parametrize("name", ["_write_sealed", "sync_folder"])
def test_a_seal_without_room_is_done_later(ring, monkeypatch, name):
    ring.send(300)
    ring.store.take()
    Failing(monkeypatch, lake_module, name, lambda call: call in {2, 3})
    assert not attempt(ring.store.seal)
    check(ring)
    ring.send(300)
    ring.store.take()
    assert not attempt(ring.store.flush)  # what is closed is sealed before more is written
    ring.store.flush()
    ring.store.finish()
    check(ring)
    assert counted_sequences(ring.folder / "lake") == list(range(1, 601))


def test_a_quiet_series_is_sealed_as_soon_as_there_is_room(ring, monkeypatch):
    """Nothing comes for it any more: it does not wait for its next row."""
    ring.send(300)
    ring.store.take()
    Failing(monkeypatch, lake_module, "_write_sealed", lambda call: call == 1)
    assert not attempt(ring.store.seal)
    ring.store.lake.seal_due()
    assert len(list((ring.folder / "lake").rglob("*.arrow"))) == 1
    assert ring.store.lake.sealed == 1


def test_a_ring_that_goes_round_while_there_is_no_room_is_a_noted_hole(ring, monkeypatch):
    ring.send(100)
    ring.store.take()
    failing = Failing(monkeypatch, journal_module, "_write_all", lambda _: True)
    for _ in range(3):
        ring.send(4000)
        assert not attempt(ring.store.take)
    assert failing.calls == 3
    monkeypatch.undo()
    ring.store.take()
    ring.store.finish()
    lost = 12_100 - 4096 - 100
    assert ring.store.lost == lost
    report = Verification(ring.folder / "lake", ring.folder / "journal").run()
    assert report.faults == []
    assert [(hole.first, hole.last, hole.reason) for hole in report.holes] == [
        (101, 100 + lost, "lapped")
    ]
    noted = (ring.folder / "lake" / FOLDER / "tape.bitfinex.jsonl").read_text()
    assert noted.count("\n") == 2  # told again when it had grown


def test_a_line_of_a_hole_that_a_crash_cut_off_spoils_none(tmp_path):
    holes = [Hole(session=1, first=n, last=n + 5, time_ns=7, reason=LAPPED) for n in (10, 30)]
    note_hole(tmp_path, "features", holes[0])
    path = tmp_path / FOLDER / "features.jsonl"
    with path.open("ab") as file:
        file.write(b'{"session":1,"fir')
    note_hole(tmp_path, "features", holes[1])
    assert read_holes(tmp_path, "features") == holes
    assert read_holes(tmp_path, "decisions") == []


def test_a_restart_in_order_goes_on_where_the_lake_ends(ring):
    """The journal is gone then; what was lost before the next life came is still noticed."""
    ring.send(500)
    ring.store.take()
    ring.store.finish()
    for _ in range(2):
        ring.send(4000)
    store = ring.open()
    store.take()
    store.finish()
    assert store.lost == 8500 - 4096 - 500
    check(ring)
    assert len(counted_sequences(ring.folder / "lake")) == 4096 + 500


class Beside:
    """The real storage process of a bare instance whose data are on a disk that fills."""

    def __init__(self, instance) -> None:
        instance.put_in_force()
        instance.open()
        self._instance = instance
        self._registry = read_registry(instance.paths.run)
        self._control = ControlBlock(self._segment("control"))
        dtype, layout = ring_layout("tape.bitfinex")
        ring = [self._segment(kind, "tape.bitfinex") for kind in ("ring", "readers")]
        self._writer = RingWriter(*ring, dtype, layout)

    def _segment(self, kind, ring=""):
        return Segment.attach(self._registry.find(kind, ring).name)

    @property
    def row(self):
        return self._control.row(self._control.find("storage"))

    def send(self, count):
        slots = tape_slots(count)
        slots["instrument"] = slots["stream"] = 0
        self._writer.append(slots)

    @contextlib.contextmanager
    def life(self):
        """A life of the process, ended in order."""
        run = str(self._instance.paths.run)
        child = python("-m", "processes.storage.main", "--run", run, "--name", "storage")
        try:
            wait_until(lambda: self.row.state == ProcessState.READY)
            yield child
        finally:
            child.terminate()
            _, err = child.communicate(timeout=30)
        assert child.returncode == 0, err

    def log(self) -> str:
        return (self._instance.paths.logs / "storage.jsonl").read_text()

    def fill_until_it_says_so(self, disk):
        fill(disk)
        self.send(3000)
        wait_until(lambda: self.row.text.startswith("paused: no room"))


@pytest.fixture
def beside(small_disk):
    settings = {"paths__data": str(small_disk), "storage__flush_s": 0.05, "rings__tape": 8192}
    with bare_instance(**settings) as instance:
        yield Beside(instance)


def check_3000(disk):
    report = Verification(disk / "lake", disk / "journal").run()
    assert report.faults == []
    assert report.leftovers == []
    assert [(one.rows, one.missing) for one in report.rings] == [(3000, 0)]


def test_status_says_why_storage_waits_and_it_goes_on_by_itself(beside, small_disk):
    with beside.life() as child:
        beside.fill_until_it_says_so(small_disk)
        assert child.poll() is None
        (small_disk / "filler").unlink()
        wait_until(lambda: beside.row.text == "" and beside.row.state == ProcessState.READY)
    check_3000(small_disk)
    assert beside.log().count('"event": "paused: no room"') == 1
    assert "room again" in beside.log()


def test_a_stop_without_room_costs_nothing_that_the_ring_still_has(beside, small_disk):
    with beside.life():
        beside.fill_until_it_says_so(small_disk)
    assert "not all is in the lake" in beside.log()
    (small_disk / "filler").unlink()
    with beside.life():
        pass
    check_3000(small_disk)
