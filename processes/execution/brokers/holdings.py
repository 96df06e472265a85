"""What an account holds, told as facts: assets of its wallet, positions on margin."""

from collections.abc import Callable
from decimal import Decimal

from processes.execution.brokers.network import Emit
from schemas.account import BalanceChange
from schemas.trading import AssetHeld, PositionHeld
from venues.trading import Trading


class Holdings:
    """Of one account."""

    def __init__(
        self, account: str, trading: Trading, emit: Emit, now_ns: Callable[[], int]
    ) -> None:
        self._account = account
        self._trading = trading
        self._emit = emit
        self._now_ns = now_ns
        self._on_hold: dict[str, Decimal] = {}

    async def ask(self) -> None:
        """Ask the venue, and tell all of it; what is not told is not held.

        Raises:
            VenueError, OSError, TimeoutError: it does not say.
        """
        for held in await self._trading.holdings():
            self.tell(held)
        for symbol, amount in (await self._trading.margin_positions()).items():
            self._emit(PositionHeld(self._account, self._now_ns(), symbol, f"{amount:f}"))

    def tell(self, held: BalanceChange) -> None:
        """Where only the balance is told, orders hold as much as when both were told."""
        total = Decimal(held.balance)
        if held.available:
            self._on_hold[held.asset] = total - Decimal(held.available)
        free = max(total - self._on_hold.get(held.asset, Decimal(0)), Decimal(0))
        self._emit(AssetHeld(self._account, self._now_ns(), held.asset, held.balance, f"{free:f}"))
