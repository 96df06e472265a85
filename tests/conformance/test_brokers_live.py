"""Brokers on execution's own thread and loop, in real time: what a loop that jumps cannot show."""

import asyncio
import queue
import threading
import time
from collections.abc import Iterator

import pytest

from processes.execution.brokers.network import BrokerLoop
from processes.execution.brokers.venue import VenueSession
from processes.execution.orders import Order
from schemas.trading import (
    AccountConnected,
    BrokerEvent,
    Intent,
    OrderFilled,
    OrderState,
    Reconciled,
)
from tests.conformance.brokers import ACCOUNT, BrokerWorld

LONGEST_S = 30.0
NOTHING = Intent(
    command_id="0" * 32, instrument=0, symbol="", side="buy", quantity="1", kind="market"
)
"""Decided long ago."""


class RealClock:
    """The machine's."""

    def now_ns(self) -> int:
        return time.time_ns()

    def now_s(self) -> float:
        return time.monotonic()


class Served(BrokerWorld):
    """The simulator alone, in a thread of its own."""

    def start(self) -> None:
        """Sessions are the test's."""

    def serve(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with self:
            ready.set()
            await self._done.wait()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)


@pytest.fixture
def served(broker_subject, tmp_path) -> Iterator[Served]:
    world = Served(broker_subject, RealClock(), tmp_path)  # type: ignore[arg-type]
    ready = threading.Event()
    thread = threading.Thread(target=world.serve, args=(ready,))
    thread.start()
    assert ready.wait(LONGEST_S)
    yield world
    world.end()
    thread.join(LONGEST_S)
    assert not thread.is_alive()


def test_an_order_is_filled_and_another_canceled(served):
    events: queue.Queue[BrokerEvent] = queue.Queue(10_000)
    loop = BrokerLoop(events)
    session = VenueSession(
        ACCOUNT, served.make_trading(), served.gate, loop.emit, time.time_ns, lambda: True, 60.0
    )
    broker = loop.add(ACCOUNT, session)
    orders: dict[str, Order] = {}

    def take() -> BrokerEvent:
        event = events.get(timeout=LONGEST_S)
        number = getattr(event, "command_id", "")
        if number in orders:
            orders[number].add(event)
        return event

    def until(kind: type[object]) -> None:
        while not isinstance(take(), kind):
            pass

    def submit(digit: str, **terms: str) -> str:
        intent = Intent(
            command_id=digit * 32, instrument=0, symbol=served.subject.symbol, account=ACCOUNT,
            side="buy", quantity=served.subject.quantity, decided_ns=time.time_ns(), **terms,
        )  # fmt: skip
        orders[intent.command_id] = Order.of(intent)
        assert broker.submit(intent)
        return intent.command_id

    assert served.gate.refusal(NOTHING)  # compiles the gate's look, which may take long
    broker.start()
    try:
        until(AccountConnected)
        assert broker.reconcile([])
        until(Reconciled)
        market = submit("a", kind="market")
        until(OrderFilled)
        resting = submit("b", kind="limit", limit_price=served.price("buy", 50))
        while orders[resting].state is not OrderState.ACKED:
            take()
        assert served.gate.idle
        assert broker.cancel(resting)
        while orders[resting].open or orders[market].open:
            take()
        assert orders[market].state is OrderState.FILLED
        assert orders[resting].state is OrderState.CANCELED
    finally:
        broker.close()
    assert broker.error is None
    statuses = {row["status"] for row in served.true_orders().values()}
    assert statuses == {"filled", "canceled"}
