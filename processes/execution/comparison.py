"""What venues say that accounts hold, held against the book.

On margin both must be the same. A spot wallet may hold what was never traded here, so it must only
not hold less. They are compared whenever a venue has answered for every order and nothing of the
instrument has moved since it was asked; what differs in two such looks in a row is a difference:
somebody else has traded, the venue has closed a position by force, an asset was moved away.

Part of the machine: it reads no clock. A bot's trades are compared by its own broker.
"""

import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

from processes.execution.assets import UNKNOWN, Assets
from processes.execution.orders import Order
from processes.execution.positions import EXACT, ZERO, Book
from processes.execution.routes import Route
from processes.execution.sizes import Size, size_of
from schemas.brokers import VenueAccount
from schemas.errors import OperatorError
from schemas.settings import Settings
from schemas.trading import (
    AccountFact,
    AssetHeld,
    OrderAdopted,
    OrderFilled,
    OrderSide,
    PositionHeld,
)

AGAIN_NS: Final = 5_000_000_000
"""So soon after a difference was first seen the venue is asked again."""


class Difference(NamedTuple):
    """Of one wallet or margin position."""

    account: str
    name: str
    """The symbol, or the asset."""
    here: Decimal
    there: Decimal
    on_margin: bool

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.name} of {self.account}: {self.here:f} here, {self.there:f} there"


def adjustment(
    instrument: int, difference: Difference, book: Book, price: str, now_ns: int
) -> tuple[OrderAdopted, OrderFilled]:
    """Events after which the book has what the venue has, as far as it is in this instrument.

    Args:
        price: what it was traded at; empty = the mark.

    Raises:
        OperatorError: the instrument holds nothing of it, or there is no price.
    """
    position = book.position(instrument)
    signed = EXACT.subtract(difference.there, difference.here)
    if not difference.on_margin:
        # A wallet is behind several instruments: none can lack more than it has.
        signed = max(signed, -position.quantity)
    if not signed:
        raise OperatorError(f"of {difference.text}, this instrument holds nothing: name the other")
    at = Decimal(price) if price else book.mark(instrument, position.average_price)
    if not at:
        raise OperatorError("nobody knows a price of it now: say one with --price")
    number = hashlib.blake2b(
        f"{difference.account} {instrument} {now_ns}".encode(), digest_size=16
    ).hexdigest()
    side: OrderSide = "buy" if signed > 0 else "sell"
    quantity = f"{abs(signed):f}"
    return (
        OrderAdopted(number, difference.account, instrument, side, quantity, now_ns),
        OrderFilled(number, f"taken-over-{number}", f"{at:f}", quantity, "0", "", now_ns),
    )


class _Place(NamedTuple):
    """Where a venue holds what was traded here: a symbol on margin, an asset in a wallet."""

    account: str
    name: str
    on_margin: bool


class Comparison:
    """Of all accounts that have a wallet of their own at a venue."""

    def __init__(
        self, book: Book, assets: Mapping[int, Assets], symbols: Mapping[int, str]
    ) -> None:
        self._book = book
        self._assets = assets
        self._symbols = symbols
        self._told: dict[tuple[str, type, str], tuple[Decimal, int]] = {}
        """What venues said last of an asset or a position, and when that was heard."""
        self._moved_ns: dict[int, int] = {}
        self._seen: dict[_Place, Difference] = {}
        self.found: dict[_Place, Difference] = {}
        """Seen twice in a row."""

    def obey(self, settings: Settings, routes: Mapping[int, Route], sizes: dict[int, Size]) -> None:
        """Take settings."""
        accounts = settings.execution.accounts
        self._sizes = sizes
        self._places: dict[_Place, list[int]] = {}
        for instrument, route in routes.items():
            place = self._place(instrument, route)
            if place.name and isinstance(accounts.get(route.account), VenueAccount):
                self._places.setdefault(place, []).append(instrument)
        for kept in (self._seen, self.found):
            for place in kept.keys() - self._places.keys():
                del kept[place]

    def _place(self, instrument: int, route: Route) -> _Place:
        if route.may_short:
            return _Place(route.account, self._symbols[instrument], on_margin=True)
        bases = self._assets.get(instrument, UNKNOWN).bases
        return _Place(route.account, min(bases, default=""), on_margin=False)

    # ---- inputs

    def take(self, fact: AccountFact, now_ns: int) -> None:
        """A venue has told what an account holds."""
        match fact:
            case AssetHeld():
                told = (amount_of(fact.total), now_ns)
                self._told[fact.account, AssetHeld, fact.asset] = told
            case PositionHeld():
                told = (amount_of(fact.quantity), now_ns)
                self._told[fact.account, PositionHeld, fact.symbol] = told
            case _:
                pass

    def moved(self, instrument: int, now_ns: int) -> None:
        """Something was told of an order."""
        self._moved_ns[instrument] = now_ns

    def compare(self, account: str, asked_ns: int, pending: Callable[[int], Order | None]) -> None:
        """The venue has answered for an account all that it was asked at `asked_ns`.

        Args:
            pending: an order of an instrument that is not over.
        """
        for place, instruments in self._places.items():
            if place.account != account or any(pending(one) for one in instruments):
                continue
            if any(self._moved_ns.get(one, 0) >= asked_ns for one in instruments):
                continue
            difference = self._difference(place, instruments, asked_ns)
            if difference is None:
                self._seen.pop(place, None)
                self.found.pop(place, None)
            elif self._seen.get(place) == difference:
                self.found[place] = difference
            else:
                self._seen[place] = difference
                self.found.pop(place, None)

    def _difference(
        self, place: _Place, instruments: list[int], asked_ns: int
    ) -> Difference | None:
        here = ZERO
        for instrument in instruments:
            here = EXACT.add(here, self._book.position(instrument).quantity)
        there = self._there(place, instruments[0], asked_ns)
        apart = EXACT.subtract(here, there)
        if place.on_margin:
            apart = abs(apart)
        if apart < min(size_of(self._sizes, one).step for one in instruments):
            return None
        return Difference(place.account, place.name, here, there, place.on_margin)

    def _there(self, place: _Place, instrument: int, asked_ns: int) -> Decimal:
        """What was not told since the question is not there: venues leave out what is nothing.

        Kraken has what earns interest under a name of its own, XBT.F, and sells from both.
        """
        kind = PositionHeld if place.on_margin else AssetHeld
        names = {place.name}
        if not place.on_margin:
            names |= self._assets.get(instrument, UNKNOWN).bases
        amounts = (
            amount
            for (account, told, name), (amount, told_ns) in self._told.items()
            if account == place.account
            and told is kind
            and told_ns >= asked_ns
            and (name in names or (not place.on_margin and name.partition(".")[0] in names))
        )
        total = ZERO
        for amount in amounts:
            total = EXACT.add(total, amount)
        return total

    # ---- what is known

    def hurry(self) -> set[str]:
        """Accounts that are to be asked again soon: a difference was seen once."""
        return {place.account for place in self._seen.keys() - self.found.keys()}

    def of(self, instrument: int, route: Route) -> Difference | None:
        """The difference that an instrument has a part in, if one is found."""
        return self.found.get(self._place(instrument, route))

    @property
    def text(self) -> str:
        """All that is found, for people."""
        return "; ".join(one.text for one in self.found.values())


def amount_of(text: str) -> Decimal:
    """What a venue says it has; what is no number is nothing."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return ZERO
    return amount if amount.is_finite() else ZERO
