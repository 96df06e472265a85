"""The PostgreSQL body: one synchronous session, every wait bounded, one writer by an advisory lock.

A room (the ledger, the history) is a schema of its own in the address's database, and its lock is
held by the very session that writes: who is not connected does not hold it. After a lost answer the
next session takes the lock only when the old one has ended at the server, so what it then reads is
final. May fail with DatabaseUnavailableError at any call; between failed attempts to connect it
waits 0.25, 0.5 ... 8 s, in which calls fail at once. Never blocks longer than its caller allows,
but for the system's look-up of a host's name.
"""

import os
import secrets
import socket
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

import psycopg
from psycopg import sql, waiting
from psycopg.abc import PQGen

from processes.clock import monotonic_s, nap
from processes.databases.base import Statement
from processes.databases.migrations import Migration, still_to_do
from schemas.databases import shown
from schemas.errors import DatabaseError, DatabaseUnavailableError

LOCK_CLASS: Final = 0x4443
BACKOFF_FIRST_S: Final = 0.25
BACKOFF_LONGEST_S: Final = 8.0
LOCK_GRACE_S: Final = 0.5
OPEN_S: Final = 10.0
"""For the first connection, with its migrations and the wait for an earlier life's end."""
_POLL_S: Final = 0.02
_OPTIONS: Final = " ".join(
    f"-c {name}={value}"
    for name, value in {
        # A writer that vanished with its machine gives the lock back within a minute.
        "tcp_keepalives_idle": 20,
        "tcp_keepalives_interval": 10,
        "tcp_keepalives_count": 3,
        "idle_in_transaction_session_timeout": "60s",
        "synchronous_commit": "on",
        "timezone": "UTC",
    }.items()
)
_TABLE: Final = """CREATE TABLE IF NOT EXISTS migrations (
    number BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL,
    applied TIMESTAMPTZ NOT NULL DEFAULT now())"""
_UNSYNCED: Final = "SET LOCAL synchronous_commit TO off"
_SYNCED: Final = "SELECT pg_logical_emit_message(true, 'dc', '')"
"""A commit that changed nothing is not synced, nor are those before it; with this one it is."""
_HOLDER: Final = """SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'its machine')
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


class _Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose every wait ends at its deadline."""

    deadline_s = 0.0

    @classmethod
    def begin(cls, address: str, name: str, deadline_s: float) -> Self:
        """Connect by the deadline; psycopg's own way gives it 2 s and more."""
        told = psycopg.conninfo.make_conninfo(
            address, application_name=name, options=_OPTIONS, connect_timeout=60
        )
        left_s = max(deadline_s - monotonic_s(), 0.001)
        made = waiting.wait_conn(cls._connect_gen(told), interval=0.1, timeout=left_s)
        made.deadline_s = deadline_s
        made.set_autocommit(True)
        return made

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Consume one of psycopg's generators, no longer than the deadline."""
        left_s = max(self.deadline_s - monotonic_s(), 0.001)
        return super().wait(gen, interval, left_s if timeout is None else min(timeout, left_s))


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


class PostgresDatabase:
    """The one writer of a room.

    Args:
        address: with its secrets in place. room: name of the schema. timeout_s: for reads.

    Raises:
        DatabaseUnavailableError: it cannot be reached. DatabaseError: somebody else writes it, or
            it is another version's.
    """

    def __init__(
        self, address: str, room: str, migrations: Sequence[Migration], timeout_s: float
    ) -> None:
        self.where = f"{shown(address)}, schema {room}"
        self._address = address
        self._room = room
        self._timeout_s = timeout_s
        self._token = f"dc {room} {socket.gethostname()[:24]} {os.getpid()} {secrets.token_hex(3)}"
        self._lock = (LOCK_CLASS, zlib.crc32(room.encode()) >> 1)
        self._session: _Session | None = None
        self._sessions = 0
        self._next_try_s = 0.0
        self._pause_s = BACKOFF_FIRST_S
        self._last_error = ""
        deadline_s = monotonic_s() + max(OPEN_S, timeout_s)
        try:
            with self._bounded(deadline_s, self._connect(deadline_s)) as session:
                self._migrate(session, migrations)
        except DatabaseError:
            self.close()
            raise

    # ---- the session

    def ensure(self, deadline_s: float) -> int:
        """Be connected; the number of the session."""
        if self._session is None:
            if monotonic_s() < self._next_try_s:
                raise DatabaseUnavailableError(f"{self.where} is away: {self._last_error}")
            self._connect(deadline_s)
        return self._sessions

    def _connect(self, deadline_s: float) -> _Session:
        try:
            session = _Session.begin(self._address, self._token, deadline_s)
        except psycopg.Error as error:
            self._lost(error)
            raise DatabaseUnavailableError(
                f"{self.where} cannot be reached: {_brief(error)}"
            ) from None
        try:
            with self._bounded(deadline_s, session):
                self._take_lock(session, deadline_s)
                self._enter_room(session)
        except DatabaseError:
            session.close()
            raise
        self._session = session
        self._sessions += 1
        self._pause_s = BACKOFF_FIRST_S
        return session

    def _lost(self, error: BaseException) -> None:
        """Give the session up, and let the next attempt wait a little."""
        if self._session is None:
            self._next_try_s = monotonic_s() + self._pause_s
            self._pause_s = min(2 * self._pause_s, BACKOFF_LONGEST_S)
        self._last_error = _brief(error)
        self.close()

    @contextmanager
    def _bounded(self, deadline_s: float, session: _Session) -> Iterator[_Session]:
        """What goes wrong here ends the session: of what was under way nothing is known."""
        session.deadline_s = deadline_s
        try:
            yield session
        except (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError) as error:
            raise DatabaseError(f"{self.where} refused: {_brief(error)}") from None
        except psycopg.Error as error:
            session.close()
            self._lost(error)
            raise DatabaseUnavailableError(f"{self.where} has failed: {_brief(error)}") from None

    def _take_lock(self, session: _Session, deadline_s: float) -> None:
        """Be the one writer; what is left of an earlier life of ours is ended first.

        A session that was just closed is still at its end for a moment, so nobody is refused at
        the first look.
        """
        refused_s = min(monotonic_s() + LOCK_GRACE_S, deadline_s - _POLL_S)
        while True:
            taken = session.execute("SELECT pg_try_advisory_lock(%s, %s)", self._lock).fetchone()
            if taken == (True,):
                return
            holder = session.execute(_HOLDER, self._lock).fetchone()
            if holder is not None:
                number, name, machine = holder
                if self._is_dead(name):
                    session.execute("SELECT pg_terminate_backend(%s)", (number,))
                elif monotonic_s() > refused_s:
                    raise DatabaseError(
                        f"{self.where} is being written by {name!r} from {machine}: a room has one "
                        f"writer. If that one is gone: SELECT pg_terminate_backend({number})"
                    )
            if monotonic_s() > deadline_s:
                raise DatabaseUnavailableError(f"{self.where}: an earlier session has not ended")
            nap(_POLL_S)

    def _is_dead(self, name: str) -> bool:
        """Whether a holder is a session that we gave up, or of a process that is no more."""
        if name == self._token:
            return True
        parts, mine = name.split(" "), self._token.split(" ")
        if len(parts) != len(mine) or parts[:3] != mine[:3] or not parts[3].isdigit():
            return False
        if int(parts[3]) == os.getpid():
            return False
        try:
            os.kill(int(parts[3]), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def _enter_room(self, session: _Session) -> None:
        room = sql.Identifier(self._room)
        there = session.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self._room,))
        if there.fetchone() is None:
            session.execute(sql.SQL("CREATE SCHEMA {}").format(room))
        session.execute(sql.SQL("SET search_path TO {}, public").format(room))

    def _migrate(self, session: _Session, migrations: Sequence[Migration]) -> None:
        session.execute(_TABLE)
        applied = session.execute("SELECT number, checksum FROM migrations").fetchall()
        for migration in still_to_do(migrations, applied, self.where):
            with session.transaction():
                session.execute(migration.text.encode())
                session.execute(
                    "INSERT INTO migrations (number, name, checksum) VALUES (%s, %s, %s)",
                    (migration.number, migration.name, migration.checksum),
                )

    # ---- statements

    def write(
        self, statements: Sequence[Statement], deadline_s: float, *, durable: bool
    ) -> list[int]:
        """Run statements as one transaction; rows that each has changed."""
        if self._session is None:
            raise DatabaseUnavailableError(f"{self.where} is away: {self._last_error}")
        with self._bounded(deadline_s, self._session) as session:
            if durable and len(statements) == 1:
                text, parameters = statements[0]
                count = session.execute(_placed(text), parameters).rowcount
                if count:
                    return [count]
            cursors = []
            with session.pipeline(), session.transaction():
                session.execute(_SYNCED if durable else _UNSYNCED)
                for text, parameters in statements:
                    cursors.append(session.execute(_placed(text), parameters))
            return [cursor.rowcount for cursor in cursors]

    def read(
        self,
        statement: str,
        parameters: Sequence[Any] = (),
        deadline_s: float = 0.0,
    ) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        deadline_s = deadline_s or monotonic_s() + self._timeout_s
        self.ensure(deadline_s)
        assert self._session is not None
        with self._bounded(deadline_s, self._session) as session:
            return session.execute(_placed(statement), tuple(parameters)).fetchall()

    def close(self) -> None:
        """End the session, and with it the lock."""
        if self._session is not None:
            session, self._session = self._session, None
            with suppress(psycopg.Error):
                session.close()


def _placed(statement: str) -> bytes:
    """With PostgreSQL's marks where parameters stand."""
    return statement.replace("?", "%s").encode()
