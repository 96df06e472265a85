"""Sources to rows: all that history does but for its thread.

One pass takes what each source has behind its place, and writes rows, holes and new places as one
transaction. May fail with DatabaseError: then nothing was taken, or, where the answer was lost,
places are read again from the database before anything else is written.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from processes.clock import monotonic_s
from processes.databases.base import Database, Statement
from processes.databases.places import described, open_database
from processes.files import write_whole
from processes.storage import history_rows as rows
from processes.storage.history_sources import JournalSource, LogSource, Place
from processes.storage.timescale import make_hypertables
from schemas.instruments import Tables
from schemas.settings import Settings

MIGRATIONS: Final = Path(__file__).parent / "migrations"
ROOM: Final = "history"
FILE: Final = "history.sqlite"


class Progress(msgspec.Struct):
    """What the main thread may know of the other."""

    rows: int = 0
    holes: int = 0
    error: str = ""
    caught_up: int = 0
    """Times that nothing was left to read."""


class Writer:
    """The history's one writer.

    Args:
        data: folder of journals and state. rings: those of the instance, by name.
        read_tables: gives the instrument and stream tables.
    """

    def __init__(
        self,
        settings: Settings,
        data: Path,
        logs: Path,
        rings: Sequence[str],
        read_tables: Callable[[], Tables],
    ) -> None:
        self.progress = Progress()
        self._settings = settings
        self._data = data
        self._logs = logs
        self._names = rows.Names(read_tables)
        journals = data / "journal"
        wanted = [ring for ring in rings if ring.startswith("tape.") or ring == "decisions"]
        self._journals = [JournalSource(journals, ring) for ring in wanted]
        self._ended_path = data / "state" / "history-behind.json"
        self._database: Database | None = None
        self._connection = 0
        self._places: dict[str, Place] = {}

    @property
    def address(self) -> str:
        """`history.url`, or the ledger's."""
        return self._settings.history.url or self._settings.ledger.url

    @property
    def where(self) -> str:
        """The database, for people."""
        return described(self.address, self._data / FILE)

    # ---- the database

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
            found = self._database.read("SELECT source, mark, place FROM progress")
            self._places = {source: Place(mark, int(at)) for source, mark, at in found}
            self._connection = connection

    def close(self) -> None:
        """Give the database up."""
        if self._database is not None:
            self._database.close()
            self._database = None

    # ---- a pass

    def pass_once(self) -> bool:
        """Write what has come, one batch a source, as one transaction; False if nothing has.

        Raises:
            DatabaseError: nothing of it was taken, or nobody knows: the next pass asks.
        """
        self.connect()
        assert self._database is not None
        ended = self._read_ended()
        statements: list[Statement] = []
        moved: dict[str, Place] = {}
        holes = 0
        for journal in self._journals:
            batch = journal.take(self._place(journal.name), ended.get(journal.name, {}))
            if batch is not None:
                moved[journal.name] = batch.place
                holes += len(batch.holes)
                statements += rows.holes(batch.holes)
                session = int(batch.place.mark)
                if journal.name == "decisions":
                    statements += rows.signals(batch.slots, session, self._names)
                    statements += rows.profit(batch.slots, self._names)
                    statements += rows.audit_of_inputs(batch.slots, session)
                else:
                    statements += rows.bars(batch.slots, self._names)
        for log in self._log_sources():
            told = log.take(self._place(log.name))
            if told is not None:
                moved[log.name] = told.place
                holes += len(told.holes)
                statements += rows.holes(told.holes)
                statements += rows.audit_of_logs(log.name, log.process, told.mark, told.lines)
        if not moved:
            self._ended_path.unlink(missing_ok=True)  # all of it is told as holes by now
            return False
        count = len(statements)
        statements += [rows.progress(source, at) for source, at in moved.items()]
        deadline_s = monotonic_s() + self._settings.history.timeout_s
        self._database.write(statements, deadline_s, durable=True)
        self._places |= moved
        self.progress.rows += count
        self.progress.holes += holes
        return True

    def _place(self, source: str) -> Place:
        return self._places.get(source, Place())

    def _log_sources(self) -> list[LogSource]:
        return [LogSource(self._logs, path.stem) for path in sorted(self._logs.glob("*.jsonl"))]

    # ---- journals that are given up

    def note_ends(self) -> None:
        """Remember where the journals end, since they may go before they are read."""
        ended = self._read_ended()
        for journal in self._journals:
            for session, last in journal.ends().items():
                mine = ended.setdefault(journal.name, {})
                mine[session] = max(last, mine.get(session, 0))
        if any(ended.values()):
            write_whole(self._ended_path, msgspec.json.encode(ended))

    def _read_ended(self) -> dict[str, dict[int, int]]:
        try:
            raw = self._ended_path.read_bytes()
            return msgspec.json.decode(raw, type=dict[str, dict[int, int]])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}
