"""A block's slots, series by series, and the Arrow columns that their tables have in common.

Columns are made for the whole block at once and cut for each series without a copy: a block may
have slots of hundreds of series. They hold what `sorting.py` has made of the headers; what else a
slot has is gathered when it is asked for. Nothing here fails.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from processes.storage.sorting import headers, sort
from schemas.tape import SLOT, Kind

_SIDES: Final = pa.array(["none", "bid", "ask"])


def pick(slots: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`slots[places]`, as words: numpy copies structures a field at a time."""
    words = np.ascontiguousarray(slots).view(np.int64).reshape(-1, slots.itemsize // 8)
    picked: np.ndarray = words[places].view(slots.dtype).reshape(-1)
    return picked


class Block:
    """Slots of one ring.

    Args:
        slots: one after another in memory.
        by: the fields that tell series apart, of "instrument" and "stream"; without, it is one.
    """

    def __init__(self, slots: np.ndarray, by: tuple[str, ...]) -> None:
        self.slots = slots
        self.by = sort(slots, by)
        self.columns = headers(slots, self.by) if slots.dtype == SLOT else {}
        self._arrays: dict[str, pa.Array] = {}
        self.markers = np.zeros(0, np.int64)
        """Where markers stand in the columns."""
        if self.columns:
            self.markers = np.flatnonzero(self.columns["kind"] == Kind.MARKER)

    def series(self) -> Iterator[tuple[int, int, "Rows"]]:
        """(instrument, stream, rows) of each series."""
        begin = 0
        for key, end in zip(self.by.keys.tolist(), self.by.ends.tolist(), strict=True):
            yield key >> 16, key & 0xFFFF, Rows(self, begin, end)
            begin = end

    def array(self, name: str) -> pa.Array:
        """A column of a tape's slots as an array, with its label where it has one."""
        made = self._arrays.get(name)
        if made is None:
            made = pa.array(self.columns[name])
            if name == "side":
                made = pa.DictionaryArray.from_arrays(made, _SIDES)
            self._arrays[name] = made
        return made

    def nulls(self) -> pa.Array:
        """As many texts that are not there."""
        made = self._arrays.get("")
        if made is None:
            made = self._arrays[""] = pa.nulls(len(self.slots), pa.string())
        return made


class Rows:
    """One series' slots of a block, a column at a time."""

    def __init__(self, block: Block, begin: int, end: int) -> None:
        self._block = block
        self._begin = begin
        self._end = end

    def __len__(self) -> int:
        return self._end - self._begin

    def __getitem__(self, name: str) -> np.ndarray:
        """A column of `sorting.COLUMNS`; where there is none of that name, the slots' field."""
        column = self._block.columns.get(name)
        if column is None:
            gathered: np.ndarray = self._block.slots[name][self._places]
            return gathered
        return column[self._begin : self._end]

    @property
    def _places(self) -> np.ndarray:
        return self._block.by.order[self._begin : self._end]

    def array(self, name: str) -> pa.Array:
        """A column of the block's arrays."""
        return self._block.array(name).slice(self._begin, len(self))

    def nulls(self) -> pa.Array:
        """Texts that are not there."""
        return self._block.nulls().slice(0, len(self))

    def markers(self) -> list[int]:
        """Which rows are markers."""
        all_of_them = self._block.markers
        if not len(all_of_them):
            return []
        begin, end = np.searchsorted(all_of_them, (self._begin, self._end))
        places: list[int] = (all_of_them[begin:end] - self._begin).tolist()
        return places

    def without_markers(self, values: np.ndarray, otherwise: float) -> np.ndarray:
        """The values of rows that are no markers, beside something else for those that are."""
        found: np.ndarray = np.where(self["kind"] == Kind.MARKER, otherwise, values)
        return found

    def whole(self, rows: Any = slice(None)) -> np.ndarray:
        """The slots, or some of them."""
        return pick(self._block.slots, self._places[rows])
