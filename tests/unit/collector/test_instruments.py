"""What a venue's instrument channel says, against what is known."""

import msgspec
import pytest

from processes.collector.instruments import InstrumentWatch
from processes.reference import load_reference, reference_path, save_reference
from schemas.reference import Listing, ReferenceData
from tests.helpers import QuietLog
from venues.wire import InstrumentsChanged, PairRules

BTC = Listing(
    venue="kraken", symbol="BTC/USD", pair="BTC/USD", base="BTC", quote="USD", kind="spot",
    rest_symbol="XBTUSD", price_rule="tick", tick_size="0.1", size_step="0.00000001",
    min_size="0.00005", min_cost="0.5", margin=True, status="online",
)  # fmt: skip
PAIR = PairRules(
    symbol="BTC/USD", base="BTC", quote="USD", status="online", price_decimals=1,
    price_step="0.10", quantity_decimals=8, quantity_step="0.00000001",
    minimum_quantity="0.000050",
)  # fmt: skip


def told(*pairs: PairRules, snapshot: bool = True) -> InstrumentsChanged:
    return InstrumentsChanged(is_snapshot=snapshot, pairs=pairs, assets=())


@pytest.fixture
def log() -> QuietLog:
    return QuietLog()


@pytest.fixture
def kept(tmp_path):
    save_reference(tmp_path, ReferenceData(venue="kraken", fetched_ns=7, instruments=[BTC]))
    return tmp_path


def watch_of(folder, log) -> InstrumentWatch:
    return InstrumentWatch("kraken", folder, ("BTC/USD",), log)


def test_the_same_in_other_digits_is_no_change(kept, log):
    before = reference_path(kept, "kraken").stat().st_mtime_ns
    watch = watch_of(kept, log)
    watch.take(told(PAIR))
    assert (watch.changes, log.lines) == (0, [])
    assert reference_path(kept, "kraken").stat().st_mtime_ns == before


def test_a_changed_tick_is_told_counted_and_kept_and_nothing_else_is_touched(kept, log):
    watch = watch_of(kept, log)
    changed = msgspec.structs.replace(PAIR, price_step="0.01", status="cancel_only")
    watch.take(told(changed, snapshot=False))
    watch.take(told(changed))
    assert watch.changes == 1
    assert "0.1 -> 0.01" in str(log.lines)
    assert "online -> cancel_only" in str(log.lines)
    reference = load_reference(kept, "kraken")
    assert reference.fetched_ns == 7
    assert reference.instruments == [
        msgspec.structs.replace(BTC, tick_size="0.01", status="cancel_only")
    ]


def test_a_new_instrument_is_told_once_and_left_to_a_refresh(kept, log):
    watch = watch_of(kept, log)
    new = msgspec.structs.replace(PAIR, symbol="NEW/USD", base="NEW")
    watch.take(told(PAIR, new))
    watch.take(told(PAIR, new))
    assert watch.changes == 1
    assert "NEW/USD" in str(log.lines)
    assert load_reference(kept, "kraken").instruments == [BTC]


def test_without_reference_data_the_first_frame_is_no_news_and_the_next_may_be(tmp_path, log):
    watch = watch_of(tmp_path, log)
    watch.take(told(PAIR))
    assert watch.changes == 0
    watch.take(told(msgspec.structs.replace(PAIR, price_step="1"), snapshot=False))
    assert watch.changes == 1
    assert load_reference(tmp_path, "kraken") is None


def test_damaged_reference_data_and_a_full_disk_end_nothing(kept, log, monkeypatch):
    reference_path(kept, "kraken").write_bytes(b"{")
    watch = watch_of(kept, log)
    assert "no reference data" in str(log.lines)
    save_reference(kept, ReferenceData(venue="kraken", fetched_ns=7, instruments=[BTC]))
    watch = watch_of(kept, log)
    reference_path(kept, "kraken").unlink()
    reference_path(kept, "kraken").parent.rmdir()
    (kept / "reference").write_text("a file where a folder should be")
    watch.take(told(msgspec.structs.replace(PAIR, price_step="1")))
    assert watch.changes == 1
    assert "not kept" in str(log.lines)


def test_of_many_changes_some_are_told_and_the_subscribed_ones_always(kept, log):
    many = [
        msgspec.structs.replace(PAIR, symbol=f"A{number}/USD", base=f"A{number}")
        for number in range(200)
    ]
    watch = watch_of(kept, log)
    watch.take(told(*many, msgspec.structs.replace(PAIR, price_step="1")))
    assert watch.changes == 201
    assert len(log.lines) == 51
    assert "subscribed instrument" in str(log.lines[-1])
