"""What tests of one part share."""

from collections.abc import Iterator

import pytest

from processes.logs import RotatingFile


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
