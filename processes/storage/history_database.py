"""The history's database for who writes it: opened when needed, and what is known of it.

One writes at a time: storage while an instance runs, `dcctl history rebuild` beside it in turns.
Who rebuilds holds `data/state/history-turn` first; storage sees that, and lets go of the database
until it is free again. Whatever fails, nothing that was read before is believed any more.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from processes.clock import monotonic_s
from processes.databases.base import Database, Statement
from processes.databases.places import described, open_database
from processes.locks import is_held
from processes.storage.history_sources import Place
from processes.storage.history_trades import TradeHistory
from processes.storage.timescale import make_hypertables
from schemas.errors import DatabaseError
from schemas.settings import Settings

MIGRATIONS: Final = Path(__file__).parent / "migrations"
ROOM: Final = "history"
FILE: Final = "history.sqlite"
Statements = list[Statement]


def turn_path(data: Path) -> Path:
    """The file that who rebuilds holds."""
    return data / "state" / "history-turn"


class HistoryDatabase:
    """The one writer's hold on it.

    Args:
        data: the instance's folder, where the SQLite file is.
    """

    def __init__(self, settings: Settings, data: Path) -> None:
        self.places: dict[str, Place] = {}
        """How far each source is read."""
        self.trades = TradeHistory(self.read)
        self._settings = settings
        self._data = data
        self._database: Database | None = None
        self._connection = 0

    @property
    def address(self) -> str:
        """`history.url`, or the ledger's."""
        return self._settings.history.url or self._settings.ledger.url

    @property
    def where(self) -> str:
        """The database, for people."""
        return described(self.address, self._data / FILE)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for it to rebuild it."""
        return is_held(turn_path(self._data))

    def connect(self) -> None:
        """Be connected, and know how far everything is read.

        Raises:
            DatabaseError, ConfigError: not now.
        """
        timeout_s = self._settings.history.timeout_s
        if self._database is None:
            key = "history.url" if self._settings.history.url else "ledger.url"
            self._database = open_database(
                key, self.address, self._data / FILE, ROOM, MIGRATIONS, timeout_s
            )
            if self.address:
                make_hypertables(self._database, timeout_s)
            self._connection = -1
        connection = self._database.ensure(monotonic_s() + timeout_s)
        if connection != self._connection:
            self.trades.forget()
            found = self._database.read("SELECT source, mark, place FROM progress")
            self.places = {source: Place(mark, int(at)) for source, mark, at in found}
            self._connection = connection

    def write(self, statements: Sequence[Statement]) -> None:
        """Run statements as one transaction.

        Raises:
            DatabaseError: nothing of it was taken, or nobody knows.
        """
        assert self._database is not None
        deadline_s = monotonic_s() + self._settings.history.timeout_s
        try:
            self._database.write(statements, deadline_s, durable=True)
        except DatabaseError:
            self.trades.forget()
            raise

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query.

        Raises:
            DatabaseError: they cannot be read.
        """
        assert self._database is not None
        return self._database.read(statement, parameters)

    def close(self) -> None:
        """Give the database up."""
        if self._database is not None:
            self._database.close()
            self._database = None
