"""Feature rows of a simulated market, made as the pipeline makes them but without waiting.

The simulator's frames go through the real codec and cutter under a clock that jumps, so that a row
here is the row that the running pipeline would have made of the same frames.
"""

import ctypes
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from processes.features.cutter import Cutter
from processes.simulator.bitfinex import Connection, History
from processes.simulator.flow import Flow, make_market
from schemas import features
from schemas.instruments import Instrument, Stream
from schemas.layout import join
from schemas.settings import FeatureSettings
from venues.bitfinex.codec import BitfinexCodec
from venues.bitfinex.symbols import common_pair
from venues.markets import Markets
from venues.wire import FrameBatch, SlotBlock, Subscription

START_NS = 1_760_000_000_000_000_000
TURN_S = 0.05


def simulated_rows(
    symbol: str,
    seed: int,
    seconds: float,
    events_per_s: float,
    report: Callable[[float], object] = lambda _: None,
) -> np.ndarray:
    """One row a second of one market: `features.SLOT` records."""
    market, ticks = make_market(symbol, 1)
    history = History(market)
    market.on_trade = history.add
    flow = Flow(market, ticks, seed, events_per_s)
    flow.advance(120.0, START_NS - 120_000_000_000)
    now_ns = START_NS
    rows: list[np.ndarray] = []
    sequence = 0

    def emit(address: int, count: int, _: int) -> None:
        made = np.zeros(count, features.SLOT)
        ctypes.memmove(made.ctypes.data, address, made.nbytes)
        rows.append(made)

    instrument = Instrument(index=0, venue="bitfinex", symbol=symbol, pair=common_pair(symbol))
    cutter = Cutter([instrument], 1, FeatureSettings(), emit, lambda: now_ns)
    cutter.begin(now_ns)

    def publish(block: SlotBlock, count: int) -> None:
        nonlocal sequence
        block.slots["sequence"][:count] = np.arange(sequence + 1, sequence + count + 1)
        sequence += count
        cutter.take(0, block.slots[:count], block.address)
        cutter.turn()

    frames: list[str] = []
    connection = Connection({symbol: history}, frames.append, now_ns)
    codec = _open_codec(instrument, publish)
    batch = FrameBatch()
    for request in _requests(symbol):
        connection.receive(json.dumps(request), now_ns)
    turns = int(seconds / TURN_S)
    for turn in range(turns):
        now_ns += int(TURN_S * 1e9)
        flow.advance(120.0 + (turn + 1) * TURN_S, START_NS - 120_000_000_000)
        connection.tick(now_ns)
        for frame in frames:
            batch.add(frame.encode())
        frames.clear()
        codec.feed(batch, now_ns)
        batch.clear()
        cutter.turn()
        if turn % 20_000 == 0:
            report(turn / turns)
    return join(rows, features.SLOT)


def _open_codec(instrument: Instrument, publish: Callable[[SlotBlock, int], None]) -> BitfinexCodec:
    book = Stream(index=0, channel="books", precision="P0", frequency="F0", length=25)
    trades = Stream(index=1, channel="trades")
    codec = BitfinexCodec(
        Markets(),
        publish,
        subscriptions=[
            Subscription(instrument=instrument, stream=book, primary=True),
            Subscription(instrument=instrument, stream=trades),
        ],
    )
    codec.open(1, START_NS)
    return codec


def _requests(symbol: str) -> list[dict[str, Any]]:
    return [
        {"event": "conf", "flags": 32768 + 65536 + 131072 + 536870912},
        {"event": "subscribe", "channel": "book", "symbol": symbol, "prec": "P0", "len": "25"},
        {"event": "subscribe", "channel": "trades", "symbol": symbol},
    ]
