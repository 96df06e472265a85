"""How many entries a second the bridge writes: from a full tape ring until Redis has them all.

Market slots become JSON bodies and go to a Redis of the benchmark's own, over a Unix socket, kept
in memory only; nothing else runs. Beside it, in the same rounds: ready-made bodies of the same size
by redis-py alone, one XADD a call, which is what a program writes that does it by itself.
"""

import os
import random
import time
from functools import partial
from typing import Final

import msgspec
import numpy as np

from benchmarks.figures import Figure, figure, interleave
from benchmarks.memory import private_ring
from benchmarks.peering import PeerAbsentError
from benchmarks.transport import redis_server
from processes.bridge.entries import Names
from processes.bridge.link import Link
from processes.bridge.market import Market
from processes.bridge.outlet import Outlet
from processes.bridge.source import Source
from schemas import tape
from schemas.instruments import Instrument, Tables
from schemas.settings import BridgeSettings
from schemas.tape import Flag, Kind, Side
from shm.readers import RingReader
from shm.ring import RingWriter

CAPACITY: Final = 1 << 16
ALONE: Final = "redis-py, one XADD a call"
T0: Final = 1_760_000_000_000_000_000


def slots_of(kind: Kind, count: int) -> np.ndarray:
    """Trades, or books of ten levels a side at the end of each frame."""
    draw = np.random.default_rng(7)
    slots = np.zeros(count, tape.SLOT)
    slots["kind"] = kind
    slots["side"] = Side.BID
    slots["flags"] = Flag.PRIMARY | Flag.FRAME_END
    slots["event_ns"] = slots["recv_ns"] = T0 + np.arange(count) * 1_000_000
    slots["price"] = 60_000 + np.round(draw.normal(0, 50, count), 1)
    slots["size"] = np.round(draw.exponential(0.3, count), 8) + 1e-8
    slots["reference_price"] = 60_000.0
    if kind == Kind.BOOK_LEVEL:
        levels = np.round(draw.exponential(5, (count, 4, tape.LEVELS)), 1) + 0.1
        levels[:, 0] *= -1
        slots["book"] = levels.reshape(count, -1)
    return slots


def _bridge(kind: Kind, count: int) -> float:
    """Entries a second through a new ring and a new Redis."""
    slots = slots_of(kind, count)
    item = Instrument(index=0, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD")
    names = Names(lambda: Tables(instruments=[item]))
    layout = tape.FINGERPRINT
    with redis_server() as socket, private_ring(tape.SLOT, layout, CAPACITY) as (ring, page):
        settings = msgspec.structs.replace(
            BridgeSettings(url=f"unix://{socket}"), conflate_lag=10 * CAPACITY
        )
        link = Link(settings, os.environ, random.Random(1))
        market = Market(settings, "bitfinex", "1/tape.bitfinex", names)
        reader = RingReader(ring, page, tape.SLOT, layout, "bridge", limit=settings.batch)
        source = Source(
            "tape.bitfinex", 1, reader, "bitfinex", market.streams,
            lambda block, behind: market.entries(block, behind=behind), settings.conflate_lag,
            lambda: T0,
        )  # fmt: skip
        outlet = Outlet(link, [source], settings.prefix)
        writer = RingWriter(ring, page, tape.SLOT, layout)
        writer.append(slots[:1000])
        while not outlet.idle():
            outlet.turn()
        began_s = time.perf_counter()
        writer.append(slots[1000:])
        while not outlet.idle():
            outlet.turn()
        spent_s = time.perf_counter() - began_s
        link.close()
    assert (outlet.written, outlet.refused, source.lost) == (count, 0, 0)
    return (count - 1000) / spent_s


def _alone(count: int) -> float:
    """XADDs a second of a ready-made trade."""
    import redis

    body = b'{"type":"trade","exchange":"bitfinex","symbol":"tBTCUSD","ts":1760000000000,'
    body += b'"data":{"price":60000.1,"size":0.25,"side":"buy"}}'
    with redis_server() as socket, redis.Redis(unix_socket_path=socket) as client:
        began_s = time.perf_counter()
        for number in range(count):
            fields = {"source": f"1/tape.bitfinex/{number}", "body": body}
            client.xadd("md:trade", fields, maxlen=100_000)
        return count / (time.perf_counter() - began_s)


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """Entries a second.

    Raises:
        PeerAbsentError: there is no redis-server on PATH, and without one nothing to measure.
    """
    rounds, count = (1, 3000) if quick else (5, 50_000)
    cases = {
        "trades": partial(_bridge, Kind.TRADE, count),
        "books": partial(_bridge, Kind.BOOK_LEVEL, count),
        ALONE: partial(_alone, count // 5),
    }
    try:
        runs = interleave(cases, rounds)
    except PeerAbsentError as error:
        raise PeerAbsentError(f"the bridge cannot be measured, Redis is {error}") from None
    note = f"{count:,} slots from a full ring until Redis has them, Unix socket, nothing on disk"
    return {
        "bridge_trades": figure(
            runs["trades"], "entries/s", {ALONE: runs[ALONE]}, note=f"trades: {note}"
        ),
        "bridge_books": figure(runs["books"], "entries/s", note=f"books, 20 levels: {note}"),
    }
