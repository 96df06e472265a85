"""One ring's way to disk: reader → journal → lake series. Each row is written once.

The journal is written first and its end is the position. Lake files are written in passes, and may
be behind; after a restart the journal is read again from where the series furthest behind stands,
and every series skips the rows it holds.

Whatever is written may fail for want of room (OSError). The same call can then be made again, and
goes on where it was; until then the ring keeps what comes, as long as it is. What it lost is noted
as a hole before anything behind it is written.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from processes.clock import monotonic_s
from processes.journal_files import Segment
from processes.lake_files import tape_folder
from processes.lake_holes import LAPPED, Hole, note_hole
from processes.rings import ring_layout
from processes.storage.columns import (
    decision_batch,
    feature_batch,
    prediction_batch,
    tape_batch,
)
from processes.storage.journal import Journal, read_slots
from processes.storage.lake import Pulse, Series, SeriesKey, last_of_ring, last_sequence
from processes.storage.relief import Relief
from processes.storage.rows import Block, Rows
from schemas.instruments import Instrument, Stream, Tables
from schemas.layout import join
from schemas.settings import StorageSettings
from schemas.tape import WHOLE_CONNECTION
from shm.readers import RingReader

PENDING_SLOTS: Final = 65_536
"""So many slots are written to the lake at once, at most."""
_CONNECTION: Final = Stream(index=WHOLE_CONNECTION, channel="connection")


class TableView:
    """The instrument and stream tables, read again when an index is new."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def instrument(self, index: int) -> Instrument:
        """The instrument of an index."""
        return self.tables.instruments[index]

    def stream(self, index: int) -> Stream:
        """The stream of an index."""
        return self.tables.streams[index]


class Split:
    """How one ring's slots are spread over series: which rows go where, and as what batch."""

    def __init__(self, ring: str, tables: TableView) -> None:
        self.ring = ring
        self.venue = ring.partition(".")[2]
        self._tables = tables

    def groups(self, slots: np.ndarray) -> Iterator[tuple[tuple[int, int], Rows]]:
        """(instrument, stream) and its slots of a block, in order."""
        if not len(slots):
            return
        by: tuple[str, ...] = ("instrument", "stream") if self.venue else ("instrument",)
        block = Block(np.ascontiguousarray(slots), () if self.ring == "decisions" else by)
        for instrument, stream, rows in block.series():
            yield (instrument, stream), rows

    def key(self, group: tuple[int, int]) -> tuple[SeriesKey, dict[str, str]]:
        """A group's series and the constants of its stream."""
        instrument, stream = group
        if self.ring == "decisions":
            return SeriesKey(folder="decisions", prefix="decisions", table="decisions"), {}
        if instrument == WHOLE_CONNECTION:
            folder = f"{self.venue}/websocket/connection/_" if self.venue else f"{self.ring}/_"
            table = "connection" if self.venue else self.ring
            constants = {"venue": self.venue} if self.venue else {}
            return SeriesKey(folder=folder, prefix=table, table=table), constants
        item = self._tables.instrument(instrument)
        constants = {"venue": item.venue, "symbol": item.symbol, "pair": item.pair}
        if not self.venue:
            symbol = tape_folder(item.venue, self.ring, item.symbol).rpartition("/")[2]
            folder = f"{self.ring}/{item.venue}/{symbol}"
            return SeriesKey(folder=folder, prefix=self.ring, table=self.ring), constants
        what = self._tables.stream(stream)
        constants |= {
            name: str(getattr(what, name))
            for name in ("channel", "precision", "frequency", "length", "timeframe", "variant")
            if getattr(what, name)
        }
        key = SeriesKey(
            folder=tape_folder(self.venue, what.channel, item.symbol),
            prefix=what.channel,
            table=what.table,
            suffix=what.suffix,
        )
        return key, constants | {"suffix": what.suffix}

    def batch(self, group: tuple[int, int], rows: Rows) -> pa.RecordBatch:
        """A group's slots of a block as rows."""
        if self.venue:
            stream = group[1]
            whole = stream == WHOLE_CONNECTION
            what = _CONNECTION if whole else self._tables.stream(stream)
            return tape_batch(rows, what)
        if self.ring == "features":
            return feature_batch(rows.whole())
        if self.ring == "predictions":
            return prediction_batch(rows.whole())
        return decision_batch(rows.whole())

    def sequences(self, rows: Rows) -> np.ndarray:
        """(rows) uint64: the ring's own."""
        return rows["tape_seq" if self.venue else "sequence"]

    def time_ns(self, slots: np.ndarray | Rows) -> int:
        """The time of the first slot, by which a file is named and put into a day."""
        return int(slots["recv_ns" if self.venue else "made_ns"][0])


class Lake:
    """All series of one ring and session.

    Args:
        fresh: no file can hold rows of this session, so none need be looked at: after months there
            are many, and a new session finds nothing in any of them.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        session: int,
        settings: StorageSettings,
        pulse: Pulse = lambda: None,
        *,
        fresh: bool = False,
    ) -> None:
        self.rows = 0
        self.sealed = 0
        self._root = root
        self._split = split
        self._pulse = pulse
        self._fresh = fresh
        self._session = session
        self._settings = settings
        self._series: dict[tuple[int, int], Series] = {}

    def write(self, slots: np.ndarray) -> None:
        """Write slots to their series; rows that are held already are skipped."""
        split = self._split
        for group, rows in split.groups(slots):
            series = self._series.get(group) or self._make(group)
            batch = split.batch(group, rows)
            self.rows += series.write(batch, split.sequences(rows), split.time_ns(rows))

    def _make(self, group: tuple[int, int]) -> Series:
        key, constants = self._split.key(group)
        constants |= {"session": str(self._session), "ring": self._split.ring}
        last = 0 if self._fresh else last_sequence(self._root, key, constants)
        series = Series(self._root, key, constants, last, self._pulse)
        self._series[group] = series
        return series

    def seal_due(self) -> None:
        """Seal files that are large or old enough."""
        for series in self._series.values():
            large = series.bytes >= self._settings.seal_bytes
            if large or series.waits or series.age_s >= self._settings.seal_s:
                self._seal(series)

    def seal_all(self) -> None:
        """Seal every open file."""
        for series in self._series.values():
            self._seal(series)

    def _seal(self, series: Series) -> None:
        self.sealed += len(series.seal())

    def sync(self) -> None:
        """Make the open files' content safe from a loss of power."""
        for series in self._series.values():
            series.sync()

    def sealed_through(self, position: int) -> int:
        """Every row up to here is in a sealed file, if the lake has taken all up to `position`."""
        firsts = [series.first_unsealed for series in self._series.values()]
        firsts = [first for first in firsts if first]
        return min(firsts) - 1 if firsts else position


class Store:
    """One ring's reader, journal and lake.

    Args:
        journals: folder of the journals. lake: root of the lake.
        pulse: called again and again in what may take long.
        relief: what is left out when this falls behind; None: nothing ever.

    Nothing is read before `recover` has come to its end once.
    """

    def __init__(
        self,
        ring: str,
        reader: RingReader,
        journals: Path,
        lake: Path,
        tables: TableView,
        session: int,
        settings: StorageSettings,
        pulse: Pulse = lambda: None,
        relief: Relief | None = None,
    ) -> None:
        dtype, layout = ring_layout(ring)
        self.ring = ring
        self.lost = 0
        """Slots that the ring lost before they were read."""
        self.slots = 0
        self.relief = relief
        self._noted = 0
        self._recovered = False
        self._dtype: np.dtype[Any] = dtype
        self._layout = layout
        self._session = session
        self._reader = reader
        self._lake_root = lake
        self._settings = settings
        self._pending: list[np.ndarray] = []
        self._pending_count = 0
        self._flushed_s = monotonic_s()
        self.journal = Journal(
            journals / ring, layout, dtype, session, settings.journal_segment_bytes
        )
        self._pulse = pulse
        self._split = Split(ring, tables)
        fresh = not reader.known and not self.journal.segments
        self.lake = Lake(lake, self._split, session, settings, pulse, fresh=fresh)
        self._earlier: dict[Path, Lake] = {}
        if not fresh and not self.journal.segments:
            # It went when all was sealed, or nothing was ever written.
            self.journal.position = last_of_ring(lake, ring, session)
        self._lake_position = self.journal.position
        reader.seek(self.journal.position)

    @property
    def behind(self) -> int:
        """Slots of the ring that are not in the journal."""
        return self._reader.committed - self.journal.position

    @property
    def lag(self) -> float:
        """The same as a share of the ring."""
        return self.behind / self._reader.capacity

    def recover(self) -> None:
        """Bring into the lake what the journals hold and the last life may not have written there.

        Raises:
            OSError: there was no room; call it again.
        """
        self._finish_foreign()
        for block in self.journal.read(0):
            self.lake.write(block)
        self._drop_sealed()
        if self.relief is not None:
            self.relief.begin(self.journal.position)
        self._recovered = True

    def _finish_foreign(self) -> None:
        """Bring segments of earlier sessions into the lake, then drop them."""
        mine = [segment for segment in self.journal.foreign if segment.layout == self._layout]
        for segment in mine:
            self._finish(segment)
            segment.path.unlink()
            self.journal.foreign.remove(segment)

    def _finish(self, segment: Segment) -> None:
        # Kept for the next try: it knows what it has written to files that are not sealed.
        lake = self._earlier.get(segment.path) or Lake(
            self._lake_root,
            self._split,
            segment.session,
            self._settings,
            self._pulse,
        )
        self._earlier[segment.path] = lake
        for block in read_slots(segment, self._dtype):
            lake.write(block)
        lake.seal_all()
        del self._earlier[segment.path]

    def take(self) -> int:
        """Read what is new into the journal; how many slots.

        Raises:
            OSError: there was no room; the place in the ring is kept.
        """
        assert self._recovered
        taken = 0
        while count := self._take_block():
            taken += count
        return taken

    def _take_block(self) -> int:
        if self._pending_count >= PENDING_SLOTS:
            self.flush()
        relief, journal = self.relief, self.journal
        thin = relief is not None and relief.turn(self.lag, journal.position)
        block = self._reader.read()
        if not len(block):
            return 0
        before = int(block["sequence"][0]) - 1
        try:
            self._note_lost(block)
            if thin and relief is not None:
                for rows in relief.write(block, journal, full=len(block) == self._reader.limit):
                    self._keep(rows)
            else:
                journal.append(block)
                self._keep(join([block], self._dtype))
        finally:
            # Behind a window that is not over, or that found no room, it is read again.
            self._reader.seek(max(journal.position, before))
            if journal.position > before:
                self._reader.acknowledge()
        return max(journal.position - before, 0)

    def _keep(self, slots: np.ndarray) -> None:
        """Slots are in the journal, and wait for the lake."""
        self._pending.append(slots)
        self._pending_count += len(slots)
        self.slots += len(slots)

    def _note_lost(self, block: np.ndarray) -> None:
        """Note the hole before slots that do not follow the journal's last."""
        first, last = self.journal.position + 1, int(block["sequence"][0]) - 1
        if last < first or last <= self._noted:
            return
        time_ns = self._split.time_ns(block)
        hole = Hole(session=self._session, first=first, last=last, time_ns=time_ns, reason=LAPPED)
        note_hole(self._lake_root, self.ring, hole)
        self.lost += last - max(first - 1, self._noted)
        self._noted = last

    def flush_due(self) -> bool:
        """Flush if it is time; True if it was."""
        if monotonic_s() - self._flushed_s < self._settings.flush_s:
            return False
        self.flush()
        self.journal.sync()
        self.lake.seal_due()
        self._drop_sealed()
        return True

    def flush(self) -> None:
        """Write what is pending to the lake; series skip what an earlier try has written."""
        self._flushed_s = monotonic_s()
        if not self._pending:
            return
        slots = join(self._pending, self._dtype)
        self.lake.write(slots)
        self._pending.clear()
        self._pending_count = 0
        self._lake_position = int(slots["sequence"][-1])

    def seal(self) -> None:
        """Seal all files, so that journal segments can go."""
        self.flush()
        self.lake.seal_all()
        self._drop_sealed()

    def _drop_sealed(self) -> None:
        self.journal.drop_through(self.lake.sealed_through(self._lake_position))

    def finish(self) -> None:
        """The end: everything that is committed is sealed, and the journal can go.

        Raises:
            OSError: there was no room; what is journalled comes into the lake with the next start.
        """
        if not self._recovered:
            self.recover()
        if self.relief is not None:
            self.relief.ending = True
        self.take()
        if self.relief is not None:
            self.relief.end(self.journal.position)
        self.seal()
        self.journal.remove()
