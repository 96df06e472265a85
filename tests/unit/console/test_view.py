"""What is looked at: slots of real layouts become markets and decisions, and a look writes
nowhere."""

import asyncio

import numpy as np
import pytest

from processes.console.decided import Decided
from processes.console.desk import Desk
from processes.console.main import Console
from processes.console.market import BAR_NS, BARS, TRADES, Markets
from processes.operations.steering import may_change
from processes.runtime import Context
from schemas import decisions, features, predictions, tape
from schemas.errors import NotRunningError, UsageError
from schemas.instruments import Instrument, Tables
from schemas.tape import Flag, Kind, Side
from schemas.trading import Reason
from shm.readers import Onlooker, ReadersPage, RingReader
from shm.ring import RingWriter
from shm.segment import Segment
from tests.helpers import TEST_LAYOUT as LAYOUT
from tests.helpers import TEST_SLOT as SLOT
from tests.helpers import QuietLog, make_ring, slots
from tests.instances import bare_instance

S = 10**9
TABLES = Tables(
    instruments=[Instrument(index=0, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD")]
)


def tape_slots(*made):
    out = np.zeros(len(made), tape.SLOT)
    for slot, (kind, more) in zip(out, made, strict=True):
        slot["kind"] = kind
        for name, value in more.items():
            slot[name] = value
    return out


def book(bid, ask):
    levels = np.zeros(40, np.float32)
    levels[0], levels[10], levels[20], levels[30] = bid - 100, 2.0, ask - 100, 3.0
    return levels


def level(bid, ask, flags=Flag.FRAME_END):
    more = {"flags": flags, "reference_price": 100.0, "book": book(bid, ask), "recv_ns": 7}
    return Kind.BOOK_LEVEL, more


def trade(price, at_ns, side=Side.BID, flags=0):
    return Kind.TRADE, {
        "price": price, "size": 1.5, "recv_ns": at_ns, "side": side, "flags": flags,
    }  # fmt: skip


def test_a_book_is_read_after_whole_frames_alone():
    markets = Markets(TABLES)
    markets.take_tape(tape_slots(level(99, 101), level(50, 200, flags=0)))
    (found,) = markets.all()
    assert [(one.price, one.size) for one in found.bids] == [(99.0, 2.0)]
    assert [(one.price, one.size) for one in found.asks] == [(101.0, 3.0)]
    assert found.middle == 100.0
    assert found.spread_bps == pytest.approx(200.0)


def test_trades_make_bars_and_stay_bounded():
    markets = Markets(TABLES)
    markets.take_tape(tape_slots(
        trade(100, 0), trade(103, 1), trade(99, 2, Side.ASK), trade(101, BAR_NS),
        trade(500, 3, flags=Flag.SNAPSHOT),
    ))  # fmt: skip
    (found,) = markets.all()
    first, second = found.bars
    assert (first.open, first.high, first.low, first.close, first.volume) == (100, 103, 99, 99, 4.5)
    assert (second.start_ns, second.close) == (BAR_NS, 101)
    assert [one.side for one in found.trades][:3] == ["buy", "buy", "sell"]
    many = [trade(100, n * BAR_NS) for n in range(2, 300)]
    markets.take_tape(tape_slots(*many))
    (found,) = markets.all()
    assert (len(found.bars), len(found.trades)) == (BARS, TRADES)


def test_features_and_predictions_of_a_cut():
    markets = Markets(TABLES)
    row = np.zeros(1, features.SLOT)
    row["reference_price"], row["cut_ns"], row["values"][0, 0] = 100.0, 5 * S, 1.25
    row["invalid"] = features.Invalid.STALE
    prediction = np.zeros(1, predictions.SLOT)
    prediction["outputs"][:] = np.nan
    prediction["outputs"][0, 0] = (0.5, 0.3, 0.2, 1.0, 2.0)
    prediction["blend"][0] = (0.6, 0.3, 0.1, 1.0, 2.0)
    prediction["flags"] = predictions.PredictionFlag.LATE
    markets.take_features(row)
    markets.take_predictions(prediction)
    (found,) = markets.all()
    assert found.features["spread_bps"] == 1.25
    assert found.feature_past["spread_bps"] == [1.25]
    assert (found.invalid, found.late) == (["stale"], True)
    assert {one.model for one in found.forecasts} == {"tcn", "blend"}
    assert markets.marks() == {0: 100.0}


def test_what_an_earlier_view_holds_does_not_change():
    markets = Markets(TABLES)
    markets.take_tape(tape_slots(trade(100, 0)))
    (before,) = markets.all()
    markets.take_tape(tape_slots(trade(200, 1)))
    assert before.bars[0].high == 100
    assert len(before.trades) == 1


def test_decisions_with_their_words_newest_first():
    decided = Decided(lambda index: f"symbol {index}")
    found = np.zeros(3, decisions.SLOT)
    found["kind"] = [decisions.SlotKind.DECISION, decisions.SlotKind.INPUT_TIMER,
                     decisions.SlotKind.DECISION]  # fmt: skip
    found["sequence"] = [1, 2, 3]
    found["reason"] = [Reason.NO_SIGNAL, 0, Reason.KILLED]
    found["numbers"][2, 0] = 0.75
    found["command_high"], found["command_low"] = 1, 2
    decided.take(found)
    newest, oldest = decided.newest()
    assert (newest.sequence, newest.reason, newest.symbol) == (3, "killed", "symbol 0")
    assert newest.reason_text == "the kill switch is on"
    assert newest.numbers["confidence"] == 0.75
    assert newest.command_id == "00000000000000010000000000000002"
    assert oldest.reason == "no_signal"
    assert decided.reasons() == {"killed": 1, "no_signal": 1}


# ---- who looks on


def test_an_onlooker_has_no_row_and_cannot_write(instance):
    with make_ring(instance, 64) as ring:
        writer = ring.writer()
        writer.append(slots(10))
        read_only = Segment.attach(ring.ring.name, writable=False)
        try:
            looking = Onlooker(read_only, SLOT, LAYOUT, limit=32)
            assert looking.read()["body"][:, 0].tolist() == list(range(10))
            assert len(looking.read()) == 0
            writer.append(slots(40, 10))
            assert looking.read()["body"][:, 0].tolist() == list(range(18, 50))
            assert looking.lost == 8
            assert list(ReadersPage(ring.page).rows()) == []
            with pytest.raises(TypeError):
                read_only.buffer[0] = 1
        finally:
            del looking
            read_only.close()


def test_an_onlooker_begins_with_the_newest_there_are(instance):
    with make_ring(instance, 64) as ring:
        ring.writer().append(slots(50))
        looking = Onlooker(ring.ring, SLOT, LAYOUT, limit=8)
        assert looking.read()["body"][:, 0].tolist() == list(range(42, 50))
        assert looking.lost == 0


def test_a_look_at_an_instance_leaves_its_rings_as_they_are(closed_logs):
    with bare_instance(console__enabled=True, console__port=0) as bare:
        bare.put_in_force()
        memory = bare.open()
        context = Context(bare.paths.run, "console")
        try:
            console = Console(context)
            found = memory.registry.find("ring", "features")
            page = memory.registry.find("readers", "features")
            ring, rows = Segment.attach(found.name), Segment.attach(page.name)
            row = np.zeros(1, features.SLOT)
            row["reference_price"] = 100.0
            RingWriter(ring, rows, features.SLOT, features.FINGERPRINT).append(row)
            before = bytes(ring.buffer), bytes(rows.buffer)
            view = console.sampler.look()
            assert (bytes(ring.buffer), bytes(rows.buffer)) == before
            assert [one.symbol for one in view.markets] == ["tBTCUSD"]
            assert {one.name: one.committed for one in view.rings}["features"] == 1
            assert view.kill_level == "none"
            named = RingReader(ring, rows, features.SLOT, features.FINGERPRINT, "somebody")
            second = console.sampler
            second._second_s = 0.0
            readers = {one.name: one.readers for one in second.look().rings}["features"]
            assert readers == [("somebody", 1, 0)]
            named.release()
        finally:
            context.close()


# ---- what may be done


def test_which_settings_a_page_may_change():
    for key in ("risk.max_spread_bps", "venues.bitfinex.symbols", "strategy.name"):
        assert may_change(key), key
    for key in ("execution.live", "execution.accounts.kraken.url", "console.port", "paths.data",
                "http.port", "console.hosts"):  # fmt: skip
        assert not may_change(key), key


def test_commands_are_written_down_with_who_and_what_came_of_it():
    with bare_instance() as bare:
        bare.put_in_force()
        log = QuietLog()
        desk = Desk(bare.paths, log, lambda: None)
        told = asyncio.run(desk.kill("somebody", "pause"))
        assert told["level"] == "pause"
        assert not told["running"]
        with pytest.raises(UsageError, match="type 'arm'"):
            asyncio.run(desk.arm("somebody", "yes"))
        asyncio.run(desk.arm("somebody", " ARM "))
        with pytest.raises(NotRunningError):
            asyncio.run(desk.reload("another"))
        with pytest.raises(UsageError, match="no level"):
            asyncio.run(desk.kill("somebody", "none"))
    lines = [(event, more["name"], more["by"]) for _, event, more in log.lines]
    assert lines == [
        ("command", "kill", "somebody"), ("command done", "kill", "somebody"),
        ("command", "arm", "somebody"), ("command done", "arm", "somebody"),
        ("command", "reload", "another"), ("command refused", "reload", "another"),
    ]  # fmt: skip
