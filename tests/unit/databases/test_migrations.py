"""Migrations on both bodies: each once, whole or not at all, and never by a program too old."""

import random
import sqlite3
from decimal import Decimal

import pytest

from processes.databases.migrations import read_migrations
from processes.databases.places import described, open_database
from processes.execution.ledger import MIGRATIONS, LedgerError
from schemas.databases import check_url, shown, with_secrets
from schemas.errors import ConfigError, DatabaseError
from schemas.trading import OrderFilled, OrderState
from tests.helpers import python, wait_until
from tests.unit.execution.test_ledger import T0, fill, intent

NEWEST = 3


def test_a_new_ledger_says_which_migrations_it_had(body):
    body.open().close()
    body.open().close()
    rows = body.ask("SELECT number, name, checksum FROM migrations ORDER BY number")
    dialect = "sqlite" if body.kind == "sqlite" else "postgres"
    wanted = [(m.number, m.name, m.checksum) for m in read_migrations(MIGRATIONS, dialect)]
    assert rows == wanted
    assert [row[0] for row in rows] == (
        [1, 2, 4, 6] if body.kind == "sqlite" else [1, 2, 3, 4, 5, 6]
    )


def test_a_newer_database_is_left_alone(body):
    body.open().close()
    body.script("INSERT INTO migrations VALUES (9, 'later', 'x', '2030-01-01T00:00:00Z')")
    with pytest.raises(LedgerError, match=r"newer than this program.*update"):
        body.open()


def test_a_changed_migration_is_refused(body):
    body.open().close()
    body.script("UPDATE migrations SET checksum = 'x' WHERE number = 1")
    with pytest.raises(LedgerError, match="migration 1 is not this program's"):
        body.open()


def test_a_migration_that_fails_leaves_nothing(body, tmp_path):
    folder = tmp_path / "steps"
    folder.mkdir()
    (folder / "0001_good.sql").write_text("CREATE TABLE a (x INTEGER);\n")
    (folder / "0002_bad.sql").write_text("CREATE TABLE b (x INTEGER);\nINSERT INTO c VALUES (1);\n")
    path = body.folder / "room.sqlite"

    def attempt():
        return open_database("ledger.url", body.url, path, "room", folder, 2.0)

    for _ in range(2):
        with pytest.raises(DatabaseError):
            attempt()
        assert body.ask("SELECT number FROM migrations", "room") == [(1,)]
    (folder / "0002_bad.sql").write_text("CREATE TABLE b (x INTEGER);\nINSERT INTO b VALUES (1);\n")
    database = attempt()
    assert database.read("SELECT x FROM b") == [(1,)]
    database.close()


def version_1(path) -> None:
    """A ledger as the version before migrations were recorded made it."""
    db = sqlite3.connect(path)
    db.executescript((MIGRATIONS / "0001_ledger.sql").read_text())
    import msgspec

    for number in (1, 2, 3):
        wanted = intent(number, "buy" if number < 3 else "sell", "2")
        row = (wanted.command_id, 4, 0, wanted.symbol, wanted.side, "2", "", T0)
        db.execute(
            "INSERT INTO intents VALUES (?,?,?,?,?,?,?,?,?)", (*row, msgspec.json.encode(wanted))
        )
        event: OrderFilled = fill(number, number, f"10{number}", "2")
        for _ in range(2):  # told twice, as version 1 kept it
            db.execute(
                "INSERT INTO order_events (command_id, kind, state, time_ns, body) "
                "VALUES (?,?,?,?,?)",
                (wanted.command_id, "filled", "filled", T0, msgspec.json.encode(event)),
            )
        db.execute(
            "INSERT INTO fills VALUES (?,?,?,?,?,?,?)",
            (event.fill_id, wanted.command_id, event.price, "2", "0.1", "USD", T0),
        )
    db.execute("PRAGMA user_version=1")
    db.commit()
    db.close()


def check_old_content(body) -> None:
    ledger = body.open()
    orders, book = ledger.restore(0)
    assert [order.state for order in orders] == [OrderState.FILLED] * 3
    assert (book.position(0).quantity, book.position(0).fees) == (2, Decimal("0.3"))
    # bought 2 at 101 and 2 at 102, sold 2 at 103
    assert f"{book.position(0).realized:f}" == "2.7"
    assert body.ask("SELECT quantity, realized FROM positions") == [("2", "2.7")]
    assert body.ask("SELECT count(*) FROM fills") == [(3,)]
    ledger.close()


@pytest.mark.parametrize("body", ["sqlite"], indirect=True)
def test_a_ledger_of_version_1_is_brought_up_to_date(body):
    version_1(body.path)
    check_old_content(body)
    check_old_content(body)
    with sqlite3.connect(body.path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (6,)
    db.close()


@pytest.mark.parametrize("body", ["sqlite"], indirect=True)
def test_an_unrecorded_newer_file_is_left_alone(body):
    with sqlite3.connect(body.path) as db:
        db.execute("PRAGMA user_version=9")
    db.close()
    with pytest.raises(LedgerError, match="newer than this program"):
        body.open()


MIGRATE = """
import os, signal, sys, threading
from pathlib import Path
from processes.execution.ledger import open_ledger
from schemas.settings import LedgerSettings
if sys.argv[2]:
    import processes.databases.postgres
print("go", flush=True)
sys.stdin.readline()
threading.Timer(float(sys.argv[3]), os.kill, (os.getpid(), signal.SIGKILL)).start()
open_ledger(LedgerSettings(url=sys.argv[2]), Path(sys.argv[1]), 7)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_while_it_migrates_it_is_old_or_new(body, seed):
    """After each kill every migration is there whole or not at all, and the next life goes on."""
    draw = random.Random(seed)
    seen = set()
    if body.kind == "sqlite":
        version_1(body.path)
    for _ in range(8):
        child = python(
            "-c", MIGRATE, str(body.folder), body.url, str(draw.uniform(0.001, 0.06)), stdin=-1
        )
        child.stdout.readline()
        child.communicate("go\n", timeout=60)
        seen.add(check_whole(body))
        if seen & {2, NEWEST}:
            body.open().close()
            if body.kind == "postgres":
                wait_until(lambda: not_held(body))
                body.script("DROP SCHEMA ledger CASCADE")
            else:
                for path in body.folder.glob("ledger.sqlite*"):
                    path.unlink()
                version_1(body.path)
            seen.clear()
    if body.kind == "sqlite":
        check_old_content(body)
    else:
        body.open().close()


def not_held(body) -> bool:
    return body.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


def check_whole(body) -> int:
    """Tables as the recorded migrations say; the newest one's number."""
    tables, version = set(), 0
    if body.kind == "sqlite":
        tables = {name for (name,) in body.ask("SELECT name FROM sqlite_master")}
        (version,) = body.ask("PRAGMA user_version")[0]
    else:
        names = "SELECT relname FROM pg_class WHERE relnamespace = "
        names += "(SELECT oid FROM pg_namespace WHERE nspname = 'ledger')"
        tables = {name for (name,) in body.ask(names)}
        if "migrations" in tables:
            version = body.ask("SELECT coalesce(max(number), 0) FROM migrations")[0][0]
    assert ("intents" in tables) == (version >= 1)
    assert {"position_changes", "writers", "realized_profit"} <= tables or version < 2
    assert "fills_by_order" not in tables
    assert ("position_changes" in tables) == (version >= 2)
    return int(version)


# ---- addresses


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u@h/d", "must begin with postgresql://"),
        ("ledger.sqlite", "must begin with postgresql://"),
        ("postgresql://u@h", "no host or no database"),
        ("postgresql:///d", "no host or no database"),
        ("postgresql://u@h:99999/d", "no address"),
        ("postgresql://u:hunter2@h/d", "a password in clear"),
        ("postgresql://u:${A}x@h/d", "a password in clear"),
        ("postgresql://u@h/d?password=hunter2", "a password in clear"),
    ],
)
def test_a_wrong_address_is_refused_without_its_password(url, said):
    with pytest.raises(ConfigError, match=said) as found:
        check_url("ledger.url", url)
    assert "hunter2" not in str(found.value)
    assert str(found.value).startswith("ledger.url")


def test_a_good_address_takes_its_secret_from_the_environment(tmp_path):
    for url in ("", "postgres://u@h/d", "postgresql://u:${A}@h:5433/d?sslmode=require",
                "postgresql:///d?host=/run/postgresql"):  # fmt: skip
        check_url("ledger.url", url)
    url = "postgresql://u:${A}@h:5433/d"
    assert with_secrets("k", url, {"A": "a b/c@"}) == "postgresql://u:a%20b%2Fc%40@h:5433/d"
    with pytest.raises(ConfigError, match="export A="):
        with_secrets("ledger.url", url, {})
    assert shown(url) == "postgresql://h:5433/d"
    assert described("", tmp_path / "x") == f"SQLite, {tmp_path / 'x'}"
