"""Positions, orders, fills and profit as the ledger has them, marked to our own books."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from processes.execution.reading import Entry, LedgerView, PositionRow, total
from processes.lake_places import open_lake
from processes.places import Paths, is_locked, read_registry
from processes.recordings.rows import last_sequence, rows_between
from processes.rings import ring_layout
from processes.sessions import latest_settings, sessions_of
from schemas.errors import OperatorError
from shm.readers import RingReader
from shm.segment import Segment

MARKS_BACK = 4096
"""So many feature rows back a mark is looked for."""


def view_of(paths: Paths) -> LedgerView:
    """The ledger of an instance, to be read."""
    return LedgerView(latest_settings(paths.data).ledger, paths.data)


# ---- marks


def marks(paths: Paths) -> dict[int, float]:
    """The newest middle price of each instrument in our own books; empty where there is none.

    From the ring of a running instance, else from the end of the lake.
    """
    found = _ring_marks(paths.run) if is_locked(paths.run) else {}
    return found or _lake_marks(paths.data)


def _ring_marks(run: Path) -> dict[int, float]:
    try:
        found = read_registry(run)
    except OperatorError:
        return {}
    entry, page = found.find("ring", "features"), found.find("readers", "features")
    if entry is None or page is None:
        return {}
    dtype, layout = ring_layout("features")
    reader = RingReader(
        Segment.attach(entry.name, writable=False), Segment.attach(page.name), dtype, layout,
        f"tap.{os.getpid()}", start="newest", tap=True, limit=MARKS_BACK,
    )  # fmt: skip
    try:
        reader.seek(max(reader.committed - MARKS_BACK, reader.oldest))
        rows = reader.read()
        return _newest(rows["instrument"], rows["reference_price"])
    finally:
        reader.release()


def _newest(instruments: np.ndarray, prices: np.ndarray) -> dict[int, float]:
    pairs = zip(instruments.tolist(), prices.tolist(), strict=True)
    return {instrument: price for instrument, price in pairs if price > 0}


def _lake_marks(data: Path) -> dict[int, float]:
    sessions = sessions_of(data)
    if not sessions:
        return {}
    lake, session = open_lake(data / "lake"), sessions[-1]
    last = last_sequence(lake, "decisions", session)
    rows = rows_between(lake, "decisions", session, max(last - MARKS_BACK, 1), last)
    return {row["instrument"]: row["reference_price"] for row in rows if row["reference_price"]}


def position_record(row: PositionRow, mark: float | None) -> dict[str, Any]:
    """A position with its mark and what it has not realized; None without a mark."""
    told = msgspec.to_builtins(row)
    quantity, average = Decimal(row.quantity), Decimal(row.average_price)
    told["mark"] = None if mark is None else repr(mark)
    told["unrealized"] = None if mark is None else f"{(Decimal(repr(mark)) - average) * quantity:f}"
    return dict(told)


def position_records(
    view: LedgerView, known: dict[int, float], *, everything: bool = False
) -> list[dict[str, Any]]:
    """What is held, closed ones too if wanted."""
    return [
        position_record(row, known.get(row.instrument))
        for row in view.positions()
        if everything or Decimal(row.quantity)
    ]


def profit_record(view: LedgerView, known: dict[int, float], days: int) -> dict[str, Any]:
    """Profit by day, by day and instrument, and what is not realized yet."""
    rows = view.days(limit=days)
    by_day: dict[str, list[str]] = {}
    for row in rows:
        by_day.setdefault(row.day, []).append(row.realized_day)
    held = position_records(view, known)
    return {
        "days": {day: f"{total(parts):f}" for day, parts in by_day.items()},
        "instruments": [msgspec.to_builtins(row) for row in rows],
        "unrealized": {one["symbol"]: one["unrealized"] for one in held},
    }


def the_order(view: LedgerView, beginning: str) -> Entry:
    """The one order whose id begins so.

    Raises:
        OperatorError: there is none, or more than one.
    """
    entries = view.order(beginning)
    if len(entries) != 1:
        how = "no order begins" if not entries else "more than one order begins"
        raise OperatorError(f"{how} with {beginning}; dcctl orders shows them")
    return entries[0]
