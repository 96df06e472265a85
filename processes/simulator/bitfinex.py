"""Bitfinex's public WebSocket protocol, the venue's side of it.

Written from the protocol page alone, with encoders and checksum of its own. A book channel shows a
window of `len` levels: what changed since the last frame goes out as updates, what left the window
as deletes, what came in as new levels.
"""

import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from processes.simulator.market import UNITS, BookSide, Market, Trade

TIMESTAMP, SEQ_ALL, CHECKSUM, BULK = 32768, 65536, 131072, 536870912
HEARTBEAT_S = 15.0
CHECKSUM_S = 2.5
CONFIRM_S = 0.1
TICKER_S = 2.0
TIMEFRAMES = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600}
PRECISIONS = {"P0": 5, "P1": 4, "P2": 3, "P3": 2, "P4": 1}
LENGTHS = ("1", "25", "100", "250")
MAX_CHANNELS = 30


def number_text(value: Decimal) -> str:
    """What JavaScript prints for the number: no trailing zeros, exponents below 1e-6."""
    value = value.normalize()
    exponent = value.adjusted()
    if value != 0 and (exponent < -6 or exponent >= 21):
        digits = "".join(map(str, value.as_tuple().digits))
        sign = "-" if value < 0 else ""
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        return f"{sign}{mantissa}e{exponent:+d}"
    return f"{value:f}"


@lru_cache(65_536)
def amount_text(units: int) -> str:
    """Units as an amount."""
    return number_text(Decimal(units) / UNITS)


@lru_cache(65_536)
def price_text(tick: Decimal, ticks: int) -> str:
    """Ticks as a price."""
    return number_text(tick * ticks)


class History:
    """What a market has done: recent trades, a day's figures, candles."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.trades: deque[Trade] = deque(maxlen=120)
        self.candles: dict[str, deque[list[Any]]] = {tf: deque(maxlen=240) for tf in TIMEFRAMES}
        self.volume = 0
        self.high = self.low = self.open = self.last = 0

    def add(self, trade: Trade) -> None:
        """Book one trade."""
        self.trades.append(trade)
        self.volume += trade.units
        self.last = trade.ticks
        if not self.open:
            self.open = self.high = self.low = trade.ticks
        self.high, self.low = max(self.high, trade.ticks), min(self.low, trade.ticks)
        for timeframe, seconds in TIMEFRAMES.items():
            start_ms = trade.time_ns // 10**9 // seconds * seconds * 1000
            candles = self.candles[timeframe]
            if not candles or candles[-1][0] != start_ms:
                candles.append([start_ms, *[trade.ticks] * 4, 0])
            candle = candles[-1]  # start, open, close, high, low, units
            candle[2] = trade.ticks
            candle[3], candle[4] = max(candle[3], trade.ticks), min(candle[4], trade.ticks)
            candle[5] += trade.units


class Channel:
    """One subscription of one client."""

    def __init__(self, number: int, name: str, request: dict[str, Any], history: History) -> None:
        self.number = number
        self.name = name
        self.request = request
        self.history = history
        self.market = history.market
        self.version = -1
        self.sent: dict[Any, tuple[BookSide, str]] = {}
        self.next_ns = 0
        self.checksum_ns = 0
        self.changed = False
        self.trade_mark = 0
        self.unconfirmed: deque[tuple[int, str]] = deque()

    # ---- books

    def window(self) -> dict[Any, tuple[BookSide, str]]:
        """What the book shows now: key → (side, the entry's text)."""
        limit = int(self.request["len"])
        if self.request["prec"] == "R0":
            return {
                order.id: (
                    side,
                    f"{order.id},{self._price(order.ticks)},{amount_text(side * order.units)}",
                )
                for side in (1, -1)
                for order in sorted(
                    self.market.orders(side, limit),
                    key=lambda o, s=side: (-s * o.ticks, o.id),  # type: ignore[misc]
                )
            }
        shown: dict[Any, tuple[BookSide, str]] = {}
        for side in (1, -1):
            for price, count, units in self._levels(side, limit):
                text = f"{price},{count},{amount_text(side * units)}"
                shown[price, side] = (side, text)
        return shown

    def _levels(self, side: BookSide, limit: int) -> Iterable[tuple[str, int, int]]:
        digits = PRECISIONS[self.request["prec"]]
        if digits == 5:
            for ticks, count, units in self.market.levels(side, limit):
                yield self._price(ticks), count, units
            return
        grouped: dict[Decimal, tuple[int, int]] = {}
        for ticks, count, units in self.market.levels(side, 10**9):
            price = self.market.price(ticks)
            step = Decimal(1).scaleb(price.adjusted() - digits + 1)
            key = (price / step).to_integral_value("ROUND_FLOOR" if side == 1 else "ROUND_CEILING")
            before = grouped.get(key * step, (0, 0))
            grouped[key * step] = (before[0] + count, before[1] + units)
            if len(grouped) > limit:
                grouped.pop(key * step)
                break
        for price, (count, units) in grouped.items():
            yield number_text(price), count, units

    def _price(self, ticks: int) -> str:
        return price_text(self.market.tick, ticks)

    def book_changes(self) -> list[str]:
        """Entries that turn what was sent into what is; deletes first, as levels make room."""
        shown = self.window()
        entries = []
        for key, (side, text) in self.sent.items():
            if key not in shown:
                sign = "" if side == 1 else "-"
                head = f"{key},0" if self.request["prec"] == "R0" else f"{text.split(',')[0]},0"
                entries.append(f"[{head},{sign}1]")
        entries += [
            f"[{text}]" for key, (side, text) in shown.items() if self.sent.get(key) != (side, text)
        ]
        self.sent = shown
        return entries

    def checksum(self) -> int:
        """CRC-32 of the best 25 levels as they were last sent, signed."""
        sides: dict[BookSide, list[str]] = {1: [], -1: []}
        for side, text in self.sent.values():
            first, second, third = text.split(",")
            sides[side].append(f"{first}:{third}" if second else "")
        parts = []
        for rank in range(25):
            parts += [sides[side][rank] for side in (1, -1) if rank < len(sides[side])]
        value = zlib.crc32(":".join(parts).encode())
        return value - (1 << 32) if value >= 1 << 31 else value

    # ---- others

    def trade_text(self, trade: Trade) -> str:
        """`[ID,MTS,AMOUNT,PRICE]`."""
        amount = amount_text(trade.side * trade.units)
        return f"[{trade.id},{trade.time_ns // 10**6},{amount},{self._price(trade.ticks)}]"

    def ticker_text(self) -> str:
        """The ticker's eleven fields, the last one null."""
        history, market = self.history, self.market
        bid, ask = market.best(1) or 0, market.best(-1) or 0
        change = market.price(history.last - history.open)
        relative = change / market.price(history.open) if history.open else Decimal(0)
        fields = [
            self._price(bid), amount_text(market.depth(1, 25)),
            self._price(ask), amount_text(market.depth(-1, 25)),
            number_text(change), number_text(round(relative, 8)), self._price(history.last),
            amount_text(history.volume), self._price(history.high), self._price(history.low),
        ]  # fmt: skip
        return f"[{','.join(fields)},null]"

    def candle_text(self, candle: list[Any]) -> str:
        """`[MTS,OPEN,CLOSE,HIGH,LOW,VOLUME]`."""
        prices = ",".join(self._price(ticks) for ticks in candle[1:5])
        return f"[{candle[0]},{prices},{amount_text(candle[5])}]"

    def candles(self) -> deque[list[Any]]:
        """The candles of the channel's timeframe."""
        return self.history.candles[self.request["key"].split(":")[1]]


class Connection:
    """The venue's end of one socket.

    Args:
        histories: markets by symbol. send: takes finished frames.
        first_channel: ids count up from here, other than those of other connections.
    """

    def __init__(
        self,
        histories: dict[str, History],
        send: Callable[[str], None],
        now_ns: int,
        *,
        first_channel: int = 1,
        max_channels: int = MAX_CHANNELS,
        operative: bool = True,
    ) -> None:
        self.histories = histories
        self.sequence = 0
        self.flags = 0
        self.channels: dict[int, Channel] = {}
        self.skip_sequence = False
        """A fault: the next frame is counted and not sent."""
        self.spoil_checksum: str = ""
        """A fault: the next checksum of this symbol is wrong."""
        self.heartbeats_only_until_ns = 0
        self._send = send
        self._next_channel = first_channel
        self._max_channels = max_channels
        self._next_heartbeat_ns = now_ns + int(HEARTBEAT_S * 1e9)
        self._event(
            {
                "event": "info",
                "version": 2,
                "serverId": "5f6a0f2e-0000-4000-8000-000000000000",
                "platform": {"status": 1 if operative else 0},
            }
        )

    # ---- what the client says

    def receive(self, text: str, now_ns: int) -> None:
        """One frame from the client; what is not JSON gets no answer, as at the venue."""
        try:
            request = json.loads(text)
        except ValueError:
            return
        if not isinstance(request, dict):
            return
        event = request.get("event")
        if event == "ping":
            self._event({"event": "pong", "ts": now_ns // 10**6, "cid": request.get("cid")})
        elif event == "conf":
            self.flags = int(request.get("flags", 0))
            self._event({"event": "conf", "status": "OK", "flags": self.flags})
        elif event == "subscribe":
            self._subscribe(request, now_ns)
        elif event == "unsubscribe":
            self._unsubscribe(request)
        else:
            self._event({"event": "error", "msg": f"event: invalid ({event})", "code": 10000})

    def _subscribe(self, request: dict[str, Any], now_ns: int) -> None:
        fault = self._complete(request)
        if fault is not None:
            self._refuse(request, *fault)
            return
        same = [c for c in self.channels.values() if _same(c.request, request)]
        if same:
            self._refuse(request, 10301, "subscribe: dup", chanId=same[0].number)
            return
        if len(self.channels) >= self._max_channels:
            self._refuse(request, 10305, "subscribe: limit")
            return
        symbol = request.get("symbol") or request["key"].split(":", 2)[2]
        number = self._next_channel
        self._next_channel += 1
        channel = Channel(number, request["channel"], request, self.histories[symbol])
        self.channels[number] = channel
        answer = {key: value for key, value in request.items() if key != "event"}
        if "symbol" in request:
            answer["pair"] = symbol[1:]
        self._event({"event": "subscribed", "chanId": number, **answer})
        self._send_snapshot(channel, now_ns)

    def _complete(self, request: dict[str, Any]) -> tuple[int, str] | None:
        """Fill in defaults; code and text if the venue refuses the request."""
        name = request.get("channel")
        if name == "candles":
            parts = str(request.get("key", "")).split(":", 2)
            good = len(parts) == 3 and parts[1] in TIMEFRAMES and parts[2] in self.histories
            return None if good else (10300, "key: invalid")
        if name not in {"book", "trades", "ticker"}:
            return 10300, "channel: unknown"
        if request.get("symbol") not in self.histories:
            return 10300, "symbol: invalid"
        if name == "book":
            request.setdefault("prec", "P0")
            request.setdefault("freq", "F0")
            request["len"] = str(request.get("len", "25"))
            if request["prec"] not in {*PRECISIONS, "R0"}:
                return 10300, "precision: invalid"
            if request["len"] not in LENGTHS:
                return 10300, "length: invalid"
        return None

    def _refuse(self, request: dict[str, Any], code: int, text: str, **more: Any) -> None:
        self._event({**request, "event": "error", "msg": text, "code": code, **more})

    def _unsubscribe(self, request: dict[str, Any]) -> None:
        number = request.get("chanId")
        if number not in self.channels:
            self._refuse(request, 10401, "unsubscribe: invalid")
            return
        del self.channels[number]
        self._event({"event": "unsubscribed", "status": "OK", "chanId": number})

    def _send_snapshot(self, channel: Channel, now_ns: int) -> None:
        number = channel.number
        if channel.name == "book":
            channel.sent = channel.window()
            channel.version = channel.market.version
            channel.checksum_ns = now_ns + int(CHECKSUM_S * 1e9)
            body = ",".join(f"[{text}]" for _, text in channel.sent.values())
            self._frame(number, f"[{body}]", now_ns)
        elif channel.name == "trades":
            recent = list(channel.history.trades)[-30:]
            channel.trade_mark = recent[-1].id if recent else 0
            body = ",".join(channel.trade_text(trade) for trade in reversed(recent))
            self._frame(number, f"[{body}]", now_ns)
        elif channel.name == "ticker":
            channel.next_ns = now_ns + int(TICKER_S * 1e9)
            self._frame(number, channel.ticker_text(), now_ns)
        else:
            rows = [channel.candle_text(candle) for candle in reversed(channel.candles())]
            self._frame(number, f"[{','.join(rows)}]", now_ns)

    # ---- what the client is told

    def tick(self, now_ns: int) -> None:
        """Send whatever is due."""
        quiet = now_ns < self.heartbeats_only_until_ns
        for channel in list(self.channels.values()):
            if quiet:
                continue
            if channel.name == "book":
                self._tick_book(channel, now_ns)
            elif channel.name == "trades":
                self._tick_trades(channel, now_ns)
            elif now_ns >= channel.next_ns:
                self._tick_slow(channel, now_ns)
        if now_ns >= self._next_heartbeat_ns:
            self._next_heartbeat_ns += int(HEARTBEAT_S * 1e9)
            for number in self.channels:
                self._frame(number, '"hb"', now_ns)

    def _tick_book(self, channel: Channel, now_ns: int) -> None:
        slow = channel.request["freq"] == "F1"
        if channel.version != channel.market.version and (not slow or now_ns >= channel.next_ns):
            channel.next_ns = now_ns + 2 * 10**9
            channel.version = channel.market.version
            entries = channel.book_changes()
            channel.changed |= bool(entries)
            if self.flags & BULK and len(entries) > 1:
                self._frame(channel.number, f"[{','.join(entries)}]", now_ns)
            else:
                for entry in entries:
                    self._frame(channel.number, entry, now_ns)
        if self.flags & CHECKSUM and channel.changed and now_ns >= channel.checksum_ns:
            channel.changed = False
            channel.checksum_ns = now_ns + int(CHECKSUM_S * 1e9)
            value = channel.checksum()
            if self.spoil_checksum == channel.market.symbol:
                self.spoil_checksum = ""
                value ^= 1
            self._frame(channel.number, f'"cs",{value}', now_ns)

    def _tick_trades(self, channel: Channel, now_ns: int) -> None:
        for trade in channel.history.trades:
            if trade.id > channel.trade_mark:
                channel.trade_mark = trade.id
                text = channel.trade_text(trade)
                self._frame(channel.number, f'"te",{text}', now_ns)
                channel.unconfirmed.append((now_ns + int(CONFIRM_S * 1e9), text))
        while channel.unconfirmed and channel.unconfirmed[0][0] <= now_ns:
            self._frame(channel.number, f'"tu",{channel.unconfirmed.popleft()[1]}', now_ns)

    def _tick_slow(self, channel: Channel, now_ns: int) -> None:
        channel.next_ns = now_ns + int(TICKER_S * 1e9)
        if channel.name == "ticker":
            self._frame(channel.number, channel.ticker_text(), now_ns)
            return
        candles = channel.candles()
        if candles and tuple(candles[-1]) != channel.sent.get("last"):
            channel.sent["last"] = tuple(candles[-1])
            self._frame(channel.number, channel.candle_text(candles[-1]), now_ns)

    def announce(self, code: int, text: str) -> None:
        """An info event: 20051 restart, 20060 and 20061 maintenance."""
        self._event({"event": "info", "code": code, "msg": text})

    def _event(self, event: dict[str, Any]) -> None:
        self._send(json.dumps(event, separators=(",", ":")))

    def _frame(self, number: int, body: str, now_ns: int) -> None:
        self.sequence += 1
        tail = f",{self.sequence}" if self.flags & SEQ_ALL else ""
        if self.flags & TIMESTAMP:
            tail += f",{now_ns // 10**6}"
        if self.skip_sequence:
            self.skip_sequence = False
            return
        self._send(f"[{number},{body}{tail}]")


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    ignored = {"subId", "event"}
    return {k: v for k, v in one.items() if k not in ignored} == {
        k: v for k, v in other.items() if k not in ignored
    }
