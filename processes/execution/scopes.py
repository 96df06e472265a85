"""The limits in force for each instrument: of the whole, its venue, its account, itself.

Made of settings, the instrument table and routes alone.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from processes.execution.routes import NOWHERE, Route
from schemas.instruments import Instrument
from schemas.settings import RiskSettings, ScopeLimits

ONE: Final = Decimal(1)


class Scope(NamedTuple):
    """Instruments whose sums are limited together; None = all there are."""

    members: frozenset[int] | None
    max_total: Decimal | None
    max_daily_loss: Decimal | None
    max_per_minute: int | None

    def has(self, instrument: int) -> bool:
        """Whether an instrument is in it."""
        return self.members is None or instrument in self.members


class Scoped(NamedTuple):
    """What is in force for one instrument."""

    scopes: tuple[Scope, ...]
    max_order: Decimal
    max_position: Decimal
    price_band_bps: Decimal
    max_spread_bps: float


def scoped(
    risk: RiskSettings, instruments: Sequence[Instrument], routes: Mapping[int, Route]
) -> dict[int, Scoped]:
    """Of every instrument, and under -1 what holds for one that is not in the table."""
    groups = _groups(risk, instruments, routes)
    whole = Scope(
        None,
        Decimal(risk.max_total_notional),
        Decimal(risk.max_daily_loss),
        risk.max_orders_per_minute,
    )
    found = {-1: _in_force(risk, [], whole)}
    for item in instruments:
        mine = [(members, limits) for members, limits in groups if item.index in members]
        found[item.index] = _in_force(risk, mine, whole)
    return found


def _groups(
    risk: RiskSettings, instruments: Sequence[Instrument], routes: Mapping[int, Route]
) -> list[tuple[frozenset[int], ScopeLimits]]:
    """Every scope but the whole, the widest first."""
    found = []
    for venue, limits in risk.per_venue.items():
        found.append((frozenset(i.index for i in instruments if i.venue == venue), limits))
    for account, limits in risk.per_account.items():
        members = (i.index for i in instruments if routes.get(i.index, NOWHERE).account == account)
        found.append((frozenset(members), limits))
    for name, limits in risk.per_instrument.items():
        members = (i.index for i in instruments if f"{i.venue}:{i.symbol}" == name)
        found.append((frozenset(members), limits))
    return found


def _in_force(
    risk: RiskSettings, groups: Sequence[tuple[frozenset[int], ScopeLimits]], whole: Scope
) -> Scoped:
    order, position = risk.max_order_notional, risk.max_position_notional
    band, spread = risk.price_band_bps, risk.max_spread_bps
    scopes = [whole]
    for members, limits in groups:
        order = limits.max_order_notional or order
        position = limits.max_position_notional or position
        band = band if limits.price_band_bps is None else limits.price_band_bps
        spread = spread if limits.max_spread_bps is None else limits.max_spread_bps
        scopes.append(
            Scope(
                members,
                _decimal(limits.max_total_notional),
                _decimal(limits.max_daily_loss),
                limits.max_orders_per_minute,
            )
        )
    return Scoped(tuple(scopes), Decimal(order), Decimal(position), Decimal(str(band)), spread)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def rates_of(risk: RiskSettings, instruments: Sequence[Instrument]) -> dict[int, Decimal]:
    """What a unit of each instrument's quote currency is worth, where that is not 1."""
    quotes = {i.index: i.pair.partition(":")[0].partition("/")[2] for i in instruments}
    return {n: Decimal(risk.rates[quote]) for n, quote in quotes.items() if quote in risk.rates}
