"""History: bars, signals, profit and loss, audit log, in a database, written by storage alone.

A thread of its own reads what storage has written, the journals and the log files, and puts rows
and the place up to which they go into one transaction: killed anywhere, each row is there once.
Storage's rings never wait for it. A database that is slow or away costs lag; what the journals have
dropped by then is a row in `holes`, counted. The thread owns the database; the main thread only
starts and ends it and tells of it.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from processes.clock import monotonic_s
from processes.databases.base import Database, Statement
from processes.databases.places import described, open_database
from processes.files import write_whole
from processes.runtime import Context
from processes.storage import history_rows as rows
from processes.storage.history_sources import JournalSource, LogSource, Place
from processes.storage.timescale import make_hypertables
from schemas.errors import ConfigError, DatabaseError
from schemas.instruments import Tables
from schemas.metrics import place
from schemas.settings import Settings

MIGRATIONS: Final = Path(__file__).parent / "migrations"
ROOM: Final = "history"
FILE: Final = "history.sqlite"
GRACE_S: Final = 5.0
"""So long a start or a stop waits for it, then the journals go their way."""
RETRY_LONGEST_S: Final = 30.0
_TURN_S: Final = 0.02


class Progress(msgspec.Struct):
    """What the main thread may know of the other."""

    rows: int = 0
    holes: int = 0
    error: str = ""
    caught_up: int = 0
    """Times that nothing was left to read."""


class Writer:
    """Sources to rows: all that history does but for its thread.

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


class History:
    """The thread around it, as storage uses it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._writer = Writer(
            context.settings,
            context.paths.data,
            context.paths.logs,
            context.registry.ring_names(),
            lambda: context.tables,
        )
        self._interval_s = context.settings.history.interval_s
        self._wake = threading.Event()
        self._ending = False
        self._counted = Progress()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def begin(self) -> None:
        """Start, and give it a while for journals that will be sealed and dropped at once."""
        self._writer.note_ends()
        self._thread.start()
        self._wait(lambda: bool(self._writer.progress.caught_up or self._writer.progress.error))
        self._context.log.info("history", where=self._writer.where)

    def _wait(self, done: Callable[[], bool]) -> None:
        end_s = monotonic_s() + GRACE_S
        while not done() and monotonic_s() < end_s:
            self._thread.join(_TURN_S)
            self._context.service()

    def tend(self) -> None:
        """Tell what has become of it; called in every turn of storage's loop."""
        told, counted = self._writer.progress, self._counted
        metrics = self._context.metrics
        metrics.add(place("history_rows"), told.rows - counted.rows)
        metrics.add(place("history_holes"), told.holes - counted.holes)
        error = told.error
        metrics.set(place("history_away"), int(bool(error)))
        if error and not counted.error:
            self._context.log.warning("history waits", reason=error)
        elif counted.error and not error:
            self._context.log.info("history goes on", where=self._writer.where)
        self._counted = Progress(rows=told.rows, holes=told.holes, error=error)

    def finish(self) -> None:
        """Read to the journals' end, for a while; then end."""
        self._ending = True
        self._wake.set()
        self._wait(lambda: not self._thread.is_alive())
        self._writer.note_ends()
        self.tend()

    # ---- the other thread

    def _run(self) -> None:
        """A fault here must not cost the lake anything: storage goes on without history."""
        try:
            self._live()
        except BaseException as error:
            self._writer.progress.error = f"history has ended: {type(error).__name__}: {error}"
            raise

    def _live(self) -> None:
        pause_s = self._interval_s
        while True:
            ending = self._ending
            try:
                while self._writer.pass_once():
                    pass
            except (DatabaseError, ConfigError) as error:
                self._writer.progress.error = str(error)
                pause_s = min(2 * pause_s, RETRY_LONGEST_S)
            else:
                self._writer.progress.error = ""
                self._writer.progress.caught_up += 1
                pause_s = self._interval_s
            if ending:
                self._writer.close()
                return
            self._wake.wait(pause_s)
