"""positions, orders, fills and pnl: what the ledger has, marked to our own books."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from processes.cli.instance import find_paths
from processes.cli.screen import say, say_json, table
from processes.clock import utc_text
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
ID_SHOWN = 12


def _view(paths: Paths) -> LedgerView:
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


# ---- commands


def positions(*, everything: bool, as_json: bool) -> None:
    """What is held, and what it is worth now."""
    paths = find_paths()
    known = marks(paths)
    rows = [
        _position(row, known.get(row.instrument))
        for row in _view(paths).positions()
        if everything or Decimal(row.quantity)
    ]
    if as_json:
        say_json(rows)
        return
    if not rows:
        say("nothing is held")
        return
    head = ["symbol", "quantity", "average price", "mark", "unrealized", "realized", "fees"]
    names = ("symbol", "quantity", "average_price", "mark", "unrealized", "realized", "fees")
    lines = [[_shown(row[name]) for name in names] for row in rows]
    say(table(head, lines, right=tuple(range(1, 7))))


def _position(row: PositionRow, mark: float | None) -> dict[str, Any]:
    told = msgspec.to_builtins(row)
    quantity, average = Decimal(row.quantity), Decimal(row.average_price)
    told["mark"] = None if mark is None else repr(mark)
    told["unrealized"] = None if mark is None else f"{(Decimal(repr(mark)) - average) * quantity:f}"
    return dict(told)


def _shown(text: str | None) -> str:
    """Amounts to eight places; all of them are in --json."""
    if text is None:
        return "?"
    try:
        number = Decimal(text)
    except ArithmeticError:
        return text
    return f"{number.quantize(Decimal('0.00000001')).normalize():f}"


def orders(*, open_only: bool, limit: int, as_json: bool) -> None:
    """The newest orders."""
    found = _view(find_paths()).orders(open_only=open_only, limit=limit)
    if as_json:
        say_json([msgspec.to_builtins(one) for one in found])
        return
    if not found:
        say("no open order" if open_only else "no order yet")
        return
    rows = [
        [
            one.intent.command_id[:ID_SHOWN], utc_text(one.intent.decided_ns), one.intent.account,
            one.intent.symbol, one.intent.side, one.intent.quantity,
            one.intent.limit_price or one.intent.kind, one.state, one.intent.strategy,
        ]
        for one in found
    ]  # fmt: skip
    head = ["order", "decided", "account", "symbol", "side", "quantity", "price", "state",
            "strategy"]  # fmt: skip
    say(table(head, rows, right=(5,)))


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


def fills(*, order: str, limit: int, as_json: bool) -> None:
    """The newest fills, or those of one order."""
    view = _view(find_paths())
    number = ""
    if order:
        number = the_order(view, order).intent.command_id
    found = view.fills(limit=limit, command_id=number)
    if as_json:
        say_json([msgspec.to_builtins(one) for one in found])
        return
    if not found:
        say("no fill yet")
        return
    rows = [
        [
            utc_text(one.time_ns), one.account, one.symbol, one.side, one.quantity, one.price,
            f"{one.fee} {one.fee_currency}".strip(), one.command_id[:ID_SHOWN],
        ]
        for one in found
    ]  # fmt: skip
    head = ["time", "account", "symbol", "side", "quantity", "price", "fee", "order"]
    say(table(head, rows, right=(4, 5)))


def pnl(*, days: int, as_json: bool) -> None:
    """Profit and loss by day, and what is not realized yet, marked to our own books."""
    paths = find_paths()
    view, known = _view(paths), marks(paths)
    rows = view.days(limit=days)
    held = [
        _position(row, known.get(row.instrument))
        for row in view.positions()
        if Decimal(row.quantity)
    ]
    by_day: dict[str, list[str]] = {}
    for row in rows:
        by_day.setdefault(row.day, []).append(row.realized_day)
    told = {
        "days": {day: f"{total(parts):f}" for day, parts in by_day.items()},
        "instruments": [msgspec.to_builtins(row) for row in rows],
        "unrealized": {one["symbol"]: one["unrealized"] for one in held},
    }
    if as_json:
        say_json(told)
        return
    if not rows and not held:
        say("nothing was traded yet")
        return
    lines = [[row.day, row.symbol, _shown(row.realized_day), _shown(row.fees)] for row in rows]
    if lines:
        say(table(["day", "symbol", "realized", "fees so far"], lines, right=(2, 3)))
    for day, parts in by_day.items():
        say(f"{day}: {_shown(f'{total(parts):f}')} in all")
    for one in held:
        amounts = _shown(one["quantity"]), _shown(one["unrealized"])
        say(f"{one['symbol']}: {amounts[0]} held, {amounts[1]} unrealized")
