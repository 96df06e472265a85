"""A venue of the simulator: its markets, its sockets' way to be opened, its REST calls, its truth.

Every venue is one subclass; the server knows no protocol. The markets of all venues are those of
one engine and one kind of flow, and move when the server says so.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any

from aiohttp import web

from processes.simulator.account import Account
from processes.simulator.accounts import Accounts
from processes.simulator.conversation import Conduct, Conversation
from processes.simulator.delivery import Command
from processes.simulator.flow import Flow, make_market
from processes.simulator.history import History, TimeFrame
from processes.simulator.market import BookSide, Market, Trade
from processes.simulator.orders import Rules, price_ticks
from schemas.errors import OperatorError
from schemas.settings import SimulatorAccount, SimulatorSettings

WAIT_S = 0.005
"""Between two looks at the clock of a request that is answered late."""
Level = tuple[str, ...]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Query = Callable[[web.Request], web.StreamResponse]


class Venue(ABC):
    """Markets and how they are shown.

    Args:
        now_ns: the injected clock. on_trade: told every trade that is made from now on, and those
            of the short past too.
    """

    name: str
    sockets: tuple[str, ...]
    """Paths of the WebSocket endpoints."""
    frames: dict[str, TimeFrame]
    """Candle lengths by the venue's names."""

    def __init__(
        self,
        symbols: Iterable[str],
        settings: SimulatorSettings,
        now_ns: Callable[[], int],
        on_trade: Callable[[History, Trade], None],
    ) -> None:
        self.settings = settings
        self.conduct = Conduct()
        self.histories: dict[str, History] = {}
        self.flows: list[Flow] = []
        self.now_ns = now_ns
        self.begin_ns = now_ns() - int(settings.past_s * 1e9)
        """Zero of the markets' time."""
        first_trade = now_ns() // 10**6
        markets: dict[str, Market] = {}
        for symbol in symbols:
            market, ticks = make_market(symbol, first_trade)
            history = History(market, self.frames)
            markets[symbol] = market
            market.on_trade = _note(history, on_trade)
            flow = Flow(
                market,
                ticks,
                settings.seed,
                settings.events_per_s,
                settings.resting_orders,
                self.begin_ns,
            )
            flow.advance(settings.past_s, self.begin_ns)
            self.histories[symbol] = history
            self.flows.append(flow)
        self.accounts = Accounts(
            self.name, self.named_accounts(), markets, self.rules(), first_id=now_ns() // 10**6
        )
        for symbol, market in markets.items():
            market.on_trade = _both(market.on_trade, self.accounts.noting(symbol))

    def named_accounts(self) -> list[SimulatorAccount]:
        """Those of the settings that are at this venue."""
        return [each for each in self.settings.accounts if each.venue == self.name]

    @abstractmethod
    def rules(self) -> Rules:
        """What the venue does with orders, and what it lists."""

    # ---- for the server

    @abstractmethod
    def open(
        self, path: str, send: Callable[[str], None], now_ns: int, number: int
    ) -> Conversation:
        """The venue's end of a new socket; the number is given to no other."""

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """The venue's REST calls."""

    @abstractmethod
    def socket_options(self, path: str, number: int) -> dict[str, Any]:
        """What the venue's end of a socket is made with, besides markets, `send` and the time."""

    @property
    def refuses_sockets(self) -> bool:
        """True while a new socket gets HTTP 503 instead of an upgrade."""
        return False

    def refusal_of(self, path: str, now_ns: int) -> int:  # noqa: ARG002
        """The HTTP status that a new socket of this path gets instead of an upgrade; 0 = none."""
        return 0

    def tick(self, now_ns: int) -> None:
        """Do what is the venue's own business: accounts, and the hourly best prices."""
        self.accounts.tick(now_ns)
        for history in self.histories.values():
            history.note_quote(now_ns)

    def move(self, symbol: str, price: Decimal, now_ns: int) -> None:
        """Have the market of a symbol traded through to a price.

        Raises:
            OperatorError: there is no such symbol, or the price lies between two ticks.
        """
        market = self.history(symbol).market
        ticks = price_ticks(market.tick, price)
        if not ticks:
            raise OperatorError(f"{symbol} has ticks of {market.tick}; {price} is no price of it")
        flow = next(flow for flow in self.flows if flow.market is market)
        flow.move(ticks, now_ns)

    # ---- commands over REST

    async def carry_out(
        self,
        request: web.Request,
        account: Account,
        command: Command,
        take: Callable[[], web.StreamResponse],
    ) -> web.StreamResponse:
        """Take a command and answer it, or do with both what a fault asks for."""
        treatment = account.faults.treatment(command)
        answer: web.StreamResponse = web.Response()
        if treatment.lost != "request":
            answer = take()
        if treatment.events_first:
            account.delivery.pump(self.now_ns())
        if treatment.lost:
            await _lose(request, cut=treatment.cut)
            return web.Response()
        due_ns = self.now_ns() + treatment.late_ns
        while self.now_ns() < due_ns:  # noqa: ASYNC110 (the clock is the exchange's, not the loop's)
            await asyncio.sleep(WAIT_S)
        return answer

    # ---- what is so, in the venue's own text

    @abstractmethod
    def true_book(self, symbol: str, options: dict[str, Any]) -> dict[BookSide, list[Level]]:
        """Bids (1) and asks (-1), best first, each level as texts."""

    @abstractmethod
    def true_trades(self, symbol: str) -> list[Level]:
        """The kept trades, oldest first."""

    @abstractmethod
    def true_candles(self, symbol: str, timeframe: str) -> list[Level]:
        """The kept candles, oldest first."""

    def history(self, symbol: str) -> History:
        """A market's past.

        Raises:
            OperatorError: the venue has no such symbol.
        """
        if symbol not in self.histories:
            known = ", ".join(self.histories)
            raise OperatorError(f"{self.name} has no symbol {symbol}; it has {known}")
        return self.histories[symbol]


def _note(history: History, on_trade: Callable[[History, Trade], None]) -> Callable[[Trade], None]:
    def note(trade: Trade) -> None:
        history.add(trade)
        on_trade(history, trade)

    return note


def _both(one: Callable[[Trade], None], other: Callable[[Trade], None]) -> Callable[[Trade], None]:
    def note(trade: Trade) -> None:
        one(trade)
        other(trade)

    return note


async def _lose(request: web.Request, *, cut: bool) -> None:
    """Cut a request's connection without an answer, or say nothing until the client goes."""
    transport = request.transport
    if transport is not None and cut:
        transport.abort()
    while transport is not None and not transport.is_closing():  # noqa: ASYNC110 (tells nobody)
        await asyncio.sleep(WAIT_S)


def handler(query: Query) -> Handler:
    """An aiohttp handler of a call that needs nothing but the request."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return query(request)

    return handle


def json_reply(text: str, status: int = 200) -> web.Response:
    """A body that is JSON already: numbers keep the text that they were given."""
    return web.Response(text=text, status=status, content_type="application/json")


def whole_number(request: web.Request, name: str, default: int) -> int:
    """A query parameter that is a whole number; what is none counts as not given."""
    text = request.query.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 20 else default
