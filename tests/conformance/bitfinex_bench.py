"""The simulator and Bitfinex's trading calls, without a session between them and the test."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from schemas.account import AccountEvent
from tests.conformance.brokers import BITFINEX, BrokerWorld
from tests.conformance.clock import Clock, run_in
from venues.bitfinex.trading import BitfinexTrading
from venues.trading import NewOrder, OrderRef

Play = Callable[..., None]


class Bench(BrokerWorld):
    """One account, and what it is told."""

    def start(self) -> None:
        made = self.make_trading()
        assert isinstance(made, BitfinexTrading)
        self.calls = made
        self.told: list[AccountEvent] = []
        self.orders_made = 0
        self.watching: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.calls.connect(self.told.append)
        self.watching = asyncio.create_task(self.calls.watch())

    async def die(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)
        await self.calls.close()

    def order(self, side: str = "buy", ticks: int | None = 50, **terms: Any) -> NewOrder:
        """One that rests so many ticks behind the best price; None: a market order."""
        self.orders_made += 1
        number = self.orders_made * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)
        known: dict[str, Any] = {
            "command_id": f"{number:032x}",
            "symbol": BITFINEX.symbol, "side": side, "quantity": BITFINEX.quantity,
            "kind": "market" if ticks is None else "limit",
            "limit_price": "" if ticks is None else self.price(side, ticks),
            "decided_ns": self.clock.now_ns(),
        }  # fmt: skip
        return NewOrder(**{**known, **terms})

    async def place(self, *args: Any, **terms: Any) -> OrderRef:
        """An order that is at the venue."""
        order = self.order(*args, **terms)
        return OrderRef(order=order, venue_order_id=await self.calls.place(order, lambda: None))

    def statuses(self) -> dict[str, str]:
        return {row["id"]: row["status"] for row in self.truth()["orders"]}

    def since_ns(self) -> int:
        return self.clock.now_ns() - 3600 * 10**9

    def quiet(self) -> bool:
        """No socket of this account is open at the venue."""
        return not self.exchange.clients


def player(clock: Clock, folder: Path) -> Play:
    """Plays a story at a bench of its own."""

    def run(story: Callable[[Bench], Awaitable[None]], *, connected: bool = True) -> None:
        async def whole() -> None:
            async with Bench(BITFINEX, clock, folder) as place:
                if connected:
                    await place.connect()
                await story(place)

        run_in(clock, whole(), 7200.0)

    return run
