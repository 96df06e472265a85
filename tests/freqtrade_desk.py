"""Execution's end of a Freqtrade account for tests: the real session, loop, orders and ledger.

What the machine does with a broker's events is done here by a few lines: write them to the ledger,
answer a connected account with a reconcile. Comparing ledger and bot is the point of it.
"""

import queue
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from processes.execution.brokers.base import Outstanding
from processes.execution.brokers.freqtrade.session import FreqtradeSession
from processes.execution.brokers.network import BrokerLoop
from processes.execution.ledger import open_ledger
from processes.execution.orders import Order
from schemas.settings import LedgerSettings
from schemas.trading import (
    AccountAlarm,
    AccountAway,
    AccountConnected,
    AccountFact,
    AssetHeld,
    Intent,
    OrderAdopted,
    OrderState,
    Reconciled,
)
from tests.freqtrade import FreqtradeBot
from tests.gates import Gate
from tests.helpers import wait_until
from venues.freqtrade.client import Access

PAIRS = {0: "ETH/USD", 1: "BTC/USD"}
ACCOUNT = "bot"


class Desk:
    """One life of execution, as far as a broker sees it."""

    def __init__(
        self, folder: Path, access: Access, *, live: bool = False, ahead_s: float = 0.0
    ) -> None:
        self.gate = Gate()
        self.queue: queue.Queue = queue.Queue(10_000)
        self.facts: list[AccountFact] = []
        self.told: list = []
        self.agreed = False
        self.let_go: set[str] = set()
        """Orders that are closed, and no longer held in memory."""
        self.loop = BrokerLoop(self.queue)
        session = FreqtradeSession(
            ACCOUNT, access, PAIRS, folder / "bot-memory.sqlite", self.loop.emit, self.gate,
            lambda: time.time_ns() + int(ahead_s * 1e9), live=live,
        )  # fmt: skip
        self.broker = self.loop.add(ACCOUNT, session)
        self.ledger = open_ledger(LedgerSettings(), folder, 1)
        orders, _ = self.ledger.restore(0)
        self.orders = {order.intent.command_id: order for order in orders}
        self.broker.start()

    def close(self) -> None:
        """End this life; what was told last is taken."""
        self.broker.close()
        self.pump()
        self.ledger.close()
        assert self.loop.error is None, self.loop.error

    def die(self) -> None:
        """End this life as a crash would: what was told and not taken is lost."""
        self.broker.close()
        self.ledger._database.close()

    # ---- what the machine does

    def pump(self) -> None:
        """Take what the broker has told."""
        if self.loop.error is not None:
            raise self.loop.error
        while not self.queue.empty():
            event = self.queue.get_nowait()
            self.told.append(event)
            if not isinstance(event, AccountFact):
                self._take(event)
                continue
            self.facts.append(event)
            if isinstance(event, AccountConnected):
                self.reconcile()
            elif isinstance(event, Reconciled):
                self.agreed = True
            elif isinstance(event, AccountAway):
                self.agreed = False
            elif isinstance(event, AccountAlarm) and event.pause:
                self.gate.level[0] = max(self.gate.level[0], 1)

    def _take(self, event) -> None:
        if isinstance(event, OrderAdopted):
            self._adopt(event)
            return
        order = self.orders.get(event.command_id)
        if order is None and event.command_id in self.let_go:
            return
        order = self.orders[event.command_id]
        if order.add(event):
            self.ledger.record_event(event, order.state)

    def _adopt(self, event: OrderAdopted) -> None:
        if self.ledger.knows(event.command_id):
            return
        self.take_up(Order.adopted(event, PAIRS[event.instrument]).intent)

    def reconcile(self) -> None:
        """Ask for all orders, as at a connect and on a timer."""
        self.agreed = False
        outstanding = [
            Outstanding(
                intent=order.intent,
                venue_order_id=order.venue_order_id,
                fill_ids=frozenset(order.fill_ids),
                filled=f"{order.filled:f}",
                open=order.open,
            )
            for order in self.orders.values()
        ]
        assert self.broker.reconcile(outstanding)

    # ---- what tests do

    def until(
        self, condition: Callable[[], object], what: str = "", deadline_s: float = 30
    ) -> None:
        """Take events until something holds."""

        def holds() -> object:
            self.pump()
            return condition()

        wait_until(holds, deadline_s, what=f"{what}; told {self.told[-6:]}")

    def agree(self) -> None:
        """Reconcile, and return when it is done."""
        self.reconcile()
        self.until(lambda: self.agreed, "the account to agree")

    def connect(self) -> None:
        """Return when the account may be used."""
        self.until(lambda: self.agreed, "the account to connect and agree")

    def send(self, quantity: str, *, price: str = "", side: str = "buy", **more) -> Order:
        """An order, put down and handed over. Without a price it is a market order."""
        intent = Intent(
            command_id=uuid.uuid4().hex,
            instrument=more.pop("instrument", 0),
            symbol=PAIRS[0],
            account=ACCOUNT,
            side=side,
            quantity=quantity,
            kind="limit" if price else "market",
            limit_price=price,
            reference_price=price or "3000",
            reduce_only=side == "sell",
            strategy="tests",
            decided_ns=time.time_ns(),
            **more,
        )
        order = self.orders[intent.command_id] = Order.of(intent)
        order.sent = True
        assert self.ledger.record_intent(intent)
        assert self.broker.submit(intent)
        return order

    def take_up(self, intent: Intent) -> None:
        """An order of a killer's, as execution takes it into its ledger at its start."""
        assert self.ledger.record_intent(intent)
        order = self.orders[intent.command_id] = Order.of(intent)
        order.sent = True

    def reach(self, order: Order, *states: OrderState) -> None:
        """Return when an order is in one of these states."""
        self.until(
            lambda: self.orders[order.intent.command_id].state in states,
            f"{states}, is {order.state}: {order.text}",
        )

    def alarms(self) -> set[str]:
        """Codes of the alarms that were told."""
        return {fact.code for fact in self.facts if isinstance(fact, AccountAlarm)}

    def held(self, asset: str) -> Decimal:
        """What the account has of an asset, as was told last."""
        found = [f for f in self.facts if isinstance(f, AssetHeld) and f.asset == asset]
        return Decimal(found[-1].total) if found else Decimal(0)

    def position(self, instrument: int = 0) -> Decimal:
        """What the ledger holds."""
        _, book = self.ledger.restore(0)
        return book.position(instrument).quantity


def bot_position(bot: FreqtradeBot, pair: str = PAIRS[0]) -> Decimal:
    """What a bot's trades hold of a pair, from its REST, past the code under test."""
    held = Decimal(0)
    for trade in bot.status():
        if trade["pair"] == pair:
            for order in trade["orders"]:
                sign = 1 if order["ft_order_side"] == "buy" else -1
                held += sign * Decimal(str(order["filled"] or 0))
    return held


def assert_agrees(desk: Desk, bot: FreqtradeBot) -> None:
    """The ledger is the bot: what is held, and every order that is known."""
    desk.agree()
    for instrument, pair in PAIRS.items():
        assert desk.position(instrument) == bot_position(bot, pair), pair
    shown = {
        order["order_id"]: order
        for trade in [*bot.status(), *bot.ask("trades?limit=500")[1]["trades"]]
        if trade["is_open"] or trade["enter_tag"] in desk.orders
        for order in trade["orders"]
    }
    ours = {order.venue_order_id: order for order in desk.orders.values() if order.venue_order_id}
    assert set(shown) <= set(ours)
    for number, order in ours.items():
        if number in shown:
            assert order.filled == Decimal(str(shown[number]["filled"] or 0)), number
            assert order.open == shown[number]["is_open"], number
        else:
            assert order.filled == 0
            assert order.state.final


def access_of(bot: FreqtradeBot, **other: str) -> Access:
    """How a bot is reached; other words may be given."""
    words = {"url": bot.url, "password": bot.password, "ws_token": bot.ws_token, **other}
    return Access(username=bot.user, **words)


@contextmanager
def desk_of(
    folder: Path, bot: FreqtradeBot, *, live: bool = False, ahead_s: float = 0.0, **other: str
) -> Iterator[Desk]:
    """A life of execution at a bot; `other` words and addresses than the bot's own may be given."""
    desk = Desk(folder, access_of(bot, **other), live=live, ahead_s=ahead_s)
    try:
        yield desk
    finally:
        desk.close()
