"""A ledger as it is on disk, for tests that hold it against a venue."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec

from processes.execution.orders import Order
from schemas.trading import Intent, OrderEvent, OrderFilled


class KeptLedger(NamedTuple):
    """Orders, each with its fills, by command id; and what is held, by symbol."""

    orders: dict[str, Order]
    fills: dict[str, list[OrderFilled]]
    held: dict[str, Decimal]


def kept_ledger(path: Path) -> KeptLedger:
    """What is there at one moment; orders are made again of what brokers told."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")
        intents = [
            msgspec.json.decode(body, type=Intent)
            for (body,) in database.execute("SELECT body FROM intents")
        ]
        events = database.execute("SELECT body FROM order_events ORDER BY number").fetchall()
        held = database.execute("SELECT symbol, quantity FROM positions").fetchall()
        booked = {tuple(row) for row in database.execute("SELECT command_id, fill_id FROM fills")}
    orders = {intent.command_id: Order.of(intent) for intent in intents}
    fills: dict[str, dict[str, OrderFilled]] = {number: {} for number in orders}
    for order in orders.values():
        order.sent = True
    for (body,) in events:
        event = msgspec.json.decode(body, type=OrderEvent)
        orders[event.command_id].add(event)
        if isinstance(event, OrderFilled):
            fills[event.command_id].setdefault(event.fill_id, event)
    assert {(number, name) for number, own in fills.items() for name in own} == booked
    return KeptLedger(
        orders,
        {number: list(own.values()) for number, own in fills.items()},
        {symbol: Decimal(quantity) for symbol, quantity in held},
    )
