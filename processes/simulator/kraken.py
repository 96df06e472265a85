"""Kraken's public channels and level3 over the markets of the engine.

Source: pages ticker, book, level3, ohlc, trade and instrument of Spot WebSocket v2.
"""

import json
from collections.abc import Callable
from typing import Any

from processes.simulator.history import Candle, History
from processes.simulator.kraken_books import BookWindow, Level3Window, PairText
from processes.simulator.kraken_listing import instrument_data
from processes.simulator.kraken_session import PAIR_REFUSED, KrakenSession, Subscription
from processes.simulator.market import Trade
from processes.simulator.numbers import time_text

TRADES_SHOWN = 50
CANDLES_SHOWN = 720


class MarketSubscription(Subscription):
    """One channel of one market; `instrument` is of all of them."""

    def __init__(
        self, channel: str, symbol: str, options: dict[str, Any], history: History | None
    ) -> None:
        super().__init__(channel, symbol, options)
        self.market_history = history
        self.mark = 0
        self.candle: tuple[int, int] = (0, 0)
        self.quote: tuple[int | None, int | None] = (None, None)
        self.book: BookWindow | Level3Window | None = None

    @property
    def history(self) -> History:
        """The market's past; instrument has none."""
        assert self.market_history is not None
        return self.market_history


class KrakenConnection(KrakenSession):
    """The venue's end of one socket, in front of markets.

    Args:
        histories: markets by symbol. The rest as KrakenSession takes it.
    """

    def __init__(
        self, histories: dict[str, History], send: Callable[[str], None], now_ns: int, **more: Any
    ) -> None:
        super().__init__(send, now_ns, **more)
        self.histories = histories
        self._texts = {symbol: PairText(h.market) for symbol, h in histories.items()}

    def refusal_of(self, channel: str, symbol: str, options: dict[str, Any]) -> str:  # noqa: ARG002
        """A symbol that has no market is refused by name."""
        known = channel == "instrument" or symbol in self.histories
        return "" if known else f"{PAIR_REFUSED} {symbol}"

    def make(
        self,
        channel: str,
        symbol: str,
        options: dict[str, Any],
        request: dict[str, Any],  # noqa: ARG002
    ) -> MarketSubscription:
        """A subscription with its market."""
        return MarketSubscription(channel, symbol, options, self.histories.get(symbol))

    def begin(self, subscription: Subscription, now_ns: int) -> None:
        """Send the snapshot if it was asked for; updates follow from here on."""
        assert isinstance(subscription, MarketSubscription)
        channel, wanted = subscription.channel, subscription.options["snapshot"]
        if channel == "instrument":
            if wanted:
                self.send_instruments("snapshot", "online")
            return
        history = subscription.history
        subscription.mark = history.total
        if channel in {"book", "level3"}:
            kind = BookWindow if channel == "book" else Level3Window
            book = kind(history.market, subscription.options["depth"], self.draw)
            subscription.book = book
            bids, asks = book.snapshot()
            if wanted:
                self._send_book(subscription, book, bids, asks, now_ns, "snapshot")
        elif channel == "ticker":
            subscription.quote = (history.market.best(1), history.market.best(-1))
            rows = [self._ticker(subscription, now_ns)]
        elif channel == "trade":
            recent = history.since(max(history.total - TRADES_SHOWN, 0))
            rows = self._trades(subscription, recent)
        else:
            candles = list(history.candles[str(subscription.options["interval"])])[-CANDLES_SHOWN:]
            self._candles_changed(subscription)
            rows = [self._candle(subscription, candle) for candle in candles]
        if wanted and channel in {"ticker", "trade", "ohlc"} and rows:
            self._send_rows(subscription, rows, now_ns, "snapshot")

    def update(self, subscription: Subscription, now_ns: int) -> None:
        """Send what is new."""
        assert isinstance(subscription, MarketSubscription)
        if subscription.book is not None:
            book = subscription.book
            if book.version != book.market.version:
                changes = book.changes() if isinstance(book, BookWindow) else book.changes(now_ns)
                if any(changes):
                    self._send_book(subscription, book, *changes, now_ns, "update")
            return
        if subscription.channel == "instrument":
            return
        history = subscription.history
        traded = history.total != subscription.mark
        if subscription.channel == "ticker":
            quote = (history.market.best(1), history.market.best(-1))
            by_trades = subscription.options["event_trigger"] == "trades"
            if traded if by_trades else quote != subscription.quote:
                subscription.quote = quote
                self._send_rows(
                    subscription, [self._ticker(subscription, now_ns)], now_ns, "update"
                )
        elif traded and subscription.channel == "trade":
            rows = self._trades(subscription, history.since(subscription.mark))
            self._send_rows(subscription, rows, now_ns, "update")
        elif traded:
            changed = self._candles_changed(subscription)
            rows = [self._candle(subscription, candle) for candle in changed]
            self._send_rows(subscription, rows, now_ns, "update")
        subscription.mark = history.total

    def _send_book(
        self,
        subscription: MarketSubscription,
        book: BookWindow | Level3Window,
        bids: str,
        asks: str,
        now_ns: int,
        kind: str,
    ) -> None:
        # A lost frame shows only in books: the next checksum does not match.
        if kind == "update" and self.faults.takes("gap", subscription.symbol):
            return
        checksum = book.checksum()
        if kind == "update" and self.faults.takes("spoil", subscription.symbol):
            checksum ^= 1
        digits = 6 if subscription.channel == "book" else 9
        row = self.make_object(
            f'"symbol":"{subscription.symbol}"',
            f'"bids":[{bids}]',
            f'"asks":[{asks}]',
            f'"checksum":{checksum}',
            f'"timestamp":"{time_text(now_ns, digits)}"',
        )
        self._send_data(subscription, [row], kind)

    def _send_rows(
        self, subscription: MarketSubscription, rows: list[str], now_ns: int, kind: str
    ) -> None:
        stamp = f'"timestamp":"{time_text(now_ns, 9)}"' if subscription.channel == "ohlc" else ""
        self._send_data(subscription, rows, kind, stamp)

    def _send_data(
        self, subscription: MarketSubscription, rows: list[str], kind: str, stamp: str = ""
    ) -> None:
        parts = [
            f'"channel":"{subscription.channel}"', f'"type":"{kind}"', f'"data":[{",".join(rows)}]',
        ]  # fmt: skip
        frame = self.make_object(*parts, *([stamp] if stamp else []))
        if kind == "snapshot":
            self.send_snapshot(subscription.symbol, frame)
        else:
            self._send(frame)

    def _ticker(self, subscription: MarketSubscription, now_ns: int) -> str:
        history, text = subscription.history, self._texts[subscription.symbol]
        market = history.market
        quantities = [market.depth(1, 1), market.depth(-1, 1)]
        change = history.last - history.open
        percent = round(100 * change / history.open, 2) if history.open else 0.0
        return self.make_object(
            f'"symbol":"{subscription.symbol}"',
            f'"bid":{text.price(market.best(1) or 0)}',
            f'"bid_qty":{text.quantity(quantities[0])}',
            f'"ask":{text.price(market.best(-1) or 0)}',
            f'"ask_qty":{text.quantity(quantities[1])}',
            f'"last":{text.price(history.last)}',
            f'"volume":{text.quantity(history.volume)}',
            f'"vwap":{text.average(history.turnover, history.volume)}',
            f'"low":{text.price(history.low)}',
            f'"high":{text.price(history.high)}',
            f'"change":{text.price(change)}',
            f'"change_pct":{percent:.2f}',
            f'"trades":{history.total}',
            f'"timestamp":"{time_text(now_ns, 6)}"',
        )

    def _trades(self, subscription: MarketSubscription, trades: list[Trade]) -> list[str]:
        text = self._texts[subscription.symbol]
        return [
            self.make_object(
                f'"symbol":"{subscription.symbol}"',
                f'"side":"{"buy" if trade.side == 1 else "sell"}"',
                f'"price":{text.price(trade.ticks)}',
                f'"qty":{text.quantity(trade.units)}',
                f'"ord_type":"{"limit" if trade.limit else "market"}"',
                f'"trade_id":{trade.id}',
                f'"timestamp":"{time_text(trade.time_ns, 6)}"',
            )
            for trade in trades
        ]

    def _candles_changed(self, subscription: MarketSubscription) -> list[Candle]:
        """Candles that are other than they were sent, oldest first; they count as sent now."""
        found: list[Candle] = []
        for candle in reversed(subscription.history.candles[str(subscription.options["interval"])]):
            if (candle.start_ms, candle.count) == subscription.candle:
                break
            found.append(candle)
            if candle.start_ms <= subscription.candle[0]:
                break
        if found:
            subscription.candle = (found[0].start_ms, found[0].count)
        return found[::-1]

    def _candle(self, subscription: MarketSubscription, candle: Candle) -> str:
        text = self._texts[subscription.symbol]
        minutes = subscription.options["interval"]
        end_ns = (candle.start_ms + minutes * 60_000) * 10**6
        return self.make_object(
            f'"symbol":"{subscription.symbol}"',
            f'"open":{text.price(candle.open)}',
            f'"high":{text.price(candle.high)}',
            f'"low":{text.price(candle.low)}',
            f'"close":{text.price(candle.close)}',
            f'"trades":{candle.count}',
            f'"volume":{text.quantity(candle.units)}',
            f'"vwap":{text.average(candle.turnover, candle.units)}',
            f'"interval_begin":"{time_text(candle.start_ms * 10**6, 9)}"',
            f'"interval":{minutes}',
            f'"timestamp":"{time_text(end_ns, 6)}"',
        )

    def send_instruments(self, kind: str, system: str) -> None:
        """Assets and pairs; in an update too all of them are named."""
        data = instrument_data([h.market for h in self.histories.values()], system)
        frame = self.make_object(
            '"channel":"instrument"', f'"type":"{kind}"', f'"data":{json.dumps(data)}'
        )
        if kind == "snapshot":
            self.send_snapshot("", frame)
        else:
            self._send(frame)
