"""One reading of a bot: everything that a comparison needs, taken in an order that hides nothing.

Open trades are read before closed ones, so that a trade which is closed in between is in both and
never in neither. What is missing in both is gone, or was never there.
"""

from typing import Final

from msgspec import Struct

from venues.freqtrade.answers import Balances, Health, ShowConfig
from venues.freqtrade.client import FreqtradeClient
from venues.freqtrade.trades import BotTrade, by_tag

BACK_MS: Final = 600_000
"""How much further back than the oldest order closed trades are read: clocks differ."""


class Reading(Struct, frozen=True, kw_only=True):
    """What a bot said of itself."""

    begun_ns: int
    """When it was begun: whatever was done before that, it shows."""
    config: ShowConfig
    health: Health
    open: list[BotTrade]
    closed: list[BotTrade]
    """Those that were closed since the time that was asked for, the last one first."""
    balances: Balances

    def find(self, tag: str, opened_ms: int = 0) -> BotTrade | None:
        """A trade by what names it; one that is in both was closed in between."""
        return by_tag(self.closed, tag, opened_ms) or by_tag(self.open, tag, opened_ms)

    @property
    def trades(self) -> list[BotTrade]:
        """All of them, each once: a trade that was closed meanwhile as it is now."""
        closed = {trade.key for trade in self.closed}
        return [*(trade for trade in self.open if trade.key not in closed), *self.closed]

    @property
    def full(self) -> bool:
        """The bot has as many open trades as it may."""
        most = self.config.max_open_trades
        return 0 <= most <= len(self.open)


async def take_reading(client: FreqtradeClient, now_ns: int, closed_since_ms: int) -> Reading:
    """Read a bot.

    Args:
        closed_since_ms: how far back closed trades are wanted.

    Raises:
        BotError: one of the calls failed; half a reading is none.
    """
    config = await client.show_config()
    health = await client.health()
    open_trades = await client.status()
    closed = await client.closed_since(closed_since_ms)
    balances = await client.balance()
    return Reading(
        begun_ns=now_ns,
        config=config,
        health=health,
        open=open_trades,
        closed=closed,
        balances=balances,
    )
