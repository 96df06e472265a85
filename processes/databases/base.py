"""What both database bodies are: statements in, all of them or none, within a bounded time.

A statement is SQL that SQLite and PostgreSQL both take, with `?` where a parameter stands. Inserts
are written to be repeated (`ON CONFLICT DO NOTHING`), since after a lost answer they are.
"""

from collections.abc import Sequence
from typing import Any, Protocol

Statement = tuple[str, tuple[Any, ...]]


class Database(Protocol):
    """One writer's hold on a database."""

    where: str
    """For people: a path, or an address without user and password."""

    def ensure(self, deadline_s: float) -> int:
        """Be connected; the number of the connection, another one after each reconnect.

        Args:
            deadline_s: by `monotonic_s`.

        Raises:
            DatabaseUnavailableError: not now. DatabaseError: another writer holds it.
        """
        ...

    def write(
        self, statements: Sequence[Statement], deadline_s: float, *, durable: bool
    ) -> list[int]:
        """Run statements as one transaction; rows that each has changed.

        Args:
            durable: return only when it, and all that was written before it, would outlive a loss
                of power at the database; also of no statements at all.

        Raises:
            DatabaseUnavailableError: whether it was done is not known. DatabaseError: it was not.
        """
        ...

    def read(
        self,
        statement: str,
        parameters: Sequence[Any] = (),
        deadline_s: float = 0.0,
    ) -> list[tuple[Any, ...]]:
        """All rows of a query.

        Args:
            deadline_s: by `monotonic_s`; 0 = as the database was opened with.

        Raises:
            DatabaseUnavailableError, DatabaseError: they cannot be read.
        """
        ...

    def close(self) -> None:
        """Give the database up."""
        ...
