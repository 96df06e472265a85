"""A venue and an account's session in one loop, over real sockets; the ledger is a dictionary.

`BrokerWorld` does for a `VenueSession` what execution's main thread does: it keeps orders as facts
(`processes/execution/orders.py`), has every open one answered for after each connection, and
reads nothing but what the session tells. `agree` then holds all of it against the simulator's
truth: orders, fills with their fees, balances.
"""

import asyncio
import hashlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from msgspec import Struct, structs

from processes.execution.brokers.base import Outstanding
from processes.execution.brokers.network import (
    Cancel,
    CancelAll,
    Command,
    Commands,
    Reconcile,
    Submit,
)
from processes.execution.brokers.venue import VenueSession
from processes.execution.gate import SendGate
from processes.execution.orders import Order
from processes.nonces import Nonces
from processes.simulator.kraken_books import order_text
from processes.simulator.market import Market
from processes.simulator.orders import AccountOrder, OrderRequest
from processes.simulator.server import Exchange
from schemas.rest import (
    BitfinexRates,
    BitfinexRestSettings,
    GmoRestSettings,
    KrakenRates,
    KrakenRestSettings,
    RestSections,
)
from schemas.settings import SimulatorAccount, SimulatorSettings
from schemas.trading import (
    AccountAlarm,
    AccountAway,
    AccountConnected,
    AssetHeld,
    BrokerEvent,
    Intent,
    OrderAccepted,
    OrderFilled,
    OrderState,
    PositionHeld,
    Reconciled,
)
from tests.conformance.agreement import disagreement
from tests.conformance.clock import Clock
from tests.conformance.watched import Watched
from tests.planted import plant, plant_base64
from venues.access import make_client
from venues.rest import Tools
from venues.trading import Access, Trading
from venues.tradings import TRADINGS

ACCOUNT = "one"
KEY, SECRET = plant("conformance-key"), plant_base64("conformance-secret")
PAST_S = 5.0
SEND_WITHIN_S = 2.0


class BrokerSubject(Struct, frozen=True, kw_only=True):
    """One venue: what differs, and only that."""

    name: str
    symbol: str
    base: str
    quote: str
    served: str
    """Key of the simulator's settings that lists the symbols."""
    socket: str
    """Path of the private socket at the simulator."""
    rest: str
    """Path of the venue's REST interface there."""
    quantity: str
    """Of an ordinary order."""
    too_small: str
    """A quantity that the venue refuses."""
    balances: dict[str, str]
    order_id: Callable[[str], str] = str
    """The venue's text of an order's id, of the simulator's number."""
    dead_man: bool = True
    """The venue cancels everything when it hears nothing for a while."""
    counts_events: bool = True
    """Its events are numbered, so that a missing one shows with the next."""
    outlives_socket: bool = True
    """A resting order stays when the connection that placed it has gone."""
    label: str = ""
    """Where a venue has several: which."""
    spot: bool = True
    """Orders hold what they trade."""
    named: bool = True
    """An order carries our name for it."""
    expires: frozenset[str] = frozenset()
    """The simulator's causes of an end that the venue calls expiry, and not a cancel."""


KRAKEN = BrokerSubject(
    name="kraken",
    symbol="BTC/USD",
    base="BTC",
    quote="USD",
    served="kraken_symbols",
    socket="/kraken/v2-auth",
    rest="/kraken",
    quantity="0.25000000",
    too_small="0.00000100",
    balances={"USD": "50000000", "BTC": "50"},
    order_id=lambda number: order_text(int(number)),
)
BITFINEX = BrokerSubject(
    name="bitfinex",
    symbol="tBTCUSD",
    base="BTC",
    quote="USD",
    served="symbols",
    socket="/ws/2",
    rest="/bitfinex",
    quantity="0.25000000",
    too_small="0.00000900",
    balances={"USD": "5000000", "BTC": "50"},
    outlives_socket=False,
)
GMO = BrokerSubject(
    name="gmo",
    symbol="BTC",
    base="BTC",
    quote="JPY",
    served="gmo_symbols",
    socket="/gmo/ws/private/v1",
    rest="/gmo",
    quantity="0.25",
    too_small="0.000001",
    balances={"JPY": "5000000000", "BTC": "50"},
    dead_man=False,
    counts_events=False,
    named=False,
    expires=frozenset({"ioc", "fok", "market", "post_only", "self_trade"}),
)
GMO_LEVERAGE = structs.replace(
    GMO,
    label="gmo-leverage",
    spot=False,
    symbol="BTC_JPY",
    too_small="0.0001",
    balances={"JPY": "300000000", "BTC": "50"},
)
BROKERS = (KRAKEN, BITFINEX, GMO, GMO_LEVERAGE)


class BrokerWorld:
    """The simulator, its port, one account there, and the session that trades with it."""

    def __init__(self, subject: BrokerSubject, clock: Clock, folder: Path, **settings: Any) -> None:
        self.subject = subject
        self.clock = clock
        self.folder = folder
        account = SimulatorAccount(
            venue=subject.name,  # type: ignore[arg-type]
            key=KEY,
            secret=SECRET,
            balances=subject.balances,
        )
        options = {"symbols": (), subject.served: (subject.symbol,), **settings}
        self.exchange = Exchange(
            SimulatorSettings(past_s=PAST_S, accounts=(account,), **options), clock.now_ns
        )
        self.exchange.frozen = True
        """The market stands still: what happens is what the story does."""
        self.word = np.zeros(1, np.int64)
        self.gate = SendGate(int(self.word.ctypes.data), clock.now_ns, int(SEND_WITHIN_S * 1e9))
        self.orders: dict[str, Order] = {}
        self.fills: dict[str, dict[str, OrderFilled]] = {}
        """By command id and fill id."""
        self.venue_ids: dict[str, str] = {}
        self.facts: list[BrokerEvent] = []
        self.held: dict[str, AssetHeld] = {}
        self.on_margin: dict[str, PositionHeld] = {}
        self.foreign: set[str] = set()
        """The simulator's numbers of orders that are not ours."""
        self.killed: list[str] = []
        """Command ids of the killer's orders."""
        self.healthy = True
        self.dead_man_s = 60.0
        self.is_ready = False
        self.reconciliations = 0
        self._numbers = 0
        self._stopping = False
        self._life: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "BrokerWorld":
        self._runner = web.AppRunner(
            self.exchange.application(), access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self._market = asyncio.create_task(self.exchange.live(lambda: self._stopping))
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await self.die()
        self._market.cancel()
        await asyncio.gather(self._market, return_exceptions=True)
        await self._runner.cleanup()

    # ---- the session's lives

    def start(self) -> None:
        """A life of execution: it knows what the ledger says, and nothing else."""
        self.trading = Watched(self.make_trading(), self.clock.now_s)
        self.commands = Commands()
        self.session = VenueSession(
            ACCOUNT, self.trading, self.gate, self._hear, self.clock.now_ns,
            lambda: self.healthy, self.dead_man_s,
        )  # fmt: skip
        self._life = asyncio.create_task(self.session.run(self.commands))

    def make_trading(self) -> Trading:
        """The venue's calls, as execution makes them."""
        name = self.subject.name
        tools = Tools(utc_ns=self.clock.now_ns, uniform=lambda: 1.0)
        access = Access(
            key=KEY,
            secret=SECRET,
            rest=make_client(name, self._rest(), self.folder / "pace", tools),
            socket_url=f"ws://{self.address}{self.subject.socket}",
            next_nonce=Nonces(self.folder / "nonces" / ACCOUNT, self.clock.now_ns).next,
            now_ns=self.clock.now_ns,
        )
        return TRADINGS[name](access)

    def _rest(self) -> RestSections:
        """The simulator's REST, as often as one likes."""
        url = f"http://{self.address}{self.subject.rest}"
        quick: dict[str, Any] = {"retries": 1, "backoff_first_s": 0.1, "blocked_s": 2.0}
        return RestSections(
            bitfinex=BitfinexRestSettings(
                url=url, private_url=url, rates=BitfinexRates(private=6000.0), **quick
            ),
            kraken=KrakenRestSettings(
                url=url, rates=KrakenRates(public=6000.0, private=6000.0), **quick
            ),
            gmo=GmoRestSettings(url=url, **quick),
        )

    async def die(self) -> None:
        """The process ends without a word."""
        life, self._life = self._life, None
        if life is not None:
            life.cancel()
            ended = await asyncio.gather(life, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError | None), ended
        self.is_ready = False

    async def restart(self) -> None:
        """The process dies, and another one begins."""
        await self.die()
        self.start()

    # ---- what execution does with events

    def _hear(self, event: BrokerEvent) -> None:
        self.facts.append(event)
        match event:
            case AccountConnected():
                self.is_ready = False
                self.give(Reconcile(self.outstanding()))
            case AccountAway():
                self.is_ready = False
            case Reconciled():
                self.is_ready = True
                self.reconciliations += 1
            case AssetHeld():
                self.held[event.asset] = event
            case PositionHeld():
                self.on_margin[event.symbol] = event
            case AccountAlarm():
                pass
            case _:
                order = self.orders[event.command_id]
                order.add(event)
                if isinstance(event, OrderFilled):
                    self.fills[event.command_id].setdefault(event.fill_id, event)

    def outstanding(self) -> tuple[Outstanding, ...]:
        """Every order of the ledger, as execution asks for them."""
        return tuple(
            Outstanding(
                intent=order.intent,
                venue_order_id=order.venue_order_id,
                fill_ids=frozenset(order.fill_ids),
                filled=f"{order.filled:f}",
                open=order.open,
            )
            for order in self.orders.values()
        )

    def give(self, command: Command) -> None:
        assert self.commands.give(asyncio.get_running_loop(), command)

    # ---- what stories do

    def submit(self, side: str = "buy", **terms: Any) -> str:
        """Hand an order over; its command id. Without `limit_price` a market order."""
        self._numbers += 1
        number = hashlib.sha256(f"order {self._numbers}".encode()).hexdigest()[:32]
        intent = Intent(
            command_id=number,
            instrument=0,
            symbol=self.subject.symbol,
            account=ACCOUNT,
            side=side,  # type: ignore[arg-type]
            quantity=terms.pop("quantity", self.subject.quantity),
            kind="limit" if "limit_price" in terms else "market",
            decided_ns=self.clock.now_ns(),
            **terms,
        )
        self._put_down(intent)
        self.give(Submit(intent))
        return number

    def _put_down(self, intent: Intent) -> None:
        self.orders[intent.command_id] = Order.of(intent)
        self.orders[intent.command_id].sent = True
        self.fills[intent.command_id] = {}

    def note(self, intent: Intent, venue_order_id: str) -> None:
        """The killer puts an order down in the ledger, before it sends it, and when it is taken."""
        if venue_order_id:
            taken = OrderAccepted(intent.command_id, venue_order_id, self.clock.now_ns())
            self.orders[intent.command_id].add(taken)
            return
        self._put_down(intent)
        self.killed.append(intent.command_id)

    def rest(self, side: str = "buy", ticks: int = 50, **terms: Any) -> str:
        """Hand over an order that does not match: so many ticks behind the best price."""
        return self.submit(side, limit_price=self.price(side, ticks), **terms)

    def cancel(self, number: str) -> None:
        self.give(Cancel(number))

    def cancel_all(self) -> None:
        self.give(CancelAll())

    def fault(self, kind: str, **arguments: Any) -> None:
        """Have the venue commit a fault."""
        self.exchange.commit_fault({"kind": kind, "venue": self.subject.name, **arguments})

    def trade_through(self, side: str, ticks: int = 100) -> None:
        """Somebody trades the market past all that rests near it on one side."""
        self.fault("move", symbol=self.subject.symbol, price=self.price(side, ticks))

    def place_foreign(self) -> str:
        """Somebody else orders with the same account; the venue's number of it."""
        market = self.market
        account = self.exchange.venues[self.subject.name].accounts.of(KEY)
        assert account is not None
        order: AccountOrder = account.place(
            OrderRequest(
                symbol=self.subject.symbol,
                side=1,
                kind="limit",
                units=int(Decimal(self.subject.quantity).scaleb(8)),
                ticks=(market.best(1) or 0) - 70,
            ),
            self.clock.now_ns(),
        )
        self.foreign.add(str(order.id))
        return str(order.id)

    def trade_as_other(self, number: int) -> None:
        """Somebody else trades with the same account, so many times."""
        account = self.exchange.venues[self.subject.name].accounts.of(KEY)
        assert account is not None
        for place in range(number):
            order = account.place(
                OrderRequest(
                    symbol=self.subject.symbol,
                    side=1 if place % 2 else -1,
                    kind="market",
                    units=int(Decimal(self.subject.quantity).scaleb(8)),
                ),
                self.clock.now_ns(),
            )
            self.foreign.add(str(order.id))

    def cancel_at_venue(self, number: str) -> None:
        """Somebody cancels an order of ours with the venue itself."""
        self.cancel_named(self.orders[number].venue_order_id)

    def cancel_named(self, name: str) -> None:
        """Somebody cancels an order with the venue itself, by the venue's id."""
        account = self.exchange.venues[self.subject.name].accounts.of(KEY)
        assert account is not None
        found = [o for o in account.open.values() if self.subject.order_id(str(o.id)) == name]
        account.cancel(found[0], self.clock.now_ns())

    def after_a_cut(self, otherwise: OrderState = OrderState.ACKED) -> OrderState:
        """What a resting order is when its connection has gone: canceled, if the venue does so."""
        return otherwise if self.subject.outlives_socket else OrderState.CANCELED

    @property
    def market(self) -> Market:
        venue = self.exchange.venues[self.subject.name]
        return venue.histories[self.subject.symbol].market

    def price(self, side: str, ticks: int) -> str:
        """So many ticks behind a side's best price, away from the other side."""
        market, sign = self.market, 1 if side == "buy" else -1
        best = market.best(1 if side == "buy" else -1)
        assert best is not None
        return f"{market.tick * (best - sign * ticks):f}"

    def state(self, number: str) -> OrderState:
        return self.orders[number].state

    def alarms(self, code: str) -> list[AccountAlarm]:
        return [fact for fact in self.facts if isinstance(fact, AccountAlarm) and fact.code == code]

    # ---- waiting and looking

    async def until(self, condition: Callable[[], object], deadline_s: float = 120.0) -> None:
        """Wait for a condition; seconds are the clock's."""
        end_s = self.clock.now_s() + deadline_s
        while not condition():
            if self._life is not None and self._life.done():
                self._life.result()
            assert self.clock.now_s() < end_s, [self.disagreement(), *self.facts[-8:]]
            await asyncio.sleep(0.02)

    async def tick(self) -> None:
        """The loop goes round a few times; no time passes."""
        for _ in range(3):
            await asyncio.sleep(0)

    async def passed(self, seconds: float) -> None:
        """Let time pass."""
        end_s = self.clock.now_s() + seconds
        await self.until(lambda: self.clock.now_s() >= end_s, seconds + 1)

    async def ready(self) -> None:
        """Connected, and everything answered for."""
        await self.until(lambda: self.is_ready)

    async def reached(self, number: str, *states: OrderState) -> None:
        await self.until(lambda: self.state(number) in states)

    async def reconciled(self) -> None:
        """Venue and ledger compared once more, as execution does from time to time."""
        await self.ready()
        known = self.reconciliations
        self.give(Reconcile(self.outstanding()))
        await self.until(lambda: self.reconciliations > known)

    def truth(self) -> dict[str, Any]:
        """All of the account, as the venue has it."""
        return self.exchange.truth({"venue": self.subject.name, "kind": "account", "key": KEY})

    def true_orders(self) -> dict[str, dict[str, Any]]:
        """Orders that are ours, by the venue's id."""
        return {
            self.subject.order_id(row["id"]): row
            for row in self.truth()["orders"]
            if row["id"] not in self.foreign
        }

    def disagreement(self) -> str:
        """What the ledger has otherwise than the venue; nothing if they agree."""
        told = {number: fills.values() for number, fills in self.fills.items()}
        return disagreement(
            self.subject, self.true_orders(), self.truth()["fills"], self.orders.values(), told
        )

    async def agree(self) -> None:
        """Ledger and venue come to agree, stay so, and what is held is what the venue has."""
        await self.ready()
        await self.until(lambda: not self.disagreement())
        await self.passed(5.0)
        await self.reconciled()
        assert not self.disagreement()
        # One order each: nothing was sent twice.
        names = [row["client_id"] for row in self.true_orders().values() if row["client_id"]]
        assert len(names) == len(set(names))
        for asset, row in self.truth()["balances"].items():
            held = self.held.get(asset)
            if held is None:
                assert not Decimal(row["total"])
                continue
            assert Decimal(held.total) == Decimal(row["total"]), asset
            assert Decimal(held.available) == Decimal(row["available"]), asset
