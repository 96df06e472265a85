"""The ledger as others read it: beside its writer, from either body, a query at a time.

Never writes. Money stays decimal text, as it stands there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from processes.databases.places import look
from processes.execution.ledger import FILE, ROOM, LedgerError
from schemas.errors import DatabaseError
from schemas.settings import LedgerSettings
from schemas.trading import Intent, OrderEvent

TIMEOUT_S: Final = 2.0
_HEX: Final = frozenset("0123456789abcdef")
_OPEN: Final = "state NOT IN ('filled', 'canceled', 'rejected', 'expired')"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An order: what was wanted, by whom, and how it stands."""

    intent: Intent
    session: int
    state: str


class FillRow(msgspec.Struct, frozen=True, kw_only=True):
    """A fill."""

    command_id: str
    fill_id: str
    account: str
    symbol: str
    side: str
    price: str
    quantity: str
    fee: str
    fee_currency: str
    time_ns: int


class PositionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A position after its last fill."""

    instrument: int
    symbol: str
    quantity: str
    average_price: str
    realized: str
    realized_day: str
    """Of `day`, which is that of its last fill."""
    day: str
    fees: str
    opened_ns: int
    time_ns: int


class DayRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a day realized with an instrument."""

    day: str
    instrument: int
    symbol: str
    realized_day: str
    realized: str
    fees: str


class LedgerView:
    """Reads one ledger.

    Raises:
        LedgerError: from every call, if it cannot be read. ConfigError: a secret is not set.
    """

    def __init__(self, settings: LedgerSettings, data: Path) -> None:
        self._settings = settings
        self._data = data

    def _look(self, statement: str) -> list[tuple[Any, ...]]:
        if not self._settings.url and not (self._data / FILE).exists():
            return []  # nothing has been traded yet
        with _told():
            return look(
                "ledger.url", self._settings.url, self._data / FILE, ROOM, statement, TIMEOUT_S
            )

    def orders(self, *, open_only: bool = False, limit: int = 50) -> list[Entry]:
        """The newest orders, newest first."""
        chosen = f"WHERE {_OPEN}" if open_only else ""
        return self._entries(f"{chosen} ORDER BY decided_ns DESC, command_id LIMIT {limit:d}")

    def order(self, beginning: str) -> list[Entry]:
        """Orders whose command id begins so; two at the most."""
        if not set(beginning) <= _HEX:
            return []
        return self._entries(f"WHERE command_id LIKE '{beginning}%' ORDER BY command_id LIMIT 2")

    def _entries(self, clause: str) -> list[Entry]:
        rows = self._look(f"SELECT body, session, state FROM orders {clause}")  # noqa: S608
        return [
            Entry(intent=msgspec.json.decode(body, type=Intent), session=int(session), state=state)
            for body, session, state in rows
        ]

    def events(self, command_id: str) -> list[OrderEvent]:
        """All that a broker told of an order, in the order in which it was told."""
        assert set(command_id) <= _HEX
        rows = self._look(
            f"SELECT body FROM order_events WHERE command_id = '{command_id}' ORDER BY number"  # noqa: S608
        )
        return [msgspec.json.decode(body, type=OrderEvent) for (body,) in rows]

    def fills(self, *, limit: int = 50, command_id: str = "") -> list[FillRow]:
        """The newest fills, newest first; or those of one order."""
        assert set(command_id) <= _HEX
        chosen = f"WHERE f.command_id = '{command_id}'" if command_id else ""
        rows = self._look(
            "SELECT f.command_id, f.fill_id, i.body, f.price, f.quantity, f.fee, f.fee_currency, "  # noqa: S608
            "f.time_ns FROM fills f JOIN intents i ON i.command_id = f.command_id "
            f"{chosen} ORDER BY f.time_ns DESC, f.fill_id DESC LIMIT {limit:d}"
        )
        found = []
        for number, fill_id, body, price, quantity, fee, currency, time_ns in rows:
            intent = msgspec.json.decode(body, type=Intent)
            found.append(
                FillRow(
                    command_id=number, fill_id=fill_id, account=intent.account,
                    symbol=intent.symbol, side=intent.side, price=price, quantity=quantity,
                    fee=fee, fee_currency=currency, time_ns=int(time_ns),
                )
            )  # fmt: skip
        return found

    def positions(self) -> list[PositionRow]:
        """Every position there ever was, closed ones too."""
        rows = self._look(
            "SELECT instrument, symbol, quantity, average_price, realized, realized_day, day, "
            "fees, opened_ns, time_ns FROM positions ORDER BY symbol"
        )
        names = PositionRow.__struct_fields__
        return [msgspec.convert(dict(zip(names, row, strict=True)), PositionRow) for row in rows]

    def days(self, *, limit: int = 30) -> list[DayRow]:
        """What each day realized, newest first; so many days at the most."""
        rows = self._look(
            "SELECT day, instrument, symbol, realized_day, realized, fees FROM realized_profit "  # noqa: S608
            "WHERE day IN (SELECT DISTINCT day FROM position_changes ORDER BY day DESC "
            f"LIMIT {limit:d}) ORDER BY day DESC, symbol"
        )
        names = DayRow.__struct_fields__
        return [msgspec.convert(dict(zip(names, row, strict=True)), DayRow) for row in rows]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise LedgerError(str(error)) from None


def total(texts: list[str]) -> Decimal:
    """The exact sum of amounts."""
    return sum((Decimal(text) for text in texts), Decimal(0))
