"""Where a lake stands: a folder, an object store, or both, read as one.

A `Path` is a folder or file of this machine. A `StorePath` is one of a store that pyarrow.fs can
speak to. `Both` is a folder of a lake whose older files are in a store. Whoever reads a lake takes
any of the three and asks here what stands in it; storage knows paths only.

A lake that is kept in a store says so itself, by the first line of `<lake>/store.jsonl`; so every
tool that is given the folder reads the whole lake. What fails in a store is a `StoreError` that
says what to do, or a FileNotFoundError. Nothing here waits for longer than the timeouts below, and
no key is ever in a name, a message or a file.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple, Union

import msgspec
import pyarrow as pa
from msgspec import Struct

from schemas.errors import StoreError
from schemas.stores import StoreUri, parse_store

KEPT_IN: Final = "store.jsonl"
"""In a lake's folder: its store, and what is proved to be there."""
MARK: Final = "lake.json"
"""In a store: whose lake it keeps, so that a share that is not mounted is no empty store."""
PUSHING: Final = ".pushing"
"""Ending of a file on its way to a store that is a folder."""
CONNECT_S: Final = 5.0
REQUEST_S: Final = 20.0
TRIES: Final = 3
BLOCK_BYTES: Final = 2_000_000
"""What is fetched at once of a file that is read from its beginning to its end."""
TAIL_BYTES: Final = 64_000
"""What is fetched of a file's end, where Arrow and Parquet say what is in it."""
CHUNK_BYTES: Final = 8_000_000
SECOND_NS: Final = 1_000_000_000
DAY: Final = "dt="


class Told(NamedTuple):
    """What a store says of a file; the names are those of `os.stat_result`."""

    st_size: int
    st_ino: int
    """When it was put there, ns: another number is another file. In whole seconds, since some
    servers list more than they tell of one file."""


class Kept(Struct, frozen=True):
    """First line of `store.jsonl`."""

    store: str
    """The URI."""
    lake: str
    """A name that no other lake has; it stands in the store's `lake.json` too."""


class Mark(Struct, frozen=True):
    """Content of `lake.json`."""

    lake: str


def _file_systems() -> Any:
    from pyarrow import fs  # noqa: PLC0415  (what a lake that is a folder need not have)

    return fs


class Store:
    """A connection to a store. One is enough for a process, and it may be used by threads."""

    def __init__(self, uri: StoreUri) -> None:
        self.uri = uri
        with self.errors():
            self.files = _connect(uri)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Whatever goes wrong, in words for a person."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise store_error(self.uri, error) from None

    def listing(self, below: str, *, recursive: bool) -> list[tuple[str, Told]]:
        """Files below a folder: their paths in the store, and what it says of them."""
        base = f"{self.uri.base}/{below}".rstrip("/")
        selector = _file_systems().FileSelector(base, allow_not_found=True, recursive=recursive)
        with self.errors():
            found = self.files.get_file_info(selector)
        cut = len(self.uri.base) + 1
        return [
            (one.path[cut:], _told(one))
            for one in found
            if one.is_file and not one.path.endswith("/")
        ]

    def told(self, name: str) -> Told:
        """What the store says of a file.

        Raises:
            FileNotFoundError: it is not there.
        """
        with self.errors():
            one = self.files.get_file_info(f"{self.uri.base}/{name}")
        if not one.is_file:
            raise FileNotFoundError(f"{self.uri.text}/{name}")
        return _told(one)

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's content as the store has it."""
        with self.errors(), self.files.open_input_stream(f"{self.uri.base}/{name}") as source:
            while block := source.read(CHUNK_BYTES):
                yield block

    def put(self, name: str, content: pa.Buffer) -> None:
        """Put a file there, whole or not at all: an object store does so by itself."""
        path = f"{self.uri.base}/{name}"
        with self.errors():
            if self.uri.scheme != "file":
                self._write(path, content)
                return
            folder, _, last = path.rpartition("/")
            beside = f"{folder}/.{last}{PUSHING}"
            self.files.create_dir(folder)
            self._write(beside, content)
            _sync(beside)
            self.files.move(beside, path)
            _sync(folder)

    def _write(self, path: str, content: pa.Buffer) -> None:
        # Of what the network has broken off the stream makes no object, and neither of what the
        # process did not live to end. The content is in memory: reading it cannot fail half way.
        with self.files.open_output_stream(path) as sink:
            for start in range(0, content.size, CHUNK_BYTES):
                sink.write(content.slice(start, min(CHUNK_BYTES, content.size - start)))

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self.errors():
            self.files.delete_file(f"{self.uri.base}/{name}")


def _told(info: Any) -> Told:
    return Told(info.size, (info.mtime_ns or 0) // SECOND_NS * SECOND_NS)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect(uri: StoreUri) -> Any:
    fs = _file_systems()
    options = dict(uri.options)
    if uri.scheme == "file":
        return fs.LocalFileSystem()
    if uri.scheme == "gs":
        return fs.GcsFileSystem(**options)
    virtual = options.pop("force_virtual_addressing", "").lower() in {"1", "true"}
    elsewhere = "endpoint_override" in options or "AWS_ENDPOINT_URL" in os.environ
    named = any(name in os.environ for name in ("AWS_REGION", "AWS_DEFAULT_REGION"))
    if "region" not in options and not named:
        bucket = uri.base.partition("/")[0]
        options["region"] = "us-east-1" if elsewhere else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        **options,
        force_virtual_addressing=virtual,
        connect_timeout=CONNECT_S,
        request_timeout=REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
    )


_KEYS: Final = (
    "INVALID_ACCESS_KEY_ID", "InvalidAccessKeyId", "SIGNATURE_DOES_NOT_MATCH",
    "SignatureDoesNotMatch", "ACCESS_DENIED", "AccessDenied", "EXPIRED_TOKEN", "ExpiredToken",
    "INVALID_CLIENT_TOKEN_ID", "MISSING_AUTHENTICATION_TOKEN", "HTTP status 403",
    "HTTP status 401", "PERMISSION_DENIED", "UNAUTHENTICATED",
)  # fmt: skip
_NAMES: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}


def store_error(uri: StoreUri, error: Exception) -> StoreError:
    """What failed, and what to do."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    if uri.scheme == "file":
        return StoreError(f"{uri.text} cannot be used: {said[:200]}; is it mounted?", refused=False)
    if "NO_SUCH_BUCKET" in said or "NoSuchBucket" in said:
        bucket = uri.base.partition("/")[0]
        return StoreError(
            f"{uri.text}: there is no bucket {bucket}; make it, or correct lake.store", refused=True
        )
    found = [word for word in _KEYS if word in said]
    if found:
        return StoreError(
            f"{uri.text} does not take the credentials ({found[0]}): set {_NAMES[uri.scheme]} in "
            "the environment of dcctl, of somebody who may list, read, write and delete there",
            refused=True,
        )
    said = said.rpartition("AWS Error ")[2]
    return StoreError(f"{uri.text} does not answer: {said[:200]}", refused=False)


@cache
def store_at(text: str) -> Store:
    """The store of a URI; the same one each time."""
    return Store(parse_store("the store", text))


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
        return [*sorted(path for path in root.rglob(f"{DAY}*") if path.is_dir())]
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
