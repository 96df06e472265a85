"""Where a lake stands: a folder, an object store, or both, read as one.

A `Path` is a folder or file of this machine. A `StorePath` is one of a store that pyarrow.fs can
speak to. `Both` is a folder of a lake whose older files are in a store. Whoever reads a lake takes
any of the three and asks here what stands in it; storage knows paths only.

A lake that is kept in a store says so itself, by the first line of `<lake>/store.jsonl`; so every
tool that is given the folder reads the whole lake. What fails in a store is a `StoreError`, as
`processes/lake_stores.py` says, or a FileNotFoundError.
"""

import os
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple, Union

import msgspec
import pyarrow as pa
from msgspec import Struct

from processes.files import walk
from processes.lake_stores import Store, Told, store_at
from schemas.errors import StoreError
from schemas.stores import parse_store

KEPT_IN: Final = "store.jsonl"
"""In a lake's folder: its store, and what is proved to be there."""
MARK: Final = "lake.json"
"""In a store: whose lake it keeps, so that a share that is not mounted is no empty store."""
BLOCK_BYTES: Final = 2_000_000
"""What is fetched at once of a file that is read from its beginning to its end."""
TAIL_BYTES: Final = 64_000
"""What is fetched of a file's end, where Arrow and Parquet say what is in it."""
DAY: Final = "dt="


class Kept(Struct, frozen=True):
    """First line of `store.jsonl`."""

    store: str
    """The URI."""
    lake: str
    """A name that no other lake has; it stands in the store's `lake.json` too."""


class Mark(Struct, frozen=True):
    """Content of `lake.json`."""

    lake: str


class StorePath:
    """A folder or a file of a store."""

    def __init__(self, store: Store, key: str = "", told: Told | None = None) -> None:
        self.store = store
        self.key = key
        """Path below the store's own folder, with `/`."""
        self._told = told

    def __str__(self) -> str:
        return f"{self.store.uri.text}/{self.key}".rstrip("/")

    def __truediv__(self, name: str) -> "StorePath":
        return StorePath(self.store, f"{self.key}/{name}".lstrip("/"))

    @property
    def name(self) -> str:
        """Its last part."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> "StorePath":
        """The folder that it is in."""
        return StorePath(self.store, self.key.rpartition("/")[0])

    def stat(self) -> Told:
        """Size and time, asked for anew; FileNotFoundError if it is not there."""
        return self.store.told(self.key)

    def listed(self) -> Told:
        """The same as the listing had it."""
        return self._told or self.stat()

    def is_file(self) -> bool:
        """Whether it is a file."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def exists(self) -> bool:
        """Whether there is a file of this name, or one below it."""
        return self.is_file() or bool(self.store.listing(self.key, recursive=False))

    def is_dir(self) -> bool:
        """Always: a store has no folders but in its files' names."""
        return True

    def read_bytes(self) -> bytes:
        """The whole content."""
        return b"".join(self.store.chunks(self.key))

    def unlink(self) -> None:
        """Remove it."""
        self.store.remove(self.key)


class Both:
    """A folder of a lake, or a file, here and in the store."""

    def __init__(self, local: Path, store: StorePath) -> None:
        self.local = local
        self.store = store

    def __str__(self) -> str:
        return str(self.local)

    def __truediv__(self, name: str) -> "Both":
        return Both(self.local / name, self.store / name)

    @property
    def name(self) -> str:
        """Its last part."""
        return self.local.name

    def is_dir(self) -> bool:
        """As a store says: there are no folders but in names."""
        return True

    def exists(self) -> bool:
        """Whether it is in either."""
        return self.local.exists() or self.store.exists()

    def read_bytes(self) -> bytes:
        """A file's content: what is here is the newer one."""
        try:
            return self.local.read_bytes()
        except FileNotFoundError:
            return self.store.read_bytes()


Place = Union[Path, StorePath, Both]  # noqa: UP007  (a forward reference in a doc of each)
"""A lake, or a folder of one."""
File = Path | StorePath


class Entry(NamedTuple):
    """A file that stands in a folder."""

    path: File
    copy: StorePath | None
    """The store's file of the same name and size, where `path` is here."""


def open_lake(where: Path | str) -> Place:
    """A lake by its folder or URI; a folder that is kept in a store as well gives both.

    Raises:
        ConfigError: it is no such URI. StoreError: the store cannot be used.
    """
    if isinstance(where, str) and "://" in where:
        return StorePath(Store(parse_store("--lake", where)))
    folder = Path(where)
    kept = kept_in(folder)
    if kept is None:
        return folder
    store = store_at(kept.store)
    check_mark(store, kept)
    return Both(folder, StorePath(store))


def kept_in(folder: Path) -> Kept | None:
    """The store that a lake is kept in; None if it is in none."""
    try:
        with (folder / KEPT_IN).open("rb") as file:
            return msgspec.json.decode(file.readline(), type=Kept)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def mark_of(store: Store) -> str:
    """Whose lake a store keeps; empty if it keeps none."""
    try:
        return msgspec.json.decode(StorePath(store, MARK).read_bytes(), type=Mark).lake
    except FileNotFoundError:
        return ""
    except msgspec.DecodeError:
        return "unknown"


def check_mark(store: Store, kept: Kept) -> None:
    """Raises StoreError unless a store keeps this lake."""
    there = mark_of(store)
    if there != kept.lake:
        what = "another lake's" if there else "not there"
        hint = "is it mounted?" if store.uri.scheme == "file" else "is it the right one?"
        raise StoreError(
            f"{store.uri.text} is not the store of this lake: {MARK} is {what}; {hint}",
            refused=True,
        )


def local_of(place: Place) -> Path | None:
    """Its part on this machine."""
    if isinstance(place, Both):
        return place.local
    return place if isinstance(place, Path) else None


def name_in(lake: Place, path: Place) -> str:
    """A file's or folder's name below its lake, with `/`; the same wherever it stands."""
    if isinstance(path, StorePath):
        return path.key
    local, mine = local_of(lake), local_of(path)
    assert local is not None
    assert mine is not None
    return str(PurePosixPath(mine.relative_to(local)))


def entries(folder: Place) -> list[Entry]:
    """The files in a folder, sorted by name; what is here goes before what is in the store.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if isinstance(folder, Path):
        return [Entry(path, None) for path in sorted(folder.iterdir())]
    if isinstance(folder, StorePath):
        found = folder.store.listing(folder.key, recursive=False)
        return sorted(
            (Entry(StorePath(folder.store, key, told), None) for key, told in found),
            key=lambda entry: entry.path.name,
        )
    mine = {path.name: path for path in _files_in(folder.local)}
    theirs = {entry.path.name: entry.path for entry in entries(folder.store)}
    merged: list[Entry] = []
    for name in sorted({*mine, *theirs}):
        here, there = mine.get(name), theirs.get(name)
        if here is None:
            assert there is not None
            merged.append(Entry(there, None))
            continue
        is_copy = isinstance(there, StorePath) and _size(here) == there.listed().st_size
        merged.append(Entry(here, there if is_copy and isinstance(there, StorePath) else None))
        if there is not None and not is_copy:
            merged.append(Entry(there, None))
    return merged


def _files_in(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []  # all of it is in the store


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def day_folders(root: Place) -> list[Place]:
    """All folders of a day below one, in the order of their names."""
    if isinstance(root, Path):
        return [
            *sorted(
                folder / name
                for folder, folders, _ in walk(root)
                for name in folders
                if name.startswith(DAY)
            )
        ]
    if isinstance(root, StorePath):
        keys = {key.rpartition("/")[0] for key, _ in root.store.listing(root.key, recursive=True)}
        days = sorted(key for key in keys if key.rpartition("/")[2].startswith(DAY))
        return [StorePath(root.store, key) for key in days]
    found: dict[str, Place] = {}
    base = root.store.key
    for place in day_folders(root.store):
        assert isinstance(place, StorePath)
        below = place.key[len(base) :].strip("/")
        found[below] = Both(root.local / below, place)
    for path in day_folders(root.local):
        assert isinstance(path, Path)
        below = str(PurePosixPath(path.relative_to(root.local)))
        found.setdefault(below, Both(path, root.store / below))
    return [found[below] for below in sorted(found)]


def opened(path: File, block_bytes: int = BLOCK_BYTES) -> Any:
    """A file to be read at any place: mapped here, fetched in blocks from a store."""
    if isinstance(path, Path):
        return pa.memory_map(str(path))
    return pa.PythonFile(_Blocks(path, block_bytes), mode="r")


class _Blocks:
    """A store's file as Python files are; what was fetched last is kept for the next reads."""

    HELD: Final = 4

    def __init__(self, path: StorePath, block_bytes: int) -> None:
        self._store = path.store
        self._size = path.listed().st_size
        self._bytes = block_bytes
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0
        with self._store.errors():
            self._file = self._store.files.open_input_file(f"{self._store.uri.base}/{path.key}")
        self.closed = False

    def close(self) -> None:
        """Give it up."""
        if not self.closed:
            self.closed = True
            self._held.clear()
            self._file.close()

    def flush(self) -> None:
        """Nothing is ever written."""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where it stands."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        end = self._size if count < 0 else min(self._at + count, self._size)
        begin, self._at = self._at, max(end, self._at)
        if end <= begin:
            return b""
        if end - begin >= self._bytes:  # a large read is one request
            return self._fetch(begin, end)
        first, last = begin // self._bytes, (end - 1) // self._bytes
        joined = b"".join(self._block(number) for number in range(first, last + 1))
        skip = begin - first * self._bytes
        return joined[skip : skip + end - begin]

    def _block(self, number: int) -> bytes:
        held = self._held.get(number)
        if held is None:
            start = number * self._bytes
            held = self._fetch(start, min(start + self._bytes, self._size))
            self._held[number] = held
            while len(self._held) > self.HELD:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(number)
        return held

    def _fetch(self, begin: int, end: int) -> bytes:
        with self._store.errors():
            content: bytes = self._file.read_at(end - begin, begin)
        return content
