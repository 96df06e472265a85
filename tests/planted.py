"""Secrets that tests plant, and the search for them in all that a run has left or says.

A planted secret has the mark in it, so that one search at the end of the suite knows every one of
them, whoever planted it. It is looked for in every form in which a program could have written it
down: as it is, percent-encoded, hexadecimal, base64 at any offset (a login is `user:password`), and
inside what is packed: Arrow, Parquet and zstd files, SQLite's tables. A find is told by the name
and the form, never with the secret.
"""

import base64
import contextlib
import mmap
import os
import secrets
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import zmq

from processes.files import walk

MARK: Final = "dc-planted"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
SQLITE: Final = b"SQLite format 3\0"
PARQUET: Final = b"PAR1"
LOOK_S: Final = 0.1
"""Between two looks at all command lines."""


def plant(name: str) -> str:
    """A new secret: letters, digits and hyphens."""
    return f"{MARK}-{name}-{secrets.token_hex(10)}"


def plant_base64(name: str) -> str:
    """A new one that is base64, as Kraken's secrets are."""
    return base64.b64encode(plant(name).encode()).decode()


def forms_of(secret: str) -> dict[bytes, str]:
    """What it may look like where it should not be, and how each form is called."""
    raw = secret.encode()
    found = {raw: "plain"}
    found.setdefault(quote(secret, safe="").encode(), "percent-encoded")
    for digits in (raw.hex(), raw.hex().upper()):
        found.setdefault(digits.encode(), "hexadecimal")
    for offset in range(3):
        # The digits at both ends hold bits of what stands beside it.
        coded = base64.b64encode(b"\0" * offset + raw)
        core = coded[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]
        found.setdefault(core, "base64")
        found.setdefault(core.replace(b"+", b"-").replace(b"/", b"_"), "base64")
    return found


class Search:
    """Looks for secrets, by name.

    Args:
        planted: the secrets; none = the mark that all of them bear.
    """

    def __init__(self, planted: Mapping[str, str] | None = None) -> None:
        self._needles: dict[bytes, str] = {}
        for name, secret in (planted or {"a planted secret": MARK}).items():
            for needle, form in forms_of(secret).items():
                self._needles.setdefault(needle, f"{name}, {form}")

    def in_bytes(self, where: str, content: "bytes | mmap.mmap") -> list[str]:
        """What is found there."""
        return [
            f"{where}: {what}"
            for needle, what in self._needles.items()
            if content.find(needle) >= 0
        ]

    def in_text(self, where: str, text: str) -> list[str]:
        """What is found there."""
        return self.in_bytes(where, text.encode(errors="surrogateescape"))

    def in_folder(self, folder: Path, pattern: str = "*", but: Iterable[Path] = ()) -> list[str]:
        """What is found in its files, the packed ones unpacked, and in their names.

        Args:
            but: files of the tests' own that a secret is read from.
        """
        left_out = set(but)
        found = []
        there = [inside / name for inside, _, files in walk(folder) for name in files]
        for path in sorted(path for path in there if path.match(pattern)):
            if path not in left_out and path.is_file() and not path.is_symlink():
                found += self.in_text(f"the name of {path}", path.name)
                with contextlib.suppress(FileNotFoundError):  # it was replaced while we looked
                    found += self.in_file(path)
        return found

    def in_file(self, path: Path) -> list[str]:
        """What is found in it."""
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return []
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found = self.in_bytes(str(path), content)
                head = content[:16]
        for part in _unpacked(path, head):
            found += self.in_bytes(f"{path}, unpacked", part)
        return list(dict.fromkeys(found))


def _unpacked(path: Path, head: bytes) -> Iterator[bytes]:
    """What a packed file holds; nothing of one that is not packed, or not whole."""
    # A file that a test has spoiled, or a crash cut off, is read as far as it goes.
    broken = (pa.ArrowException, sqlite3.Error, OSError, ValueError)
    with contextlib.suppress(*broken):
        if head.startswith(SQLITE):
            yield from _rows(path)
        elif head.startswith(PARQUET):
            yield from _texts(pq.read_table(path))
        elif head.startswith(b"ARROW1"):
            yield from _texts(pa.ipc.open_file(path).read_all())
        elif head.startswith(b"\xff\xff\xff\xff"):
            yield from _texts(pa.ipc.open_stream(path).read_all())
        elif head.startswith(ZSTD):
            with pa.CompressedInputStream(str(path), "zstd") as stream:
                yield stream.read()


def _rows(path: Path) -> Iterator[bytes]:
    """A row may lie in pieces all over its file."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.text_factory = bytes
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in database.execute(f'SELECT * FROM "{table.decode()}"'):
                yield b"\0".join(one for one in row if isinstance(one, bytes))


def _texts(table: pa.Table) -> Iterator[bytes]:
    for column in table.columns:
        for chunk in column.chunks:
            values = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
            if not pa.types.is_primitive(values.type):
                yield from (part.to_pybytes() for part in values.buffers() if part is not None)


def _command_lines() -> Iterator[bytes]:
    """Of every process, as `ps` shows them."""
    folder = Path("/proc")
    if not folder.is_dir():
        listed = ["ps", "-axo", "command"]
        yield from subprocess.run(listed, capture_output=True, check=True).stdout.splitlines()
    for path in folder.glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            yield path.read_bytes()


class Listener(threading.Thread):
    """Looks at every command line of the machine, and hears every process of an instance's bus.

    Args:
        run: the instance's run folder, whose sockets may come and go.
    """

    def __init__(self, search: Search, run: Path) -> None:
        super().__init__(name="listener")
        self.found: set[str] = set()
        self.command_lines = 0
        self.messages = 0
        self._search = search
        self._folder = run
        self._over = threading.Event()

    def run(self) -> None:
        """Look and listen until told to end."""
        known: set[Path] = set()
        seen: set[bytes] = set()
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.setsockopt(zmq.SUBSCRIBE, b"")
            while not self._over.is_set():
                for path in set(self._folder.glob("*.pub")) - known:
                    known.add(path)
                    socket.connect(f"ipc://{path}")
                self._look_at_commands(seen)
                until_s = time.monotonic() + LOOK_S
                while (left_s := until_s - time.monotonic()) > 0 and socket.poll(left_s * 1e3):
                    parts = socket.recv_multipart()
                    self.messages += 1
                    self.found |= set(self._search.in_bytes("a message", b"\0".join(parts)))

    def _look_at_commands(self, seen: set[bytes]) -> None:
        for told in _command_lines():
            if told not in seen:
                seen.add(told)
                self.command_lines += 1
                self.found |= set(self._search.in_bytes("a command line", told))

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


@contextmanager
def listening(search: Search, run: Path) -> Iterator[Listener]:
    """A listener for the time of the block."""
    one = Listener(search, run)
    one.start()
    try:
        yield one
    finally:
        one.end()
