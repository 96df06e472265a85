"""Hypertables, where a PostgreSQL has TimescaleDB; plain tables where it has not.

Times are whole nanoseconds, so a chunk's length is given in them too: a day. May fail without harm:
a user who may not make extensions keeps plain tables.
"""

from typing import Final

from processes.clock import monotonic_s
from processes.databases.base import Database
from schemas.errors import DatabaseError, DatabaseUnavailableError

DAY_NS: Final = 86_400_000_000_000
TABLES: Final = {
    "bars": "start_ns",
    "bar_trades": "start_ns",
    "signals": "time_ns",
    "profit": "minute_ns",
}
AVAILABLE: Final = "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"
EXTENSION: Final = "CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public"


def hypertable(table: str, column: str) -> str:
    """The statement that makes a table one, if it is none yet; its rows are kept."""
    return (
        f"SELECT create_hypertable('{table}', '{column}', chunk_time_interval => {DAY_NS}, "
        "if_not_exists => true, migrate_data => true)"
    )


def make_hypertables(database: Database, timeout_s: float) -> bool:
    """Make the tables of history hypertables if the server can; whether it did.

    Raises:
        DatabaseUnavailableError: the server does not answer.
    """
    if not database.read(AVAILABLE)[0][0]:
        return False
    wanted = [EXTENSION, *(hypertable(table, column) for table, column in TABLES.items())]
    try:
        for statement in wanted:
            database.write([(statement, ())], monotonic_s() + timeout_s, durable=True)
    except DatabaseUnavailableError:
        raise
    except DatabaseError:
        return False
    return True
