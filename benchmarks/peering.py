"""Peers run in `.venv-peers`, as processes that answer questions; what is not there is absent.

A peer's program stands in `benchmarks/peers/`, imports nothing of the project but what needs no
library, reads one command a line and answers one JSON object a line.
"""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from processes.places import ROOT
from schemas.errors import DataControllerError

PYTHON = ROOT / ".venv-peers" / "bin" / "python"
INSTALL = (
    "python3 -m venv .venv-peers && "
    ".venv-peers/bin/python -m pip install -r benchmarks/requirements-peers.txt"
)
NAMED = frozenset(
    {"ccxt", "cryptofeed", "hiredis", "orjson", "redis", "order-book", "order_book", "onnxruntime"}
)


def peer_versions() -> dict[str, str]:
    """What is installed beside us to compare with; empty without the environment."""
    found = {}
    for folder in (PYTHON.parent.parent / "lib").glob("python*/site-packages"):
        for package in importlib.metadata.distributions(path=[str(folder)]):
            if package.name in NAMED:
                found[package.name] = package.version
    server = shutil.which("redis-server")
    if server is not None:
        told = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
        found["redis-server"] = told.stdout.partition(" v=")[2].partition(" ")[0]
    return found


class PeerAbsentError(DataControllerError):
    """A peer cannot be measured here; the text says what to type."""


class PeerProcess:
    """A peer that waits for commands.

    Raises:
        PeerAbsentError: its environment is not there, or it did not start.
    """

    def __init__(self, program: str, *arguments: str) -> None:
        if not PYTHON.exists():
            raise PeerAbsentError(f"absent: there is no .venv-peers; make it with: {INSTALL}")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `close`)
        self._process = subprocess.Popen(
            [str(PYTHON), str(ROOT / "benchmarks" / "peers" / program), *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self._answer()  # "ready"
        except PeerAbsentError:
            self.close()
            raise

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command; its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise PeerAbsentError(
                f"absent: it ended with '{last}'; is .venv-peers whole? {INSTALL}"
            )
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._process.communicate(timeout=5)
        self._process.kill()
        self._process.wait()
        self._errors.close()


@contextmanager
def peer_processes(
    programs: dict[str, tuple[str, ...]],
) -> Iterator[tuple[dict[str, PeerProcess], dict[str, str]]]:
    """Start peers by name: those that run, and why the others do not."""
    running: dict[str, PeerProcess] = {}
    absent: dict[str, str] = {}
    try:
        for name, (program, *arguments) in programs.items():
            try:
                running[name] = PeerProcess(program, *arguments)
            except PeerAbsentError as error:
                absent[name] = str(error)
        yield running, absent
    finally:
        for process in running.values():
            process.close()


def lines_file(folder: Path, name: str, frames: list[bytes]) -> str:
    """Frames as a file of lines, for a peer to read; its path."""
    path = folder / name
    path.write_bytes(b"\n".join(frames))
    return str(path)
