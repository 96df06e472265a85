"""What a venue says of its instruments while it is being listened to: noticed, told, kept.

The instance's reference data is the base: what a venue's instrument channel says otherwise is
logged (by name for the symbols that are subscribed), counted, and written there, so that the next
start and `dcctl instruments` have it. Running processes keep the ticks that they started with. An
instrument that is not in the reference data at all is told and left to `dcctl instruments refresh`,
since the channel does not say all that a listing holds.

May fail to keep what changed (OSError); then it is logged and stays counted.
"""

from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from processes.logs import Log
from processes.reference import load_reference, save_reference
from schemas.errors import OperatorError
from schemas.reference import Listing, ReferenceData
from venues.wire import InstrumentsChanged, PairRules

TOLD_MOST: Final = 50
"""Log lines of one frame; the rest of it is counted."""


class InstrumentWatch:
    """One venue's instruments, as they are known.

    Args:
        data: the instance's data folder. symbols: those that are subscribed.
    """

    def __init__(self, venue: str, data: Path, symbols: tuple[str, ...], log: Log) -> None:
        self.changes = 0
        """Instruments that changed or came, as often as they did."""
        self._data = data
        self._symbols = frozenset(symbols)
        self._log = log
        self._reference = self._load(venue)
        self._known: dict[str, PairRules] = {}

    def take(self, told: InstrumentsChanged) -> None:
        """Compare what is told with what is known, and keep it."""
        listed = {one.symbol: one for one in self._listed()}
        is_first, lines = not self._known, 0
        for pair in told.pairs:
            before, listing = self._known.get(pair.symbol), listed.get(pair.symbol)
            self._known[pair.symbol] = pair
            if listing is not None:
                changed = _changes(listing, pair)
                listed[pair.symbol] = msgspec.structs.replace(listing, **changed)
                was = {name: getattr(listing, name) for name in changed}
            else:
                changed, was = _difference(before, pair), {}
            if not changed or (listing is None and is_first and not listed):
                continue  # without reference data the first frame is all news, and none
            self.changes += 1
            if pair.symbol in self._symbols or lines < TOLD_MOST:
                lines += 1
                self._tell(pair.symbol, changed, was, is_new=listing is None and before is None)
        self._keep(list(listed.values()))

    def _tell(
        self, symbol: str, changed: dict[str, str], was: dict[str, str], *, is_new: bool
    ) -> None:
        what = {
            name: f"{was[name]} -> {value}" if was else value for name, value in changed.items()
        }
        if is_new:
            self._log.info("a new instrument: dcctl instruments refresh", symbol=symbol, **what)
        elif symbol in self._symbols:
            self._log.warning(
                "a subscribed instrument changed; running processes keep its tick until a restart",
                symbol=symbol,
                **what,
            )
        else:
            self._log.info("an instrument changed", symbol=symbol, **what)

    def _listed(self) -> list[Listing]:
        return self._reference.instruments if self._reference is not None else []

    def _keep(self, listed: list[Listing]) -> None:
        """Write the reference data anew if it changed; its age stays that of the last refresh."""
        reference = self._reference
        if reference is None or listed == reference.instruments:
            return
        self._reference = msgspec.structs.replace(reference, instruments=listed)
        try:
            save_reference(self._data, self._reference)
        except OSError as error:
            self._log.error("changed instruments are not kept", reason=str(error))

    def _load(self, venue: str) -> ReferenceData | None:
        try:
            return load_reference(self._data, venue)
        except OperatorError as error:
            self._log.warning("no reference data", reason=str(error))
            return None


def _rules(pair: PairRules) -> dict[str, str]:
    """A pair's rules by the names that a listing has for them."""
    return {
        "tick_size": pair.price_step,
        "size_step": pair.quantity_step,
        "min_size": pair.minimum_quantity,
        "min_cost": pair.minimum_cost,
        "status": pair.status,
    }


def _changes(listing: Listing, pair: PairRules) -> dict[str, str]:
    """What a pair says otherwise; of what it does not say nothing."""
    return {
        name: value
        for name, value in _rules(pair).items()
        if value and not _equal(value, getattr(listing, name))
    }


def _difference(before: PairRules | None, pair: PairRules) -> dict[str, str]:
    old = _rules(before) if before is not None else {}
    return {name: value for name, value in _rules(pair).items() if value and old.get(name) != value}


def _equal(one: str, other: str) -> bool:
    """Whether two texts are the same, or the same number: 0.10 is 0.1."""
    if one == other:
        return True
    number = one.replace(".", "", 1).isdigit() and other.replace(".", "", 1).isdigit()
    return number and Decimal(one) == Decimal(other)
