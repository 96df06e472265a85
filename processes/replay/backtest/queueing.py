"""Where a resting order stands in the queue of its price, guessed from sizes and trades alone.

A book of price levels does not say whose order is whose, so the place is an estimate (E. Rigtorp,
Estimating order queue position, 2013, rigtorp.se/2013/06/08/estimating-order-queue-position.html):

- On arrival all that the level shows is ahead of us. If the level is beyond the ten that are seen,
  nothing is known yet, and all it shows when it first comes into sight is ahead.
- Trades at the price take from the front.
- What else the level loses was cancelled. Spread evenly over the queue, the part of it ahead of us
  is `ahead / size`; younger orders are cancelled more often than old ones, so only a share of that
  part is believed (`backtest.cancels_ahead`, a half; 0 is the risk-averse model of hftbacktest).
- No more can be ahead than the level shows.

A trade and the level that it made smaller come as two messages, in either order and soon after each
other; each pair is counted once. Pure; time is whatever the caller says.
"""

from decimal import Decimal
from typing import Final

from msgspec import Struct

ZERO: Final = Decimal(0)
PAIR_NS: Final = 1_000_000_000
"""A trade and its level's change that are further apart than this are not of each other."""


class Place(Struct):
    """A place in one queue."""

    share: Decimal
    """Of the cancels that would be ahead if they were spread evenly."""
    ahead: Decimal | None = None
    """Size before us; None while the level has never been seen."""
    shown: Decimal = ZERO
    """Size of the level when it was last seen, without us."""
    traded: Decimal = ZERO
    """Traded, and not yet seen missing from the level."""
    traded_ns: int = 0
    missing: Decimal = ZERO
    """Seen missing and taken for cancels; a trade may explain it yet."""
    credited: Decimal = ZERO
    """What that has brought us forward."""
    missing_ns: int = 0

    def on_trade(self, size: Decimal, now_ns: int) -> Decimal:
        """So much was traded at the price; what of it comes to us."""
        if self.ahead is None:
            return ZERO
        if now_ns - self.missing_ns > PAIR_NS:
            self.missing = self.credited = ZERO
        explained = min(size, self.missing)
        if explained > 0:
            whole = explained == self.missing
            back = self.credited if whole else self.credited * explained / self.missing
            self.missing -= explained
            self.credited -= back
            self.ahead += back
        if now_ns - self.traded_ns > PAIR_NS:
            self.traded = ZERO
        self.traded += size - explained
        self.traded_ns = now_ns
        used = min(self.ahead, size)
        self.ahead -= used
        return size - used

    def on_level(self, size: Decimal, now_ns: int) -> None:
        """The level shows this size now."""
        if self.ahead is None:
            self.ahead = self.shown = size
            return
        before, lost = self.ahead, self.shown - size
        if lost > 0:
            if now_ns - self.traded_ns > PAIR_NS:
                self.traded = ZERO
            explained = min(lost, self.traded)
            self.traded -= explained
            cancelled, left = lost - explained, self.shown - explained
            if cancelled > 0:
                part = min(self.ahead / left, Decimal(1))
                self.ahead -= min(self.ahead, cancelled * part * self.share)
                self.ahead = min(self.ahead, size)
                if now_ns - self.missing_ns > PAIR_NS:
                    self.missing = self.credited = ZERO
                self.missing += cancelled
                self.credited += before - self.ahead
                self.missing_ns = now_ns
        self.ahead = min(self.ahead, size)
        self.shown = size

    def forget(self) -> None:
        """The stream was broken: at the back of whatever stands there afterwards."""
        self.ahead = None
        self.shown = self.traded = self.missing = self.credited = ZERO
