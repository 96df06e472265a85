"""dcctl in this process: a command takes milliseconds, and its exit code is what main() makes."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processes.cli.__main__ import main
from tests.instances import short_folder


class Dcctl:
    """Runs commands; keeps what the last one said."""

    def __init__(self, folder: Path, capsys, monkeypatch) -> None:
        self.folder = folder
        self.out = self.err = ""
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str) -> int:
        self._monkeypatch.setattr(sys, "argv", ["dcctl", *arguments])
        self._capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err, self.err
        return int(str(code or 0))

    def started(self) -> bool:
        """Whether anything of an instance was made."""
        run = self.folder / "run"
        return run.exists() and any(path.name != "lock" for path in run.iterdir())


@pytest.fixture
def dcctl(capsys, monkeypatch, closed_logs) -> Iterator[Callable[..., int]]:
    with short_folder() as folder:
        monkeypatch.setenv("DC__http__port", "0")
        for name in ("run", "data", "logs"):
            monkeypatch.setenv(f"DC__paths__{name}", str(folder / name))
        monkeypatch.setenv("DC__rest__rates", str(folder / "rates"))
        yield Dcctl(folder, capsys, monkeypatch)
