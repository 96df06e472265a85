"""Sources to rows: all that history does but for its thread.

One pass takes what each source has behind its place, and writes rows, holes and new places as one
transaction. May fail with DatabaseError: then nothing was taken, or, where the answer was lost,
places are read again from the database before anything else is written.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from processes.databases.base import Statement
from processes.files import write_whole
from processes.storage import history_rows as rows
from processes.storage.history_database import HistoryDatabase
from processes.storage.history_sources import JournalSource, LogSource, Place, SlotBatch
from schemas.errors import DatabaseError
from schemas.instruments import Tables
from schemas.settings import Settings


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
        self._logs = logs
        self._names = rows.Names(read_tables)
        journals = data / "journal"
        wanted = [ring for ring in rings if ring.startswith("tape.") or ring == "decisions"]
        self._journals = [JournalSource(journals, ring) for ring in wanted]
        self._ended_path = data / "state" / "history-behind.json"
        self._database = HistoryDatabase(settings, data)

    @property
    def where(self) -> str:
        """The database, for people."""
        return self._database.where

    @property
    def gives_way(self) -> bool:
        """Whether somebody else has the database for a while."""
        return self._database.is_wanted

    def connect(self) -> None:
        """As `HistoryDatabase`."""
        self._database.connect()

    def close(self) -> None:
        """Give the database up."""
        self._database.close()

    # ---- a pass

    def pass_once(self) -> bool:
        """Write what has come, one batch a source, as one transaction; False if nothing has.

        Raises:
            DatabaseError: nothing of it was taken, or nobody knows: the next pass asks.
        """
        if self.gives_way:
            self.close()
            return False
        self.connect()
        try:
            return self._pass()
        except DatabaseError:
            self._database.trades.forget()  # it has counted what may not be written
            raise

    def _pass(self) -> bool:
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
                    statements += self._tape_rows(journal.name, batch)
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
        self._database.write(statements)
        self._database.places |= moved
        self.progress.rows += count
        self.progress.holes += holes
        return True

    def _tape_rows(self, ring: str, batch: SlotBatch) -> list[Statement]:
        """Bars, and what is unknown of the trades where slots were gone."""
        trades, session = self._database.trades, int(batch.place.mark)
        statements = [*rows.bars(batch.slots, session, self._names)]
        for hole in batch.holes:
            if hole.mark == batch.place.mark and len(batch.slots):
                until_ns = int(batch.slots["recv_ns"][0])
                statements += trades.miss(ring.partition(".")[2], session, hole.first, until_ns)
        return statements + trades.take(batch.slots, session, self._names)

    def _place(self, source: str) -> Place:
        return self._database.places.get(source, Place())

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
