"""The paper broker: a venue of our own that fills from the tape.

Orders take some latency to arrive. A market order then walks the ten levels of the book it meets, a
fill a level, and what they cannot fill is cancelled; a limit order takes what is better than its
price and rests with the remainder until the book crosses it. The tape does not know of our fills,
so what an order has taken from a level is not there for it a second time. Like a real venue it has
a memory of its own (`data/paper.sqlite`), so that orders survive a crash of the process that asked
for them, and can be asked for by command id afterwards.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from processes.execution.brokers.base import QUEUE_COMMANDS, Events, Outstanding
from processes.execution.fills import Level, fault, fee_of, fill_id, levels_of, standing, walk
from processes.execution.gate import SendGate
from schemas.settings import PaperSettings
from schemas.tape import Flag, Kind
from schemas.trading import (
    AccountConnected,
    Intent,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Reconciled,
)
from shm.readers import RingReader

IDLE_S: Final = 0.1
BUSY_S: Final = 0.005
RECENT_SLOTS: Final = 4096


class Resting(msgspec.Struct):
    """An order the broker has."""

    intent: Intent
    due_ns: int
    remaining: Decimal
    fills: int = 0
    arrived: bool = False
    taken: dict[Decimal, Decimal] = {}
    """What it took from levels that have been on the book ever since."""


class Memory:
    """What the paper venue remembers: orders and all events it has told of them."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(
            "CREATE TABLE IF NOT EXISTS orders (command_id TEXT PRIMARY KEY, body BLOB) STRICT;"
            "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, command_id TEXT,"
            " body BLOB) STRICT;"
        )

    def add_order(self, intent: Intent, *events: OrderEvent) -> bool:
        """Keep an order, and what is to be told of it at once, both or neither.

        False if its id is known, as a venue refuses a client id twice.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute(
                "INSERT INTO orders VALUES (?,?)", (intent.command_id, msgspec.json.encode(intent))
            )
            for event in events:
                self.add_event(event)
        except BaseException as error:
            self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.IntegrityError):
                return False
            raise
        self._db.execute("COMMIT")
        return True

    def add_event(self, event: OrderEvent) -> None:
        """Keep an event before it is told."""
        self._db.execute(
            "INSERT INTO events (command_id, body) VALUES (?,?)",
            (event.command_id, msgspec.json.encode(event)),
        )

    def events(self, command_id: str) -> list[OrderEvent] | None:
        """All that was told of an order; None if there never was one."""
        known = self._db.execute("SELECT 1 FROM orders WHERE command_id=?", (command_id,))
        if known.fetchone() is None:
            return None
        rows = self._db.execute(
            "SELECT body FROM events WHERE command_id=? ORDER BY number", (command_id,)
        )
        return [msgspec.json.decode(body, type=OrderEvent) for (body,) in rows]

    def open_orders(self) -> list[Resting]:
        """Orders of an earlier life that are not finished."""
        found = []
        for (body,) in self._db.execute("SELECT body FROM orders").fetchall():
            intent = msgspec.json.decode(body, type=Intent)
            events = self.events(intent.command_id) or []
            if any(isinstance(event, OrderCanceled | OrderRejected) for event in events):
                continue
            resting = Resting(intent, 0, Decimal(intent.quantity))
            for event in events:
                if isinstance(event, OrderFilled):
                    resting.remaining -= Decimal(event.quantity)
                    resting.fills += 1
                resting.arrived |= isinstance(event, OrderAccepted)
            if resting.remaining > 0:
                found.append(resting)
        return found

    def close(self) -> None:
        """Close the file."""
        self._db.close()


Command = Intent | str | None | tuple[Outstanding, ...]
"""An order, the id of one to cancel, nothing to cancel all, or orders to answer for."""


class PaperBroker:
    """The broker and its thread.

    Args:
        account: its name. readers: the tapes, newest first, to see books on. events: where events
            go.
        quotes: quote currencies for fees, by instrument; all the instruments there are.
    """

    def __init__(
        self,
        account: str,
        readers: Sequence[RingReader],
        events: Events,
        path: Path,
        quotes: dict[int, str],
        settings: PaperSettings,
        now_ns: Callable[[], int],
        gate: SendGate,
    ) -> None:
        self._account = account
        self._gate = gate
        self._readers = list(readers)
        self._events = events
        self._memory = Memory(path)
        self._quotes = quotes
        self._settings = settings
        self._now_ns = now_ns
        self._commands: queue.Queue[Command] = queue.Queue(QUEUE_COMMANDS)
        self._orders: dict[str, Resting] = {}
        self._books: dict[int, np.ndarray] = {}
        self._references: dict[int, float] = {}
        self._watching = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._live, name="paper", daemon=True)
        self.error: BaseException | None = None

    def start(self) -> None:
        """Take up the orders of an earlier life, then live."""
        self._events.put(AccountConnected(self._account, self._now_ns(), is_paper=True))
        for resting in self._memory.open_orders():
            number = resting.intent.command_id
            self._orders[number] = resting
            # What died untold comes before what is new: nothing follows an order's last fill.
            for event in self._memory.events(number) or []:
                self._events.put(event)
        self._thread.start()

    def submit(self, intent: Intent) -> bool:
        """Hand an order over."""
        return self._put(intent)

    def cancel(self, command_id: str) -> bool:
        """Ask for a cancel."""
        return self._put(command_id)

    def cancel_all(self) -> bool:
        """Ask for the cancel of every order."""
        return self._put(None)

    def reconcile(self, outstanding: Sequence[Outstanding]) -> bool:
        """Tell all that is known of these orders."""
        return self._put(tuple(outstanding))

    def _put(self, command: Command) -> bool:
        try:
            self._commands.put_nowait(command)
        except queue.Full:
            return False
        return True

    def settle(self, command_id: str, venue_order_id: str) -> bool:  # noqa: ARG002
        """Nothing: on paper no order is ever in doubt."""
        return False

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self._memory.close()

    # ---- the broker's thread

    def _live(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn()
        except BaseException as error:
            self.error = error
            raise

    def _turn(self) -> None:
        try:
            command = self._commands.get(timeout=BUSY_S if self._orders else IDLE_S)
            self._take(command)
        except queue.Empty:
            pass
        if self._orders:
            self._look_at_tapes()
            for resting in list(self._orders.values()):
                self._move(resting)
        else:
            self._rest()
        for reader in self._readers:
            reader.acknowledge()

    def _rest(self) -> None:
        """Without orders no tape is read; what was seen of it is soon not true any more."""
        self._watching = False
        self._books.clear()
        for reader in self._readers:
            reader.seek(reader.committed)

    def _take(self, command: Command) -> None:
        now_ns = self._now_ns()
        if isinstance(command, Intent):
            with self._gate.sending(command) as refused:
                if not refused:
                    self._take_order(command, now_ns)
            if refused:
                self._events.put(OrderExpired(command.command_id, now_ns, refused))
        elif isinstance(command, str):
            self._cancel(command, now_ns)
        elif command is None:
            for number in list(self._orders):
                self._cancel(number, now_ns)
        else:
            self._answer_for(command, now_ns)

    def _take_order(self, intent: Intent, now_ns: int) -> None:
        why = fault(intent, self._quotes)
        rejected = [OrderRejected(intent.command_id, now_ns, why)] if why else []
        if not self._memory.add_order(intent, *rejected):
            return  # known already: a venue with client ids does nothing twice
        if rejected:
            self._events.put(rejected[0])
            return
        due_ns = now_ns + int(self._settings.latency_ms * 1e6)
        self._orders[intent.command_id] = Resting(intent, due_ns, Decimal(intent.quantity))

    def _cancel(self, command_id: str, now_ns: int) -> None:
        if self._orders.pop(command_id, None) is not None:
            self._tell(OrderCanceled(command_id, now_ns, "cancelled on request"))

    def _answer_for(self, outstanding: Sequence[Outstanding], now_ns: int) -> None:
        for order in outstanding:
            number = order.intent.command_id
            known = self._memory.events(number)
            if known is None and order.open:
                self._events.put(OrderExpired(number, now_ns, "never reached the venue"))
            for event in known or []:
                self._events.put(event)
        self._events.put(Reconciled(self._account, now_ns))

    def _tell(self, event: OrderEvent) -> None:
        self._memory.add_event(event)
        self._events.put(event)

    def _look_at_tapes(self) -> None:
        """Take the newest book of every instrument from the tapes."""
        for reader in self._readers:
            if not self._watching:
                reader.seek(max(reader.committed - RECENT_SLOTS, reader.oldest))
            while len(slots := reader.read()):
                self._take_books(slots)
        self._watching = True

    def _take_books(self, slots: np.ndarray) -> None:
        shown = slots[
            (slots["kind"] <= Kind.BOOK_LEVEL)
            & ((slots["flags"] & Flag.FRAME_END) != 0)
            & (slots["reference_price"] > 0)
        ]
        for instrument in np.unique(shown["instrument"]):
            newest = shown[shown["instrument"] == instrument][-1]
            self._books[int(instrument)] = newest["book"].copy()
            self._references[int(instrument)] = float(newest["reference_price"])

    def _move(self, resting: Resting) -> None:
        intent = resting.intent
        now_ns = self._now_ns()
        if now_ns < resting.due_ns or intent.instrument not in self._books:
            return
        if not resting.arrived:
            resting.arrived = True
            self._tell(OrderAccepted(intent.command_id, f"paper-{intent.command_id[:12]}", now_ns))
        limit = Decimal(intent.limit_price) if intent.kind == "limit" else None
        levels = levels_of(
            self._books[intent.instrument],
            self._references[intent.instrument],
            asks=intent.side == "buy",
        )
        resting.taken = standing(resting.taken, levels)
        for fill in walk(levels, resting.taken, resting.remaining, intent.side, limit):
            self._fill(resting, fill, now_ns)
        if resting.remaining <= 0:
            del self._orders[intent.command_id]
        elif limit is None:
            del self._orders[intent.command_id]
            self._tell(OrderCanceled(intent.command_id, now_ns, "the book had no more"))

    def _fill(self, resting: Resting, fill: Level, now_ns: int) -> None:
        resting.remaining -= fill.size
        resting.fills += 1
        intent = resting.intent
        fee = fee_of(fill.price, fill.size, self._settings.fee_bps)
        self._tell(
            OrderFilled(
                intent.command_id,
                fill_id(intent, resting.fills),
                f"{fill.price:f}",
                f"{fill.size:f}",
                f"{fee:f}",
                self._quotes.get(intent.instrument, ""),
                now_ns,
            )
        )
