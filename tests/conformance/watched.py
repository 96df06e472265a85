"""Trading calls that are noted, and can be made to take their time."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from venues.trading import NewOrder, OrderRef, Sight, Trading


class Watched:
    """Trading calls as they are, and a note of every order that was begun and of its write.

    A call can be made to take its time: an order before it is sent, a look after it is answered.
    """

    def __init__(self, trading: Trading, now_s: Callable[[], float]) -> None:
        self._trading = trading
        self._now_s = now_s
        self.begun: dict[str, float] = {}
        """When each order was begun, by command id; seconds of the clock."""
        self.written: dict[str, float] = {}
        self.looks = 0
        """How many were answered."""
        self.may_place = _opened()
        self.may_tell = _opened()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trading, name)

    async def place(self, order: NewOrder, written: Callable[[], None]) -> str:
        self.begun[order.command_id] = self._now_s()

        def note() -> None:
            self.written[order.command_id] = self._now_s()
            written()

        await self.may_place.wait()
        return await self._trading.place(order, note)

    async def look(self, refs: Sequence[OrderRef], since_ns: int) -> Sight:
        sight = await self._trading.look(refs, since_ns)
        self.looks += 1
        await self.may_tell.wait()
        return sight


def _opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
