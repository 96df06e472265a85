"""The simulator: its numbers and checksums are the venue's, its markets are markets, and its flow
has in it what it says."""

import hashlib
import json
import re
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from processes.simulator.bitfinex import Connection
from processes.simulator.bitfinex_channels import Channel
from processes.simulator.conversation import ANY
from processes.simulator.flow import Flow, make_market
from processes.simulator.history import History
from processes.simulator.market import UNITS, Market
from processes.simulator.numbers import amount_text, number_text
from tests.feeding import Feed, recorded_frames
from venues import decoding
from venues.book import ASK, BID, wire_levels

NOW = 1_760_000_000_000_000_000
SECOND = 10**9
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def test_numbers_are_written_as_the_venue_writes_them(recordings):
    """Every number of the real recordings, read as a decimal, comes out in its own text."""
    seen = 0
    for path in sorted((recordings / "bitfinex").glob("ws_book*.jsonl")):
        for frame in recorded_frames(path)[:3000]:
            if frame.startswith(b"["):
                for token in NUMBER.findall(frame):
                    text = token.decode()
                    assert number_text(Decimal(text)) == text
                    seen += 1
    assert seen > 15_000


@pytest.mark.parametrize("text", ["7e-7", "6.6e-7", "0.000001", "1e-8", "0", "-0.5", "1e+21"])
def test_numbers_of_javascript(text):
    assert number_text(Decimal(text)) == text


def test_checksums_are_the_venues(recordings):
    """The official vectors through the simulator's own checksum."""
    lines = (recordings / "bitfinex" / "checksum_vectors.jsonl").read_text().splitlines()
    for vector in map(json.loads, lines):
        market = Market(vector["symbol"], Decimal(1))
        channel = Channel(1, {"channel": "book", "prec": "P0", "len": "25"}, History(market))
        levels: dict[str, tuple[int, str]] = {}
        for frame in vector["frames"]:
            body = json.loads(frame, parse_float=str, parse_int=str)[1]
            for price, count, amount in body if isinstance(body[0], list) else [body]:
                side = -1 if amount.startswith("-") else 1
                levels.pop(price, None)
                if count != "0":
                    levels[price] = (side, f"{price},{count},{amount}")
        ordered = sorted(levels.items(), key=lambda item: -item[1][0] * float(item[0]))
        channel.sent = dict(ordered)
        assert channel.checksum() == vector["expected_cs"]


class MarketMachine(RuleBasedStateMachine):
    """Orders of all kinds: units are conserved, the book never crosses, best prices first."""

    def __init__(self) -> None:
        super().__init__()
        self.market = Market("tXXXYYY", Decimal("0.1"))
        self.trades = []
        self.market.on_trade = self.trades.append
        self.submitted = 0
        self.returned = 0
        self.ids = []

    @rule(side=st.sampled_from([1, -1]), units=st.integers(1, 50), ticks=st.integers(90, 110))
    def limit(self, side, units, ticks) -> None:
        number, _ = self.market.submit(side, units, 0, ticks=ticks)
        self.submitted += units
        self.ids.append(number)

    @rule(side=st.sampled_from([1, -1]), units=st.integers(1, 50))
    def market_order(self, side, units) -> None:
        _, left = self.market.submit(side, units, 0)
        self.submitted += units
        self.returned += left

    @rule(draw=st.randoms())
    def cancel(self, draw) -> None:
        if self.ids:
            number = draw.choice(self.ids)
            order = self.market._orders.get(number)
            units = order.units if order else 0
            assert self.market.cancel(number) == (order is not None)
            self.returned += units

    @invariant()
    def conserved(self) -> None:
        resting = sum(order.units for order in self.market._orders.values())
        traded = 2 * sum(trade.units for trade in self.trades)
        assert resting + traded + self.returned == self.submitted
        bid, ask = self.market.best(1), self.market.best(-1)
        assert bid is None or ask is None or bid < ask
        for side in (1, -1):
            prices = [ticks for ticks, _, _ in self.market.levels(side, 100)]
            assert prices == sorted(prices, reverse=side == 1)


TestMarketMachine = MarketMachine.TestCase


def test_price_comes_before_age_and_age_before_size():
    market = Market("t", Decimal(1))
    trades = []
    market.on_trade = trades.append
    first, _ = market.submit(-1, 5, 0, ticks=101)
    better, _ = market.submit(-1, 5, 0, ticks=100)
    second, _ = market.submit(-1, 50, 0, ticks=101)
    market.submit(1, 12, 0, ticks=101)
    assert [(t.maker, t.units, t.ticks) for t in trades] == [
        (better, 5, 100), (first, 5, 101), (second, 2, 101),
    ]  # fmt: skip


def flow(symbol="tETHUSD", seed=5):
    market, ticks = make_market(symbol, 1)
    history = History(market)
    market.on_trade = history.add
    return history, Flow(market, ticks, seed, 60.0)


def test_the_same_seed_gives_the_same_market_however_it_is_paced():
    one, first = flow()
    first.advance(60.0, NOW)
    other, second = flow()
    for step in range(600):
        second.advance((step + 1) / 10, NOW)
    assert list(one.trades) == list(other.trades)
    for side in (1, -1):
        assert one.market.levels(side, 50) == other.market.levels(side, 50)
    third, _ = flow(seed=6)
    assert one.market.levels(1, 5) != third.market.levels(1, 5)


def test_the_book_leads_the_price():
    """The imbalance of the book says something of the next seconds, on average, in every seed."""
    found = []
    for seed in range(3):
        history, source = flow("tBTCUSD", seed)
        market = history.market
        imbalance, mids = [], []
        for second in range(1200):
            source.advance(second, NOW)
            bought, sold = market.depth(1, 5), market.depth(-1, 5)
            imbalance.append((bought - sold) / (bought + sold))
            mids.append((market.best(1) + market.best(-1)) / 2)
        moves = np.array(mids[10:]) - np.array(mids[:-10])
        found.append(np.corrcoef(imbalance[:-10], moves)[0, 1])
    assert min(found) > 0.1, found


def client(**options):
    history, source = flow()
    frames: list[str] = []
    connection = Connection({"tETHUSD": history}, frames.append, NOW, **options)
    return connection, frames, source


def ask(connection, **request):
    connection.receive(json.dumps(request), NOW)


def test_refusals_have_the_venues_codes():
    connection, frames, _ = client(max_channels=2)
    requests = [
        ({"event": "subscribe", "channel": "book", "symbol": "tNOPE"}, 10300),
        ({"event": "subscribe", "channel": "nope", "symbol": "tETHUSD"}, 10300),
        ({"event": "subscribe", "channel": "book", "symbol": "tETHUSD", "prec": "P9"}, 10300),
        ({"event": "subscribe", "channel": "book", "symbol": "tETHUSD", "len": "7"}, 10300),
        ({"event": "subscribe", "channel": "candles", "key": "trade:7m:tETHUSD"}, 10300),
        ({"event": "subscribe", "channel": "ticker", "symbol": "tETHUSD"}, None),
        ({"event": "subscribe", "channel": "ticker", "symbol": "tETHUSD"}, 10301),
        ({"event": "subscribe", "channel": "trades", "symbol": "tETHUSD"}, None),
        ({"event": "subscribe", "channel": "book", "symbol": "tETHUSD"}, 10305),
        ({"event": "unsubscribe", "chanId": 999}, 10401),
        ({"event": "nonsense"}, 10000),
    ]
    for request, code in requests:
        frames.clear()
        connection.receive(json.dumps(request), NOW)
        event = json.loads(frames[0])
        assert event.get("code") == code, request
        assert event["event"] == ("error" if code else "subscribed")
    frames.clear()
    for silent in ("not json", "[]", "7"):
        connection.receive(silent, NOW)
    assert frames == []


@pytest.mark.parametrize("precision", ["P0", "P1", "P2", "P3", "P4", "R0"])
@pytest.mark.parametrize("flags", [0, 65536, 32768, 65536 + 131072, 537100288])
def test_the_codec_and_the_simulator_agree_on_every_book(precision, flags):
    """Two programs that share no code: the book a client builds is the book the market has."""
    connection, frames, source = client()
    ask(connection, event="conf", flags=flags)
    ask(connection, event="subscribe", channel="book", symbol="tETHUSD", prec=precision, len="25")
    feed = Feed()
    now = NOW
    for _ in range(400):
        now += 50_000_000
        source.advance((now - NOW) / 1e9, NOW)
        connection.tick(now)
        feed.frames(frames, recv_ns=now)
        frames.clear()
    assert not [
        n
        for n in feed.notices
        if type(n).__name__ != "Acknowledged" and type(n).__name__ != "Opened"
    ]
    tallies = feed.codec.tallies
    assert tallies[decoding.N_FAILED] == tallies[decoding.N_MISSED] == 0
    assert (tallies[decoding.N_VERIFIED] > 3) == bool(flags & 131072)
    channel = next(iter(connection.channels.values()))
    shown = channel.window()
    book = feed.book("tETHUSD", precision)
    for side, name in ((BID, 1), (ASK, -1)):
        mine = [
            (key or price, amount)
            for key, price, amount in wire_levels(feed.markets.books, book, side, 99)
        ]
        texts = [text.split(",") for sign, text in shown.values() if sign == name]
        assert mine == [((int(a) if precision == "R0" else a), c) for a, _, c in texts]


@given(st.integers(1, 10**15))
def test_amounts_are_exact(units):
    assert Decimal(amount_text(units)) * UNITS == units


def test_faults_of_a_connection():
    connection, frames, source = client()
    ask(connection, event="conf", flags=65536 + 131072)
    ask(connection, event="subscribe", channel="book", symbol="tETHUSD")
    connection.faults.gap = ANY
    connection.faults.spoil = "tETHUSD"
    source.advance(5.0, NOW)
    connection.tick(NOW + 5 * SECOND)
    sequences = [json.loads(f)[-1] for f in frames if f.startswith("[")]
    assert sequences[0] == 1
    assert sequences[1] == 3
    feed = Feed(tolerant=True).frames(frames)
    assert feed.codec.gaps == 1
    assert feed.codec.tallies[decoding.N_FAILED] == 1
    connection.faults.heartbeats_only_until_ns = NOW + 100 * SECOND
    frames.clear()
    source.advance(20.0, NOW)
    connection.tick(NOW + 20 * SECOND)
    assert [json.loads(f)[1] for f in frames] == ["hb"]


def test_the_market_that_the_shipped_model_learned_from_is_still_this_one():
    """Half an hour of a default symbol, to the last order; other numbers mean another market."""
    market, ticks = make_market("tBTCUSD", 1)
    trades = []
    market.on_trade = trades.append
    Flow(market, ticks, 7, 60.0).advance(1800.0, 0)
    digest = hashlib.sha256()
    for t in trades:
        digest.update(f"{t.id} {t.side} {t.ticks} {t.units} {t.maker} {t.taker};".encode())
    for side in (1, -1):
        digest.update(repr(market.levels(side, 100)).encode())
    assert len(trades) == 25_750
    assert digest.hexdigest().startswith("791e40788071c82d")
