"""Journals and the lake: written once, whole or not there, and nothing forgotten over a crash."""

import json
import os

import numpy as np
import psutil
import pyarrow as pa
import pytest

from processes.clock import day_of
from processes.journal_files import HEAD, read_segment
from processes.lake_files import PART, read_stream, sequence_column, tape_folder
from processes.rings import ring_layout
from processes.storage import lake as lake_module
from processes.storage import store as store_module
from processes.storage.columns import decision_batch, feature_batch, prediction_batch, tape_batch
from processes.storage.journal import Journal
from processes.storage.lake import salvage
from processes.storage.memory import give_back, use_system_memory
from processes.storage.rows import Block
from processes.storage.store import Split, TableView
from schemas import decisions, features, predictions, tape
from schemas.lake import SCHEMAS
from schemas.tape import Flag, Kind, Marker, MarkerReason, Side
from schemas.trading import Reason
from tests.lakes import NOW, TABLES, Ring, all_sequences, sealed_rows, tape_slots


@pytest.fixture
def ring(tmp_path, instance):
    made = Ring(tmp_path, instance)
    yield made
    made.close()


def rows_of(slots):
    [(*_, rows)] = Block(slots, ()).series()
    return rows


def test_every_slot_ends_in_the_lake_once(ring, tmp_path):
    for count in (1, 700, 3000, 5):
        ring.send(count)
        ring.store.take()
    ring.store.finish()
    assert all_sequences(tmp_path) == list(range(1, 3707))
    assert not list((tmp_path / "journal").rglob("*.slots"))
    assert not list((tmp_path / "lake").rglob(f"*{PART}"))


def test_layout_and_metadata_are_as_designed(ring, tmp_path):
    ring.send(400)
    ring.store.take()
    ring.store.finish()
    day = day_of(NOW)
    names = set(sealed_rows(tmp_path))
    for channel in ("books", "trades"):
        for symbol in ("tBTCUSD", "tDOGE%3AUSD"):
            folder = f"bitfinex/websocket/{channel}/{symbol}/dt={day}/"
            mine = [name for name in names if name.startswith(folder)]
            assert len(mine) == 1
            assert mine[0].rpartition("/")[2].startswith(f"{channel}-2025")
            with pa.memory_map(str(tmp_path / "lake" / mine[0])) as source:
                schema = pa.ipc.open_file(source).schema
            told = {key.decode(): value.decode() for key, value in schema.metadata.items()}
            assert told["venue"] == "bitfinex"
            assert told["channel"] == channel
            assert told["session"] == "5"
            assert schema.remove_metadata() == SCHEMAS[channel]
    assert tape_folder("bitfinex", "books", "tBTC/X:Y").endswith("tBTC%2FX%3AY")


@pytest.mark.parametrize("flush", [False, True])
def test_a_killed_store_goes_on_where_its_journal_ends(ring, tmp_path, flush):
    ring.send(1000)
    ring.store.take()
    if flush:
        ring.store.flush()
    ring.send(500)  # never read by this life
    reopened = ring.open()
    assert reopened.journal.position == 1000
    ring.send(300)
    reopened.take()
    reopened.finish()
    assert all_sequences(tmp_path) == list(range(1, 1801))


def test_a_crash_between_two_series_doubles_and_forgets_nothing(ring, tmp_path, monkeypatch):
    ring.send(900)
    ring.store.take()
    written = 0
    real = lake_module.Series.write

    def die_after_two(self, *arguments):
        nonlocal written
        written += 1
        if written == 3:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(lake_module.Series, "write", die_after_two)
    with pytest.raises(KeyboardInterrupt):
        ring.store.flush()
    monkeypatch.undo()
    ring.open().finish()
    assert all_sequences(tmp_path) == list(range(1, 901))


def test_a_torn_journal_slot_is_cut_off(ring, tmp_path):
    ring.send(100)
    ring.store.take()
    path = next((tmp_path / "journal").rglob("*.slots"))
    with path.open("ab") as file:
        file.write(b"x" * 99)
    assert read_segment(path).slots == 100
    again = ring.open()
    assert path.stat().st_size == HEAD.size + 100 * 256
    ring.send(10)
    again.take()
    again.finish()
    assert all_sequences(tmp_path) == list(range(1, 111))


def test_a_file_without_a_head_is_no_segment(tmp_path):
    dtype, layout = ring_layout("tape.bitfinex")
    folder = tmp_path / "tape.bitfinex"
    folder.mkdir()
    (folder / "5-1.slots").write_bytes(b"short")
    (folder / "5-2.slots").write_bytes(b"y" * 200)
    assert Journal(folder, layout, dtype, 5, 10**6).position == 0
    assert not list(folder.iterdir())


def test_slots_lost_to_a_lap_begin_a_new_segment(ring, tmp_path):
    ring.send(100)
    ring.store.take()
    for _ in range(3):
        ring.send(4000)  # laps the ring of 4096
    ring.store.take()
    assert ring.store.lost == 12_100 - 4096 - 100
    assert len(ring.store.journal.segments) == 2
    ring.store.finish()
    assert all_sequences(tmp_path) == [*range(1, 101), *range(12_100 - 4096 + 1, 12_101)]


def test_a_new_session_does_not_look_into_old_files(ring, tmp_path, monkeypatch):
    """After months there are very many; only storage's later lives have to know what they hold."""
    looked = []
    real = store_module.last_sequence

    def look(*arguments):
        looked.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(store_module, "last_sequence", look)
    ring.send(300)
    ring.store.take()
    ring.store.flush()
    assert looked == []
    ring.open().finish()
    assert len(looked) == 4
    assert all_sequences(tmp_path) == list(range(1, 301))


def test_segments_rotate_and_go_when_their_rows_are_sealed(tmp_path, instance):
    ring = Ring(tmp_path, instance, journal_segment_bytes=65_536, journal_max_bytes=10**7)
    for _ in range(10):
        ring.send(300)
        ring.store.take()
    assert len(ring.store.journal.segments) > 5
    ring.store.flush()
    ring.store._drop_sealed()
    assert len(ring.store.journal.segments) > 5  # open files need them still
    ring.store.seal()
    assert len(ring.store.journal.segments) == 1
    ring.open().finish()
    assert all_sequences(tmp_path) == list(range(1, 3001))
    ring.close()


def test_an_earlier_session_is_brought_into_the_lake(ring, tmp_path):
    ring.send(200)
    ring.store.take()
    later = ring.open(session=6)
    later.finish()
    sessions = set()
    for path in (tmp_path / "lake").rglob("*.arrow"):
        with pa.memory_map(str(path)) as source:
            sessions.add(pa.ipc.open_file(source).schema.metadata[b"session"])
    assert b"5" in sessions


def test_open_files_are_streams_and_sealed_ones_are_files(ring, tmp_path):
    ring.send(300)
    ring.store.take()
    ring.store.flush()
    parts = list((tmp_path / "lake").rglob(f"*{PART}"))
    assert len(parts) == 4
    assert not list((tmp_path / "lake").rglob("*.arrow"))
    rows = sum(batch.num_rows for part in parts for batch in read_stream(part)[1])
    assert rows == 300
    ring.store.finish()


def test_a_cut_tail_costs_the_last_batch_and_the_journal_has_it(ring, tmp_path):
    for _ in range(5):
        ring.send(200)
        ring.store.take()
        ring.store.flush()
    for part in (tmp_path / "lake").rglob(f"*{PART}"):
        os.truncate(part, part.stat().st_size - 30)
        schema, batches = read_stream(part)
        assert schema is not None
        assert len(list(batches)) == 4
    ring.open().finish()
    assert all_sequences(tmp_path) == list(range(1, 1001))


def test_a_death_between_rename_and_removal_leaves_one_copy(ring, tmp_path):
    ring.send(300)
    ring.store.take()
    ring.store.flush()
    part = next((tmp_path / "lake").rglob(f"*{PART}"))
    copy = part.read_bytes()
    ring.store.finish()
    part.write_bytes(copy)
    beside = part.with_name(".x.arrow.sealing")
    beside.write_bytes(b"half")
    ring.open().finish()
    assert all_sequences(tmp_path) == list(range(1, 301))
    assert not beside.exists()


def test_empty_and_unreadable_parts_vanish(tmp_path):
    folder = tmp_path / "dt=2026-01-01"
    folder.mkdir()
    (folder / f".a.arrow{PART}").write_bytes(b"")
    (folder / f".b.arrow{PART}").write_bytes(b"garbage" * 10)
    assert salvage(tmp_path) == []
    assert list(folder.iterdir()) == []


def test_a_new_day_begins_a_new_file(ring, tmp_path):
    slots = tape_slots(10)
    slots["instrument"], slots["stream"], slots["kind"] = 0, 1, Kind.TRADE
    later = slots.copy()
    later["sequence"] += 10
    later["recv_ns"] += 86_400 * 10**9
    ring.store.lake.write(slots)
    ring.store.lake.write(later)
    ring.store.finish()
    assert len({name.split("dt=")[1][:10] for name in sealed_rows(tmp_path)}) == 2


def test_other_streams_take_a_suffix(ring, tmp_path):
    slots = tape_slots(4)
    slots["instrument"] = 0
    slots["stream"] = [0, 2, 0, 2]
    slots["kind"] = Kind.BOOK_LEVEL
    ring.store.lake.write(slots)
    ring.store.finish()
    names = sorted(name.rpartition("/")[2] for name in sealed_rows(tmp_path))
    assert names[0].endswith("Z-P1.arrow")
    assert names[1].endswith("Z.arrow")


def test_books_rows_are_the_wires(ring):
    slots = tape_slots(3)
    slots["kind"], slots["side"] = Kind.BOOK_LEVEL, [Side.BID, Side.ASK, Side.ASK]
    slots["flags"] = [Flag.SNAPSHOT, 0, Flag.DELETE]
    slots["size"] = [2.0, 3.0, 0.0]
    table = tape_batch(rows_of(slots), TABLES.streams[0]).to_pydict()
    assert table["amount"] == [2.0, -3.0, -1.0]
    assert table["side"] == ["bid", "ask", "ask"]
    assert table["is_snapshot"] == [True, False, False]
    assert table["marker"] == [None] * 3
    assert table["price"] == slots["price"].tolist()


def test_trade_rows_say_how_they_came(ring):
    slots = tape_slots(3)
    slots["kind"], slots["side"] = Kind.TRADE, [Side.BID, Side.ASK, Side.BID]
    slots["flags"] = [0, Flag.CONFIRMED, Flag.SNAPSHOT | Flag.BACKFILLED]
    table = tape_batch(rows_of(slots), TABLES.streams[1]).to_pydict()
    assert table["msg_type"] == ["te", "tu", "snapshot"]
    assert [amount > 0 for amount in table["amount"]] == [True, False, True]
    assert table["trade_id"] == [1, 2, 3]


def test_markers_are_rows_with_their_particulars(ring, tmp_path):
    slots = np.zeros(2, tape.SLOT)
    slots["sequence"], slots["kind"] = [1, 2], Kind.MARKER
    slots["recv_ns"] = NOW
    view = tape.view_as(slots, tape.MARKER)
    view["instrument"], view["stream"] = [0, tape.WHOLE_CONNECTION], [1, tape.WHOLE_CONNECTION]
    view["marker"] = [Marker.GAP, Marker.DISCONNECTED]
    view["reason"] = [MarkerReason.SEQUENCE, MarkerReason.SILENCE]
    view["from_epoch"], view["from_venue_sequence"] = [3, 0], [99, 0]
    ring.store.lake.write(slots)
    ring.store.finish()
    found = {}
    for path in (tmp_path / "lake").rglob("*.arrow"):
        with pa.memory_map(str(path)) as source:
            for row in pa.ipc.open_file(source).read_all().to_pylist():
                found[row["marker"]] = (path.parts[-4], json.loads(row["marker_detail"]))
    assert found["gap"][0] == "trades"
    assert found["gap"][1] == {"from_epoch": 3, "from_venue_sequence": 99, "reason": "sequence"}
    assert found["disconnected"] == ("connection", {"reason": "silence"})


def test_candles_keep_the_venues_time(ring):
    slots = np.zeros(1, tape.CANDLE)
    slots["kind"], slots["start_ns"] = Kind.CANDLE, 1_654_074_420_000 * 10**6
    slots["open"], slots["close"], slots["high"], slots["low"] = 1, 2, 3, 0.5
    row = tape_batch(rows_of(slots.view(tape.SLOT)), TABLES.streams[3]).to_pylist()[0]
    assert row["mts"] == 1_654_074_420_000
    assert (row["open"], row["close"], row["high"], row["low"]) == (1, 2, 3, 0.5)
    assert row["timeframe"] == "1m"


def test_rings_behind_the_tape_have_tables_too(tmp_path):
    rows = np.zeros(3, features.SLOT)
    rows["reason"], rows["masked"] = 1, 1 << 61
    rows["values"][:] = np.arange(features.WIDTH)
    batch = feature_batch(rows)
    assert batch.column("ofi_1_1s").to_pylist() == [12.0] * 3
    assert batch.column("masked").to_pylist() == [1 << 61] * 3
    told = np.zeros(2, predictions.SLOT)
    told["outputs"][:] = np.nan
    told["blend"] = [1, 2, 3, 4, 5]
    batch = prediction_batch(told)
    assert batch.column("blend_move_bps").to_pylist() == [4.0, 4.0]
    made = np.zeros(2, decisions.SLOT)
    made["kind"], made["reason"] = 16, [Reason.SPREAD, 999]
    made["command_high"], made["command_low"] = 1, 2
    made["message_length"][1] = 3
    made["message"][1, :3] = [1, 2, 3]
    table = decision_batch(made).to_pydict()
    assert table["reason"] == ["spread", None]
    assert table["command_id"][0].hex() == "00000000000000010000000000000002"
    assert table["message"] == [None, b"\x01\x02\x03"]
    split = Split("features", TableView(TABLES))
    assert split.key((1, 0))[0].folder == "features/bitfinex/tDOGE%3AUSD"


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_table_is_numbered(name):
    assert sequence_column(SCHEMAS[name]) in SCHEMAS[name].names


def test_sealing_joins_batches_and_shows_signs_of_life(ring, tmp_path, monkeypatch):
    monkeypatch.setattr(lake_module, "SEALED_ROWS", 500)
    pulses = []
    for _ in range(10):
        ring.send(400)
        ring.store.take()
        ring.store.flush()
    before = {part: [len(b) for b in read_stream(part)[1]] for part in tmp_path.rglob(f"*{PART}")}
    for part, sizes in before.items():
        pulses.clear()
        sealed = lake_module.seal_part(part, part.with_name("x.arrow"), lambda: pulses.append(1))
        with pa.memory_map(str(sealed)) as source, pa.ipc.open_file(source) as file:
            batches = [len(file.get_batch(n)) for n in range(file.num_record_batches)]
            told = {name: int(file.schema.metadata[name]) for name in (b"rows", b"first_seq")}
        assert sum(batches) == sum(sizes) == told[b"rows"]
        assert all(size >= 500 for size in batches[:-1])
        assert len(pulses) == len(sizes) + len(batches)
        sealed.unlink()


def test_memory_that_was_used_for_a_moment_is_given_back():
    use_system_memory()
    assert pa.default_memory_pool().backend_name == "system"
    process = psutil.Process()
    held = [bytes(1000) + bytes([n % 256]) for n in range(100_000)]
    high = process.memory_info().rss
    keep, held = held[-1], []  # one at the end stays: the heap cannot shrink by itself
    give_back()
    assert high - process.memory_info().rss > 40e6
    assert keep
    assert not held
