"""cryptofeed's and ccxt.pro's Bitfinex handlers on frames from a file. Runs in `.venv-peers`.

    python benchmarks/peers/decoding.py cryptofeed|ccxt

Says that it is ready, then obeys lines `run SECONDS FILE`: the frames of FILE, one a line, as often
as fills the seconds, at least once, each time with a new handler and only its frames timed (in
processor time). Callbacks do nothing.
"""

import asyncio
import gc
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any


def symbols_of(frames: list[str]) -> list[str]:
    """Pairs that the stream acknowledges, without the leading t."""
    events = [json.loads(frame) for frame in frames if frame.startswith("{")]
    return sorted({event["symbol"][1:] for event in events if "chanId" in event})


class Cryptofeed:
    """`Bitfinex.message_handler`, as its connection handler calls it."""

    @staticmethod
    def load() -> None:
        """Fail now if it is not there."""
        import cryptofeed.exchanges  # noqa: F401

    def __init__(self, frames: list[str]) -> None:
        from cryptofeed.exchanges import Bitfinex
        from cryptofeed.symbols import Symbols

        logging.getLogger("feedhandler").setLevel(logging.ERROR)
        self._feed: Any = Bitfinex
        # What the feed would ask the venue for before it connects.
        parsed = Bitfinex._parse_symbol_data([[symbols_of(frames)], [[]], [[]]])
        self._tell_symbols: Any = lambda: Symbols.set(Bitfinex.id, *parsed)
        self._frames = frames
        self.checksums = 0

    def run(self) -> float:
        """One pass; its seconds."""
        return asyncio.run(self._pass())

    async def _pass(self) -> float:
        from cryptofeed.defines import L2_BOOK, TICKER, TRADES

        async def ignore(data: Any, receipt: float) -> None:
            del data, receipt

        class Connection:
            uuid = "recorded"

        self._tell_symbols()
        handler = self._feed(
            config={"log": {"disabled": True}},
            callbacks={L2_BOOK: ignore, TICKER: ignore, TRADES: ignore},
        )
        take, connection = handler.message_handler, Connection()
        gc.collect()
        began = time.process_time()
        for frame in self._frames:
            await take(frame, connection, time.time())
        seconds = time.process_time() - began
        assert handler._l2_book
        return seconds


class Ccxt:
    """ccxt.pro's client from the text of a frame on, with orjson, which it takes by itself."""

    @staticmethod
    def load() -> None:
        """Fail now if it is not there."""
        import orjson  # noqa: F401

    def __init__(self, frames: list[str]) -> None:
        self._frames = frames
        self._symbols = symbols_of(frames)
        self.checksums = 0

    def run(self) -> float:
        """One pass; its seconds."""
        return asyncio.run(self._pass())

    async def _pass(self) -> float:
        import ccxt.pro
        from ccxt.async_support.base.ws.client import Client

        exchange = ccxt.pro.bitfinex()
        exchange.set_markets([self._market(exchange, symbol) for symbol in self._symbols])
        checksums = 0
        verify = exchange.handle_checksum

        def counted(*arguments: Any) -> None:
            nonlocal checksums
            checksums += 1
            verify(*arguments)

        exchange.handle_checksum = counted
        client = Client("wss://recorded", exchange.handle_message, None, None, None)
        take = client.handle_text_or_binary_message
        gc.collect()
        began = time.process_time()
        for frame in self._frames:
            take(frame)
        seconds = time.process_time() - began
        # A checksum that does not hold takes the book away and leaves its error here.
        assert exchange.orderbooks
        assert not client.rejections, client.rejections
        self.checksums += checksums
        await exchange.close()
        return seconds

    @staticmethod
    def _market(exchange: Any, pair: str) -> Any:
        base, _, quote = pair.partition(":")
        base, quote = (base, quote) if quote else (pair[:3], pair[3:])
        return exchange.safe_market_structure(
            {
                "id": f"t{pair}", "symbol": f"{base}/{quote}", "base": base, "quote": quote,
                "baseId": base, "quoteId": quote, "type": "spot", "spot": True, "active": True,
            }
        )  # fmt: skip


def main() -> None:
    """Serve standard input."""
    kind = Cryptofeed if sys.argv[1] == "cryptofeed" else Ccxt
    kind.load()
    print(json.dumps({"ready": True}), flush=True)
    peers: dict[str, Cryptofeed | Ccxt] = {}
    for line in sys.stdin:
        _, least, path = line.split()
        if path not in peers:
            peers[path] = kind(Path(path).read_text().splitlines())
        peer = peers[path]
        seconds, passes, before = 0.0, 0, peer.checksums
        while passes == 0 or seconds < float(least):
            seconds += peer.run()
            passes += 1
        answer = {"seconds": seconds, "passes": passes, "checksums": peer.checksums - before}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
