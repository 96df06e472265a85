"""The trading ledger: intents, events, fills, positions. Append-only; states are views over it.

One writer, execution's main thread. An intent is durable before anything is sent, or
LedgerUnavailableError says that it may not be. What a broker tells is committed without waiting for
the disk, and kept here until a durable commit has carried it: a database that was away, or that
crashed and forgot, gets it again, in order. Every insert can be repeated without a trace: a command
id, an event's number and a fill's id are there once. Money is decimal text. Never sends anything,
and never lets go of an event because the database is away.
"""

import secrets
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Final

import msgspec

from processes.clock import day_of, monotonic_s
from processes.databases.base import Database, Statement
from processes.databases.places import open_database
from processes.execution.assets import UNKNOWN, Assets
from processes.execution.losses import Losses
from processes.execution.orders import Order
from processes.execution.positions import EXACT, ZERO, Book, Position
from processes.files import write_whole
from schemas.errors import DatabaseError, DatabaseUnavailableError, DataControllerError
from schemas.settings import LedgerSettings
from schemas.trading import Intent, OrderEvent, OrderFilled, OrderSide, OrderState

MIGRATIONS: Final = Path(__file__).parent / "migrations"
ROOM: Final = "ledger"
FILE: Final = "ledger.sqlite"
ID_FILE: Final = "ledger-id"
KEPT_MAX: Final = 20_000
"""So many rows may wait for a database that is away. Then execution ends rather than forget."""
DURABLE_EVERY: Final = 256
"""Rows that only memory could repeat; the next one is synced."""
CHUNK: Final = 256
"""Rows a transaction when many wait, so that each ends in time."""
REMEMBERED: Final = 4096
"""Orders whose side and fills are known without asking."""
_OPEN: Final = "('filled', 'canceled', 'rejected', 'expired')"
_INTENT: Final = "INSERT INTO intents VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
_EVENT: Final = (
    "INSERT INTO order_events (number, command_id, kind, state, time_ns, body) "
    "VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING"
)
_FILL: Final = (
    "INSERT INTO fills (fill_id, command_id, price, quantity, fee, fee_currency, time_ns) "
    "VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
)
_CHANGE: Final = (
    "INSERT INTO position_changes (number, instrument, symbol, day, quantity, average_price, "
    "gained, realized, realized_day, fees, opened_ns, time_ns, cost, other_fees) "
    "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
)
_RISK: Final = (
    "INSERT INTO risk_state (id, time_ns, body) VALUES (1,?,?) "
    "ON CONFLICT (id) DO UPDATE SET time_ns = excluded.time_ns, body = excluded.body"
)


class LedgerError(DataControllerError):
    """The ledger cannot be opened or written; nothing may be sent."""


class LedgerUnavailableError(LedgerError):
    """The ledger's database does not answer now: this order may not be sent, a later one may."""


class Known(msgspec.Struct):
    """What the ledger must know of an order to book its fills."""

    instrument: int
    symbol: str
    side: OrderSide
    fill_ids: set[str]

    @classmethod
    def of(cls, intent: Intent) -> "Known":
        """Of a new order."""
        return cls(intent.instrument, intent.symbol, intent.side, set())


@contextmanager
def _told() -> Iterator[None]:
    """The database's errors as the ledger's."""
    try:
        yield
    except DatabaseUnavailableError as error:
        raise LedgerUnavailableError(str(error)) from None
    except DatabaseError as error:
        raise LedgerError(str(error)) from None


class Ledger:
    """The ledger's logic over either body.

    Args:
        database: with the ledger's form. timeout_s: bounds every call that writes.
        folder: stands for the data folder whose instruments the rows speak of; empty where the
            database lies in that folder itself.
        assets: base and quote by instrument, to know what a fee is taken of.

    Raises:
        LedgerError: it cannot be read.
    """

    def __init__(
        self,
        database: Database,
        session: int,
        timeout_s: float,
        folder: str = "",
        assets: Mapping[int, Assets] | None = None,
    ) -> None:
        self._database = database
        self._session = session
        self._timeout_s = timeout_s
        self._assets = assets or {}
        self._encoder = msgspec.json.Encoder()
        self.durable_every = DURABLE_EVERY
        """So many events may wait for the next synced commit."""
        self._kept: deque[list[Statement]] = deque()
        """Rows not known to be durable, oldest first."""
        self._written = 0
        """How many of them this connection has committed."""
        self._connection = 0
        self._doubtful: set[str] = set()
        """Command ids whose commit was not answered."""
        self._orders: dict[str, Known] = {}
        self._risk_body = ""
        """What risk remembers, as it was written last."""
        with _told():
            self._connection = database.ensure(monotonic_s() + timeout_s)
            self._number = self._last("order_events")
            self._become_writer(folder)
            self._book_unbooked()
            self._load_positions()

    def _last(self, table: str, deadline_s: float = 0.0) -> int:
        query = f"SELECT coalesce(max(number), 0) FROM {table}"  # noqa: S608 (our own words)
        return int(self._database.read(query, (), deadline_s)[0][0])

    # ---- start

    def _become_writer(self, folder: str) -> None:
        before = self._database.read("SELECT folder FROM writers ORDER BY number DESC LIMIT 1")
        if before and before[0][0] != folder:
            raise DatabaseError(
                f"{self._database.where} was written from another data folder, where instruments "
                f"have other numbers: name another database, or bring data/state back ({ID_FILE})"
            )
        self._writer = self._last("writers") + 1
        row = (self._writer, self._session, folder)
        self._write([("INSERT INTO writers VALUES (?,?,?)", row)], durable=True)

    def _write(self, statements: Sequence[Statement], *, durable: bool) -> list[int]:
        deadline_s = monotonic_s() + self._timeout_s
        return self._database.write(statements, deadline_s, durable=durable)

    def _book_unbooked(self) -> None:
        """Position rows of a ledger from before there were any, all or none."""
        rows = self._database.read(
            "SELECT e.number, e.body, i.instrument, i.symbol, i.side FROM order_events e "
            "JOIN intents i ON i.command_id = e.command_id WHERE e.kind = 'filled' "
            "AND NOT EXISTS (SELECT 1 FROM position_changes) ORDER BY e.number"
        )
        self._positions: dict[int, tuple[str, Decimal, Position]] = {}
        seen: set[tuple[str, str]] = set()
        statements = []
        for number, body, instrument, symbol, side in rows:
            event = msgspec.json.decode(body, type=OrderEvent)
            assert isinstance(event, OrderFilled)
            if (event.command_id, event.fill_id) not in seen:
                seen.add((event.command_id, event.fill_id))
                known = Known(instrument, symbol, side, set())
                statements.append(self._change(number, known, event))
        if statements:
            self._write(statements, durable=True)

    def _load_positions(self) -> None:
        rows = self._database.read(
            "SELECT instrument, day, realized_day, quantity, average_price, realized, fees, "
            "opened_ns, cost, other_fees FROM positions"
        )
        self._positions = {
            int(instrument): (
                day,
                Decimal(realized_day),
                Position(
                    quantity=Decimal(quantity),
                    average_price=Decimal(average),
                    realized=Decimal(realized),
                    fees=Decimal(fees),
                    opened_ns=int(opened_ns),
                    cost=Decimal(cost),
                    other_fees=msgspec.json.decode(others, type=dict[str, Decimal]),
                ),
            )
            for (
                instrument, day, realized_day, quantity, average, realized, fees, opened_ns, cost,
                others,
            ) in rows
        }  # fmt: skip

    def restore(self, since_ns: int) -> tuple[list[Order], Book]:
        """Orders that are open or younger than `since_ns`, and all positions.

        Raises:
            LedgerError: they cannot be read.
        """
        chosen = f"(o.state NOT IN {_OPEN} OR o.decided_ns >= ?)"
        with _told():
            intents = self._database.read(
                f"SELECT o.body FROM orders o WHERE {chosen} ORDER BY o.decided_ns, o.command_id",  # noqa: S608
                (since_ns,),
            )
            events = self._database.read(
                "SELECT e.body FROM order_events e JOIN orders o ON o.command_id = e.command_id "  # noqa: S608
                f"WHERE {chosen} ORDER BY e.number",
                (since_ns,),
            )
            book = self._restored_book()
        orders: dict[str, Order] = {}
        for (body,) in intents:
            order = Order.of(msgspec.json.decode(body, type=Intent))
            orders[order.intent.command_id] = order
        for (body,) in events:
            event = msgspec.json.decode(body, type=OrderEvent)
            orders[event.command_id].add(event)
        for number, order in orders.items():
            known = Known.of(order.intent)
            known.fill_ids |= order.fill_ids
            self._remember(number, known)
        return list(orders.values()), book

    def _restored_book(self) -> Book:
        book = Book(self._assets)
        for instrument, (_, _, position) in self._positions.items():
            book.positions[instrument] = msgspec.structs.replace(position)
        days = self._database.read("SELECT max(day) FROM position_changes")
        if days[0][0] is not None:
            book.day = days[0][0]
            gained = self._database.read(
                "SELECT instrument, gained FROM position_changes WHERE day = ?", (book.day,)
            )
            for instrument, text in gained:
                before = book.realized_by.get(instrument, ZERO)
                book.realized_by[instrument] = EXACT.add(before, Decimal(text))
            with localcontext(EXACT):
                book.realized_today = sum(book.realized_by.values(), ZERO)
        told = self._database.read("SELECT body FROM risk_state")
        if told:
            book.losses = msgspec.json.decode(told[0][0], type=Losses)
            self._risk_body = str(told[0][0])
        return book

    # ---- writing

    def record_intent(self, intent: Intent) -> bool:
        """Write an intent and sync it; False if its command id was there before.

        Raises:
            LedgerUnavailableError: it is not known to be durable: it must not be sent. It is kept
                and will be written, so tell what becomes of it (`OrderExpired`) as an event.
            LedgerError: the ledger can no longer be written by this process.
        """
        row = (
            intent.command_id, self._session, intent.instrument, intent.symbol, intent.side,
            intent.quantity, intent.strategy, intent.decided_ns, self._encoder.encode(intent),
        )  # fmt: skip
        self._keep([(_INTENT, row)])
        deadline_s = monotonic_s() + self._timeout_s
        try:
            with _told():
                new = self._settle(deadline_s)
        except LedgerUnavailableError:
            self._doubtful.add(intent.command_id)
            self._remember(intent.command_id, Known.of(intent))
            raise
        asked = not new and intent.command_id in self._doubtful
        self._doubtful.discard(intent.command_id)
        if new:
            self._remember(intent.command_id, Known.of(intent))
        return new or asked

    def _settle(self, deadline_s: float) -> bool:
        """Make all that is kept durable; whether the newest row is a new one.

        A connection that broke since it was used last is found out only by using it, so there is
        one more try. What that one finds there of a row of ours, the lost answer spoke of.
        """
        newest = self._kept[-1][0]
        try:
            return self._flush(deadline_s, durable=True) == 1
        except DatabaseUnavailableError:
            if self._flush(deadline_s, durable=True) == 1:
                return True
        _, row = newest
        query = "SELECT body FROM intents WHERE command_id = ?"
        found = self._database.read(query, (row[0],), deadline_s)
        return bool(found) and bytes(found[0][0]) == row[-1]

    def record_event(
        self, event: OrderEvent, state: OrderState, losses: Losses | None = None
    ) -> None:
        """Write what a broker told, and the fill if it is one. Kept if the database is away.

        With it, all or none, goes what risk remembers after it.

        Raises:
            LedgerUnavailableError: too much waits, or the event's order must be asked for.
            LedgerError: the order is not in the ledger, or the ledger is no longer ours.
        """
        with _told():
            known = self._known(event.command_id)
        self._number += 1
        kind = str(event.__struct_config__.tag)
        body = self._encoder.encode(event)
        row = (self._number, event.command_id, kind, state.name.lower(), event.time_ns, body)
        statements: list[Statement] = [(_EVENT, row)]
        if isinstance(event, OrderFilled) and event.fill_id not in known.fill_ids:
            fill = (
                event.fill_id, event.command_id, event.price, event.quantity, event.fee,
                event.fee_currency, event.time_ns,
            )  # fmt: skip
            statements += [(_FILL, fill), self._change(self._number, known, event)]
            known.fill_ids.add(event.fill_id)
        if losses is not None:
            statements += self._changed(losses, event.time_ns)
        self._keep(statements)
        self._doubtful.discard(event.command_id)
        self._pass_on(durable=len(self._kept) > self.durable_every)

    def record_losses(self, losses: Losses, time_ns: int) -> None:
        """Write what risk remembers, if that has changed; skipped while the database is away.

        Raises:
            LedgerError: the ledger is no longer ours.
        """
        if self.waiting:
            return
        changed = self._changed(losses, time_ns)
        if changed:
            self._keep(changed)
            self._pass_on(durable=False)

    def _changed(self, losses: Losses, time_ns: int) -> list[Statement]:
        body = self._encoder.encode(losses).decode()
        if body == self._risk_body:
            return []
        self._risk_body = body
        return [(_RISK, (time_ns, body))]

    def tend(self) -> bool:
        """Make durable what is not, if that can be done now; True when nothing waits.

        Cheap when there is nothing to do: to be called every second or so.

        Raises:
            LedgerError: the ledger can no longer be written by this process.
        """
        return self._pass_on(durable=True)

    def _pass_on(self, *, durable: bool) -> bool:
        try:
            with _told():
                self._flush(monotonic_s() + self._timeout_s, durable=durable)
        except LedgerUnavailableError:
            return False
        return True

    @property
    def waiting(self) -> int:
        """Rows that a database which is away has not taken."""
        return len(self._kept) - self._written

    def _keep(self, statements: list[Statement]) -> None:
        if len(self._kept) >= KEPT_MAX:
            raise LedgerUnavailableError(
                f"{self._database.where}: {KEPT_MAX} rows wait for the ledger already"
            )
        self._kept.append(statements)

    def _flush(self, deadline_s: float, *, durable: bool) -> int:
        """Write what this connection has not yet; rows changed by the very last statement."""
        if not self._kept:
            return 0
        connection = self._database.ensure(deadline_s)
        if connection != self._connection:
            self._check_writer(deadline_s)
            # What was committed unsynced may have gone with the server: all of it once more.
            self._connection, self._written = connection, 0
        counts = [0]
        while self._kept and (durable or self._written < len(self._kept)):
            size = min(CHUNK, len(self._kept) - self._written)
            chunk = [self._kept[self._written + place] for place in range(size)]
            counts = self._database.write(
                [one for row in chunk for one in row], deadline_s, durable=durable
            )
            self._written += size
            if durable:
                for _ in range(self._written):
                    self._kept.popleft()
                self._written = 0
        return counts[-1] if counts else 0

    def _check_writer(self, deadline_s: float) -> None:
        """Between two connections another process may have been the writer."""
        newest = self._last("writers", deadline_s)
        if newest != self._writer:
            raise DatabaseError(
                f"{self._database.where} was written by another process in the meantime: "
                "dcctl restart execution"
            )

    def _known(self, command_id: str) -> Known:
        known = self._orders.get(command_id)
        if known is None:
            known = self._ask(command_id)
            self._remember(command_id, known)
        return known

    def _remember(self, command_id: str, known: Known) -> None:
        while len(self._orders) >= REMEMBERED:
            self._orders.pop(next(iter(self._orders)))
        self._orders.setdefault(command_id, known)

    def knows(self, command_id: str) -> bool:
        """Whether an intent of this id is in it.

        Raises:
            LedgerUnavailableError: the database cannot be asked.
        """
        if command_id in self._orders:
            return True
        with _told():
            rows = self._database.read("SELECT 1 FROM intents WHERE command_id = ?", (command_id,))
        return bool(rows)

    def _ask(self, command_id: str) -> Known:
        rows = self._database.read(
            "SELECT instrument, symbol, side FROM intents WHERE command_id = ?", (command_id,)
        )
        if not rows:
            raise DatabaseError(f"{self._database.where} has no order {command_id}")
        fills = self._database.read("SELECT fill_id FROM fills WHERE command_id = ?", (command_id,))
        instrument, symbol, side = rows[0]
        return Known(int(instrument), symbol, side, {fill_id for (fill_id,) in fills})

    def _change(self, number: int, known: Known, fill: OrderFilled) -> Statement:
        """The row that says what a fill makes of its instrument's position."""
        day, realized_day, position = self._positions.get(known.instrument, ("", ZERO, Position()))
        position = msgspec.structs.replace(position)
        gained = position.add(known.side, fill, self._assets.get(known.instrument, UNKNOWN))
        today = day_of(fill.time_ns)
        realized_day = EXACT.add(realized_day, gained) if today == day else gained
        self._positions[known.instrument] = (today, realized_day, position)
        return (
            _CHANGE,
            (
                number, known.instrument, known.symbol, today, f"{position.quantity:f}",
                f"{position.average_price:f}", f"{gained:f}", f"{position.realized:f}",
                f"{realized_day:f}", f"{position.fees:f}", position.opened_ns, fill.time_ns,
                f"{position.cost:f}", self._encoder.encode(position.other_fees).decode(),
            ),
        )  # fmt: skip

    def close(self) -> None:
        """Write what waits, if that can be done, and give the database up."""
        try:
            # Once more, since only its use shows that a connection has broken.
            if not self.tend():
                self.tend()  # or the broker is asked again by the next life
        finally:
            self._database.close()


def open_ledger(
    settings: LedgerSettings,
    data: Path,
    session: int,
    assets: Mapping[int, Assets] | None = None,
) -> Ledger:
    """Become the ledger's writer.

    Raises:
        ConfigError: a secret is not set. LedgerError: it cannot be used.
    """
    with _told():
        database = open_database(
            "ledger.url", settings.url, data / FILE, ROOM, MIGRATIONS, settings.timeout_s
        )
    try:
        folder = _folder_id(data) if settings.url else ""
        return Ledger(database, session, settings.timeout_s, folder, assets)
    except BaseException:
        database.close()
        raise


def _folder_id(data: Path) -> str:
    """What stands for this data folder, made when it is asked for first."""
    path = data / "state" / ID_FILE
    if not path.exists():
        write_whole(path, secrets.token_hex(8).encode())
    return path.read_text(encoding="ascii")
