"""What is proved to be in a lake's store: `<lake>/store.jsonl`.

    {"store":"s3://bucket/folder","lake":"5f0c..."}
    {"begun":"bitfinex/.../trades-....arrow"}
    {"name":"bitfinex/.../trades-....arrow","bytes":812,"mtime_ns":...,"put_ns":...,"digest":"..."}

The first line says where a lake is kept, to whoever reads it (`processes/lake_places.py`). Every
other is a file that was begun to be put there, or one of which the store's content was read back
and was the same. A proof holds for the file here and the file there as they were then; one that has
changed is proved anew. What was begun and is not proved may be there torn, if the store's server
died over it, and may be written over then. Who loses this file loses the time of reading everything
back, and has to remove by hand what is torn there.

Its lock is that of pushing: one at a time.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from msgspec import Struct

from processes.files import write_whole
from processes.lake_places import KEPT_IN, MARK, Kept, Mark, StorePath, check_mark, kept_in, mark_of
from processes.lake_stores import CHUNK_BYTES, Store
from schemas.errors import OperatorError, StoreError

STALE_LINES: Final = 1000
"""The file is written anew when it has so many lines that do not count any more."""


class Proof(Struct, frozen=True, kw_only=True):
    """A file whose content in the store was read back and compared."""

    name: str
    bytes: int
    mtime_ns: int
    """Of the file here."""
    put_ns: int
    """When the store got its file, by its own clock."""
    digest: str


class Begun(Struct, frozen=True, kw_only=True):
    """A name that nobody else's file had when ours was sent there."""

    begun: str


def digest_of_buffer(content: pa.Buffer) -> str:
    """BLAKE2b, 32 bytes, as hex."""
    digest = hashlib.blake2b(digest_size=32)
    for start in range(0, content.size, CHUNK_BYTES):
        digest.update(content.slice(start, min(CHUNK_BYTES, content.size - start)))
    return digest.hexdigest()


@contextmanager
def content_of(path: Path) -> Iterator[pa.Buffer]:
    """A file's content, mapped: a disk that fails while it is read ends the process."""
    if not path.stat().st_size:
        yield pa.py_buffer(b"")
        return
    with pa.memory_map(str(path)) as source:
        yield source.read_buffer()


def digest_of(path: Path) -> str:
    """Of a file here."""
    with content_of(path) as content:
        return digest_of_buffer(content)


def digest_of_store(path: StorePath) -> str:
    """Of a file as the store gives it back.

    Raises:
        FileNotFoundError: it is not there. StoreError: the store does not answer.
    """
    digest = hashlib.blake2b(digest_size=32)
    for block in path.store.chunks(path.key):
        digest.update(block)
    return digest.hexdigest()


class Proofs:
    """The file, held by its lock while it is open.

    Raises:
        OperatorError: somebody else pushes, or the lake is kept in another store. StoreError: the
            store keeps another lake, or nothing, or does not answer.
    """

    def __init__(self, lake: Path, store: Store, uri: str) -> None:
        self._path = lake / KEPT_IN
        kept = kept_in(lake)
        if kept is None:
            _check_is_free(store)
            kept = Kept(store=uri, lake=secrets.token_hex(16))
            write_whole(self._path, _line(kept))
        elif kept.store != uri:
            raise OperatorError(
                f"{lake} is kept in {kept.store}, and old files may be nowhere else: copy all of "
                f"it to the new store, then put its URI into the first line of {self._path}"
            )
        self._kept = kept
        self._file = self._path.open("r+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise OperatorError(f"{lake} is being pushed already: dcctl status") from None
        self._lines = 0
        self._proofs: dict[str, Proof] = {}
        self._begun: set[str] = set()
        try:
            self._load()
            if not self._proofs and not mark_of(store):
                self._mark(store)
            check_mark(store, kept)
        except StoreError:
            self._file.close()
            raise

    def _mark(self, store: Store) -> None:
        """Mark a store that keeps nothing yet as this lake's."""
        try:
            _put_mark(store, self._kept.lake)
        except StoreError:
            self._path.unlink()  # the lake is not kept where nothing can be put
            raise

    def _load(self) -> None:
        content = self._file.read()
        lines = content.split(b"\n")
        for line in lines[1:]:
            try:
                told = _told(line)
            except msgspec.DecodeError:
                continue  # a crash cut it off
            self._lines += 1
            if isinstance(told, Begun):
                self._begun.add(told.begun)
            else:
                self._proofs[told.name] = told
                self._begun.discard(told.name)
        if not content.endswith(b"\n"):
            self._file.write(b"\n")

    def find(self, name: str, told: os.stat_result) -> Proof | None:
        """The proof of a file as it is here now."""
        proof = self._proofs.get(name)
        if proof is None or (proof.bytes, proof.mtime_ns) != (told.st_size, told.st_mtime_ns):
            return None
        return proof

    def begin(self, name: str) -> None:
        """Note, before it is sent, what will be ours under a name that is free there."""
        self._begun.add(name)
        self._write(Begun(begun=name))

    def is_begun(self, name: str) -> bool:
        """Whether it was sent there, and not proved to have come."""
        return name in self._begun

    def add(self, proof: Proof) -> None:
        """Note a proof."""
        self._proofs[proof.name] = proof
        self._begun.discard(proof.name)
        self._write(proof)

    def _write(self, what: Proof | Begun) -> None:
        self._file.write(_line(what))
        self._file.flush()
        self._lines += 1

    def forget(self, name: str) -> None:
        """The file is not here any more, or is not what it was."""
        self._proofs.pop(name, None)

    def names(self) -> list[str]:
        """Files of which there is a proof."""
        return list(self._proofs)

    def close(self) -> None:
        """Give the lock up; leave no more lines than are of use."""
        kept = [*self._proofs.values(), *[Begun(begun=name) for name in sorted(self._begun)]]
        if self._lines - len(kept) > STALE_LINES:
            # Rewritten in its place: the lock is this file's.
            self._file.seek(0)
            self._file.write(_line(self._kept))
            for one in kept:
                self._file.write(_line(one))
            self._file.truncate()
        self._file.close()


def _told(line: bytes) -> Proof | Begun:
    if line.startswith(b'{"begun":'):
        return msgspec.json.decode(line, type=Begun)
    return msgspec.json.decode(line, type=Proof)


def _check_is_free(store: Store) -> None:
    if store.uri.scheme == "file" and not Path(store.uri.base).is_dir():
        raise StoreError(
            f"{store.uri.text} is not there: is it mounted? If it is, make it: mkdir "
            f"{store.uri.base}",
            refused=True,
        )
    if mark_of(store):
        raise StoreError(
            f"{store.uri.text} keeps another lake: add a folder of its own to lake.store",
            refused=True,
        )


def _put_mark(store: Store, lake: str) -> None:
    store.put(MARK, pa.py_buffer(msgspec.json.encode(Mark(lake=lake))))
    if mark_of(store) != lake:
        store.remove(MARK)
        raise StoreError(
            f"{store.uri.text} gives back other than it was sent. An older S3 server needs "
            "AWS_REQUEST_CHECKSUM_CALCULATION=when_required in the environment of dcctl",
            refused=True,
        )


def _line(what: Any) -> bytes:
    return msgspec.json.encode(what) + b"\n"
