"""The instance's memory: made, taken over by the next life, salvaged when it no longer fits."""

import json
import os
import signal
from pathlib import Path

import msgspec
import numpy as np
import pytest

from processes.places import REGISTRY, read_registry
from processes.rings import ring_layout
from processes.supervisor import memory as module
from processes.supervisor.memory import open_memory, remove_leftovers
from schemas.control import Word
from schemas.errors import OperatorError
from schemas.registry import Registry
from shm.atomics import read_word, write_word
from shm.errors import SharedMemoryError
from shm.identity import is_alive
from shm.readers import RingReader
from shm.ring import COMMITTED, RESERVE, RingWriter
from shm.segment import Segment
from tests.helpers import python, wait_until
from tests.instances import bare_instance


@pytest.fixture
def instance():
    with bare_instance() as made:
        yield made


def forget(instance) -> None:
    """The supervisor is killed: its maps are gone, its segments and its registry stay."""
    for segment in instance.memory._segments.values():
        segment.close()


def writer(instance, ring="features") -> RingWriter:
    dtype, layout = ring_layout(ring)
    segments = instance.memory._segments
    return RingWriter(segments[f"ring {ring}"], segments[f"readers {ring}"], dtype, layout)


def reader(instance, name="storage", ring="features") -> RingReader:
    dtype, layout = ring_layout(ring)
    segments = instance.memory._segments
    return RingReader(
        segments[f"ring {ring}"], segments[f"readers {ring}"], dtype, layout, name, limit=64
    )


def slots(count: int, first: int = 1, ring="features") -> np.ndarray:
    made = np.zeros(count, ring_layout(ring)[0])
    made["cut"] = np.arange(first, first + count)
    return made


def exists(name: str) -> bool:
    try:
        Segment.attach(name, writable=False).close()
    except SharedMemoryError:
        return False
    return True


def test_everything_made_is_in_the_registry_and_goes_with_it(instance):
    memory = instance.open()
    registry = read_registry(instance.paths.run)
    assert registry == memory.registry
    assert memory.rings == ["tape.bitfinex", "features", "predictions", "decisions"]
    assert {child.name for child in registry.children} == set(instance.names)
    assert len({child.row for child in registry.children}) == len(instance.names)
    names = [entry.name for entry in registry.segments]
    assert len(set(names)) == len(names) == 2 + 2 * 4
    assert all(len(name) <= 30 and exists(name) for name in names)
    assert memory.control.get(Word.SESSION) == registry.session
    assert memory.control.get(Word.CLOCK_OFFSET_NS) == registry.clock_offset_ns
    memory.remove(instance.paths.run)
    instance.memory = None
    assert not any(exists(name) for name in names)
    assert not (instance.paths.run / REGISTRY).exists()


def test_the_registry_is_written_before_a_segment_is_made(instance, monkeypatch):
    """So that a crash at any moment leaves nothing that nobody can name."""
    create, made = Segment.create, []

    def dying(name, size):
        registry = read_registry(instance.paths.run)
        assert name in {entry.name for entry in registry.segments}
        made.append(name)
        if len(made) == 5:
            raise KeyboardInterrupt
        return create(name, size)

    monkeypatch.setattr(Segment, "create", dying)
    with pytest.raises(KeyboardInterrupt):
        instance.open()
    monkeypatch.undo()
    first = read_registry(instance.paths.run)
    instance.open()
    assert instance.memory.registry.session != first.session or instance.memory.rings
    instance.memory.remove(instance.paths.run)
    instance.memory = None
    assert not any(exists(entry.name) for entry in first.segments)


def test_the_next_life_goes_on_with_the_same_rings(instance):
    first = instance.open()
    writer(instance).append(slots(10))
    storage = reader(instance)
    assert list(storage.read()["cut"]) == list(range(1, 11))
    storage.acknowledge()
    writer(instance).append(slots(5, 11))
    first.control.set(Word.KILL_LEVEL, 2)
    forget(instance)
    second = instance.open()
    assert second.registry.session == first.registry.session
    assert second.registry.segments == first.registry.segments
    assert second.registry.children == first.registry.children
    assert instance.said("rings taken over")
    assert not list(instance.paths.data.glob("salvage/**/*.slots"))
    again = reader(instance)
    assert list(again.read()["cut"]) == list(range(11, 16))
    assert (again.lost, again.position) == (0, 15)
    writer(instance).append(slots(1, 16))
    assert second.committed("features") == 16


def test_a_slot_that_was_being_written_is_not_there(instance):
    """The writer died between its claim and its commit."""
    instance.open()
    writer(instance).append(slots(3))
    ring = instance.memory._segments["ring features"].address
    write_word(ring + RESERVE, 8)
    forget(instance)
    instance.open()
    writer(instance).append(slots(1, 4))
    ring = instance.memory._segments["ring features"].address
    assert read_word(ring + COMMITTED) == 4
    assert list(reader(instance).read()["cut"]) == [1, 2, 3, 4]


def test_other_sizes_are_salvaged_and_made_new(instance):
    first = instance.open()
    one = writer(instance)
    one.append(slots(100))
    storage = reader(instance)
    storage.read()
    storage.acknowledge()
    forget(instance)
    instance.open(rings__features=512)
    folder = instance.paths.data / "salvage" / str(first.registry.session)
    (path,) = folder.iterdir()
    dtype, layout = ring_layout("features")
    assert path.name == f"features-{layout:x}-{dtype.itemsize}.slots"
    found = np.frombuffer(path.read_bytes(), dtype)
    assert list(found["cut"]) == list(range(65, 101)), "all that storage had not read, and no more"
    assert list(found["sequence"]) == list(range(65, 101))
    assert instance.said("slots salvaged")
    assert instance.memory.registry.session != first.registry.session
    assert instance.memory.committed("features") == 0


def test_what_the_writer_has_lapped_is_not_salvaged_twice(instance):
    """300 slots through a ring of 256, and nobody has read one."""
    first = instance.open()
    for start in range(1, 301, 50):
        writer(instance).append(slots(50, start))
    forget(instance)
    instance.open(rings__features=512)
    folder = instance.paths.data / "salvage" / str(first.registry.session)
    found = np.frombuffer(next(folder.iterdir()).read_bytes(), ring_layout("features")[0])
    assert list(found["cut"]) == list(range(45, 301))


def test_another_layout_is_salvaged_and_made_new(instance):
    instance.open()
    writer(instance).append(slots(3))
    forget(instance)
    path = instance.paths.run / REGISTRY
    registry = msgspec.json.decode(path.read_bytes(), type=Registry)
    changed = [
        msgspec.structs.replace(entry, layout=entry.layout ^ 1) if entry.layout else entry
        for entry in registry.segments
    ]
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(registry, segments=changed)))
    instance.open()
    assert list(instance.paths.data.glob("salvage/*/features-*.slots"))
    assert instance.memory.committed("features") == 0


@pytest.mark.parametrize("word", [0, 8, 16, 24])
def test_a_ring_with_a_damaged_head_is_not_taken_over(instance, word):
    instance.open()
    first = instance.memory.registry.session
    address = instance.memory._segments["ring features"].address
    write_word(address + word, read_word(address + word) ^ 0xFF00)
    forget(instance)
    instance.open()
    assert instance.memory.registry.session != first
    assert instance.memory.committed("features") == 0


def test_rings_that_are_gone_are_made_new(instance):
    """The machine was restarted: the registry is there, the memory is not."""
    first = instance.open()
    for segment in first._segments.values():
        segment.close()
    for entry in first.registry.segments:
        Segment.unlink(entry.name)
    instance.open()
    assert instance.memory.registry.session != first.registry.session
    assert not list(instance.paths.data.glob("salvage/**/*.slots"))


ORPHAN = """
import sys, time, signal
from shm.control import ControlBlock
from shm.segment import Segment
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
control = ControlBlock(Segment.attach(sys.argv[1]))
control.take_row(control.find("features"))
print("ready", flush=True)
if sys.argv[2] == "ends":
    sys.stdin.readline()
else:
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["ends", "stubborn"])
def test_no_writer_of_the_last_life_lives_when_the_rings_are_taken_over(instance, monkeypatch, how):
    instance.open()
    child = python("-c", ORPHAN, instance.memory.registry.find("control").name, how, stdin=-1)
    assert child.stdout.readline() == "ready\n"
    owner = instance.memory.control.row(instance.memory.control.find("features")).owner
    assert is_alive(owner)
    forget(instance)
    naps = []

    def nap(seconds) -> None:
        """Time passes in steps of half a second, and an obedient child ends at the second."""
        naps.append(seconds)
        if how == "ends" and len(naps) == 2:
            child.stdin.write("end\n")
            child.stdin.flush()
            wait_until(lambda: not is_alive(owner), 20)
        if how == "stubborn" and len(naps) > 20:
            wait_until(lambda: not is_alive(owner), 20)

    monkeypatch.setattr(module, "nap", nap)
    monkeypatch.setattr(module, "monotonic_s", lambda: 0.5 * len(naps))
    instance.open()
    assert not is_alive(owner)
    assert child.wait(20) == (0 if how == "ends" else -signal.SIGKILL)
    child.communicate()
    assert bool(instance.said("killing a child of the supervisor before")) == (how == "stubborn")


def test_a_child_that_dies_just_before_it_is_killed_is_no_fault(instance, monkeypatch):
    instance.open()
    control = instance.memory.control
    control.take_row(control.find("features"))
    forget(instance)
    alive = iter([True, True])
    monkeypatch.setattr(module, "is_alive", lambda owner: bool(owner) and next(alive, False))
    monkeypatch.setattr(module, "monotonic_s", iter([0.0, 100.0]).__next__)

    def gone(*_: object) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", gone)
    module._end_writers(instance.memory.registry, instance.log)
    assert instance.said("killing a child of the supervisor before")


def test_leftovers_are_cleared_away_and_named(instance):
    memory = instance.open()
    writer(instance).append(slots(3))
    names = {f"/{entry.name}" for entry in memory.registry.segments}
    forget(instance)
    instance.memory = None
    for name in ("features.pub", "features.ctl", "execution.bell", "notes.txt"):
        (instance.paths.run / name).touch()
    found = remove_leftovers(instance.paths.run, instance.paths.data, instance.log)
    sockets = {str(instance.paths.run / f"{n}") for n in ("features.pub", "features.ctl")}
    assert names | sockets < set(found)
    assert not any(exists(name[1:]) for name in names)
    assert {path.name for path in instance.paths.run.iterdir()} == {"notes.txt"}
    assert list(instance.paths.data.glob("salvage/*/features-*.slots"))
    assert remove_leftovers(instance.paths.run, instance.paths.data, instance.log) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"instance":1}', b"\0" * 50])
def test_a_registry_that_cannot_be_read_is_a_sentence(instance, content):
    path = instance.paths.run / REGISTRY
    path.write_bytes(content)
    for ask in (
        lambda: open_memory(
            instance.settings, instance.paths.run, instance.paths.data, [], instance.log
        ),
        lambda: read_registry(instance.paths.run),
    ):
        with pytest.raises(OperatorError, match=REGISTRY):
            ask()
    assert path.exists()


def test_the_registry_is_plain_json_for_people(instance):
    instance.open()
    text = Path(instance.paths.run / REGISTRY).read_text()
    assert len(text.splitlines()) > 20
    assert json.loads(text)["children"][0]["name"] == "supervisor"
