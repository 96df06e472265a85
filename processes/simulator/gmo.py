"""GMO Coin's public WebSocket, the venue's side of it.

Nothing is acknowledged; an error names the parameter and not the symbol. Every book is whole, 30
levels a side, pushed on a grid of 505 ms when it changed and repeated at most every 5.2 s. All
sockets of the machine share one command a second. Sources: api.coin.z.com/docs; what was measured
of the grid, the repeats and the closing of unused sockets stands in the public probe of 2026-09.
"""

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from processes.simulator.conversation import Conduct, Conversation, Ping, as_object
from processes.simulator.history import History
from processes.simulator.market import BookSide, Trade
from processes.simulator.numbers import plain_amount_text, plain_price_text, time_text

SECOND_NS = 10**9
GRID_NS = 505_000_000
REPEAT_NS = 10 * GRID_NS
"""5.05 s: an unchanged book comes again, and stays below 5.2 s."""
LEVELS = 30
TICKER_NS = 2 * GRID_NS
UNUSED_NS = 60 * SECOND_NS
"""A socket that never subscribed is dropped."""
PONGS_MISSED = 3
SIDES: tuple[BookSide, BookSide] = (-1, 1)
"""Asks come first."""
CHANNELS = ("ticker", "orderbooks", "trades")
PARAMETER = "ERR-5106 Invalid request parameter."
TOO_FAST = "ERR-5003 Request too many."
TooFast = Literal["error", "ignored"]


class CommandLimit(Struct):
    """One command a second from one address, over all of its sockets.

    A command that is too fast does not count itself (not documented; the kinder reading).
    """

    too_fast: TooFast = "error"
    last_ns: int = -SECOND_NS

    def admits(self, now_ns: int) -> bool:
        """True if a command may be carried out now; it then counts."""
        if now_ns - self.last_ns < SECOND_NS:
            return False
        self.last_ns = now_ns
        return True


class Subscription:
    """One channel of one symbol on one socket."""

    def __init__(self, channel: str, history: History, *, taker_only: bool) -> None:
        self.channel = channel
        self.history = history
        self.symbol = history.market.symbol
        self.taker_only = taker_only
        self.mark = history.total
        self.sent = ""
        self.sent_ns = 0
        self.grid = -1


class GmoConnection(Conversation):
    """The venue's end of one socket.

    Args:
        histories: markets by symbol. limit: shared by all sockets of the machine.
        ping_ns: between two protocol-level pings.
    """

    def __init__(
        self,
        histories: dict[str, History],
        send: Callable[[str], None],
        now_ns: int,
        *,
        limit: CommandLimit | None = None,
        conduct: Conduct | None = None,
        ping_ns: int = 60 * SECOND_NS,
    ) -> None:
        super().__init__(send, conduct)
        self.histories = histories
        self.subscriptions: dict[tuple[str, str], Subscription] = {}
        self._limit = limit or CommandLimit()
        self._ping_ns = ping_ns
        self._next_ping_ns = now_ns + ping_ns
        self._opened_ns = now_ns
        self._used = False

    # ---- what the client says

    def receive(self, text: str, now_ns: int) -> None:
        """One frame from the client."""
        if not self._limit.admits(now_ns):
            if self._limit.too_fast == "error":
                self._error(TOO_FAST)
            return
        request = as_object(text)
        if request is None:
            self._error(PARAMETER)
            return
        command = request.get("command")
        if command not in {"subscribe", "unsubscribe"}:
            self._error(f"{PARAMETER} command")
        elif request.get("channel") not in CHANNELS:
            self._error(f"{PARAMETER} channel")
        elif not self.lists(request.get("symbol")):
            self._error(f"{PARAMETER} symbol")
        elif request.get("option", "TAKER_ONLY") != "TAKER_ONLY":
            self._error(f"{PARAMETER} option")
        elif command == "unsubscribe":
            self.leave(request["channel"], request["symbol"])
        else:
            self._subscribe(request, now_ns)

    def _subscribe(self, request: dict[str, Any], now_ns: int) -> None:
        channel, symbol = request["channel"], request["symbol"]
        if self.conduct.refuses(symbol):
            self._error(f"{PARAMETER} symbol")
            return
        limit = self.conduct.limit
        if limit is not None and self.subscribed >= limit:
            self._error(TOO_FAST)
            return
        self._used = True
        now_ns += self.conduct.delays_ns()
        self.begin(channel, symbol, now_ns, taker_only=request.get("option") == "TAKER_ONLY")

    # ---- what stands behind it

    def lists(self, symbol: object) -> bool:
        """True if there is such a symbol."""
        return symbol in self.histories

    def begin(self, channel: str, symbol: str, now_ns: int, *, taker_only: bool) -> None:
        """Subscribe; a repeated subscription is silent and doubles nothing, whatever its option."""
        if (channel, symbol) not in self.subscriptions:
            subscription = Subscription(channel, self.histories[symbol], taker_only=taker_only)
            subscription.grid = now_ns // GRID_NS
            self.subscriptions[channel, symbol] = subscription

    def leave(self, channel: str, symbol: str) -> None:
        """Unsubscribe; silent as well."""
        self.subscriptions.pop((channel, symbol), None)

    @property
    def subscribed(self) -> int:
        """Subscriptions of this socket."""
        return len(self.subscriptions)

    def tick_data(self, now_ns: int) -> None:
        """Send the data that is due."""
        for subscription in self.subscriptions.values():
            if subscription.channel == "orderbooks":
                self._tick_book(subscription, now_ns)
            elif subscription.channel == "ticker":
                self._tick_ticker(subscription, now_ns)
            else:
                self._tick_trades(subscription)

    # ---- what the client is told

    def tick(self, now_ns: int) -> None:
        """Send whatever is due."""
        if not self._used and now_ns >= self._opened_ns + UNUSED_NS:
            self.ended = True
        if now_ns >= self._next_ping_ns:
            self._next_ping_ns = now_ns + self._ping_ns
            if self.unanswered >= PONGS_MISSED:
                self.ended = True
            self.unanswered += 1
            self._send(Ping())
        if now_ns < self.faults.heartbeats_only_until_ns:
            self._skip()
            return
        self.tick_data(now_ns)

    def announce(self, what: str) -> None:
        """The venue says nothing: it hangs up, and refuses new sockets while in maintenance."""
        if what != "maintenance_end":
            self.ended = True

    def _skip(self) -> None:
        """Trades of a silent time are lost: no snapshot ever brings them back."""
        for subscription in self.subscriptions.values():
            subscription.mark = subscription.history.total

    def _tick_book(self, subscription: Subscription, now_ns: int) -> None:
        grid = now_ns // GRID_NS
        if grid <= subscription.grid:
            return
        subscription.grid = grid
        asks, bids = (levels_text(subscription.history, side, LEVELS) for side in SIDES)
        sides = f'"asks":[{asks}],"bids":[{bids}]'
        if sides == subscription.sent and now_ns - subscription.sent_ns < REPEAT_NS - GRID_NS // 2:
            return
        first = not subscription.sent
        subscription.sent, subscription.sent_ns = sides, now_ns
        frame = (
            f'{{"channel":"orderbooks",{sides},"symbol":"{subscription.symbol}",'
            f'"timestamp":"{time_text(now_ns, 3)}","grouping":"1"}}'
        )
        if first or not self.faults.takes("gap", subscription.symbol):
            self.send_snapshot(subscription.symbol, frame)  # every book is one

    def _tick_ticker(self, subscription: Subscription, now_ns: int) -> None:
        if now_ns // TICKER_NS <= subscription.grid // 2:
            return
        subscription.grid = now_ns // GRID_NS
        fields = ticker_fields(subscription.history)
        if fields != subscription.sent:
            subscription.sent = fields
            stamp = f'"timestamp":"{time_text(now_ns, 3)}"'
            self._data(subscription, f'{{"channel":"ticker",{fields},{stamp}}}')

    def _tick_trades(self, subscription: Subscription) -> None:
        for trade in subscription.history.since(subscription.mark):
            for side in trade_sides(trade, taker_only=subscription.taker_only):
                fields = trade_fields(subscription.history, trade, side)
                symbol = f'"symbol":"{subscription.symbol}"'
                self._data(subscription, f'{{"channel":"trades",{fields},{symbol}}}')
        subscription.mark = subscription.history.total

    def _data(self, subscription: Subscription, frame: str) -> None:
        if not self.faults.takes("gap", subscription.symbol):
            self._send(frame)

    def _error(self, text: str) -> None:
        self._send(f'{{"error":"{text}"}}')


def levels_text(history: History, side: BookSide, limit: int) -> str:
    """Levels as the venue lists them, best first."""
    market = history.market
    return ",".join(
        f'{{"price":"{plain_price_text(market.tick, ticks)}","size":"{plain_amount_text(units)}"}}'
        for ticks, _, units in market.levels(side, limit)
    )


def ticker_fields(history: History) -> str:
    """A ticker's members but for channel and timestamp."""
    market = history.market
    texts = {
        "ask": market.best(-1) or 0, "bid": market.best(1) or 0, "high": history.high,
        "last": history.last, "low": history.low,
    }  # fmt: skip
    prices = ",".join(f'"{k}":"{plain_price_text(market.tick, v)}"' for k, v in texts.items())
    return f'{prices},"symbol":"{market.symbol}","volume":"{plain_amount_text(history.volume)}"'


def trade_sides(trade: Trade, *, taker_only: bool) -> list[BookSide]:
    """The sides that are told of one match: the taker's, or the maker's behind it as well."""
    other: BookSide = -1 if trade.side == 1 else 1
    return [trade.side] if taker_only else [trade.side, other]


def trade_fields(history: History, trade: Trade, side: BookSide) -> str:
    """A trade's members but for channel and symbol."""
    price = plain_price_text(history.market.tick, trade.ticks)
    return (
        f'"price":"{price}","side":"{"BUY" if side == 1 else "SELL"}",'
        f'"size":"{plain_amount_text(trade.units)}","timestamp":"{time_text(trade.time_ns, 3)}"'
    )
