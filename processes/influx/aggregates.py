"""Features and predictions over windows of 30 s: mean, last, least, greatest, count of each column.

Windows are of the rows' cut times and begin at whole half minutes. A window is closed, and its one
point written, when a row has come that is two seconds or more past its end: by the rows' own time
and never by the clock, so that the same rows give the same point whenever they are read. A row for
a window that is closed is late: counted, not taken.

Open windows are part of the state that is kept on disk together with the rings' positions: a
restart goes on in the middle of one. What was written is never written again with other numbers,
and if the same point is sent twice it overwrites itself, since it has its window's time.
"""

from typing import Any, Final

import msgspec
import numpy as np

from processes.influx.lines import FEATURES, PREDICTIONS, Bucket, FloatFields, Lines, Tags

WINDOW_NS: Final = 30_000_000_000
GRACE_NS: Final = 2_000_000_000
COUNT, SUM, LEAST, GREATEST, LAST = range(5)


class KeptWindow(msgspec.Struct, array_like=True):
    """An open window as the state holds it."""

    start_ns: int
    instrument: int
    rows: int
    numbers: bytes


class KeptTable(msgspec.Struct, array_like=True):
    """A table's open windows as the state holds them; with other columns they are of no use."""

    columns: list[str]
    watermark_ns: int
    windows: list[KeptWindow]


class Window:
    """One instrument's rows of one window."""

    def __init__(self, columns: int) -> None:
        self.rows = 0
        self.numbers = np.zeros((5, columns))
        self.numbers[LEAST] = np.inf
        self.numbers[GREATEST] = -np.inf
        self.numbers[LAST] = np.nan

    def add(self, values: np.ndarray) -> None:
        """Take rows, (rows, columns) float64, in their order."""
        finite = np.isfinite(values)
        numbers = self.numbers
        self.rows += len(values)
        numbers[COUNT] += finite.sum(axis=0)
        # Row after row onto what was there: the sum does not depend on how rows came in blocks.
        addends = np.concatenate([numbers[SUM : SUM + 1], np.where(finite, values, 0.0)])
        numbers[SUM] = np.add.reduce(addends, axis=0)
        numbers[LEAST] = np.minimum(numbers[LEAST], np.where(finite, values, np.inf).min(axis=0))
        greatest = np.where(finite, values, -np.inf).max(axis=0)
        numbers[GREATEST] = np.maximum(numbers[GREATEST], greatest)
        newest = len(values) - 1 - finite[::-1].argmax(axis=0)
        last = values[newest, np.arange(values.shape[1])]
        numbers[LAST] = np.where(finite.any(axis=0), last, numbers[LAST])


class WindowTable:
    """The windows of features, or of predictions."""

    def __init__(self, measurement: str, columns: tuple[str, ...]) -> None:
        self.late = 0
        self._measurement = measurement.encode()
        self._columns = columns
        self._windows: dict[tuple[int, int], Window] = {}
        self._watermark_ns = 0
        self._floats = FloatFields(
            [f"{name}_{what}" for what in ("mean", "min", "max", "last") for name in columns]
        )
        self._counts = b",".join(b"%b_count=%%di" % name.encode() for name in columns)

    def add(self, times: np.ndarray, instruments: np.ndarray, values: np.ndarray) -> None:
        """Take rows in the order of their ring.

        Args:
            times: (rows,) int64 ns, the cuts. instruments: (rows,). values: (rows, columns).
        """
        if not len(times):
            return
        starts = times // WINDOW_NS * WINDOW_NS
        before = np.concatenate([[self._watermark_ns], times[:-1]])
        closed = _closed_before(np.maximum.accumulate(before))
        taken = starts >= closed
        self.late += int(len(taken) - taken.sum())
        self._watermark_ns = max(self._watermark_ns, int(times.max()))
        keys = list(zip(starts.tolist(), instruments.tolist(), strict=True))
        for key in dict.fromkeys(key for key, ok in zip(keys, taken.tolist(), strict=True) if ok):
            mine = taken & (starts == key[0]) & (instruments == key[1])
            window = self._windows.setdefault(key, Window(len(self._columns)))
            window.add(values[mine].astype(np.float64))

    def close(self, tags: Tags) -> Lines:
        """The points of all windows that are over, and forget them."""
        end_ns = int(_closed_before(np.int64(self._watermark_ns)))
        over = sorted(key for key in self._windows if key[0] < end_ns)
        lines = [self._line(key, self._windows.pop(key), tags) for key in over]
        return Lines(Bucket.AGGREGATES, lines, over[-1][0] if over else 0)

    def _line(self, key: tuple[int, int], window: Window, tags: Tags) -> bytes:
        start_ns, instrument = key
        counts = window.numbers[COUNT]
        present = counts > 0
        mean = np.divide(
            window.numbers[SUM], counts, out=np.full(len(counts), np.nan), where=present
        )
        parts = np.concatenate([mean, *window.numbers[[LEAST, GREATEST, LAST]]]).reshape(1, -1)
        floats = self._floats.texts(parts)[0]
        return b"%b,%b %b%b,rows=%di %d" % (
            self._measurement, tags.of(instrument), b"%b," % floats if floats else b"",
            self._counts % tuple(counts.astype(np.int64).tolist()), window.rows, start_ns,
        )  # fmt: skip

    def keep(self) -> KeptTable:
        """The state, to go on from."""
        windows = [
            KeptWindow(start, instrument, window.rows, window.numbers.tobytes())
            for (start, instrument), window in self._windows.items()
        ]
        return KeptTable(list(self._columns), self._watermark_ns, windows)

    def restore(self, kept: KeptTable) -> None:
        """Go on from a state; one of other columns is not taken."""
        if tuple(kept.columns) != self._columns:
            return
        self._watermark_ns = kept.watermark_ns
        for one in kept.windows:
            window = Window(len(self._columns))
            window.rows = one.rows
            window.numbers = np.frombuffer(one.numbers).reshape(5, -1).copy()
            self._windows[one.start_ns, one.instrument] = window


def _closed_before(watermark: Any) -> Any:
    """Windows that begin before this are closed once a row of time `watermark` has come."""
    return (watermark - GRACE_NS) // WINDOW_NS * WINDOW_NS


def aggregate_tables() -> dict[str, WindowTable]:
    """By ring."""
    return {
        "features": WindowTable("features_30s", FEATURES),
        "predictions": WindowTable("predictions_30s", PREDICTIONS),
    }
