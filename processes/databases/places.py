"""Which database a setting means, and opening it for writing or for a look.

PostgreSQL's client is imported only where an address asks for it.
"""

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from processes.databases.base import Database
from processes.databases.migrations import read_migrations
from processes.databases.sqlite import SqliteDatabase
from schemas.databases import shown, with_secrets
from schemas.errors import DatabaseError


def open_database(
    key: str, url: str, path: Path, room: str, migrations: Path, timeout_s: float
) -> Database:
    """Become the one writer of a room, its form brought up to date.

    Args:
        key: the setting, for error texts. path: the SQLite file of an empty `url`.
        migrations: the room's folder of them.

    Raises:
        ConfigError: a secret is not set. DatabaseError: it cannot be used.
    """
    if not url:
        return SqliteDatabase(path, read_migrations(migrations, "sqlite"))
    from processes.databases.postgres import PostgresDatabase  # noqa: PLC0415 (see above)

    address = with_secrets(key, url, os.environ)
    return PostgresDatabase(address, room, read_migrations(migrations, "postgres"), timeout_s)


def look(
    key: str, url: str, path: Path, room: str, statement: str, timeout_s: float
) -> list[tuple[Any, ...]]:
    """The rows of a query, asked beside the writer. Nothing where there is no table yet.

    Raises:
        ConfigError: a secret is not set. DatabaseError: they cannot be read.
    """
    return (
        _look_at_file(path, statement)
        if not url
        else _look_at_server(with_secrets(key, url, os.environ), room, statement, timeout_s)
    )


def _look_at_file(path: Path, statement: str) -> list[tuple[Any, ...]]:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            try:
                return db.execute(statement).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise
    except sqlite3.Error as error:
        raise DatabaseError(f"{path} cannot be read: {error}") from None


def _look_at_server(
    address: str, room: str, statement: str, timeout_s: float
) -> list[tuple[Any, ...]]:
    import psycopg  # noqa: PLC0415 (see above)

    options = f"-c statement_timeout={int(timeout_s * 1e3)} -c search_path={room}"
    try:
        with psycopg.connect(
            address, connect_timeout=2, options=options, application_name="dcctl"
        ) as session:
            rows: Sequence[tuple[Any, ...]] = session.execute(statement.encode()).fetchall()
            return list(rows)
    except psycopg.errors.UndefinedTable:
        return []
    except psycopg.Error as error:
        text = " ".join(str(error).split())[:300]
        raise DatabaseError(f"{shown(address)} cannot be read: {text}") from None


def described(url: str, path: Path) -> str:
    """For people: which database it is, without user and password."""
    return shown(url) if url else f"SQLite, {path}"
