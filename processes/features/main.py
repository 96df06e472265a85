"""The feature builder as a child process: a blocking loop over all tapes."""

from typing import Final

from processes.features import kernels
from processes.features.cutter import Cutter
from processes.rings import enabled_venues
from processes.runtime import Context, run
from schemas.features import CATALOGUE, WIDTH
from schemas.metrics import place
from schemas.settings import Settings

COUNTERS: Final = {
    "feature_rows_dropped": kernels.W_DROPPED,
    "feature_rows_stuck": kernels.W_STUCK_ROWS,
    "inputs_refused": kernels.W_REFUSED,
    "inputs_crossed": kernels.W_CROSSED,
    "inputs_far": kernels.W_FAR,
    "columns_missing": kernels.W_MISSING,
    "columns_out_of_range": kernels.W_OUT_OF_RANGE,
    "columns_stuck": kernels.W_STUCK,
    "columns_outlier": kernels.W_OUTLIER,
    "columns_filled": kernels.W_FILLED,
    "columns_masked": kernels.W_MASKED,
}
"""Metrics that the kernels count."""


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
            instruments,
            len(self._rings),
            context.settings.features,
            self._emit,
            context.clock.now_ns,
        )
        self._cutter.stamp(context.generation)
        context.on_reload(self._obey)
        self._counted: dict[int, int] = {}
        self._faults = place("column_faults", CATALOGUE[0].name)
        self._latency = place("recv_to_feature")
        self._compute = place("feature_compute")

    def _obey(self, _: Settings) -> None:
        # Changed feature settings restart this process: only the number of the settings is news.
        self._cutter.stamp(self._context.generation)

    def _emit(self, address: int, count: int, cut_ns: int) -> None:
        self._writer.append_at(address, count)
        self._context.metrics.observe(self._latency, self._context.clock.now_ns() - cut_ns)

    def warm(self) -> None:
        """Take what the tapes still hold without cutting, so that windows begin full."""
        self._cutter.compile()
        last = self._writer.ring.recent(1)
        self._cutter.number_from(int(last["cut"][-1]) if len(last) else 0)
        starts = [reader.oldest for reader in self._readers]
        while (lapped := self._warm_from(starts)) is not None:
            # Overtaken by the writer: what is kept must be whole, so that it can be done again.
            self._cutter.forget()
            starts[lapped] = self._readers[lapped].oldest
        self._cutter.begin(self._context.clock.now_ns())
        self._writer.append(self._cutter.warm_marker(starts))

    def _warm_from(self, starts: list[int]) -> int | None:
        """Warm from after these positions; the tape that had lost slots by then, if one had."""
        for number, reader in enumerate(self._readers):
            reader.seek(starts[number])
            while len(slots := reader.read()):
                if reader.lost_before:
                    return number
                self._cutter.warm(number, slots, reader.block_address)
                self._context.service()
            self._cutter.place(number, reader.position)
            reader.acknowledge()
        return None

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
                        resumed = int(slots["sequence"][0]) - 1
                        self._writer.append(cutter.lapse(now_ns(), number, resumed))
                        context.log.warning("tape slots lost", slots=reader.lost_before)
                    cutter.take(number, slots, reader.block_address)
            cutter.turn()
            if context.service():
                context.metrics.observe(self._compute, now_ns() - began_ns)
                self._count()
        self._count()

    def _count(self) -> None:
        """Carry what was counted to the counter page, and say how far the tapes are read."""
        cutter, metrics = self._cutter, self._context.metrics
        totals = {
            "feature_events": cutter.events,
            "feature_rows": cutter.rows,
            "feature_rows_invalid": cutter.invalid_rows,
            "feature_late_cuts": cutter.late_cuts,
            **{name: cutter.count(word) for name, word in COUNTERS.items()},
        }
        counts = {place(name): value for name, value in totals.items()}
        for column in range(WIDTH):
            counts[self._faults + column] = cutter.count(kernels.W_COLUMNS + column)
        for at, value in counts.items():
            if value != self._counted.get(at, 0):
                metrics.add(at, value - self._counted.get(at, 0))
                self._counted[at] = value
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
