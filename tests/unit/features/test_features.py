"""Feature kernels against the plain reference, and cuts that do not depend on how slots arrive."""

import random

import numpy as np
import pytest

from processes.features.state import BUCKETS, WINDOW_BUCKETS
from processes.simulator.bitfinex import Connection, History
from processes.simulator.flow import Flow, make_market
from processes.training.simulated import START_NS
from schemas import tape
from schemas.features import CATALOGUE, COLUMN, CutReason, Invalid
from schemas.tape import Flag, Kind, Marker
from tests.feeding import Feed
from tests.unit.features.making import TWO, Cuts, compare
from tests.unit.features.reference import Reference

SECOND = 10**9


def simulated_slots(seed: int, seconds: float, symbol: str = "tETHUSD") -> np.ndarray:
    """The tape of a simulated market, through the real codec."""
    market, ticks = make_market(symbol, 1)
    history = History(market)
    market.on_trade = history.add
    flow = Flow(market, ticks, seed, 60.0)
    frames: list[str] = []
    now_ns = START_NS
    connection = Connection({symbol: history}, frames.append, now_ns)
    feed = Feed()
    connection.receive('{"event":"conf","flags":537100288}', now_ns)
    connection.receive(
        f'{{"event":"subscribe","channel":"book","symbol":"{symbol}","len":"25"}}', now_ns
    )
    connection.receive(f'{{"event":"subscribe","channel":"trades","symbol":"{symbol}"}}', now_ns)
    while now_ns < START_NS + seconds * SECOND:
        now_ns += 37_000_000
        flow.advance((now_ns - START_NS) / 1e9, START_NS)
        connection.tick(now_ns)
        feed.frames(frames, recv_ns=now_ns)
        frames.clear()
    slots = feed.slots
    slots["sequence"] = np.arange(1, len(slots) + 1)
    return slots


FOREIGN = [
    name for name in COLUMN if name.startswith(("peer", "liquidation", "funding", "basis", "mark_"))
]
MINUTES = [name for name in COLUMN if "1m" in name]


@pytest.fixture(scope="module")
def slots() -> np.ndarray:
    return simulated_slots(3, 75)


def test_every_column_is_what_the_plain_reference_says(slots):
    cuts = Cuts()
    cuts.take(slots)
    rows = cuts.made
    assert len(rows) == 75
    told = compare(rows[[0, 1, 4, 7, 16, 33, 61, 73]], Reference(slots, TWO))
    # Another venue, a derivative and minutes of trades are in other tests.
    assert len(told) == len(COLUMN) - len(FOREIGN) - len(MINUTES)


def test_rows_do_not_depend_on_how_slots_arrive(slots, seed):
    whole = Cuts()
    whole.take(slots)
    draw = random.Random(seed)
    pieces = Cuts()
    at = 0
    while at < len(slots):
        end = min(at + draw.randint(1, 300), len(slots))
        pieces.take(slots[at:end])
        at = end
    one, other = whole.made, pieces.made
    for name in ("values", "book", "cut_ns", "invalid", "tape_position_0", "reference_price"):
        assert one[name].tobytes() == other[name].tobytes(), name


def test_a_row_holds_what_was_received_before_its_boundary(slots):
    cuts = Cuts()
    cuts.take(slots)
    for row in cuts.made:
        before = slots["sequence"][slots["recv_ns"] < row["cut_ns"]]
        assert row["tape_position_0"] == before[-1]
        assert row["reason"] == CutReason.BOUNDARY
        assert row["cut_ns"] % SECOND == 0


def test_silence_cuts_too_and_says_so(slots):
    cuts = Cuts()
    cuts.take(slots[:400])
    made = len(cuts.made)
    cuts.now_ns += 5 * SECOND
    cuts.cutter.turn()
    silent = cuts.made[made:]
    assert len(silent) == 5
    assert set(silent["reason"]) == {CutReason.SILENCE}
    assert silent["values"][-1][COLUMN["book_age_s"]] > 4


def test_a_stale_book_is_marked_and_not_repeated_as_news(slots):
    cuts = Cuts(stale_after_s=3.0)
    cuts.take(slots)
    assert not cuts.made["invalid"][-1] & int(Invalid.STALE)
    cuts.now_ns += 5 * SECOND
    cuts.cutter.turn()
    assert cuts.made["invalid"][-1] & int(Invalid.STALE)


def test_rows_warm_then_are_valid(slots):
    cuts = Cuts()
    cuts.take(slots)
    warming = (cuts.made["invalid"] & int(Invalid.WARMING)) != 0
    assert warming[:14].all()
    assert not warming[17:].any()


@pytest.mark.parametrize("whole_connection", [False, True])
def test_a_gap_invalidates_until_the_next_snapshot(slots, whole_connection):
    cuts = Cuts()
    cuts.take(slots)
    gap = np.zeros(1, tape.SLOT)
    view = tape.view_as(gap, tape.MARKER)
    view["kind"], view["marker"] = Kind.MARKER, Marker.DISCONNECTED
    view["recv_ns"], view["epoch"] = slots["recv_ns"][-1], slots["epoch"][-1]
    view["instrument"] = tape.WHOLE_CONNECTION if whole_connection else 0
    view["flags"] = 0 if whole_connection else Flag.PRIMARY
    gap["sequence"] = len(slots) + 1
    cuts.take(gap)
    cuts.now_ns += SECOND
    cuts.cutter.turn()
    assert cuts.made["invalid"][-1] & int(Invalid.GAPPED)
    again = slots[: np.flatnonzero(slots["flags"] & Flag.FRAME_END)[0] + 2].copy()
    again["recv_ns"] = cuts.now_ns
    again["sequence"] += len(slots) + 1
    cuts.take(again)
    cuts.now_ns += SECOND
    cuts.cutter.turn()
    assert not cuts.made["invalid"][-1] & int(Invalid.GAPPED)
    assert cuts.made["invalid"][-1] & int(Invalid.WARMING)


def test_trigger_cuts_at_once_but_not_too_often(slots):
    eager = Cuts(trigger=True, trigger_interval_us=0)
    for at in range(0, 500, 5):
        eager.take(slots[at : at + 5])
    rows = eager.made[eager.made["reason"] == CutReason.TRIGGER]
    assert len(rows) > 50
    assert (rows["cut_ns"] == rows["newest_recv_ns"] + 1).all()
    lazy = Cuts(trigger=True, trigger_interval_us=500_000)
    for at in range(0, 500, 5):
        lazy.take(slots[at : at + 5])
    made = lazy.made[lazy.made["reason"] == CutReason.TRIGGER]["made_ns"]
    assert (np.diff(np.unique(made)) >= 500_000_000).all()


def test_several_tapes_are_merged_by_receive_time(slots):
    other = slots.copy()
    other["instrument"] = 1
    other["recv_ns"] += 11_000_000
    merged, alone = Cuts(tapes=2), Cuts()
    alone.take(slots)
    for second in range(76):
        for number, source in enumerate((slots, other)):
            lower, upper = START_NS + second * SECOND, START_NS + (second + 1) * SECOND
            part = source[(source["recv_ns"] >= lower) & (source["recv_ns"] < upper)]
            if len(part):
                block = np.ascontiguousarray(part)
                merged.cutter.take(number, block, int(block.ctypes.data))
        merged.now_ns = START_NS + (second + 1) * SECOND + 3_000_000
        merged.cutter.turn()
    mine = merged.made[merged.made["instrument"] == 0]
    assert mine["values"][:70].tobytes() == alone.made["values"][:70].tobytes()
    assert (mine["tape_position_1"][1:] > 0).all()


def test_windows_do_not_drift(slots):
    """After many rotations a window is still exactly the sum of its buckets."""
    cuts = Cuts()
    cuts.take(slots)
    state = cuts.cutter._states[0]
    for window, buckets in enumerate(WINDOW_BUCKETS):
        places = [(int(state["bucket"]) - back) % BUCKETS for back in range(buckets)]
        exact = state["buckets"][places[1:]].sum(axis=0)
        assert state["windows"][window] == pytest.approx(exact, rel=1e-9, abs=1e-9)


def test_slots_that_lie_beyond_the_tables_are_left_alone(slots):
    strange = slots[:50].copy()
    strange["instrument"] = 77
    cuts = Cuts()
    cuts.take(strange)
    cuts.now_ns += 2 * SECOND
    cuts.cutter.turn()
    assert not cuts.rows


def test_the_catalogue_has_what_was_asked():
    assert len(CATALOGUE) >= 32
    assert all(feature.formula and feature.unit for feature in CATALOGUE)


def test_a_builder_that_begins_in_the_middle_of_a_tape_is_warm_after_a_while(slots):
    """The snapshot is long out of the ring: the book stands in every slot all the same."""
    cuts = Cuts()
    cuts.take(slots[2000:])
    first_ns = int(slots["recv_ns"][2000])
    for row in cuts.made:
        warming = bool(row["invalid"] & int(Invalid.WARMING))
        assert warming == (row["cut_ns"] < first_ns + 15 * SECOND + SECOND // 10), row["cut_ns"]
    assert not cuts.made["invalid"][-1]


def of_tape(slots: np.ndarray, instrument: int, epoch: int) -> np.ndarray:
    mine = slots.copy()
    mine["instrument"] = np.where(mine["instrument"] == 0, instrument, mine["instrument"])
    mine["epoch"] = epoch
    return mine


def disconnected(epoch: int, recv_ns: int, sequence: int) -> np.ndarray:
    marker = np.zeros(1, tape.MARKER)
    marker["kind"], marker["marker"] = Kind.MARKER, Marker.DISCONNECTED
    marker["instrument"] = marker["stream"] = tape.WHOLE_CONNECTION
    marker["epoch"], marker["recv_ns"], marker["sequence"] = epoch, recv_ns, sequence
    return marker.view(tape.SLOT)


def test_a_connection_of_one_venue_that_ends_is_no_gap_of_another_venue(slots):
    """Venues number their connections by themselves: both of these are on their seventh."""
    cuts = Cuts(tapes=2, trigger=True)
    cuts.take(of_tape(slots[:3000], 0, 7), tape_number=0)
    cuts.take(of_tape(slots[:3000], 1, 7), tape_number=1)
    cuts.take(disconnected(7, int(slots["recv_ns"][2999]) + 1, 3001), tape_number=1)
    cuts.now_ns += 2 * SECOND
    cuts.cutter.turn()
    last = {int(row["instrument"]): int(row["invalid"]) for row in cuts.made}
    assert not last[0] & int(Invalid.GAPPED)
    assert last[1] & int(Invalid.GAPPED)


def test_warming_on_several_tapes_leaves_each_its_position_and_its_connection(slots):
    cuts = Cuts(tapes=2)
    for number, end in ((0, 2000), (1, 900)):
        block = of_tape(slots[:end], number, 7)
        cuts.cutter.warm(number, block, int(block.ctypes.data))
    cuts.now_ns = int(slots["recv_ns"][2000])
    cuts.cutter.begin(cuts.now_ns)
    cuts.take(disconnected(7, cuts.now_ns + 1, 901), tape_number=1)
    cuts.now_ns += 5 * SECOND
    cuts.cutter.turn()
    rows = cuts.made
    assert set(rows["tape_position_0"]) == {2000}
    assert rows["tape_position_1"][-1] == 901
    assert not np.any(rows["invalid"][rows["instrument"] == 0] & int(Invalid.GAPPED))
    assert np.all(rows["invalid"][rows["instrument"] == 1] & int(Invalid.GAPPED))


def test_lost_slots_are_marked_between_what_came_before_and_what_comes_after(slots):
    cuts = Cuts(tapes=2)
    cuts.take(of_tape(slots[:500], 0, 7), tape_number=0)
    cuts.take(of_tape(slots[:400], 1, 7), tape_number=1)
    markers = cuts.cutter.lapse(cuts.now_ns, 1, 700)
    begin, end = markers
    assert (begin["reason"], end["reason"]) == (CutReason.LAPSE_BEGIN, CutReason.LAPSE_END)
    assert (begin["tape_position_0"], begin["tape_position_1"]) == (500, 400)
    assert (end["tape_position_0"], end["tape_position_1"]) == (500, 700)
