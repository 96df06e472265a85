"""Kraken's trading calls by themselves: the simulator with one account, and no session."""

from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from processes.simulator.kraken_books import order_text
from processes.simulator.orders import OrderRequest
from tests.conformance.brokers import KEY, KRAKEN, BrokerWorld
from tests.conformance.clock import Clock, patch_time, run_in
from venues.kraken.trading import KrakenTrading
from venues.trading import NewOrder, OrderRef

SYMBOL = KRAKEN.symbol


class Calls(BrokerWorld):
    """The simulator and its account; trading calls are made by the test itself."""

    trading: KrakenTrading

    def start(self) -> None:
        """No session: only the calls."""
        self.told: list[Any] = []
        self.trading = self.make()
        self._ids = count(1)

    def make(self, **changes: Any) -> KrakenTrading:
        """Trading calls, with an access that differs in something."""
        made = self.make_trading()
        assert isinstance(made, KrakenTrading)
        return KrakenTrading(replace(made._access, **changes)) if changes else made

    async def connect(self, calls: KrakenTrading | None = None) -> None:
        await (calls or self.trading).connect(self.told.append)

    def order(self, side: str = "buy", ticks: int | None = None, **terms: Any) -> NewOrder:
        """An order that rests so many ticks behind the best price, or a market order."""
        price = {} if ticks is None else {"limit_price": self.price(side, ticks)}
        values = {
            "command_id": f"{next(self._ids):032x}", "symbol": SYMBOL, "side": side,
            "quantity": KRAKEN.quantity, "kind": "market" if ticks is None else "limit",
            **price, **terms,
        }  # fmt: skip
        return NewOrder(**values)

    async def place(self, order: NewOrder) -> OrderRef:
        number = await self.trading.place(order, lambda: None)
        return OrderRef(order=order, venue_order_id=number)

    async def rest_of(self, number: int) -> list[OrderRef]:
        """So many resting orders."""
        return [await self.place(self.order(ticks=50 + n)) for n in range(number)]

    def rows(self) -> dict[str, dict[str, Any]]:
        """Orders by the venue's id."""
        return {order_text(int(row["id"])): row for row in self.truth()["orders"]}

    def place_as_other(self, client_id: str = "", **more: Any) -> str:
        """An order that comes another way; its id."""
        account = self.exchange.venues["kraken"].accounts.of(KEY)
        assert account is not None
        values = {
            "symbol": SYMBOL, "side": 1, "kind": "market", "units": 1_000_000,
            "client_id": client_id, **more,
        }  # fmt: skip
        return order_text(account.place(OrderRequest(**values), self.clock.now_ns()).id)


Play = Callable[..., None]


def player(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Play:
    """Plays stories with calls that are connected, if not told otherwise."""
    clock = Clock()
    patch_time(monkeypatch, clock)

    def run(
        story: Callable[[Calls], Awaitable[None]], *, connected: bool = True, **settings: Any
    ) -> None:
        async def whole() -> None:
            options = {"kraken_tier": "unlimited", **settings}
            async with Calls(KRAKEN, clock, folder, **options) as calls:
                if connected:
                    await calls.connect()
                try:
                    await story(calls)
                finally:
                    await calls.trading.close()

        run_in(clock, whole(), 600.0)

    return run
