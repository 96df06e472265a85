"""What every slot layout shares: a packed dtype from a table of rows, and its fingerprint.

A layout is written as (field, numpy format, offset) rows. `layout` asserts that rows neither
overlap nor leave the slot; `fingerprint` is the 63-bit number that rings carry, so that a process
built with another layout refuses the ring instead of misreading it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Row = tuple[str, Any, int]


def layout(rows: Sequence[Row], itemsize: int) -> np.dtype[np.void]:
    """A structured dtype with exactly these offsets.

    Raises:
        AssertionError: two fields overlap or one leaves the slot.
    """
    taken: list[tuple[int, int, str]] = []
    for name, form, offset in rows:
        end = offset + np.dtype(form).itemsize
        assert end <= itemsize, f"{name} ends at {end} of {itemsize}"
        for start, stop, other in taken:
            assert end <= start or offset >= stop, f"{name} overlaps {other}"
        taken.append((offset, end, name))
    return np.dtype(
        {
            "names": [row[0] for row in rows],
            "formats": [row[1] for row in rows],
            "offsets": [row[2] for row in rows],
            "itemsize": itemsize,
        }
    )


def fingerprint(dtype: np.dtype[np.void], version: int, names: Iterable[str] = ()) -> int:
    """63 bits that differ when a field's name, form or place differs, or version or names do."""
    assert dtype.fields is not None
    text = f"v{version} {dtype.itemsize} {','.join(names)} " + " ".join(
        f"{name}:{dtype.fields[name][0].str}{dtype.fields[name][0].shape}@{dtype.fields[name][1]}"
        for name in dtype.names or ()
    )
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def join(blocks: Sequence[np.ndarray], dtype: np.dtype[np.void]) -> np.ndarray:
    """Slots one after another. `np.concatenate` would pack the fields and lose the offsets.

    Copied as bytes: numpy assigns structures a field at a time, which takes three times as long.
    """
    out = np.empty(sum(len(block) for block in blocks), dtype)
    whole = np.dtype((np.void, dtype.itemsize))
    slots = out.view(whole)
    at = 0
    for block in blocks:
        assert block.dtype == dtype
        slots[at : at + len(block)] = block.view(whole)
        at += len(block)
    return out
