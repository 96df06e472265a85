"""What came out against what is recorded, bit by bit, and what could not be compared."""

from typing import Any, Final

import numpy as np
from msgspec import Struct

UNLIKE: Final = frozenset({"sequence", "made_ns"})
"""When a slot was written, and its place in the ring, are not results."""


class Difference(Struct, frozen=True, kw_only=True):
    """The first slot of a stage that came out otherwise."""

    stage: str
    sequence: int
    field: str
    recorded: str
    replayed: str


class Excluded(Struct, frozen=True, kw_only=True):
    """A span that could not be compared, and why."""

    stage: str
    first: int
    last: int
    why: str


class Comparison:
    """One stage's comparison: how many were the same, where the first differs, what was left out.

    Args:
        unlike: fields that are not results.
    """

    def __init__(self, stage: str, dtype: np.dtype[Any], unlike: frozenset[str] = UNLIKE) -> None:
        self.stage = stage
        self.compared = 0
        self.first: Difference | None = None
        self.excluded: list[Excluded] = []
        fields = dtype.fields
        assert fields is not None
        # Words that hold a result; a word of which only a part is one is compared by its parts.
        mask = np.zeros(dtype.itemsize, np.uint8)
        for name, (form, offset, *_) in fields.items():
            if name not in unlike:
                mask[offset : offset + form.itemsize] = 0xFF
        self._mask = mask.view(np.uint64)
        self._names = [name for name in fields if name not in unlike]

    def add(self, recorded: np.ndarray, replayed: np.ndarray) -> None:
        """Compare slots one by one; both are contiguous and of one length."""
        assert len(recorded) == len(replayed), (self.stage, len(recorded), len(replayed))
        self.compared += len(recorded)
        if self.first is not None or not len(recorded):
            return
        one = recorded.view(np.uint64).reshape(len(recorded), -1)
        other = replayed.view(np.uint64).reshape(len(replayed), -1)
        differs = ((one ^ other) & self._mask).any(axis=1)
        if differs.any():
            place = int(np.argmax(differs))
            self.first = self._describe(recorded[place], replayed[place])

    def _describe(self, recorded: np.void, replayed: np.void) -> Difference:
        for name in self._names:
            one, other = recorded[name], replayed[name]
            if np.asarray(one).tobytes() == np.asarray(other).tobytes():
                continue
            label = name
            if np.ndim(one):
                flat, again = np.ravel(one), np.ravel(other)
                bits = (flat.view(np.uint8) != again.view(np.uint8)).reshape(len(flat), -1)
                index = int(np.argmax(bits.any(axis=1)))
                one, other, label = flat[index], again[index], f"{name}[{index}]"
            return Difference(
                stage=self.stage,
                sequence=int(recorded["sequence"]),
                field=label,
                recorded=repr(one.item()),
                replayed=repr(other.item()),
            )
        raise AssertionError("slots that differ have a field that differs")

    def missing(self, sequence: int, what: str) -> None:
        """Something is recorded that did not come out, or the other way round."""
        if self.first is None:
            self.first = Difference(
                stage=self.stage, sequence=sequence, field="", recorded=what, replayed="nothing"
            )

    def leave_out(self, first: int, last: int, why: str) -> None:
        """A span cannot be compared; spans that touch are one."""
        if self.excluded:
            before = self.excluded[-1]
            if before.why == why and first <= before.last + 1:
                self.excluded[-1] = Excluded(
                    stage=self.stage, first=before.first, last=max(last, before.last), why=why
                )
                return
        self.excluded.append(Excluded(stage=self.stage, first=first, last=last, why=why))
