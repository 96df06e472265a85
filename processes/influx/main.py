"""Influx as a child process: rings to lines to the spool; a thread sends the spool.

It reads rings as storage does, by a timer, and is on nobody's way: a server that is slow or gone
fills a folder. The order makes a crash harmless: lines into the spool, then the state (positions
and open windows) into its file, then the rings' positions acknowledged. A life that ends between
two of these makes the same lines again, and the server overwrites each point with itself.
"""

import os
import threading
from contextlib import ExitStack
from typing import Any, Final

import msgspec
import numpy as np
import zmq

from processes.bus import subscribe
from processes.clock import monotonic_s, nap
from processes.influx.accumulator import Accumulator
from processes.influx.aggregates import KeptTable, aggregate_tables
from processes.influx.client import Writer
from processes.influx.dead_letters import DeadLetters
from processes.influx.lines import (
    Lines,
    Tags,
    decision_lines,
    fact_line,
    feature_lines,
    feature_values,
    marker_lines,
    prediction_lines,
    prediction_values,
    switch_lines,
)
from processes.influx.link import LinkState
from processes.influx.sender import Sender
from processes.influx.spool import Spool, hold, spool_folder
from processes.runtime import Context, run
from schemas.messages import decode_fact
from schemas.metrics import place
from schemas.tape import WHOLE_CONNECTION
from shm.readers import RingReader

READ_SLOTS: Final = 8192
NICENESS: Final = 10
DISK_PAUSE_S: Final = 1.0
STOP_S: Final = 3.0
"""How long the end waits for the server to take what is there; the spool keeps the rest."""
JOIN_S: Final = 3.0
"""And for a request under way; one that hangs ends with the process and is sent again."""


class KeptState(msgspec.Struct):
    """The file `state`: what a restart goes on from."""

    session: int
    positions: dict[str, int]
    kill_level: int
    tables: dict[str, KeptTable]


class Maker:
    """Slots to lines: all rings, the windows, the kill switch's last level."""

    def __init__(self, tags: Tags) -> None:
        self.tables = aggregate_tables()
        self.kill_level = 0
        self._tags = tags

    def lines(self, ring: str, slots: np.ndarray) -> list[Lines]:
        """All that one block of a ring comes to."""
        found: list[Lines | None] = []
        if ring in self.tables:  # a restart of features says where it warmed itself: no row
            slots = slots[slots["instrument"] != WHOLE_CONNECTION]
        if not len(slots):
            return []
        if ring == "features":
            self._aggregate(ring, slots, feature_values(slots))
            found = [feature_lines(slots, self._tags), self.tables[ring].close(self._tags)]
        elif ring == "predictions":
            self._aggregate(ring, slots, prediction_values(slots))
            found = [prediction_lines(slots, self._tags), self.tables[ring].close(self._tags)]
        elif ring == "decisions":
            found = [*decision_lines(slots, self._tags), switch_lines(slots, self.kill_level)]
            self.kill_level = int(slots["kill_level"][-1])
        else:
            found = [marker_lines(ring.partition(".")[2], slots, self._tags)]
        return [lines for lines in found if lines is not None and lines.lines]

    def _aggregate(self, ring: str, slots: np.ndarray, values: np.ndarray) -> None:
        self.tables[ring].add(slots["cut_ns"], slots["instrument"], values)


class Influx:
    """The process: readers, lines, spool and sender."""

    def __init__(self, context: Context, stack: ExitStack) -> None:
        settings = context.settings.influx
        folder = spool_folder(settings, context.paths.data)
        stack.enter_context(hold(folder))
        self._context = context
        self._settings = settings
        self._state_file = folder / "state"
        self._maker = Maker(Tags(lambda: context.tables))
        self._readers = {
            ring: context.reader(ring, limit=READ_SLOTS) for ring in context.registry.ring_names()
        }
        self._restore()
        self._accumulator = Accumulator(settings)
        self.spool = Spool(
            folder, settings.segment_bytes, settings.spool_bytes, context.clock.now_ns()
        )
        stack.callback(self.spool.close)
        writer = Writer(settings)
        stack.callback(writer.close)
        write_ns = place("influx_write")
        self.sender = Sender(
            self.spool, DeadLetters(folder, settings.dead_letters_bytes), writer, settings,
            context.clock.now_ns, lambda ns: context.metrics.observe(write_ns, ns),
        )  # fmt: skip
        self._facts = subscribe(context.bus.context, context.paths.run, ["supervisor", "inference"])
        stack.callback(self._facts.close)
        self._disk_errors = 0
        self._retry_s = 0.0
        self._counted: dict[str, int] = {}
        self._said = LinkState.OK
        context.bus.on_command("spool", lambda _: self.describe())
        context.bus.on_command("drain", self._on_drain)

    def _restore(self) -> None:
        """Go on from where the spool was written to; a new session has new rings."""
        try:
            kept = msgspec.msgpack.decode(self._state_file.read_bytes(), type=KeptState)
        except FileNotFoundError:
            return
        except msgspec.DecodeError as error:
            self._context.log.warning("state cannot be read, not used", reason=str(error))
            return
        for ring, table in self._maker.tables.items():
            if ring in kept.tables:
                table.restore(kept.tables[ring])
        if kept.session == self._context.session:
            self._maker.kill_level = kept.kill_level
            for ring, reader in self._readers.items():
                reader.seek(max(kept.positions.get(ring, 0), reader.position))

    # ---- the loop

    def live(self) -> None:
        """Read, make lines, keep them, until told to stop; then keep the rest."""
        context = self._context
        thread = threading.Thread(target=self.sender.run, daemon=True)
        thread.start()
        context.ready()
        try:
            while not context.stopping:
                self._take()
                if self._accumulator.due(monotonic_s()):
                    self._keep()
                if context.service():
                    self._count()
                    self._say()
                nap(self._settings.poll_ms / 1e3)
            self._finish()
        finally:
            self.sender.stop()
            thread.join(JOIN_S)
        self._count()

    def _take(self) -> None:
        """Everything that is new, to lines."""
        now_s = monotonic_s()
        for ring, reader in self._readers.items():
            self._take_ring(ring, reader, now_s)
        while self._facts.poll(0):
            _, body = self._facts.recv_multipart(zmq.NOBLOCK)
            line = fact_line(decode_fact(body))
            if line is not None:
                self._accumulator.add(line, now_s)

    def _take_ring(self, ring: str, reader: RingReader, now_s: float) -> None:
        while len(slots := reader.read()):
            for lines in self._maker.lines(ring, slots):
                self._accumulator.add(lines, now_s)
            if self._accumulator.first is not None:
                self._keep()
            self._context.service()

    def _keep(self) -> None:
        """Lines to the spool, then the state to its file, then the positions to the rings."""
        if monotonic_s() < self._retry_s:
            return
        accumulator = self._accumulator
        accumulator.close_all()
        try:
            while (batch := accumulator.first) is not None:
                self.spool.append(batch)
                accumulator.pop()
            self._keep_state()
        except OSError as error:
            self._disk_errors += 1
            self._retry_s = monotonic_s() + DISK_PAUSE_S
            self._context.log.warning("the spool's disk did not take a batch", reason=str(error))
            return
        for reader in self._readers.values():
            reader.acknowledge()

    def _keep_state(self) -> None:
        state = KeptState(
            session=self._context.session,
            positions={ring: reader.position for ring, reader in self._readers.items()},
            kill_level=self._maker.kill_level,
            tables={ring: table.keep() for ring, table in self._maker.tables.items()},
        )
        beside = self._state_file.with_name(".state")
        beside.write_bytes(msgspec.msgpack.encode(state))
        beside.replace(self._state_file)

    def _finish(self) -> None:
        """The writers have ended: read what they left, and give the server a moment to take it."""
        self._take()
        self._keep()
        until_s = monotonic_s() + STOP_S
        while not self.spool.is_empty and self.sender.link.state is LinkState.OK:
            if monotonic_s() > until_s:
                return
            self._context.service()
            nap(0.01)

    # ---- telling

    def _count(self) -> None:
        sender, spool, metrics = self.sender, self.spool, self._context.metrics
        totals = {
            "influx_lines": self._accumulator.made,
            "influx_lines_sent": sender.sent_lines,
            "influx_lines_dropped": self._accumulator.dropped + spool.dropped_lines,
            "influx_lines_expired": sender.expired_lines,
            "influx_lines_refused": sender.letters.lines,
            "influx_records_damaged": spool.damaged,
            "influx_rows_late": sum(table.late for table in self._maker.tables.values()),
            "influx_requests_failed": sender.failures,
            "influx_spool_errors": self._disk_errors,
        }
        for name, value in totals.items():
            metrics.add(place(name), value - self._counted.get(name, 0))
            self._counted[name] = value
        metrics.set(place("influx_spool_bytes"), spool.pending.bytes)
        metrics.set(place("influx_sender_state"), sender.link.state)

    def _say(self) -> None:
        """A few words for status, and a line in the log when the link has changed."""
        link = self.sender.link
        state, reason = link.state, link.reason
        if state is LinkState.PROBING or state is self._said:
            return
        self._said = state
        if state is LinkState.OK:
            self._context.log.info("the server takes lines again")
        elif state is LinkState.HELD:
            self._context.log.error("the server will not have it; lines are kept", reason=reason)
        else:
            self._context.log.warning(
                "the server does not take lines; they are kept", reason=reason
            )
        self._context.say(f"{state.name.lower()}: {reason}" if reason else "")

    def describe(self) -> dict[str, Any]:
        """The spool and its sender, for `dcctl influx`."""
        pending = self.spool.pending
        return {
            "state": self.sender.link.state.name.lower(),
            "reason": self.sender.link.reason,
            "bytes": pending.bytes,
            "backlog_bytes": pending.backlog_bytes,
            "segments": pending.segments,
            "oldest_ns": pending.oldest_ns,
            "counters": dict(self._counted),
        }

    def _on_drain(self, _: dict[str, Any]) -> dict[str, Any]:
        """What waits now is to be sent as fast as the server takes it."""
        self.spool.split()
        self.sender.hurry()
        return self.describe()


def main(context: Context) -> None:
    """Bring lines to InfluxDB."""
    os.nice(NICENESS)
    with ExitStack() as stack:
        Influx(context, stack).live()


if __name__ == "__main__":
    run(main)
