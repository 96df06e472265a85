"""What every child shares: the context it lives in, and the way it starts, beats and ends.

A process is a function `main(context)`; `run(main)` gives it clock, settings, log, counters, rings
and bus, and sees to signals, the heartbeat, and the death of its parent. A new process is some
thirty lines. What it never does: create or remove shared memory, which is the supervisor's.
"""

import argparse
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from processes.bus import Bus, publisher_endpoint
from processes.clock import Clock, monotonic_s
from processes.guard import EXIT_ORPHANED, when_alone
from processes.logs import Log, open_log
from processes.places import read_registry, read_settings
from processes.rings import ring_layout, ring_specs
from schemas import metrics
from schemas.control import ProcessState, Word
from schemas.instruments import Tables
from schemas.settings import Settings
from shm.control import ControlBlock
from shm.counters import CounterPage, CounterPages
from shm.doorbell import (
    DatagramRinger,
    DatagramWaiter,
    Inbox,
    Ringer,
    Waiter,
    ZmqRinger,
    ZmqWaiter,
)
from shm.errors import SharedMemoryError
from shm.readers import ReadersPage, RingReader, Spinner, Start
from shm.ring import RingWriter
from shm.segment import Segment

SERVICE_INTERVAL_S: Final = 0.02
BEAT_INTERVAL_S: Final = 0.1
ORPHAN_GRACE_S: Final = 5.0


class SignallingWriter:
    """A ring's writer together with the doorbell of its readers."""

    def __init__(self, writer: RingWriter, ringer: Ringer) -> None:
        self.ring = writer
        self._ringer = ringer

    @property
    def committed(self) -> int:
        """Sequence of the last slot."""
        return self.ring.committed

    def append(self, slots: Any, count: int | None = None) -> None:
        """Commit slots and wake who sleeps."""
        armed = self.ring.append(slots, count)
        if armed:
            self._ringer.ring(armed)

    def append_at(self, address: int, count: int) -> None:
        """As `append`, by address."""
        armed = self.ring.append_at(address, count)
        if armed:
            self._ringer.ring(armed)

    def close(self) -> None:
        """Give the doorbell up."""
        self._ringer.close()


class Context:
    """All that a process is given. Made by `run`, or by a test."""

    def __init__(self, run: Path, name: str) -> None:
        self.name = name
        self.registry = read_registry(run)
        self.settings, self.paths, self.generation = read_settings(run)
        self._segments: dict[str, Segment] = {}
        self._closers: list[Callable[[], None]] = []
        self.control = ControlBlock(self._segment("control"))
        self.row = self.control.find(name)
        self.clock = Clock(self.control.get(Word.CLOCK_OFFSET_NS))
        self.log: Log = open_log(self.paths.logs, name, self.settings.log, self.clock.now_ns)
        self.metrics: CounterPage = self.counter_pages().take(self.row)
        self.bus = Bus(run, name)
        self.stopping = False
        self._state = ProcessState.STARTING
        self._next_service_s = 0.0
        self._next_beat_s = 0.0
        self._reloaders: list[Callable[[Settings], None]] = []
        self.bus.on_command("ping", lambda _: {"process": name, "pid": os.getpid()})
        self.control.take_row(self.row)
        self.control.say(self.row, "")
        self._beat()

    # ---- state

    def ready(self, text: str = "") -> None:
        """Say that this process does its work."""
        if self._state != ProcessState.READY:
            self._state = ProcessState.READY
            # What stands now stays: no later collection need look at it again.
            gc.freeze()
            self.log.info("ready", detail=text)
        self.say(text)
        self._beat()

    def not_ready(self, text: str) -> None:
        """Say that this process has stopped doing its work, and why."""
        if self._state == ProcessState.READY:
            self._state = ProcessState.STARTING
            self.log.warning("not ready", reason=text)
        self.say(text)
        self._beat()

    def say(self, text: str) -> None:
        """A few words for `dcctl status`."""
        self.control.say(self.row, text)

    def stop(self) -> None:
        """Ask the main loop to end."""
        self.stopping = True

    def service(self) -> bool:
        """Call this in every turn of the main loop: beats, commands, new settings; cheap.

        True some fifty times a second: the moment for whatever else need not be done every turn.
        """
        now_s = monotonic_s()
        if now_s < self._next_service_s:
            return False
        self._next_service_s = now_s + SERVICE_INTERVAL_S
        self.bus.serve_commands()
        if self.control.get(Word.CONFIG_GENERATION) != self.generation:
            self._reload()
        if now_s >= self._next_beat_s:
            self._beat()
        return True

    def _beat(self) -> None:
        self._next_beat_s = monotonic_s() + BEAT_INTERVAL_S
        self.control.beat(self.row, self.clock.now_ns(), self._state)

    def on_reload(self, take: Callable[[Settings], None]) -> None:
        """Call this with new settings when a reload changes them."""
        self._reloaders.append(take)

    def _reload(self) -> None:
        self.settings, self.paths, self.generation = read_settings(self.paths.run)
        for take in self._reloaders:
            take(self.settings)
        self.log.info("settings taken", generation=self.generation)

    # ---- shared memory

    def _segment(self, kind: Any, ring: str = "") -> Segment:
        key = f"{kind} {ring}"
        if key not in self._segments:
            entry = self.registry.find(kind, ring)
            if entry is None:
                raise SharedMemoryError(f"this instance has no {key}")
            self._segments[key] = Segment.attach(entry.name)
        return self._segments[key]

    @property
    def tables(self) -> Tables:
        """Instruments and streams, as the supervisor has allotted them."""
        path = self.paths.data / "state" / "instruments.json"
        return msgspec.json.decode(path.read_bytes(), type=Tables)

    def counter_pages(self) -> CounterPages:
        """Everybody's counters, to be read."""
        return CounterPages(self._segment("counters"), metrics.SLOTS)

    @property
    def session(self) -> int:
        """Number of the session: the rings' generation."""
        return self.registry.session

    def reader(
        self, ring: str, *, start: Start = "resume", limit: int = 4096, name: str = ""
    ) -> RingReader:
        """Read a ring under this process's name, or another for a second reader of it."""
        dtype, layout = ring_layout(ring)
        return RingReader(
            self._segment("ring", ring),
            self._segment("readers", ring),
            dtype,
            layout,
            name or self.name,
            start=start,
            limit=limit,
        )

    def writer(self, ring: str) -> SignallingWriter:
        """Become the writer of a ring."""
        dtype, layout = ring_layout(ring)
        readers = self._segment("readers", ring)
        page = ReadersPage(readers)
        ringer: Ringer
        if self.settings.signal.doorbell == "zmq":
            ringer = ZmqRinger(self.bus.publisher, page)
        else:
            ringer = DatagramRinger(self.paths.run, page)
        writer = SignallingWriter(
            RingWriter(self._segment("ring", ring), readers, dtype, layout), ringer
        )
        self._closers.append(writer.close)
        return writer

    def inbox(self, readers: Sequence[RingReader], rings: Sequence[str]) -> Inbox:
        """One place to sleep until one of these rings has something new."""
        waiter: Waiter
        if self.settings.signal.doorbell == "zmq":
            writers = {spec.name: spec.writer for spec in ring_specs(self.settings)}
            endpoints = [publisher_endpoint(self.paths.run, writers[ring]) for ring in rings]
            waiter = ZmqWaiter(self.bus.context, self.name, endpoints)
        else:
            waiter = DatagramWaiter(self.paths.run, self.name)
        spin_us = self.settings.signal.spin_us
        inbox = Inbox(readers, waiter, Spinner(readers, spin_us) if spin_us else None)
        self._closers.append(inbox.close)
        return inbox

    def close(self) -> None:
        """Give back all but the segments, which end with the process."""
        self._state = ProcessState.STOPPED
        self._beat()
        for close in reversed(self._closers):
            close()
        self.bus.close()


def _end_alone(context: Context) -> None:
    """The supervisor is gone: end too, in order or not."""
    context.log.warning("the supervisor is gone")
    context.stop()
    threading.Event().wait(ORPHAN_GRACE_S)
    os._exit(EXIT_ORPHANED)


def run(main: Callable[[Context], None], arguments: Sequence[str] | None = None) -> None:
    """Live as a child: parse what the supervisor said, make the context, call `main`, end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--guard", type=int, default=-1)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    context = Context(options.run, options.name)
    fault_file = (context.paths.logs / f"{options.name}.fault").open("a", encoding="utf-8")
    faulthandler.enable(fault_file)
    signal.signal(signal.SIGTERM, lambda *_: context.stop())
    if options.guard >= 0:
        when_alone(options.guard, lambda: _end_alone(context))
    context.log.info("starting", pid=os.getpid(), session=context.session)
    try:
        main(context)
    except Exception:
        context.log.exception("ended by an error")
        raise
    context.log.info("stopped")
    context.close()
    sys.exit(0)
