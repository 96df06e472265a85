"""What risk must remember over restarts: the highest equity, losses in a row, rejects in a row.

Kept in the ledger, one row, and part of what a life begins with.
"""

from decimal import Decimal

from msgspec import Struct

ZERO = Decimal(0)


class Fired(Struct):
    """A trigger that has fired, and what of its two conditions to fire again is there."""

    recovered: bool = False
    armed: bool = False


class Losses(Struct):
    """Whole account, in the currency of the limits."""

    peak: Decimal = ZERO
    """Highest equity (realized and unrealized profit) since a person armed last."""
    streak: int = 0
    """Trades in a row, from flat to flat, that ended with a loss."""
    rejects: int = 0
    """Orders in a row that a venue rejected."""
    trades: dict[int, Decimal] = {}
    """What the trades that still run have realized, by instrument."""
    fired: dict[str, Fired] = {}
    """Triggers that cannot fire again yet, by name."""
    latched: bool = False
    """The kill switch was on: whoever finds it off knows that a person has armed."""

    def end_trade(self, instrument: int) -> None:
        """An instrument is flat: count what its trade came to."""
        result = self.trades.pop(instrument, ZERO)
        self.streak = self.streak + 1 if result < 0 else 0

    def accept(self, equity: Decimal) -> None:
        """A person has armed: what was lost is counted from here on anew."""
        self.peak, self.streak, self.rejects, self.latched = equity, 0, 0, False
        for fired in self.fired.values():
            fired.armed = True
