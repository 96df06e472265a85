"""The feature builder as a child process: a blocking loop over all tapes."""

import numpy as np

from processes.features.cutter import Cutter
from processes.rings import enabled_venues
from processes.runtime import Context, run
from schemas.metrics import place
from schemas.settings import Settings


class Builder:
    """Readers of all tapes, the cutter, the writer of the rows."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rings = [f"tape.{venue}" for venue in enabled_venues(context.settings)]
        self._readers = [context.reader(ring) for ring in self._rings]
        self._writer = context.writer("features")
        self._inbox = context.inbox(self._readers, self._rings)
        instruments = context.tables.instruments
        self._cutter = Cutter(
            [instrument.tick_size for instrument in instruments],
            len(self._rings),
            context.settings.features,
            self._emit,
            context.clock.now_ns,
        )
        self._cutter.generation = context.generation
        context.on_reload(self._obey)
        self._counted_events = 0
        self._counted_late = 0
        self._places = {
            name: place(name)
            for name in (
                "feature_events", "feature_rows", "feature_rows_invalid", "feature_late_cuts",
                "recv_to_feature", "feature_compute",
            )
        }  # fmt: skip

    def _obey(self, settings: Settings) -> None:
        self._cutter.obey(settings.features)
        self._cutter.generation = self._context.generation

    def _emit(self, rows: np.ndarray, count: int) -> None:
        self._writer.append(rows, count)
        metrics = self._context.metrics
        metrics.add(self._places["feature_rows"], count)
        invalid = int(np.count_nonzero(rows["invalid"][:count]))
        if invalid:
            metrics.add(self._places["feature_rows_invalid"], invalid)
        late_ns = self._context.clock.now_ns() - int(rows["cut_ns"][0])
        metrics.observe(self._places["recv_to_feature"], late_ns)

    def warm(self) -> None:
        """Take what the tapes still hold without cutting, so that windows begin full."""
        last = self._writer.ring.recent(1)
        self._cutter.cut_number = int(last["cut"][-1]) if len(last) else 0
        starts = []
        for number, reader in enumerate(self._readers):
            reader.seek(reader.oldest)
            starts.append(reader.position)
            while len(slots := reader.read()):
                self._cutter.warm(slots)
                self._context.service()
            self._cutter.positions[number] = reader.position
            reader.acknowledge()
        now_ns = self._context.clock.now_ns()
        self._cutter.begin(now_ns)
        self._writer.append(self._cutter.warm_marker(starts))

    def live(self) -> None:
        """Read, cut, sleep, until told to stop."""
        context, cutter = self._context, self._cutter
        longest_ms = context.settings.signal.timeout_ms
        now_ns = context.clock.now_ns
        while not context.stopping:
            wait_ms = min(longest_ms, cutter.wait_ns(now_ns()) // 1_000_000 + 1)
            self._inbox.wait(wait_ms)
            began_ns = now_ns()
            for number, reader in enumerate(self._readers):
                slots = reader.read()
                if len(slots):
                    if reader.lost_before:
                        cutter.lapse(now_ns())
                        context.log.warning("tape slots lost", slots=reader.lost_before)
                    cutter.take(number, slots, reader.block_address)
            cutter.turn()
            if cutter.events != self._counted_events:
                self._count(now_ns() - began_ns)
            context.service()
        self._inbox.close()

    def _count(self, spent_ns: int) -> None:
        metrics, cutter = self._context.metrics, self._cutter
        metrics.add(self._places["feature_events"], cutter.events - self._counted_events)
        self._counted_events = cutter.events
        if cutter.late_cuts != self._counted_late:
            metrics.add(self._places["feature_late_cuts"], cutter.late_cuts - self._counted_late)
            self._counted_late = cutter.late_cuts
        metrics.observe(self._places["feature_compute"], spent_ns)
        for reader in self._readers:
            reader.acknowledge()


def main(context: Context) -> None:
    """Build features."""
    builder = Builder(context)
    builder.warm()
    context.ready()
    builder.live()


if __name__ == "__main__":
    run(main)
