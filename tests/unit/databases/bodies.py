"""Both database bodies for one suite: a room to open again and again, and to look into."""

import itertools
import os
import sqlite3
from pathlib import Path

import psycopg
import pytest

from processes.execution.ledger import FILE, ROOM, Ledger, open_ledger
from schemas.settings import LedgerSettings
from tests.servers import PostgresServer

_numbers = itertools.count(1)


class Body:
    """One empty place for a ledger, of one kind."""

    def __init__(self, kind: str, folder: Path, server: PostgresServer | None) -> None:
        self.kind = kind
        self.folder = folder
        self.server = server
        self.url = ""
        if server is not None:
            self.url = server.create(f"t{os.getpid()}_{next(_numbers)}")
        self.settings = LedgerSettings(url=self.url, timeout_s=2.0)

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self.folder / FILE

    def open(self, session: int = 7, timeout_s: float = 2.0) -> Ledger:
        """A life of the ledger."""
        settings = LedgerSettings(url=self.url, timeout_s=timeout_s)
        return open_ledger(settings, self.folder, session)

    def ask(self, query: str, room: str = ROOM) -> list[tuple]:
        """A query beside the writer."""
        if self.url:
            with psycopg.connect(self.url, options=f"-c search_path={room}") as session:
                return session.execute(query).fetchall()
        db = sqlite3.connect(self.folder / f"{room}.sqlite")
        try:
            return db.execute(query).fetchall()
        finally:
            db.close()

    def script(self, text: str, room: str = ROOM) -> None:
        """Change something behind the writer's back."""
        if self.url:
            with psycopg.connect(self.url, options=f"-c search_path={room}") as session:
                session.execute(text)
            return
        db = sqlite3.connect(self.folder / f"{room}.sqlite")
        db.executescript(text)
        db.close()


def made(request: pytest.FixtureRequest, folder: Path) -> Body:
    """The body that a parametrised test asks for; the server is started for the first one."""
    kind = request.param
    server = request.getfixturevalue("postgres") if kind == "postgres" else None
    return Body(kind, folder, server)
