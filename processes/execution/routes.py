"""Which account an instrument's orders go to. Made of settings and the instrument table alone."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from schemas.brokers import Account, FreqtradeAccount, GmoAccount, PaperAccount
from schemas.errors import ConfigError
from schemas.instruments import Instrument
from schemas.settings import Settings

EXACT, VENUE, ALL = 2, 1, 0


class Route(NamedTuple):
    """Where an instrument's orders go."""

    account: str
    may_short: bool
    """The account can sell what it does not hold."""
    taker: Decimal
    """What its venue takes of an order, as a share."""
    notional: Decimal
    """Size of an entry, in quote currency."""


NOWHERE: Final = Route("", may_short=False, taker=Decimal(0), notional=Decimal(0))


def venue_of(account: Account) -> str:
    """The one venue an account is at; empty for paper, which is at all."""
    if isinstance(account, PaperAccount):
        return ""
    if isinstance(account, FreqtradeAccount):
        return account.venue
    return str(account.__struct_config__.tag)


def routes_of(settings: Settings, instruments: Iterable[Instrument]) -> dict[int, Route]:
    """The route of each instrument that has an account.

    Raises:
        ConfigError: two accounts want the same instrument, and neither more exactly.
    """
    accounts = settings.execution.accounts
    routes: dict[int, Route] = {}
    for item in instruments:
        ranked: dict[int, list[str]] = {}
        for name, account in accounts.items():
            rank = _rank(account, item)
            if rank is not None:
                ranked.setdefault(rank, []).append(name)
        if not ranked:
            continue
        best = ranked[max(ranked)]
        if len(best) > 1:
            raise ConfigError(
                f"execution.accounts: {' and '.join(sorted(best))} both take "
                f"{item.venue}:{item.symbol}; name it in the instruments of one of them"
            )
        account = accounts[best[0]]
        taker_bps = account.taker_bps
        if taker_bps is None:
            taker_bps = settings.execution.paper.fee_bps
        taker = Decimal(str(taker_bps)) / 10_000
        notional = Decimal(account.order_notional or settings.execution.order_notional)
        routes[item.index] = Route(best[0], _may_short(account, item), taker, notional)
    return routes


def _rank(account: Account, item: Instrument) -> int | None:
    """How exactly an account asks for an instrument; None if it does not."""
    venue = venue_of(account)
    if venue not in {"", item.venue}:
        return None
    wanted = set(account.instruments)
    names = ((f"{item.venue}:{item.symbol}", EXACT), (f"{item.venue}:*", VENUE), ("*", ALL))
    return next((rank for name, rank in names if name in wanted), None)


def _may_short(account: Account, item: Instrument) -> bool:
    if isinstance(account, PaperAccount):
        return True
    # GMO Coin's leverage symbols have the currency in their name; the others are spot.
    return isinstance(account, GmoAccount) and "_" in item.symbol
