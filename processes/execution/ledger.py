"""The trading ledger: intents, events, fills. Append-only; everything else is a view over them.

SQLite, one writer (execution's main thread). An intent is on the disk, synced, before anything is
sent; what a broker tells is committed at once and synced with the next intent, since it can be
asked for again. Money is decimal text.
"""

import contextlib
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from processes.execution.orders import Order
from processes.execution.positions import Book
from schemas.errors import DataControllerError
from schemas.trading import (
    BrokerEvent,
    Intent,
    OrderFilled,
    OrderState,
    Reconciled,
)

MIGRATIONS: Final = (
    """
    CREATE TABLE intents (
        command_id TEXT PRIMARY KEY,
        session INTEGER NOT NULL,
        instrument INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
        quantity TEXT NOT NULL,
        strategy TEXT NOT NULL,
        decided_ns INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE order_events (
        number INTEGER PRIMARY KEY,
        command_id TEXT NOT NULL REFERENCES intents,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        time_ns INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX order_events_by_command ON order_events (command_id);
    CREATE TABLE fills (
        fill_id TEXT PRIMARY KEY,
        command_id TEXT NOT NULL REFERENCES intents,
        price TEXT NOT NULL,
        quantity TEXT NOT NULL,
        fee TEXT NOT NULL,
        fee_currency TEXT NOT NULL,
        time_ns INTEGER NOT NULL
    ) STRICT;
    CREATE VIEW orders AS
        SELECT i.*, coalesce(
            (SELECT e.state FROM order_events e WHERE e.command_id = i.command_id
             ORDER BY e.number DESC LIMIT 1), 'new') AS state
        FROM intents i;
    """,
)


class LedgerError(DataControllerError):
    """The ledger cannot be opened or written; nothing may be sent."""


class Ledger:
    """The file and its one writer.

    Raises:
        LedgerError: it is damaged, or another version's.
    """

    def __init__(self, path: Path, session: int) -> None:
        self._session = session
        self._encoder = msgspec.json.Encoder()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise LedgerError(f"{path} cannot be opened: {error}") from None
        try:
            self._open(path)
        except sqlite3.Error as error:
            self._db.close()
            raise LedgerError(f"{path} is no ledger: {error}") from None
        except LedgerError:
            self._db.close()
            raise

    def _open(self, path: Path) -> None:
        verdict = self._db.execute("PRAGMA quick_check").fetchone()[0]
        if verdict != "ok":
            raise LedgerError(f"{path} is damaged: {verdict}")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA busy_timeout=2000")
        self._db.execute("PRAGMA foreign_keys=ON")
        self._db.execute("PRAGMA fullfsync=ON")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._migrate()

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise LedgerError(f"the ledger is of version {version}, newer than this program")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script} PRAGMA user_version={number}; COMMIT;"
            )

    def record_intent(self, intent: Intent) -> bool:
        """Write an intent and sync it; False if its command id is there already."""
        row = (
            intent.command_id, self._session, intent.instrument, intent.symbol, intent.side,
            intent.quantity, intent.strategy, intent.decided_ns, self._encoder.encode(intent),
        )  # fmt: skip
        self._db.execute("PRAGMA synchronous=FULL")
        try:
            self._db.execute("INSERT INTO intents VALUES (?,?,?,?,?,?,?,?,?)", row)
        except sqlite3.IntegrityError:
            return False
        finally:
            self._db.execute("PRAGMA synchronous=NORMAL")
        return True

    def record_event(self, event: BrokerEvent, state: OrderState) -> None:
        """Write what a broker told, and the fill if it is one."""
        if isinstance(event, Reconciled):
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute(
                "INSERT INTO order_events (command_id, kind, state, time_ns, body) "
                "VALUES (?,?,?,?,?)",
                (
                    event.command_id,
                    str(event.__struct_config__.tag),
                    state.name.lower(),
                    event.time_ns,
                    self._encoder.encode(event),
                ),
            )
            if isinstance(event, OrderFilled):
                self._db.execute(
                    "INSERT OR IGNORE INTO fills VALUES (?,?,?,?,?,?,?)",
                    (
                        event.fill_id, event.command_id, event.price, event.quantity, event.fee,
                        event.fee_currency, event.time_ns,
                    ),
                )  # fmt: skip
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def restore(self, since_ns: int) -> tuple[list[Order], Book]:
        """Orders that are open or younger than `since_ns`, and all positions."""
        orders: dict[str, Order] = {}
        book = Book()
        events = self._db.execute("SELECT body FROM order_events ORDER BY number")
        bodies = self._db.execute("SELECT body FROM intents ORDER BY decided_ns")
        for (body,) in bodies:
            order = Order.of(msgspec.json.decode(body, type=Intent))
            orders[order.intent.command_id] = order
        for (body,) in events:
            event = msgspec.json.decode(body, type=BrokerEvent)
            assert not isinstance(event, Reconciled)
            order = orders[event.command_id]
            known = len(order.fill_ids)
            order.add(event)
            if isinstance(event, OrderFilled) and len(order.fill_ids) > known:
                book.fill(order.intent.instrument, order.intent.side, event)
        kept = [o for o in orders.values() if o.open or o.intent.decided_ns >= since_ns]
        return kept, book

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def positions_of(path: Path) -> dict[str, tuple[Decimal, Decimal]]:
    """(quantity, realized) by symbol, read from a ledger that another process may be writing.

    Raises:
        LedgerError: it cannot be read.
    """
    try:
        rows = _fills_of(path)
    except sqlite3.Error as error:
        raise LedgerError(f"{path} cannot be read: {error}") from None
    book, symbols = Book(), {}
    for symbol, side, price, quantity, fee, currency, time_ns, fill_id, command, number in rows:
        fill = OrderFilled(command, fill_id, price, quantity, fee, currency, time_ns)
        book.fill(number, side, fill)
        symbols[number] = symbol
    return {
        symbols[number]: (position.quantity, position.realized)
        for number, position in book.positions.items()
    }


def _fills_of(path: Path) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            return []  # execution is just making it
        return db.execute(
            "SELECT i.symbol, i.side, f.price, f.quantity, f.fee, f.fee_currency, f.time_ns, "
            "f.fill_id, f.command_id, i.instrument FROM fills f JOIN intents i USING (command_id) "
            "ORDER BY f.time_ns, f.rowid"
        ).fetchall()
