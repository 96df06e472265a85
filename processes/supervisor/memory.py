"""The instance's shared memory: made, taken over, salvaged, removed. Nobody else does any of it.

The registry is written before a segment is made, so that nothing can be left behind unnamed. A
supervisor that finds a registry of an earlier life takes its rings over if they are what this code
and configuration would make; otherwise the slots that storage has not read go to `data/salvage/`
and new rings, of a new session, are made.
"""

import contextlib
import os
import signal
from pathlib import Path

import msgspec
import numpy as np

from processes.clock import measure_offset_ns, monotonic_s, nap
from processes.files import write_whole
from processes.logs import Log
from processes.places import REGISTRY, SOCKET_SUFFIXES, read_registry
from processes.rings import RingSpec, ring_specs
from schemas import metrics
from schemas.control import Word
from schemas.errors import NotRunningError
from schemas.registry import ChildEntry, Registry, SegmentEntry
from schemas.settings import Settings
from shm.atomics import read_word
from shm.control import CONTROL_BYTES, ControlBlock, format_control
from shm.counters import CounterPages, counters_bytes, format_counters
from shm.errors import LayoutMismatchError, SharedMemoryError
from shm.identity import is_alive, own_identity, pid_of
from shm.readers import READERS_BYTES, ReadersPage, format_readers
from shm.ring import (
    CAPACITY,
    COMMITTED,
    GENERATION,
    RESERVE,
    SLOT_BYTES,
    SLOTS,
    check_ring,
    format_ring,
    ring_bytes,
)
from shm.segment import Segment, instance_id, segment_name

PAGES = 32


class Memory:
    """All segments of one instance, mapped."""

    def __init__(self, registry: Registry, segments: dict[str, Segment]) -> None:
        self.registry = registry
        self._segments = segments
        self.control = ControlBlock(segments["control "])
        self.counters = CounterPages(segments["counters "], metrics.SLOTS)

    @property
    def rings(self) -> list[str]:
        """Names of the rings."""
        return self.registry.ring_names()

    def readers(self, ring: str) -> ReadersPage:
        """A ring's readers."""
        return ReadersPage(self._segments[f"readers {ring}"])

    def committed(self, ring: str) -> int:
        """A ring's newest sequence."""
        return read_word(self._segments[f"ring {ring}"].address + COMMITTED)

    def remove(self, run: Path) -> None:
        """Unmap and unlink everything, then forget it."""
        for segment in self._segments.values():
            segment.close()
        for entry in self.registry.segments:
            Segment.unlink(entry.name)
        (run / REGISTRY).unlink(missing_ok=True)


def open_memory(settings: Settings, run: Path, data: Path, names: list[str], log: Log) -> Memory:
    """Take over what an earlier life left, or make everything new.

    Args:
        names: the children; each gets a row.
    """
    old = _read_registry(run)
    if old is not None:
        _end_writers(old, log)
        memory = _adopt(old, settings, run, names, log)
        if memory is not None:
            return memory
        _salvage(old, data, log)
        for entry in old.segments:
            Segment.unlink(entry.name)
        (run / REGISTRY).unlink()
    return _create(settings, run, names)


def remove_leftovers(run: Path, data: Path, log: Log) -> list[str]:
    """Clear away what a killed supervisor left, unread slots salvaged; names of what was there.

    Call it with the instance's lock held.
    """
    found = []
    old = _read_registry(run)
    if old is not None:
        _end_writers(old, log)
        _salvage(old, data, log)
        found += [f"/{entry.name}" for entry in old.segments if Segment.unlink(entry.name)]
        (run / REGISTRY).unlink()
    for path in run.iterdir():
        if path.suffix in SOCKET_SUFFIXES:
            path.unlink()
            found.append(str(path))
    return found


def _read_registry(run: Path) -> Registry | None:
    try:
        return read_registry(run)
    except NotRunningError:
        return None


def _entries(settings: Settings, instance: str) -> list[SegmentEntry]:
    def entry(channel: str, kind: str, size: int, spec: RingSpec | None = None) -> SegmentEntry:
        described = (
            {
                "ring": spec.name,
                "layout": spec.layout,
                "slot_bytes": spec.slot_bytes,
                "capacity": spec.capacity,
            }
            if spec is not None
            else {}
        )
        return SegmentEntry(
            name=segment_name(instance, channel),
            kind=kind,  # type: ignore[arg-type]
            size=size,
            **described,  # type: ignore[arg-type]
        )

    entries = [
        entry("control", "control", CONTROL_BYTES),
        entry("counters", "counters", counters_bytes(PAGES, metrics.SLOTS)),
    ]
    for spec in ring_specs(settings):
        entries.append(entry(spec.name, "ring", ring_bytes(spec.slot_bytes, spec.capacity), spec))
        entries.append(entry(f"{spec.name}.r", "readers", READERS_BYTES, spec))
    return entries


def _key(entry: SegmentEntry) -> str:
    return f"{entry.kind} {entry.ring}"


def _write_registry(run: Path, registry: Registry) -> None:
    write_whole(run / REGISTRY, msgspec.json.format(msgspec.json.encode(registry), indent=1))


def _create(settings: Settings, run: Path, names: list[str]) -> Memory:
    offset_ns = measure_offset_ns()
    session = (int(monotonic_s() * 1e9) + offset_ns) // 1_000_000
    registry = Registry(
        instance=instance_id(str(run)),
        session=session,
        supervisor=own_identity(),
        clock_offset_ns=offset_ns,
        segments=_entries(settings, instance_id(str(run))),
        children=[],
    )
    _write_registry(run, registry)
    segments = {}
    for entry in registry.segments:
        Segment.unlink(entry.name)  # what a crash between registry and segment may have left
        segment = segments[_key(entry)] = Segment.create(entry.name, entry.size)
        if entry.kind == "control":
            format_control(segment, session)
        elif entry.kind == "counters":
            format_counters(segment, PAGES, metrics.SLOTS)
        elif entry.kind == "ring":
            format_ring(segment, entry.slot_bytes, entry.capacity, entry.layout, session)
        else:
            format_readers(segment)
    memory = Memory(registry, segments)
    memory.control.set(Word.CLOCK_OFFSET_NS, offset_ns)
    memory.control.set(Word.SESSION, session)
    return _with_children(memory, run, names)


def _with_children(memory: Memory, run: Path, names: list[str]) -> Memory:
    children = [ChildEntry(name=name, row=memory.control.allot(name)) for name in names]
    memory.registry = msgspec.structs.replace(
        memory.registry, children=children, supervisor=own_identity()
    )
    _write_registry(run, memory.registry)
    return memory


def _attach_all(registry: Registry) -> dict[str, Segment]:
    segments: dict[str, Segment] = {}
    try:
        for entry in registry.segments:
            segments[_key(entry)] = Segment.attach(entry.name)
    except SharedMemoryError:
        for segment in segments.values():
            segment.close()
        raise
    return segments


def _end_writers(registry: Registry, log: Log) -> None:
    """Make sure that no child of the dead supervisor lives: two writers would ruin a ring."""
    entry = registry.find("control")
    assert entry is not None
    try:
        segment = Segment.attach(entry.name)
        control = ControlBlock(segment)
    except (SharedMemoryError, LayoutMismatchError):
        return
    owners = [control.row(child.row).owner for child in registry.children]
    segment.close()
    # They end by themselves when their parent's pipe closes; they are given the time for it.
    deadline_s = monotonic_s() + 8.0
    while any(map(is_alive, owners)) and monotonic_s() < deadline_s:
        nap(0.02)
    for owner in filter(is_alive, owners):
        log.warning("killing a child of the supervisor before", pid=pid_of(owner))
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            os.kill(pid_of(owner), signal.SIGKILL)
        while is_alive(owner):
            nap(0.005)


def _adopt(
    old: Registry, settings: Settings, run: Path, names: list[str], log: Log
) -> Memory | None:
    """The old segments if they are just what would be made now, else None."""
    if old.segments != _entries(settings, old.instance):
        log.warning("the rings of the last session have other sizes or layouts than wanted now")
        return None
    try:
        segments = _attach_all(old)
    except SharedMemoryError as error:
        log.info("the rings of the last session are gone", reason=str(error))
        return None
    try:
        for entry in old.segments:
            if entry.kind == "ring":
                _check_generation(segments[_key(entry)], entry, old.session)
        memory = Memory(old, segments)
    except LayoutMismatchError as error:
        log.warning("the rings of the last session cannot be taken over", reason=str(error))
        for segment in segments.values():
            segment.close()
        return None
    log.info("rings taken over", session=old.session)
    return _with_children(memory, run, names)


def _check_generation(segment: Segment, entry: SegmentEntry, session: int) -> None:
    check_ring(segment, entry.layout)
    generation = read_word(segment.address + GENERATION)
    if generation != session:
        raise LayoutMismatchError(f"{entry.ring} is of session {generation}")


def _salvage(registry: Registry, data: Path, log: Log) -> None:
    """Write what storage has not read of each ring to a file of raw slots."""
    folder = data / "salvage" / str(registry.session)
    for entry in registry.segments:
        if entry.kind != "ring":
            continue
        readers = registry.find("readers", entry.ring)
        assert readers is not None
        try:
            with Segment.attach(entry.name) as ring, Segment.attach(readers.name) as page:
                raw = _unread(ring, page)
        except SharedMemoryError:
            continue
        if raw:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{entry.ring}-{entry.layout:x}-{entry.slot_bytes}.slots"
            write_whole(path, raw)
            log.warning("slots salvaged", ring=entry.ring, file=str(path), bytes=len(raw))


def _unread(ring: Segment, page: Segment) -> bytes:
    base = ring.address
    committed, capacity = read_word(base + COMMITTED), read_word(base + CAPACITY)
    slot_bytes = read_word(base + SLOT_BYTES)
    position = max(read_word(base + RESERVE) - capacity, 0)
    for row in ReadersPage(page).rows():
        if row.name == "storage":
            position = max(position, row.position)
    slots = np.frombuffer(ring.buffer, np.uint8)[SLOTS : SLOTS + slot_bytes * capacity]
    places = np.arange(position, committed) & (capacity - 1)
    return bytes(slots.reshape(capacity, slot_bytes)[places].tobytes())
