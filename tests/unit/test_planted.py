"""The search for planted secrets finds them in every form, packed or not, and nothing else."""

import base64
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zmq

from tests.helpers import wait_until
from tests.planted import MARK, Search, listening, plant, plant_base64

SECRET = plant("unit ä+")
SEARCHES = {"its own": Search({"one": SECRET}), "the suite's": Search()}


@pytest.fixture
def folder():
    # Not pytest's, which the suite's own search looks at in the end.
    with tempfile.TemporaryDirectory(prefix="dcu-") as one:
        yield Path(one)


@pytest.fixture(params=SEARCHES, ids=str)
def search(request) -> Search:
    return SEARCHES[request.param]


@pytest.mark.parametrize("before", ["", "u:", "us:", "use:"])
def test_in_every_form(search, before):
    raw = f"{before}{SECRET}".encode()
    for text in (
        raw.decode(), raw.hex(), raw.hex().upper(), base64.b64encode(raw + b"x").decode(),
        base64.urlsafe_b64encode(raw).decode(), quote(raw.decode()),
    ):  # fmt: skip
        (found,) = search.in_text("here", f'{{"a": "{text}"}}')
        assert found.startswith("here: ")
        assert MARK not in found


def test_nothing_where_nothing_is(search):
    assert search.in_text("here", plant("another")[len(MARK) :] * 9) == []
    assert search.in_bytes("here", bytes(range(256)) * 9) == []


def test_a_secret_in_base64_bears_the_mark():
    assert Search().in_text("here", plant_base64("kraken"))


def test_inside_what_is_packed_and_in_names(folder, search):
    table = pa.table(
        {"number": [1.5], "text": [SECRET], "word": pa.array([SECRET]).dictionary_encode()}
    )
    packed = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(folder / "a.arrow"), table.schema, options=packed) as writer:
        writer.write(table)
    with pa.ipc.new_stream(str(folder / "b.arrow"), table.schema, options=packed) as writer:
        writer.write(table)
    pq.write_table(table, folder / "c.parquet", compression="zstd")
    with pa.CompressedOutputStream(str(folder / "d.zst"), "zstd") as stream:
        stream.write(SECRET.encode())
    with sqlite3.connect(folder / "e.sqlite") as database:
        database.execute("CREATE TABLE t (body BLOB)")
        # So long that it goes over pages, each of which begins with a number.
        database.execute("INSERT INTO t VALUES (?)", ((SECRET * 300).encode(),))
    database.close()
    (folder / "below").mkdir()
    (folder / "below" / f"f-{SECRET}").write_text("")
    (folder / "g").write_bytes(zlib.compress(b"nothing"))
    found = search.in_folder(folder)
    for name in ("a.", "b.", "c.", "d.", "e.", "below/f-"):
        assert any(f"/{name}" in one for one in found), (name, found)
    rest = search.in_folder(folder, but=[*folder.glob("[a-e]*"), *folder.glob("below/*")])
    assert rest == []


def test_in_command_lines_and_on_the_bus(search, folder):
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.linger = 0
        publisher.bind(f"ipc://{folder}/one.pub")
        child = [sys.executable, "-c", "input()", SECRET]
        with (
            listening(search, folder) as heard,
            subprocess.Popen(child, stdin=subprocess.PIPE) as process,
        ):

            def all_found() -> bool:
                publisher.send_multipart([b"fact.x", SECRET.encode()])
                return {one.partition(":")[0] for one in heard.found} == {
                    "a message", "a command line",
                }  # fmt: skip

            wait_until(all_found, 20, "both are found")
            process.communicate(b"\n")
