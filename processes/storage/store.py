"""One ring's way to disk: reader → journal → lake series. Each row is written once.

The journal is written first and its end is the position. Lake files are written in passes, and may
be behind; after a restart the journal is read again from where the series furthest behind stands,
and every series skips the rows it holds.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from processes.clock import monotonic_s
from processes.rings import ring_layout
from processes.storage.columns import (
    decision_batch,
    feature_batch,
    pick,
    prediction_batch,
    tape_batch,
)
from processes.storage.journal import Journal, Segment, read_slots
from processes.storage.lake import Pulse, Series, SeriesKey, last_sequence, tape_folder
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

    def groups(self, slots: np.ndarray) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """(instrument, stream) and where in the block its slots stand, in order."""
        if not len(slots):
            return
        if self.ring == "decisions":
            yield (0, 0), np.arange(len(slots))
            return
        instruments = slots["instrument"].copy()
        streams = slots["stream"].copy() if self.venue else np.zeros(len(slots), np.uint16)
        # Two stable sorts of 16-bit numbers, which are radix sorts: quicker than one of pairs.
        order = np.argsort(streams, kind="stable")
        order = order[np.argsort(instruments[order], kind="stable")]
        keys = instruments[order].astype(np.uint32) << 16 | streams[order]
        for places in np.split(order, np.flatnonzero(keys[1:] != keys[:-1]) + 1):
            yield (int(instruments[places[0]]), int(streams[places[0]])), places

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

    def batch(
        self, group: tuple[int, int], slots: np.ndarray, places: np.ndarray
    ) -> pa.RecordBatch:
        """A group's slots of a block as rows."""
        if self.venue:
            stream = group[1]
            whole = stream == WHOLE_CONNECTION
            what = _CONNECTION if whole else self._tables.stream(stream)
            return tape_batch(slots, what, places)
        mine = pick(slots, places)
        if self.ring == "features":
            return feature_batch(mine)
        if self.ring == "predictions":
            return prediction_batch(mine)
        return decision_batch(mine)

    def time_ns(self, slots: np.ndarray, place: int) -> int:
        """The time by which a file is named and put into a day."""
        return int(slots["recv_ns" if self.venue else "made_ns"][place])


class Lake:
    """All series of one ring and session."""

    def __init__(
        self,
        root: Path,
        split: Split,
        session: int,
        settings: StorageSettings,
        pulse: Pulse = lambda: None,
    ) -> None:
        self.rows = 0
        self.sealed = 0
        self._root = root
        self._split = split
        self._pulse = pulse
        self._session = session
        self._settings = settings
        self._series: dict[tuple[int, int], Series] = {}

    def write(self, slots: np.ndarray) -> None:
        """Write slots to their series; rows that are held already are skipped."""
        split = self._split
        for group, places in split.groups(slots):
            series = self._series.get(group) or self._make(group)
            self.rows += series.write(
                split.batch(group, slots, places),
                slots["sequence"][places],
                split.time_ns(slots, int(places[0])),
            )

    def _make(self, group: tuple[int, int]) -> Series:
        key, constants = self._split.key(group)
        constants |= {"session": str(self._session), "ring": self._split.ring}
        last = last_sequence(self._root, key, self._session)
        series = Series(self._root, key, constants, last, self._pulse)
        self._series[group] = series
        return series

    def seal_due(self) -> None:
        """Seal files that are large or old enough."""
        for series in self._series.values():
            large = series.bytes >= self._settings.seal_bytes
            if large or series.age_s >= self._settings.seal_s:
                self._seal(series)

    def seal_all(self) -> None:
        """Seal every open file."""
        for series in self._series.values():
            self._seal(series)

    def _seal(self, series: Series) -> None:
        if series.seal() is not None:
            self.sealed += 1

    def sync(self) -> None:
        """Make the open files' content safe from a loss of power."""
        for series in self._series.values():
            series.sync()

    def sealed_through(self, position: int) -> int:
        """Every row up to here is in a sealed file, if the lake has taken all up to `position`."""
        firsts = [series.first_open for series in self._series.values() if series.is_open]
        return min(firsts) - 1 if firsts else position


class Store:
    """One ring's reader, journal and lake.

    Args:
        journals: folder of the journals. lake: root of the lake.
        pulse: called again and again in what may take long.
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
    ) -> None:
        dtype, layout = ring_layout(ring)
        self.ring = ring
        self.lost = 0
        self.slots = 0
        self._dtype: np.dtype[Any] = dtype
        self._reader = reader
        self._lake_root = lake
        self._tables = tables
        self._settings = settings
        self._pending: list[np.ndarray] = []
        self._pending_count = 0
        self._flushed_s = monotonic_s()
        self.journal = Journal(
            journals / ring, layout, dtype, session, settings.journal_segment_bytes
        )
        self._pulse = pulse
        self.lake = Lake(lake, Split(ring, tables), session, settings, pulse)
        self._lake_position = self.journal.position
        self._finish_foreign(layout)
        reader.seek(self.journal.position)
        # Again into the lake: what the journal holds and the last life may not have written there.
        for block in self.journal.read(0):
            self.lake.write(block)
        self._drop_sealed()

    def _finish_foreign(self, layout: int) -> None:
        """Bring segments of earlier sessions into the lake, then drop them."""
        for segment in self.journal.foreign:
            if segment.layout == layout:
                self._finish(segment)
                segment.path.unlink()
        self.journal.foreign = [s for s in self.journal.foreign if s.layout != layout]

    def _finish(self, segment: Segment) -> None:
        lake = Lake(
            self._lake_root,
            Split(self.ring, self._tables),
            segment.session,
            self._settings,
            self._pulse,
        )
        for block in read_slots(segment, self._dtype):
            lake.write(block)
        lake.seal_all()

    def take(self) -> int:
        """Read what is new into the journal; how many slots."""
        taken = 0
        while True:
            before = self._reader.position
            block = self._reader.read()
            if not len(block):
                return taken
            if self._reader.lost_before and before:
                self.lost += self._reader.lost_before
            self.journal.append(block)
            self._reader.acknowledge()
            self._pending.append(block.copy())
            self._pending_count += len(block)
            taken += len(block)
            self.slots += len(block)
            if self._pending_count >= PENDING_SLOTS:
                self.flush()

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
        """Write what is pending to the lake."""
        self._flushed_s = monotonic_s()
        if not self._pending:
            return
        slots = join(self._pending, self._dtype)
        self._pending.clear()
        self._pending_count = 0
        self.lake.write(slots)
        self._lake_position = int(slots["sequence"][-1])

    def seal(self) -> None:
        """Seal all files, so that journal segments can go."""
        self.flush()
        self.lake.seal_all()
        self._drop_sealed()

    def _drop_sealed(self) -> None:
        self.journal.drop_through(self.lake.sealed_through(self._lake_position))

    def finish(self) -> None:
        """The end: everything that is committed is sealed, and the journal can go."""
        self.take()
        self.seal()
        self.journal.remove()
