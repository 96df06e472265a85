"""Columns of other venues, derivatives, bars and recordings against the plain reference, and
indicators against TA-Lib."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from processes.features.state import derivative_of, make_states, peers_of
from processes.training.simulated import START_NS
from schemas.features import COLUMN
from schemas.instruments import Instrument
from schemas.tape import Marker
from tests.feeding import Feed, recorded_frames
from tests.unit.features.making import (
    SECOND,
    Cuts,
    book,
    compare,
    in_order,
    liquidation,
    marker,
    masked_names,
    status,
    trade,
)
from tests.unit.features.reference import Reference, bars_of
from venues.bitfinex.codec import BitfinexCodec
from venues.kraken.codec import KrakenCodec

SPOT, PERPETUAL, LIQUIDATIONS, KRAKEN, GMO, OTHER = range(6)
MARKETS = [
    Instrument(index=SPOT, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD", tick_size=0.1),
    Instrument(
        index=PERPETUAL, venue="bitfinex", symbol="tBTCF0:USTF0", pair="BTC/USDT:PERP",
        tick_size=0.1,
    ),
    Instrument(
        index=LIQUIDATIONS, venue="bitfinex", symbol="liq:global", pair="ALL:LIQUIDATIONS"
    ),
    Instrument(index=KRAKEN, venue="kraken", symbol="BTC/USD", pair="BTC/USD", tick_size=0.1),
    Instrument(index=GMO, venue="gmo", symbol="BTC", pair="BTC/JPY", tick_size=1.0),
    Instrument(index=OTHER, venue="kraken", symbol="XRP/USD", pair="XRP/USD", tick_size=0.0001),
]  # fmt: skip


def several_venues(seed: int, seconds: int) -> np.ndarray:
    """A market at three venues, its derivative and liquidations, drawn at random."""
    draw = np.random.default_rng(seed)
    made = []
    for instrument, price, tick in ((SPOT, 86_000.0, 0.1), (PERPETUAL, 86_050.0, 0.1),
                                    (KRAKEN, 86_010.0, 0.1), (GMO, 13_000_000.0, 1.0)):  # fmt: skip
        times = START_NS + np.sort(draw.integers(0, seconds * SECOND, seconds * 3))
        mids = price * np.exp(np.cumsum(draw.normal(0, 2e-5, len(times))))
        for number, (time_ns, mid) in enumerate(zip(times.tolist(), mids.tolist(), strict=True)):
            middle = (round(mid / tick) + 0.5) * tick
            sizes = draw.exponential(1.0, 20)
            made.append(
                book(
                    time_ns, middle, sizes, instrument=instrument, tick=tick,
                    half=0.5 + int(draw.integers(0, 3)), snapshot=number == 0,
                )
            )  # fmt: skip
            if draw.random() < 0.3:
                size = float(draw.exponential(0.1))
                buys = bool(draw.integers(0, 2))
                made.append(trade(time_ns + 5, mid, size, buys=buys, instrument=instrument))
    for time_ns in (START_NS + np.arange(3, seconds, 7) * SECOND + 123).tolist():
        told = {
            "derivative_price": 86_050 + draw.normal(), "spot_price": 86_000 + draw.normal(),
            "mark_price": 86_040.0, "current_funding": float(draw.normal(0, 1e-4)),
        }  # fmt: skip
        del told[str(draw.choice(list(told)))]
        made.append(status(time_ns, PERPETUAL, **told))
        amount = float(draw.normal())
        for symbol, is_match in (("tBTCF0:USTF0", False), ("tBTCF0:USTF0", True),
                                 ("tETHF0:USTF0", False)):  # fmt: skip
            made.append(liquidation(time_ns + 1, LIQUIDATIONS, symbol, amount, is_match=is_match))
    return in_order(made)


def test_columns_of_other_venues_and_of_the_derivative(seed):
    slots = several_venues(seed, 90)
    cuts = Cuts(instruments=MARKETS)
    cuts.take(slots)
    rows = cuts.made
    for number in (SPOT, PERPETUAL, KRAKEN, GMO):
        mine = rows[rows["instrument"] == number]
        told = compare(mine[[2, 9, 16, 30, 66, -1]], Reference(slots, MARKETS, number))
        assert {"funding_bps", "basis_bps", "mark_distance_bps"} <= told
        assert {"liquidation_imbalance_60s", "liquidation_volume_60s"} <= told
        assert ("peer_lead_5s_bps" in told) == (number != PERPETUAL)
        assert ("peer_basis_bps" in told) == (number in {SPOT, KRAKEN})


def test_a_status_that_is_old_is_filled_and_says_so():
    made = [book(START_NS + n * SECOND // 2, 86_000.0 + n % 3) for n in range(700)]
    made.append(status(START_NS + 20 * SECOND + 1, PERPETUAL, current_funding=3e-4))
    cuts = Cuts(instruments=MARKETS)
    cuts.take(in_order(made))
    rows = cuts.made
    hidden = ["funding_bps" in masked_names(row) for row in rows]
    assert hidden == [second < 21 or second > 140 for second in range(1, len(rows) + 1)]
    told = rows["values"][:, COLUMN["funding_bps"]]
    assert not told[:20].any()  # neutral, since there was none
    assert (told[20:] == np.float32(3.0)).all()  # and the last that was known


def test_neighbours_follow_from_the_table():
    assert [derivative_of(n, MARKETS) for n in range(6)] == [1, 1, -1, 1, 1, -1]
    assert [peers_of(n, MARKETS) for n in range(6)] == [[3, 4], [], [], [0, 4], [0, 3], []]
    twice = [*MARKETS, Instrument(index=6, venue="gmo", symbol="BTC2", pair="BTC/USD")]
    assert peers_of(SPOT, twice) == [KRAKEN, 6]  # the same pair before another of the asset
    state = make_states(twice)[SPOT]
    assert state["same_pair"].tolist() == [1, 1, 0]
    assert state["peers"].tolist() == [KRAKEN, 6, -1]


@pytest.fixture(scope="module")
def minutes() -> tuple[np.ndarray, list]:
    """Half an hour of trades with holes, and the list of them."""
    draw = np.random.default_rng(5)
    made, trades = [marker(START_NS, Marker.SNAPSHOT_END)], []
    price = 86_000.0
    for second in range(1800):
        time_ns = START_NS + second * SECOND + int(draw.integers(0, SECOND // 2))
        price *= float(np.exp(draw.normal(0, 1e-4)))
        sizes = draw.exponential(1.0, 20)
        made.append(book(time_ns, round(price, 1) + 0.05, sizes, half=0.5))
        if draw.random() < 0.4 and not 600 < second < 735:
            size = float(draw.exponential(0.5))
            buys = bool(draw.integers(0, 2))
            made.append(trade(time_ns + 7, round(price, 1), size, buys=buys))
            trades.append((time_ns + 7, round(price, 1), size if buys else -size))
    return in_order(made), trades


def test_bars_and_indicators_are_those_of_the_reference(minutes):
    slots, trades = minutes
    cuts = Cuts(instruments=MARKETS)
    cuts.take(slots)
    rows = cuts.made
    told = compare(rows[[30, 70, 700, 900, 1260, 1620, 1798]], Reference(slots, MARKETS))
    assert {name for name in COLUMN if name.endswith("1m") or "_1m_" in name} <= told
    state = cuts.cutter._states[SPOT]
    for period, bar_ns in enumerate((SECOND, 60 * SECOND)):
        wanted = bars_of(trades, int(rows["cut_ns"][-1]), bar_ns)[-64:]
        closed = int(state["bars_closed"][period])
        kept = state["bars"][period][[at % 64 for at in range(closed - len(wanted), closed)]]
        assert kept[:, :4].tolist() == [list(bar[:4]) for bar in wanted]
        assert kept[:, 4] == pytest.approx([bar[4] for bar in wanted], rel=1e-12)


def test_a_builder_that_begins_later_says_the_same_of_the_same_bars(minutes):
    slots, _ = minutes
    whole, later = Cuts(instruments=MARKETS), Cuts(instruments=MARKETS)
    whole.take(slots)
    later.take(slots[slots["recv_ns"] > START_NS + 900 * SECOND])
    one, other = whole.made[-700:], later.made[-700:]
    assert one["cut_ns"].tolist() == other["cut_ns"].tolist()
    for name in ("rsi_14_1s", "bollinger_20_1s", "donchian_20_1s", "atr_14_1s_bps"):
        column = COLUMN[name]
        assert one["values"][:, column].tobytes() == other["values"][:, column].tobytes(), name


def test_indicators_are_those_of_ta_lib(minutes):
    talib = pytest.importorskip("talib", reason="TA-Lib is the oracle of the indicators")
    slots, trades = minutes
    cuts = Cuts(instruments=MARKETS)
    cuts.take(slots)
    for row in cuts.made[[100, 400, 900, 1700, 1798]]:
        values = {name: float(row["values"][at]) for name, at in COLUMN.items()}
        for length, bar_ns in (("1s", SECOND), ("1m", 60 * SECOND)):
            bars = np.array(bars_of(trades, int(row["cut_ns"]), bar_ns)[-64:])
            if len(bars) < 26:
                continue
            high, low, close = bars[:, 1], bars[:, 2], bars[:, 3].copy()
            upper, _, lower = talib.BBANDS(close, 20)
            bottom, top = talib.MIN(low, 20)[-1], talib.MAX(high, 20)[-1]
            wanted = {
                f"rsi_14_{length}": talib.RSI(close, 14)[-1],
                f"bollinger_20_{length}": (close[-1] - lower[-1]) / (upper[-1] - lower[-1]),
                f"donchian_20_{length}": (close[-1] - bottom) / (top - bottom),
                f"atr_14_{length}_bps": talib.ATR(high, low, close, 14)[-1] / close[-1] * 1e4,
            }
            if length == "1m":
                simple = talib.SMA(close, 5)[-1] / talib.SMA(close, 20)[-1]
                smooth = talib.EMA(close, 12)[-1] / talib.EMA(close, 26)[-1]
                wanted |= {
                    "sma_cross_1m_bps": (simple - 1) * 1e4,
                    "ema_cross_1m_bps": (smooth - 1) * 1e4,
                }
            for name, value in wanted.items():
                # TA-Lib's bands come of a difference of squares, which loses half the digits.
                assert values[name] == pytest.approx(value, rel=2e-5, abs=1e-4), name


def test_a_market_that_stands_still_has_indicators_in_the_middle():
    made = []
    for second in range(1700):
        made.append(book(START_NS + second * SECOND, 86_000.0 + second % 2))
        made.append(trade(START_NS + second * SECOND + 9, 86_000.0, 1.0, buys=True))
    cuts = Cuts(instruments=MARKETS)
    cuts.take(in_order(made))
    row = cuts.made[-1]
    assert masked_names(row) & {"rsi_14_1m", "bollinger_20_1m", "donchian_20_1m"} == set()
    for name in ("rsi_14_1s", "rsi_14_1m"):
        assert row["values"][COLUMN[name]] == 50
    for name in ("bollinger_20_1m", "donchian_20_1m", "bollinger_20_1s", "donchian_20_1s"):
        assert row["values"][COLUMN[name]] == 0.5
    assert not row["values"][[COLUMN["atr_14_1m_bps"], COLUMN["sma_cross_1m_bps"]]].any()


@pytest.mark.parametrize(
    ("file", "codec", "tick", "spacing_ms"),
    [
        (
            "bitfinex/ws_book_p0_len100_trades_btcusd_2018_conn1_first20000.jsonl", BitfinexCodec,
            0.0, 20,
        ),
        ("bitfinex/ws_seqall_7pairs_2021.part1.jsonl", BitfinexCodec, 0.0, 20),
        ("kraken/ws_v2_book_btcusd_d10_2023.part1.jsonl", KrakenCodec, 0.1, 200),
    ],
)  # fmt: skip
def test_rows_of_recordings_are_those_of_the_reference(
    recordings: Path, file, codec, tick, spacing_ms
):
    """Real books and trades; the recordings hold no receive times, so frames come evenly."""
    feed = Feed(codec)
    frames = recorded_frames(recordings / file)[:6000]
    for number, frame in enumerate(frames):
        feed.frames([frame], recv_ns=START_NS + number * spacing_ms * 1_000_000)
    instruments = [
        msgspec.structs.replace(one, tick_size=tick) for one in feed.tables.instruments.values()
    ]
    slots = feed.slots
    slots["sequence"] = np.arange(1, len(slots) + 1)
    cuts = Cuts(instruments=instruments)
    cuts.take(slots)
    rows = cuts.made
    compared = 0
    for one in instruments:
        mine = rows[(rows["instrument"] == one.index) & (rows["masked"] != 0)]
        trusted = mine[(mine["invalid"] | 16) == 16]
        if len(trusted):
            reference = Reference(slots, instruments, one.index)
            compare(trusted[:: max(len(trusted) // 5, 1)], reference)
            compared += len(trusted[:: max(len(trusted) // 5, 1)])
    assert compared >= 4


def test_slots_of_instruments_that_are_not_listed_are_left_alone():
    cuts = Cuts(instruments=MARKETS)
    cuts.take(in_order([status(START_NS + 5, 77), marker(START_NS + 6, Marker.GAP, 78)]))
    assert not cuts.rows
