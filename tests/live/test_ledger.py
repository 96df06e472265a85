"""The demo with its ledger and history in a PostgreSQL: one setting, and everything is there."""

import psycopg
import pytest

from tests.helpers import wait_until
from tests.servers import postgres_server

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]


def count(url: str, query: str) -> int:
    """A number from the database; 0 while its tables are not there yet."""
    with psycopg.connect(url) as session:
        try:
            return int(session.execute(query).fetchone()[0])
        except psycopg.errors.UndefinedTable:
            return 0


def test_the_demo_trades_into_postgresql(project):
    with postgres_server() as server:
        url = server.create("demo")
        project.set(
            ledger__url=url.replace("dc@", "dc:${DC_TEST_SECRET}@"),
            strategy__min_expected_value_bps=-1000.0,
        )
        text = project.dcctl("start", code=78)
        assert "export DC_TEST_SECRET=" in text
        project.environment["DC_TEST_SECRET"] = "not-needed"
        project.dcctl("start")
        assert f"postgresql://127.0.0.1:{server.port}/demo" in project.dcctl("status")
        wait_until(lambda: count(url, "SELECT count(*) FROM ledger.fills") > 0, 120)
        for table in ("signals", "profit", "bars", "audit"):
            query = f"SELECT count(*) FROM history.{table}"
            wait_until(lambda q=query: count(url, q) > 0, 60, what=f"rows of {table}")
        project.dcctl("stop")
        project.assert_clean()
        assert [path.name for path in project.data.glob("*.sqlite")] == ["paper.sqlite"]
        # Every decision is counted in a minute's row, none twice, and nothing was lost on the way.
        assert count(url, "SELECT count(*) FROM history.holes") == 0
        sent = count(url, "SELECT count(*) FROM ledger.intents")
        assert sent == count(url, "SELECT count(*) FROM history.signals WHERE command_id <> ''")
        ready = "SELECT count(*) FROM history.audit WHERE process = 'supervisor'"
        assert count(url, ready) > 5
        logs = "".join(path.read_text() for path in project.logs.glob("*.jsonl"))
        assert "not-needed" not in logs
