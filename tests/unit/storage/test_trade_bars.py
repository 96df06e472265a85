"""Bars of trades on both bodies, against a reference that is as naive as can be."""

import json
import random
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.storage.trade_bars import (
    TIMEFRAMES,
    bar_of,
    decimal_text,
    exact,
    packed,
    start_of,
    unpacked,
)
from schemas.tape import Flag, Marker, MarkerReason
from tests.feeding import Feed
from tests.unit.simulator.world import World, run
from tests.unit.storage.histories import (
    BAR_TABLES,
    BTC,
    ETH,
    FUNDING,
    GMO,
    MINUTE,
    T0,
    TABLES,
    Place,
    marker,
    trades,
)
from venues.gmo.codec import GmoCodec
from venues.names import time_ns as parsed_ns

HOUR = 60 * MINUTE
SECOND = 10**9
VISIBLE = (
    "venue, symbol, timeframe, variant, start_ns, open, high, low, close, volume_exact, "
    "notional_exact, trades"
)


@pytest.fixture
def at(body) -> Place:
    return Place(body)


def fraction_text(number: Fraction) -> str:
    with localcontext(prec=200):
        found = f"{Decimal(number.numerator) / Decimal(number.denominator):f}"
    return found.rstrip("0").rstrip(".") if "." in found else found


def naive(told: list[tuple]) -> list[tuple]:
    """Bars of (venue, symbol, variant, order, event_ns, price, size), of which each is one trade.

    Everything a bar says is computed from the list of its trades alone.
    """
    groups: dict[tuple, list[tuple]] = {}
    for venue, symbol, variant, order, event_ns, price, size in told:
        for timeframe, length in TIMEFRAMES.items():
            first = 4 * 24 * HOUR if timeframe == "1W" else 0
            start = event_ns - (event_ns - first) % length
            mine = groups.setdefault((venue, symbol, timeframe, variant, start), [])
            mine.append((event_ns, order, price, Fraction(repr(size)), Fraction(repr(price))))
    found = []
    for key, mine in groups.items():
        mine.sort(key=lambda one: one[:2])
        prices = [one[2] for one in mine]
        volume = sum(one[3] for one in mine)
        notional = sum(one[3] * one[4] for one in mine)
        found.append(
            (
                *key, prices[0], max(prices), min(prices), prices[-1],
                fraction_text(volume), fraction_text(notional), float(len(mine)),
            )
        )  # fmt: skip
    return sorted(found, key=repr)


def bars_of(at: Place, columns: str = VISIBLE, timeframe: str = "") -> list[tuple]:
    wanted = f"AND timeframe = '{timeframe}'" if timeframe else ""
    query = f"SELECT {columns} FROM bars WHERE source = 'trades' {wanted}"
    return sorted(at.body.ask(query, "history"), key=repr)


def completeness(at: Place, symbol: str = "tBTCUSD") -> dict[int, int]:
    """By minute since T0."""
    found = at.body.ask(
        "SELECT start_ns, complete FROM bars WHERE source = 'trades' AND timeframe = '1m' "
        f"AND symbol = '{symbol}'",
        "history",
    )
    return {(start - T0) // MINUTE: complete for start, complete in found}


# ---- the set of trades alone says what a bar is


def test_random_trades_make_the_bars_of_a_naive_reference(at, seed):
    """Late, doubled, out of order, over sessions and restarts of the writer."""
    draw = random.Random(seed)
    known: dict[tuple, tuple] = {}
    reference: list[tuple] = []
    writer = None
    recv = T0
    for step in range(40):
        if step in {13, 27}:
            at.session += 1
            at.sequences = dict.fromkeys(at.sequences, 0)
        ring, instrument = draw.choice(
            [("tape.bitfinex", BTC), ("tape.bitfinex", ETH), ("tape.bitfinex", FUNDING),
             ("tape.gmo", GMO)]
        )  # fmt: skip
        item = TABLES.instruments[instrument]
        told, counts = [], []
        for _ in range(draw.randrange(1, 40)):
            when = T0 + draw.choice([draw.randrange(3 * HOUR), draw.randrange(20) * 5 * SECOND])
            price, size = round(draw.uniform(1, 2e7), 4), round(draw.uniform(1e-8, 500), 8)
            number = 0 if instrument == GMO else draw.randrange(1, 500)
            period = draw.choice([2, 30]) if instrument == FUNDING else 1
            if number:
                # The venue's number is of one trade, however often that is told.
                when, price, size, period = known.setdefault(
                    (instrument, number), (when, price, size, period)
                )
            told.append((number, when, price, size))
            counts.append(period)
        flags = Flag.FUNDING if instrument == FUNDING else draw.choice([0, Flag.SNAPSHOT])
        block = trades(*told, instrument=instrument, recv_ns=recv, flags=flags)
        block["count"] = counts
        recv += SECOND
        at.append(ring, block)
        if instrument == GMO:
            for slot in block:
                order = (at.session, int(slot["sequence"]))
                reference.append(
                    (item.venue, item.symbol, "", order, int(slot["event_ns"]),
                     float(slot["price"]), float(slot["size"]))
                )  # fmt: skip
        if draw.random() < 0.3 and writer is not None:
            writer.close()
            writer = None
        if draw.random() < 0.6:
            writer = writer or at.writer()
            at.write(writer)
    if writer is not None:
        writer.close()
    at.write()
    told_numbers = set(known)
    for instrument, number in told_numbers:
        when, price, size, period = known[instrument, number]
        item = TABLES.instruments[instrument]
        variant = f"p{period}" if instrument == FUNDING else ""
        reference.append((item.venue, item.symbol, variant, (0, number), when, price, size))
    assert bars_of(at) == naive(reference)
    assert len(bars_of(at, timeframe="1m")) > 100


PRICES = st.floats(1e-6, 1e9, allow_nan=False)
ROWS = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 59 * SECOND), PRICES, st.floats(1e-9, 1e12)),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[0],
)


@given(rows=ROWS, cut=st.integers(0, 30), order=st.randoms(use_true_random=False))
def test_order_and_parting_change_no_bit(rows, cut, order):
    at_once = bar_of(trades(*rows), 5, set())
    mixed = [*rows, *rows[:cut]]
    order.shuffle(mixed)
    counted: set = set()
    parts = [bar_of(trades(*part), 5, counted) for part in (mixed[:cut], mixed[cut:]) if part]
    made = [part for part in parts if part is not None]
    joined = made[0] if len(made) == 1 else made[0].joined(made[1])
    assert {**_fields(joined), "recv_ns": 0} == {**_fields(at_once), "recv_ns": 0}
    assert unpacked(packed(counted)) == counted
    assert Fraction(decimal_text(joined.volume)) == sum(Fraction(repr(row[3])) for row in rows)


def _fields(bar) -> dict:
    return {name: getattr(bar, name) for name in bar.__struct_fields__}


def test_bars_begin_where_calendars_do():
    monday = parsed_ns("2026-11-16T00:00:00Z")
    for offset in (0, 1, 3 * 24 * HOUR, 7 * 24 * HOUR - 1):
        assert start_of("1W", monday + offset) == monday
    assert start_of("1D", monday + 25 * HOUR) == monday + 24 * HOUR
    assert start_of("4h", monday + 7 * HOUR) == monday + 4 * HOUR
    assert decimal_text(exact(1e-8)) == "0.00000001"
    assert decimal_text(exact(13_000_000.0)) == "13000000"


def test_a_late_trade_corrects_the_bar_and_a_doubled_one_does_not(at):
    writer = at.writer()
    at.append("tape.bitfinex", trades((10, T0 + 20, 100.5, 0.1), (11, T0 + 30, 101.5, 0.2)))
    at.write(writer)
    assert bars_of(at, "open, close, volume_exact, trades", "1m") == [(100.5, 101.5, "0.3", 2.0)]
    late = trades((9, T0 + 10, 99.5, 0.7), (11, T0 + 30, 101.5, 0.2), flags=Flag.BACKFILLED)
    at.append("tape.bitfinex", late)
    at.write(writer)
    writer.close()
    found = bars_of(at, "open, low, close, volume_exact, trades, average_price, volume", "1m")
    assert found == [(99.5, 99.5, 101.5, "1", 3.0, 100.0, 1.0)]
    # One bar a timeframe: minutes without a trade have none.
    starts = {row[2]: row[4] for row in bars_of(at)}
    assert starts == {name: start_of(name, T0) for name in TIMEFRAMES}
    assert len(bars_of(at)) == len(TIMEFRAMES)


def test_a_trade_told_by_two_sessions_is_counted_once(at):
    at.append("tape.bitfinex", trades((1, T0 + 1, 5.0, 2.0), (2, T0 + 2, 6.0, 2.0)))
    at.session, at.sequences = 6, dict.fromkeys(at.sequences, 0)
    snapshot = trades((2, T0 + 2, 6.0, 2.0), (3, T0 + 3, 7.0, 2.0), flags=Flag.SNAPSHOT)
    at.append("tape.bitfinex", snapshot)
    at.write()
    assert bars_of(at, "open, close, trades, volume_exact", "1m") == [(5.0, 7.0, 3.0, "6")]


def test_trades_without_ids_are_all_counted(at):
    """Equal trades of one millisecond are legitimate where a venue gives no ids."""
    same = (0, T0 + 7, 5.0, 1.5)
    at.append("tape.gmo", trades(same, same, same, instrument=GMO))
    both = trades(same, same, instrument=GMO, stream=3)
    at.append("tape.gmo", both)
    at.write()
    found = bars_of(at, "variant, trades, volume_exact", "1m")
    assert found == [("", 3.0, "4.5"), ("BOTH_SIDES", 2.0, "3")]


# ---- what is known to be incomplete


def session(at: Place, *blocks: np.ndarray) -> None:
    for block in blocks:
        at.append("tape.bitfinex", block)
    at.write()


def minute(number: int, name: int) -> np.ndarray:
    """A trade in the middle of a minute since T0, received a little later."""
    when = T0 + number * MINUTE + MINUTE // 2
    return trades((name, when, 100.0, 1.0), recv_ns=when + 50_000_000)


def test_a_gap_marks_the_bars_it_touches(at):
    begin = marker(Marker.SUBSCRIBED, T0 - MINUTE)
    gap = marker(
        Marker.GAP, T0 + 4 * MINUTE + 5,
        event=(T0 + 2 * MINUTE - 1, 0), recv=(T0 + 2 * MINUTE + 7, T0 + 4 * MINUTE + 5),
    )  # fmt: skip
    session(at, begin, *(minute(n, n + 1) for n in (0, 1, 2)), gap)
    # Also bars that come later, into the middle of it.
    session(at, minute(3, 4), minute(4, 5), minute(5, 6))
    # The gap begins one nanosecond before minute 2, by the venue's time.
    assert completeness(at) == {0: 1, 1: 0, 2: 0, 3: 0, 4: 0, 5: 1}
    hours = at.body.ask("SELECT complete FROM bars WHERE timeframe = '1h'", "history")
    assert hours == [(0,)]
    assert completeness(at, "tETHUSD") == {}


def test_a_filled_gap_is_none(at):
    begin = marker(Marker.SUBSCRIBED, T0 - MINUTE)
    recv = (T0 + MINUTE, T0 + 2 * MINUTE)
    gap = marker(Marker.GAP, T0 + 2 * MINUTE, recv=recv)
    session(at, begin, minute(0, 1), gap, minute(2, 5))
    assert completeness(at) == {0: 1, 2: 0}
    short = marker(Marker.BACKFILLED, T0 + 3 * MINUTE, reason=MarkerReason.INCOMPLETE, recv=recv)
    session(at, short)
    assert completeness(at) == {0: 1, 2: 0}
    late = trades((3, T0 + MINUTE + 9, 90.0, 1.0), flags=Flag.BACKFILLED, recv_ns=T0 + 4 * MINUTE)
    whole = marker(Marker.BACKFILLED, T0 + 4 * MINUTE + 1, recv=recv)
    session(at, late, whole)
    assert completeness(at) == {0: 1, 1: 1, 2: 1}


def test_nothing_is_known_before_a_stream_begins_nor_between_sessions(at):
    begin = marker(Marker.SUBSCRIBED, T0 + MINUTE + 1)
    early = trades((1, T0 + 5, 100.0, 1.0), recv_ns=T0 + MINUTE + 2, flags=Flag.SNAPSHOT)
    session(at, begin, early, minute(1, 2), minute(2, 3), minute(3, 4))
    assert completeness(at) == {0: 0, 1: 0, 2: 1, 3: 1}
    at.session, at.sequences = 6, dict.fromkeys(at.sequences, 0)
    again = marker(Marker.SUBSCRIBED, T0 + 5 * MINUTE + 1)
    session(at, again, minute(5, 8), minute(6, 9))
    assert completeness(at) == {0: 0, 1: 0, 2: 1, 3: 0, 5: 0, 6: 1}


def test_an_ended_subscription_is_a_gap_until_the_next(at):
    begin = marker(Marker.SUBSCRIBED, T0 - MINUTE)
    end = marker(Marker.UNSUBSCRIBED, T0 + MINUTE - 1)
    again = marker(Marker.SUBSCRIBED, T0 + 3 * MINUTE - 1)
    session(at, begin, minute(0, 1), end)
    assert completeness(at) == {0: 0}
    session(at, again, minute(2, 2), minute(3, 3))
    assert completeness(at) == {0: 0, 2: 0, 3: 1}


def test_what_the_journal_lost_may_have_held_trades(at):
    begin = marker(Marker.SUBSCRIBED, T0 - MINUTE)
    session(at, begin, minute(0, 1), minute(1, 2))
    at.append("tape.bitfinex", minute(3, 4), skip=7)
    session(at, minute(4, 5))
    assert completeness(at) == {0: 1, 1: 0, 3: 0, 4: 1}
    gaps = at.rows("trade_gaps", "session, sequence, kind, closed")
    assert gaps == [(5, 4, "unread", 0)]


# ---- GMO Coin, of which there is no other bar


@pytest.fixture(scope="module")
def gmo_trades() -> list[str]:
    """The frames of trades of some minutes of the simulated venue."""
    frames: list[str] = []

    async def live():
        async with World(gmo_symbols=("BTC_JPY",)) as place:
            watcher = await place.watch("/gmo/ws/public/v1")
            await place.step(1.1)
            await watcher.send(
                command="subscribe", channel="trades", symbol="BTC_JPY", option="TAKER_ONLY"
            )
            await place.settle()
            await place.step(200, 0.5)
            frames.extend(f for f in watcher.frames if json.loads(f).get("channel") == "trades")

    run(live())
    assert len(frames) > 20
    return frames


def test_the_simulated_gmo_coin_has_bars(at, gmo_trades):
    """From the frames of the simulated venue, through the decoder and the tape, to bars."""
    frames = gmo_trades
    fed = Feed(GmoCodec).frames(frames, recv_ns=T0)
    at.tables(fed.tables)
    at.append("tape.gmo", fed.slots)
    at.write()
    told = []
    for number, frame in enumerate(map(json.loads, frames), 1):
        when = parsed_ns(frame["timestamp"])
        told.append(
            ("gmo", "BTC_JPY", "", number, when, float(frame["price"]), float(frame["size"]))
        )
    assert bars_of(at) == naive(told)
    volume = sum(Decimal(json.loads(frame)["size"]) for frame in frames)
    (day,) = bars_of(at, "volume_exact", "1D")
    assert Decimal(day[0]) == volume


def test_in_small_batches_or_in_one_go_the_tables_are_the_same(at, tmp_path, seed):
    """Small batches, a new writer at every turn, and one writer that reads all at once."""
    draw = random.Random(seed)
    from processes.storage import history_sources

    whole = history_sources.read_slots
    for number in range(30):
        told = [(draw.randrange(1, 300), T0 + draw.randrange(HOUR), 5.0, 0.1) for _ in range(20)]
        at.append("tape.bitfinex", trades(*told, recv_ns=T0 + number * MINUTE))
        if number % 7 == 3:
            recv = (T0 + number * MINUTE, T0 + (number + 1) * MINUTE)
            at.append("tape.bitfinex", marker(Marker.GAP, recv[1], recv=recv))
            if number == 17:
                at.append("tape.bitfinex", marker(Marker.BACKFILLED, recv[1] + 1, recv=recv))
        if number in {9, 20}:
            at.append("tape.bitfinex", trades((400, T0, 5.0, 1.0)), skip=5)
        if number == 15:
            at.session, at.sequences = 6, dict.fromkeys(at.sequences, 0)
    history_sources.read_slots = lambda segment, dtype, after: (
        block[:7] for block in whole(segment, dtype, after)
    )
    try:
        goes = True
        while goes:
            writer = at.writer()
            goes = writer.pass_once()
            writer.close()
    finally:
        history_sources.read_slots = whole
    other = Place.beside(at, Path(tmp_path / "other"))
    other.write()
    for table in BAR_TABLES:
        assert at.rows(table) == other.rows(table), table
    assert {0, 1} == {complete for (complete,) in bars_of(at, "complete")}
