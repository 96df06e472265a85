"""What tests of one part share."""

from collections.abc import Iterator

import pytest

from processes.logs import RotatingFile
from tests.servers import PostgresServer, postgres_server
from tests.unit.databases.bodies import Body, made


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests that neither stop nor kill it; each makes its own database."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def body(request, tmp_path) -> Body:
    """An empty place for a ledger or a history, of each kind in turn."""
    return made(request, tmp_path)


@pytest.fixture
def closed_logs(monkeypatch) -> Iterator[None]:
    """A log stays open as long as its process; here it is closed with its test."""
    opened = []
    init = RotatingFile.__init__

    def remembering(self, *arguments) -> None:
        init(self, *arguments)
        opened.append(self)

    monkeypatch.setattr(RotatingFile, "__init__", remembering)
    yield
    for file in opened:
        file._file.close()
