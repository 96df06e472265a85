"""Numbered migrations: one SQL source for both bodies, each applied once, whole or not at all.

A file `0002_what.sql` is in SQLite's words; PostgreSQL's are put in their place (INTEGER is BIGINT,
REAL is DOUBLE PRECISION, BLOB is BYTEA, no STRICT). `0003_what.postgres.sql` is for that body
alone. The database keeps number, name, checksum and time of each; a file that was applied is never
edited again.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from schemas.errors import DatabaseError

Dialect = Literal["sqlite", "postgres"]
_FILE: Final = re.compile(r"(\d{4})_(\w+?)(?:\.(sqlite|postgres))?\.sql")
_WORDS: Final = (
    (r"\bINTEGER\b", "BIGINT"),
    (r"\bREAL\b", "DOUBLE PRECISION"),
    (r"\bBLOB\b", "BYTEA"),
    (r"\)\s*STRICT\b", ")"),
)


class Migration(Struct, frozen=True, kw_only=True):
    """One step of a database's form."""

    number: int
    name: str
    text: str
    checksum: str


def read_migrations(folder: Path, dialect: Dialect) -> list[Migration]:
    """The migrations of a room for one body, in order."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        parts = _FILE.fullmatch(path.name)
        assert parts is not None, f"{path.name}: not like 0001_what.sql"
        if parts[3] not in {None, dialect}:
            continue
        text = path.read_text(encoding="utf-8")
        if dialect == "postgres" and parts[3] is None:
            for pattern, word in _WORDS:
                text = re.sub(pattern, word, text)
        checksum = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        found.append(Migration(number=int(parts[1]), name=parts[2], text=text, checksum=checksum))
    numbers = [migration.number for migration in found]
    assert numbers == sorted(set(numbers)), f"two migrations of one number: {numbers}"
    return found


def still_to_do(
    migrations: Sequence[Migration], applied: Sequence[tuple[int, str]], where: str
) -> list[Migration]:
    """Migrations that a database lacks, which has had those `applied` (number, checksum).

    Raises:
        DatabaseError: it is newer than this program, or was changed by another one.
    """
    known = {migration.number: migration for migration in migrations}
    for number, checksum in sorted(applied, reverse=True):
        if number > max(known):
            raise DatabaseError(
                f"{where} is of version {number}, newer than this program, which knows version "
                f"{max(known)}: update Data Controller, or restore a backup of that version"
            )
        if number not in known or known[number].checksum != checksum:
            raise DatabaseError(
                f"{where}: its migration {number} is not this program's; it was made by another "
                "program or a changed one: start that one, or name another database"
            )
    done = {number for number, _ in applied}
    return [migration for migration in migrations if migration.number not in done]
