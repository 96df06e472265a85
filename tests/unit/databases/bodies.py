"""Both database bodies for one suite: a room to open again and again, and to look into."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from processes.execution.assets import Assets
from processes.execution.ledger import FILE, ROOM, Ledger, open_ledger
from schemas.settings import LedgerSettings
from tests.servers import PostgresServer


class Body:
    """One empty place for a ledger, of one kind."""

    def __init__(self, kind: str, folder: Path, server: PostgresServer | None) -> None:
        self.kind = kind
        self.folder = folder
        self.server = server
        self.url = ""
        if server is not None:
            self.url = _emptied(server)
        self.settings = LedgerSettings(url=self.url, timeout_s=2.0)

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self.folder / FILE

    def open(
        self,
        session: int = 7,
        timeout_s: float = 2.0,
        assets: Mapping[int, Assets] | None = None,
    ) -> Ledger:
        """A life of the ledger."""
        settings = LedgerSettings(url=self.url, timeout_s=timeout_s)
        return open_ledger(settings, self.folder, session, assets)

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


def _emptied(server: PostgresServer) -> str:
    """One database for all tests, since to make one takes long; nobody is in it, nor anything."""
    url = server.url("ledgers")
    try:
        session = psycopg.connect(url, autocommit=True)
    except psycopg.OperationalError:
        session = psycopg.connect(server.create("ledgers"), autocommit=True)
    with session:
        session.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for room in ("ledger", "history", "room"):
            session.execute(f"DROP SCHEMA IF EXISTS {room} CASCADE")
    return url


def made(request: pytest.FixtureRequest, folder: Path) -> Body:
    """The body that a parametrised test asks for; the server is started for the first one."""
    kind = request.param
    server = request.getfixturevalue("postgres") if kind == "postgres" else None
    return Body(kind, folder, server)
