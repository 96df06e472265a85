"""Bitfinex's public channels over the markets of the engine.

Written from the protocol pages alone (ws-public-*), with encoders and checksum of its own.
"""

from collections.abc import Callable
from typing import Any

from processes.simulator.bitfinex_channels import (
    LENGTHS,
    PRECISIONS,
    Channel,
    candle_periods,
    derivative_text,
    is_derivative,
    is_funding,
    liquidation_texts,
    symbol_of_key,
    ticker_text,
)
from processes.simulator.bitfinex_session import BULK, CHECKSUM, SECOND_NS, BitfinexSession
from processes.simulator.history import BITFINEX_FRAMES, History

__all__ = ["Connection", "History"]

CHECKSUM_NS = 25 * SECOND_NS // 10
CONFIRM_NS = SECOND_NS // 10
TICKER_NS = 2 * SECOND_NS
STATUS_NS = SECOND_NS
SLOW_BOOK_NS = 2 * SECOND_NS
"""Of books with frequency F1."""
UNCONFIRMED = 512
"""Every so many trades one `te` never gets its `tu`."""
LIQUIDATIONS = "liq:global"


class Connection(BitfinexSession[Channel]):
    """The venue's end of one socket, in front of markets.

    Args:
        histories: markets by symbol. The rest as BitfinexSession takes it.
    """

    def __init__(
        self, histories: dict[str, History], send: Callable[[str], None], now_ns: int, **more: Any
    ) -> None:
        super().__init__(send, now_ns, **more)
        self.histories = histories

    # ---- requests

    def knows_status(self, request: dict[str, Any]) -> bool:
        """True for `liq:global` and for `deriv:` with a derivative's symbol."""
        return self._status_history(request) is not None

    def make(self, number: int, request: dict[str, Any]) -> Channel:
        """A channel of one market; liquidations are of all of them."""
        if request["channel"] == "status":
            history = self._status_history(request)
        else:
            symbol = request.get("symbol") or symbol_of_key(str(request["key"]))
            history = self.histories[symbol]
        assert history is not None
        return Channel(number, request, history)

    def _status_history(self, request: dict[str, Any]) -> History | None:
        """The market of a status key; for liquidations any; None if the venue knows no such key."""
        key = str(request.get("key", ""))
        if key == LIQUIDATIONS:
            return next(iter(self.histories.values()), None)
        symbol = key.removeprefix("deriv:")
        known = key.startswith("deriv:") and is_derivative(symbol)
        return self.histories.get(symbol) if known else None

    def complete(self, request: dict[str, Any]) -> tuple[int, str] | None:
        """Fill in defaults; code and text if the venue refuses the request."""
        name = request.get("channel")
        if name == "status":
            return None
        if name == "candles":
            return None if self._good_key(str(request.get("key", ""))) else (10300, "key: invalid")
        if name not in {"book", "trades", "ticker"}:
            return 10300, "channel: unknown"
        symbol = str(request.get("symbol") or request.pop("pair", ""))
        if symbol not in self.histories:
            symbol = f"t{symbol}"  # the venue guesses, and acknowledges the whole name
        if symbol not in self.histories:
            return 10300, "symbol: invalid"
        request["symbol"] = symbol
        if name == "book":
            request.setdefault("prec", "P0")
            request.setdefault("freq", "F0")
            request["len"] = str(request.get("len", "25"))
            if request["prec"] not in {*PRECISIONS, "R0"} or request["freq"] not in {"F0", "F1"}:
                return 10300, "precision: invalid"
            if request["len"] not in LENGTHS:
                return 10300, "length: invalid"
        return None

    def _good_key(self, key: str) -> bool:
        parts = key.split(":")
        if len(parts) < 3 or parts[0] != "trade" or parts[1] not in BITFINEX_FRAMES:
            return False
        symbol = symbol_of_key(key)
        if symbol not in self.histories:
            return False
        suffix = parts[3:] if is_funding(symbol) else []
        return candle_periods(suffix) is not None if is_funding(symbol) else True

    # ---- data

    def begin(self, channel: Channel, now_ns: int) -> None:
        """Send the channel's snapshot; liquidations have none."""
        if channel.name == "book":
            channel.sent = channel.window()
            channel.version = channel.market.version
            channel.checksum_ns = now_ns + CHECKSUM_NS
            body = ",".join(f"[{text}]" for _, text in channel.sent.values())
        elif channel.name == "trades":
            recent = channel.history.since(max(channel.history.total - 30, 0))
            channel.trade_mark = channel.history.total
            body = ",".join(channel.trade_text(trade) for trade in reversed(recent))
        elif channel.name == "ticker":
            channel.next_ns = now_ns + TICKER_NS
            body = ticker_text(channel.history)
        elif channel.name == "candles":
            candles = list(channel.candles())[-240:]
            channel.candles_changed()
            body = ",".join(channel.candle_text(candle) for candle in reversed(candles))
        elif channel.request["key"] == LIQUIDATIONS:
            channel.sent = {symbol: (1, str(h.total)) for symbol, h in self.histories.items()}
            return
        else:
            channel.next_ns = now_ns + STATUS_NS
            body = derivative_text(channel.history, now_ns)
        self.send_frame(channel.number, f"[{body}]", now_ns, channel.symbol, snapshot=True)

    def tick_channel(self, channel: Channel, now_ns: int) -> None:
        """Send whatever is due on one channel."""
        if channel.name == "book":
            self._tick_book(channel, now_ns)
        elif channel.name == "trades":
            self._tick_trades(channel, now_ns)
        elif now_ns < channel.next_ns:
            return
        elif channel.name == "ticker":
            channel.next_ns = now_ns + TICKER_NS
            body = ticker_text(channel.history)
            self.send_frame(channel.number, f"[{body}]", now_ns, channel.symbol)
        elif channel.name == "candles":
            channel.next_ns = now_ns + TICKER_NS
            for candle in channel.candles_changed():
                self.send_frame(channel.number, channel.candle_text(candle), now_ns, channel.symbol)
        elif channel.request["key"] == LIQUIDATIONS:
            self._tick_liquidations(channel, now_ns)
        else:
            channel.next_ns = now_ns + STATUS_NS
            body = derivative_text(channel.history, now_ns)
            self.send_frame(channel.number, f"[{body}]", now_ns, channel.symbol)

    def _tick_book(self, channel: Channel, now_ns: int) -> None:
        slow = channel.request["freq"] == "F1"
        if channel.version != channel.market.version and (not slow or now_ns >= channel.next_ns):
            channel.next_ns = now_ns + SLOW_BOOK_NS
            channel.version = channel.market.version
            entries = channel.book_changes()
            channel.changed |= bool(entries)
            if self.flags & BULK and len(entries) > 1:
                self.send_frame(channel.number, f"[{','.join(entries)}]", now_ns, channel.symbol)
            else:
                for entry in entries:
                    self.send_frame(channel.number, entry, now_ns, channel.symbol)
        if self.flags & CHECKSUM and channel.changed and now_ns >= channel.checksum_ns:
            channel.changed = False
            channel.checksum_ns = now_ns + CHECKSUM_NS
            value = channel.checksum()
            if self.faults.takes("spoil", channel.symbol):
                value ^= 1
            self.send_frame(channel.number, f'"cs",{value}', now_ns, channel.symbol)

    def _tick_trades(self, channel: Channel, now_ns: int) -> None:
        prefix = "f" if channel.funding else ""
        for trade in channel.history.since(channel.trade_mark):
            text = channel.trade_text(trade)
            self.send_frame(channel.number, f'"{prefix}te",{text}', now_ns, channel.symbol)
            if trade.id % UNCONFIRMED:
                channel.unconfirmed.append((now_ns + CONFIRM_NS, text))
        channel.trade_mark = channel.history.total
        while channel.unconfirmed and channel.unconfirmed[0][0] <= now_ns:
            text = channel.unconfirmed.popleft()[1]
            self.send_frame(channel.number, f'"{prefix}tu",{text}', now_ns, channel.symbol)

    def _tick_liquidations(self, channel: Channel, now_ns: int) -> None:
        for symbol, history in self.histories.items():
            if not is_derivative(symbol):
                continue
            for trade in history.since(int(channel.sent[symbol][1])):
                for text in liquidation_texts(history, trade):
                    self.send_frame(channel.number, f"[{text}]", now_ns, symbol)
            channel.sent[symbol] = (1, str(history.total))
