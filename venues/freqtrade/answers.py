"""What a bot answers, as typed data: only what is used, numbers as decimals.

Fields get added from version to version, so what is not named here is passed over; what is named
and missing makes the answer unreadable. Trades have a file of their own. Source: the answers of
Freqtrade 2026.9, checked by the tests against the real bot.
"""

from decimal import Decimal
from typing import Final, Literal

from msgspec import Struct

VERSION_LEAST: Final = (2026, 1)
"""forceexit takes a price from here on."""
State = Literal["running", "paused", "stopped", "reload_config"]


class ShowConfig(Struct, frozen=True):
    """What the bot is and what it is doing: `/show_config`."""

    version: str
    dry_run: bool
    trading_mode: str
    stake_currency: str
    max_open_trades: Decimal
    """-1: as many as there are."""
    force_entry_enable: bool
    state: State
    runmode: str
    exchange: str
    bot_name: str
    strategy: str
    position_adjustment_enable: bool

    @property
    def recent(self) -> bool:
        """Whether the version is one that this broker was written for: calendar versions."""
        parts = self.version.replace("-", ".").split(".")
        numbers = [int(part) for part in parts[:2] if part.isdigit()]
        return tuple(numbers) >= VERSION_LEAST


class Health(Struct, frozen=True):
    """When the bot was started and when it last did its round: `/health`, epoch seconds."""

    last_process_ts: int | None = None
    bot_start_ts: int | None = None
    bot_startup_ts: int | None = None
    """Changes when it is started or revived."""


class Count(Struct, frozen=True):
    """`/count`."""

    current: int
    max: Decimal


class CurrencyBalance(Struct, frozen=True):
    """One currency of `/balance`."""

    currency: str
    free: Decimal
    balance: Decimal
    used: Decimal


class Balances(Struct, frozen=True):
    """`/balance`. Its estimates are left out: with the venue away they silently become 0."""

    currencies: list[CurrencyBalance]
    stake: str

    def free(self, currency: str) -> Decimal:
        """What can be spent of a currency."""
        found = (one.free for one in self.currencies if one.currency == currency)
        return next(found, Decimal(0))


class Pairs(Struct, frozen=True):
    """`/whitelist`."""

    whitelist: list[str]


class Said(Struct, frozen=True):
    """The answer of a control call, words for people."""

    status: str
