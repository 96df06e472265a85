"""A lake in a store: pushed with proof, read as one, and nothing lost whatever the store does."""

import os
import random
import signal
import subprocess
import sys

import pyarrow as pa
import pytest

from processes.lake.compact import compact
from processes.lake.files import Wanted, as_record, find
from processes.lake.proofs import Proofs
from processes.lake.push import Push
from processes.lake.query import query
from processes.lake.show import records
from processes.lake.verify import Verification
from processes.lake_holes import LAPPED, Hole, note_hole, read_holes
from processes.lake_places import KEPT_IN, MARK, kept_in, open_lake
from processes.lake_stores import Store
from schemas.errors import ConfigError, OperatorError, StoreError
from schemas.stores import parse_store
from tests.helpers import ROOT
from tests.lakes import NOW, Ring, counted_sequences
from tests.servers import S3_ENVIRONMENT, s3_server

DAYS_LATER = 40


class LaterClock:
    """A clock that stands so many days after the rows were written."""

    def now_ns(self) -> int:
        return NOW + DAYS_LATER * 86_400 * 10**9


@pytest.fixture(scope="module")
def s3():
    with s3_server() as server:
        yield server


@pytest.fixture
def s3_keys(monkeypatch):
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["s3", "file"])
def place(request, tmp_path):
    """A store's URI, and where a test finds the content of its files."""
    if request.param == "file":
        folder = tmp_path / "nas" / "lake"
        folder.mkdir(parents=True)
        return f"file://{folder}", lambda name: folder / name
    server = request.getfixturevalue("s3")
    request.getfixturevalue("s3_keys")
    base = f"{tmp_path.name}-{random.randrange(1 << 40)}"
    return server.uri(base), lambda name: server.object(f"{base}/{name}")


@pytest.fixture
def ring(tmp_path, instance):
    made = Ring(tmp_path, instance)
    yield made
    made.close()


def recorded(ring, count=600) -> list:
    ring.send(count)
    ring.store.take()
    ring.store.seal()
    return sorted((ring.folder / "lake").rglob("*.arrow"))


def push(folder, uri, keep=0, go_on=lambda _: True):
    one = Push(folder, Store(parse_store("lake.store", uri)), uri, keep)
    try:
        return one.run(LaterClock(), go_on)
    finally:
        one.close()


def names_in_store(uri) -> set[str]:
    store = Store(parse_store("lake.store", uri))
    return {name for name, _ in store.listing("", recursive=True)} - {MARK}


def local_names(folder) -> set[str]:
    lake = folder / "lake"
    return {str(path.relative_to(lake)) for path in lake.rglob("*") if path.is_file()} - {KEPT_IN}


def verified(folder, **options):
    lake = open_lake(folder / "lake")
    return Verification(lake, folder / "journal", **options).run()


def test_what_is_pushed_is_there_byte_by_byte_and_nothing_twice(ring, place):
    uri, find_object = place
    files = recorded(ring)
    ring.send(10)
    ring.store.take()
    ring.store.flush()  # open files stay here
    note_hole(ring.folder / "lake", "tape.bitfinex", hole(9001))
    done = push(ring.folder, uri)
    assert done.files == len(files) + 1
    assert (done.refused, done.pending_files, done.oldest_ns) == ([], 0, 0)
    for path in files:
        name = path.relative_to(ring.folder / "lake")
        assert find_object(name).read_bytes() == path.read_bytes()
    again = push(ring.folder, uri)
    assert again.files == 0
    assert names_in_store(uri) == {
        name for name in local_names(ring.folder) if not name.endswith(".part")
    }


def hole(first) -> Hole:
    return Hole(session=5, first=first, last=first + 1, time_ns=NOW, reason=LAPPED)


def test_a_lake_whose_days_are_in_the_store_is_read_as_it_was(ring, place):
    uri, _ = place
    recorded(ring)
    ring.store.finish()
    lake = ring.folder / "lake"
    before = rows_of(lake)
    push(ring.folder, uri, keep=1)
    assert [name for name in local_names(ring.folder) if name.endswith(".arrow")] == []
    both, alone = open_lake(lake), open_lake(uri)
    for one in (both, alone):
        assert counted_sequences(one) == list(range(1, 601))
        assert rows_of(one) == before
        files, faults = find(one, Wanted(channel="trades"))
        assert faults == []
        assert {as_record(file, one)["in"] for file in files} == {"store"}
        assert records(files[0], limit=1, first_seq=600 - 4)[0]["tape_seq"] >= 596
        assert find(one, Wanted(venue="kraken"))[0] == []
    report = verified(ring.folder)
    assert report.faults == []
    assert report.rows == 600
    assert Verification(alone, ring.folder / "none").run().faults == []


def rows_of(lake):
    sql = (
        "SELECT dt, session, symbol, pair, suffix, tape_seq, price, amount FROM trades "
        "ORDER BY tape_seq"
    )
    return [row for block in query(lake, sql).blocks for row in block]


def test_days_that_are_young_or_open_or_not_proved_stay_here(ring, place):
    uri, _ = place
    files = recorded(ring)
    ring.store.finish()
    push(ring.folder, uri, keep=DAYS_LATER + 1)
    assert all(path.exists() for path in files)
    push(ring.folder, uri)
    assert all(path.exists() for path in files)


def test_the_newest_file_of_each_stream_stays_while_its_session_may_go_on(ring, place):
    uri, _ = place
    recorded(ring, 300)
    newest = set(recorded(ring, 300)) - set(first_of(ring))
    (ring.folder / "sessions" / "5").mkdir(parents=True)
    done = push(ring.folder, uri, keep=1)
    assert done.removed == 4
    assert set((ring.folder / "lake").rglob("*.arrow")) == newest
    # What storage asks of the files here, it is told as before.
    assert ring.open().journal.position == 600
    ring.send(50)
    ring.store.take()
    ring.store.seal()
    assert verified(ring.folder, running=True).faults == []
    ring.store.finish()
    # All rows here are of one second, so a name that was removed has come again: it is told, and
    # packing joins what is here and what is there.
    done = push(ring.folder, uri, keep=1)
    assert len(done.refused) == 4
    assert verified(ring.folder).rows == 650
    compact(open_lake(ring.folder / "lake"), before="2999-01-01")
    (ring.folder / "sessions" / "6").mkdir()
    assert push(ring.folder, uri, keep=1).refused == []
    assert not list((ring.folder / "lake").rglob("*.[ap]*"))
    assert verified(ring.folder).rows == 650
    assert verified(ring.folder).faults == []


def first_of(ring) -> list:
    """Of two files of each series the one with the plain name."""
    return [path for path in (ring.folder / "lake").rglob("*.arrow") if path.stem.count("-") == 1]


def test_a_packed_day_takes_the_place_of_its_arrow_files_once_it_is_proved(ring, place):
    uri, _ = place
    recorded(ring, 300)
    recorded(ring, 300)
    ring.store.finish()
    push(ring.folder, uri)
    before = rows_of(ring.folder / "lake")
    both = open_lake(ring.folder / "lake")
    compact(both, before="2999-01-01")
    # Packed here, and not yet pushed: the store's Arrow files do not count beside it.
    assert counted_sequences(both) == list(range(1, 601))
    assert any(name.endswith(".arrow") for name in names_in_store(uri))
    done = push(ring.folder, uri, keep=1)
    assert done.replaced == 8
    assert not any(name.endswith(".arrow") for name in names_in_store(uri))
    assert {name for name in local_names(ring.folder) if name.endswith(".parquet")} == set()
    assert counted_sequences(both) == list(range(1, 601))
    assert rows_of(both) == before
    assert verified(ring.folder).faults == []


def test_a_day_whose_packed_file_is_only_in_the_store_is_packed_with_what_came_late(ring, place):
    uri, _ = place
    recorded(ring, 300)
    lake = ring.folder / "lake"
    compact(open_lake(lake), before="2999-01-01")
    # Without its journal the session is over, and no file need stay here for its sake.
    (ring.folder / "journal").rename(ring.folder / "aside")
    push(ring.folder, uri, keep=1)
    (ring.folder / "aside").rename(ring.folder / "journal")
    assert list(lake.rglob("*.parquet")) == []
    recorded(ring, 300)
    ring.store.finish()
    # Packed alone it bears the name of the store's, and must not take its place.
    compact(lake, before="2999-01-01")
    done = push(ring.folder, uri, keep=1)
    assert len(done.refused) == 4
    assert "dcctl lake compact" in done.refused[0]
    both = open_lake(lake)
    assert counted_sequences(both) == list(range(1, 601))
    compact(both, before="2999-01-01")
    assert push(ring.folder, uri, keep=1).refused == []
    assert list(lake.rglob("*.parquet")) == []
    assert counted_sequences(open_lake(uri)) == list(range(1, 601))
    assert verified(ring.folder).faults == []


def test_holes_are_known_from_the_store_and_lines_of_others_are_not_written_over(ring, place):
    uri, _ = place
    recorded(ring)
    lake = ring.folder / "lake"
    note_hole(lake, "tape.bitfinex", hole(9001))
    push(ring.folder, uri)
    note_hole(lake, "tape.bitfinex", hole(9901))
    push(ring.folder, uri)
    assert read_holes(open_lake(uri), "tape.bitfinex") == read_holes(lake, "tape.bitfinex")
    (lake / "holes" / "tape.bitfinex.jsonl").write_bytes(b"")
    note_hole(lake, "tape.bitfinex", hole(77))
    assert "holes that are not in the file here" in push(ring.folder, uri).refused[0]


def test_a_file_of_others_under_our_name_is_left_and_ours_stays_here(ring, place):
    uri, find_object = place
    files = recorded(ring)
    ring.store.finish()
    names = [str(path.relative_to(ring.folder / "lake")) for path in files]
    store = Store(parse_store("lake.store", uri))

    store.put(names[0], pa.py_buffer(b"of somebody else"))
    store.put(names[1], pa.py_buffer(files[1].read_bytes()[:-200]))
    store.put(names[2], pa.py_buffer(bytes(files[2].stat().st_size)))
    done = push(ring.folder, uri, keep=1)
    assert len(done.refused) == 3
    assert all(path.exists() for path in files[:3])
    assert not any(path.exists() for path in files[3:])
    assert find_object(names[0]).read_bytes() == b"of somebody else"
    report = verified(ring.folder)
    told = " ".join(fault.where + fault.what for fault in report.faults)
    assert "cannot be read" in told
    assert names[2] in told
    assert report.rows == 600


def test_what_a_dying_server_has_torn_is_put_there_again(ring, place, monkeypatch):
    uri, of = place
    (path, *_) = recorded(ring)
    name = path.relative_to(ring.folder / "lake").as_posix()
    put = Store.put

    def torn(store, key, content):
        if key != name:
            put(store, key, content)
            return
        put(store, key, content.slice(0, content.size // 2))
        raise StoreError("the server is gone", refused=False)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", torn)
        with pytest.raises(StoreError, match="gone"):
            push(ring.folder, uri)
    pushed = push(ring.folder, uri)
    assert (pushed.refused, pushed.pending_files) == ([], 0)
    assert of(name).read_bytes() == path.read_bytes()
    # What is torn there later was not torn by us.
    of(name).write_bytes(path.read_bytes()[:100])
    assert push(ring.folder, uri).refused


def test_a_file_that_the_store_has_lost_or_changed_is_not_removed_here(ring, place):
    uri, find_object = place
    files = recorded(ring)
    ring.store.finish()
    push(ring.folder, uri)
    lost, changed = (str(path.relative_to(ring.folder / "lake")) for path in files[:2])
    store = Store(parse_store("lake.store", uri))
    store.remove(lost)
    content = bytearray(find_object(changed).read_bytes())
    content[len(content) // 2] ^= 1

    store.put(changed, pa.py_buffer(bytes(content)))
    os.utime(find_object(changed), (1, 1))
    faults = verified(ring.folder).faults
    assert [fault.where for fault in faults] == [changed]
    assert "move it away" in faults[0].do
    done = push(ring.folder, uri, keep=1)
    assert lost in names_in_store(uri)
    assert len(done.refused) == 1
    assert files[1].exists()
    assert not files[0].exists()


# ---- a store that fails


def test_a_store_that_mangles_what_it_is_sent_is_found_out(
    ring, s3, s3_keys, tmp_path, monkeypatch
):
    """An S3 server that does not know the checksums of newer clients keeps them as content."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    uri = s3.uri(f"mangled-{random.randrange(1 << 40)}")
    files = recorded(ring)
    ring.store.finish()
    with pytest.raises(StoreError, match="AWS_REQUEST_CHECKSUM_CALCULATION=when_required"):
        push(ring.folder, uri, keep=1)
    assert names_in_store(uri) == set()
    assert kept_in(ring.folder / "lake") is None
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    push(ring.folder, uri, go_on=lambda _: False)
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    done = push(ring.folder, uri, keep=1)
    assert (done.files, done.removed) == (0, 0)
    assert len(done.refused) == len(files)
    assert "came back other than it was sent" in done.refused[0]
    assert names_in_store(uri) == set()
    assert all(path.exists() for path in files)


def test_wrong_keys_are_one_clear_error(ring, s3, s3_keys, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODY")
    recorded(ring)
    with pytest.raises(StoreError) as raised:
        push(ring.folder, s3.uri("x"))
    assert raised.value.refused
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(raised.value)
    assert kept_in(ring.folder / "lake") is None  # it is not kept where it never was


def test_no_bucket_is_one_clear_error(ring, s3, s3_keys):
    recorded(ring)
    with pytest.raises(StoreError, match="there is no bucket nowhere; make it"):
        push(ring.folder, s3.uri("x", bucket="nowhere"))


def test_a_share_that_is_not_mounted_is_not_written_to_and_not_an_empty_store(ring, tmp_path):
    files = recorded(ring)
    ring.store.finish()
    share = tmp_path / "nas"
    with pytest.raises(StoreError, match=rf"is it mounted. If it is, make it: mkdir {share}"):
        push(ring.folder, f"file://{share}")
    share.mkdir()
    push(ring.folder, f"file://{share}")
    share.rename(tmp_path / "unmounted")
    share.mkdir()  # the mount point
    with pytest.raises(StoreError, match=r"is not the store of this lake.*is it mounted"):
        push(ring.folder, f"file://{share}", keep=1)
    with pytest.raises(StoreError, match="is it mounted"):
        open_lake(ring.folder / "lake")
    assert all(path.exists() for path in files)
    assert list(share.iterdir()) == []


def test_a_store_of_another_lake_is_not_ours(ring, place, tmp_path):
    uri, _ = place
    recorded(ring)
    push(ring.folder, uri)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(StoreError, match="keeps another lake: add a folder"):
        push(other, uri)


def test_a_server_that_is_killed_in_a_pass_costs_no_row(ring, s3_keys):
    files = recorded(ring)
    ring.store.finish()
    with s3_server() as server:
        uri = server.uri("lake")
        for survived in (0, 1, 0):
            left = [survived]

            def kill_later(_, left=left):
                left[0] -= 1
                if left[0] < 0:
                    server.kill()
                return True

            with pytest.raises(StoreError, match="does not answer"):
                push(ring.folder, uri, keep=1, go_on=kill_later)
            with pytest.raises(StoreError):
                counted_sequences(open_lake(ring.folder / "lake"))
            assert all(path.exists() for path in files)
            server.start()
        assert counted_sequences(open_lake(ring.folder / "lake")) == list(range(1, 601))
        assert push(ring.folder, uri, keep=1).refused == []
        assert verified(ring.folder).faults == []
        assert verified(ring.folder).rows == 600


KILLED = """
import os, signal, sys
from pathlib import Path
from processes.lake import push as module
from processes.lake_stores import Store
from schemas.stores import parse_store
from tests.unit.lake.test_push import LaterClock
folder, uri, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
count = 0
def trace(frame, event, argument):
    global count
    if frame.f_code.co_filename.endswith(("push.py", "proofs.py", "lake_places.py",
    "lake_stores.py")):
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
sys.settrace(trace)
push = module.Push(folder, Store(parse_store("lake.store", uri)), uri, 1)
push.run(LaterClock())
sys.settrace(None)
print(count, flush=True)
os._exit(0)
"""
"""Pushes, and dies at the so manieth line of the pushing code."""


def push_and_die(folder, uri, at) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), uri, str(at)],
        capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [1])
def test_killed_at_any_line_each_row_is_there_once(ring, place, seed, long_run):
    uri, _ = place
    recorded(ring, 300)
    recorded(ring, 300)
    ring.store.finish()
    lake = ring.folder / "lake"
    draw = random.Random(seed)
    for packed in (False, True):
        if packed:
            compact(open_lake(lake), before="2999-01-01")
        for _ in range(8 if long_run else 2):
            code, said = push_and_die(ring.folder, uri, draw.randrange(1, 2500))
            assert code in {-signal.SIGKILL, 0}, said
            assert counted_sequences(open_lake(lake)) == list(range(1, 601))
            assert verified(ring.folder).faults == []
    assert push(ring.folder, uri, keep=1).refused == []
    assert counted_sequences(open_lake(uri)) == list(range(1, 601))
    assert not [name for name in names_in_store(uri) if name.endswith(".arrow")]
    assert not list(lake.rglob("*.parquet"))


def test_a_lake_can_be_in_one_store_only_and_be_pushed_by_one_only(ring, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    recorded(ring)
    uri = f"file://{tmp_path}/one"
    one = Proofs(ring.folder / "lake", Store(parse_store("lake.store", uri)), uri)
    with pytest.raises(OperatorError, match="is being pushed already"):
        push(ring.folder, f"file://{tmp_path}/one")
    one.close()
    with pytest.raises(OperatorError, match="copy all of it to the new store"):
        push(ring.folder, f"file://{tmp_path}/two")


def test_a_push_that_died_over_a_folder_is_a_leftover_and_no_file(ring, tmp_path):
    store = tmp_path / "nas"
    store.mkdir()
    recorded(ring)
    ring.store.finish()
    push(ring.folder, f"file://{store}")
    day = next(store.rglob("dt=*"))
    (day / ".trades-1.arrow.pushing").write_bytes(b"half")
    assert [one.what for one in verified(ring.folder).leftovers] == ["an unfinished push"]
    assert verified(ring.folder, fix=True).leftovers[0].removed
    assert verified(ring.folder).leftovers == []


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("s3://key:secret@bucket/lake", "no key may stand in the URI"),
        ("/mnt/nas", "must be like s3://"),
        ("file://nas/lake", "three slashes"),
        ("s3:///lake", "name a bucket"),
        ("s3://lake?secret_key=x", "secret_key= is no option of s3://"),
        ("s3://lake?scheme=ftp", "http or https"),
    ],
)
def test_a_uri_that_is_none_is_not_repeated_but_explained(uri, what):
    with pytest.raises(ConfigError) as raised:
        parse_store("lake.store", uri)
    assert what in str(raised.value)
    assert "lake.store" in str(raised.value)
    assert "secret@" not in str(raised.value)
