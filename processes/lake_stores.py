"""A store that pyarrow.fs can speak to: an object store, or a folder of another machine's.

What fails in it is a `StoreError` that says what to do, or a FileNotFoundError. A file is put there
whole or not at all. Nothing here waits for longer than the timeouts below, and no key is ever in a
name, a message or a file: the environment has them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, NamedTuple

import pyarrow as pa

from schemas.errors import StoreError
from schemas.stores import StoreUri, parse_store

PUSHING: Final = ".pushing"
"""Ending of a file on its way to a store that is a folder."""
CONNECT_S: Final = 5.0
REQUEST_S: Final = 20.0
TRIES: Final = 3
CHUNK_BYTES: Final = 8_000_000
SECOND_NS: Final = 1_000_000_000


class Told(NamedTuple):
    """What a store says of a file; the names are those of `os.stat_result`."""

    st_size: int
    st_ino: int
    """When it was put there, ns: another number is another file. In whole seconds, since some
    servers list more than they tell of one file."""


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
