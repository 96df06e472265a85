"""The SQLite body: one file, one writing process, write-ahead log.

Owns the file and `<file>.lock`, which says who writes. A durable write is synced before it returns
(on macOS through the disk's own cache); others are synced with the next durable one. May fail with
DatabaseUnavailableError when the disk is full or fails. Never repairs a damaged file.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from processes.databases.base import Statement
from processes.databases.migrations import Migration, still_to_do
from processes.locks import hold
from schemas.errors import DatabaseError, DatabaseUnavailableError

BUSY_TIMEOUT_MS = 2000
"""A backup, or somebody's own transaction, may hold the file for so long."""
_TABLE = """CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied TEXT NOT NULL
) STRICT"""
_RECORD = "INSERT INTO migrations VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"


class SqliteDatabase:
    """The one writer of a file.

    Args:
        path: the file; made if it is not there. migrations: its forms, in order.

    Raises:
        DatabaseError: it is damaged, no database, another version's, or somebody else writes it.
    """

    def __init__(self, path: Path, migrations: Sequence[Migration]) -> None:
        self.where = str(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._held = hold(
                path.with_name(f"{path.name}.lock"),
                lambda owner: DatabaseError(
                    f"{path} is being written by process {owner}: dcctl status; a file has one "
                    "writer"
                ),
            )
        except OSError as error:
            raise DatabaseError(f"{path} cannot be opened: {error}") from None
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            self._held.close()
            raise DatabaseError(f"{path} cannot be opened: {error}") from None
        try:
            self._open(migrations)
        except sqlite3.Error as error:
            self.close()
            raise DatabaseError(f"{path} cannot be used: {error}") from None
        except DatabaseError:
            self.close()
            raise

    def _open(self, migrations: Sequence[Migration]) -> None:
        self._db.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        verdict = self._db.execute("PRAGMA quick_check").fetchone()[0]
        if verdict != "ok":
            raise DatabaseError(f"{self.where} is damaged: {verdict}; restore a backup")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA foreign_keys=ON")
        self._db.execute("PRAGMA fullfsync=ON")
        self._db.execute("PRAGMA synchronous=FULL")
        self._migrate(migrations)
        self._db.execute("PRAGMA synchronous=NORMAL")

    def _migrate(self, migrations: Sequence[Migration]) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        self._adopt(version, migrations)
        applied = self._db.execute("SELECT number, checksum FROM migrations").fetchall()
        for migration in still_to_do(migrations, applied, self.where):
            self._run_whole(
                [
                    *((text, ()) for text in statements_of(migration.text)),
                    (_RECORD, (migration.number, migration.name, migration.checksum)),
                    # An older program looks at this number before anything else.
                    (f"PRAGMA user_version={migration.number}", ()),
                ]
            )

    def _adopt(self, version: int, migrations: Sequence[Migration]) -> None:
        """A file from before migrations were recorded counts them by its version alone."""
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name='migrations'").fetchone():
            return
        if version > migrations[-1].number:
            still_to_do(migrations, [(version, "")], self.where)
        had = [migration for migration in migrations if migration.number <= version]
        rows = [(_RECORD, (one.number, one.name, one.checksum)) for one in had]
        self._run_whole([(_TABLE, ()), *rows])

    def _run_whole(self, statements: Sequence[Statement]) -> list[int]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            counts = [self._db.execute(*statement).rowcount for statement in statements]
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return counts

    def ensure(self, deadline_s: float) -> int:  # noqa: ARG002 (a file is always connected)
        """A file is always there."""
        return 1

    def write(
        self,
        statements: Sequence[Statement],
        deadline_s: float,  # noqa: ARG002 (a disk cannot be hurried)
        *,
        durable: bool,
    ) -> list[int]:
        """Run statements as one transaction; rows that each has changed."""
        try:
            if durable and not statements:
                # An empty commit syncs nothing; a checkpoint syncs the log before it begins.
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
                return []
            if durable:
                self._db.execute("PRAGMA synchronous=FULL")
            try:
                return self._run_whole(statements)
            finally:
                if durable:
                    self._db.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.OperationalError as error:
            raise DatabaseUnavailableError(f"{self.where} cannot be written: {error}") from None
        except sqlite3.Error as error:
            raise DatabaseError(f"{self.where} refused what was written: {error}") from None

    def read(
        self,
        statement: str,
        parameters: Sequence[Any] = (),
        deadline_s: float = 0.0,  # noqa: ARG002 (a disk cannot be hurried)
    ) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        try:
            return self._db.execute(statement, tuple(parameters)).fetchall()
        except sqlite3.OperationalError as error:
            raise DatabaseUnavailableError(f"{self.where} cannot be read: {error}") from None
        except sqlite3.Error as error:
            raise DatabaseError(f"{self.where} cannot be read: {error}") from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()
        self._held.close()


def statements_of(script: str) -> Iterator[str]:
    """The single statements of a script."""
    gathered = ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            yield gathered.strip()
            gathered = ""
    assert not gathered.strip(), f"a statement without its end: {gathered.strip()[:80]}"
