"""Profit and loss reckoned from a venue's own fills, by other means than the ledger's.

Exact fractions, average cost. What is earned is found twice: position by position, and as the money
that went in and out, which needs no notion of a position at all.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

WIDE: Final = Context(prec=200)
DUST: Final = Fraction(1, 10**18)
"""The simulator's smallest unit of money; no venue has a smaller one."""


class Traded(NamedTuple):
    """A fill as its venue tells it, amounts exact."""

    symbol: str
    sign: int
    price: Fraction
    quantity: Fraction
    fee: Fraction
    fee_asset: str
    day: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Traded":
        """Of a row of `truth`."""
        seconds = int(row["time_ns"]) // 10**9
        return cls(
            row["symbol"], 1 if row["side"] == "buy" else -1, Fraction(row["price"]),
            Fraction(row["quantity"]), Fraction(row["fee"]), row["fee_asset"],
            f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}",
        )  # fmt: skip


class Reckoned:
    """One symbol's position, profit and money after its fills, the oldest first.

    Args:
        base: the asset that is bought; a fee in it makes what is held smaller.
    """

    def __init__(self, base: str, fills: Iterable[Traded]) -> None:
        self.held = Fraction(0)
        self.cost = Fraction(0)
        self.money = Fraction(0)
        """What came in less what was paid, fees included."""
        self.fees = Fraction(0)
        """In the quote currency; those in the base asset at their fill's price."""
        self.by_day: dict[str, Fraction] = defaultdict(Fraction)
        for fill in fills:
            self._take(fill, base)

    def _take(self, fill: Traded, base: str) -> None:
        of_base = fill.fee if fill.fee_asset == base else Fraction(0)
        fee = of_base * fill.price if of_base else fill.fee
        change = fill.sign * fill.quantity - of_base
        self.money -= fill.sign * fill.quantity * fill.price + (0 if of_base else fill.fee)
        self.fees += fee
        gained = -fee
        if self.held * change < 0:
            closed = min(abs(self.held), abs(change)) * (1 if self.held > 0 else -1)
            share = self.cost * closed / self.held
            gained += closed * fill.price - share
            self.cost += (change + closed) * fill.price - share
        else:
            self.cost += change * fill.price
        self.held += change
        self.by_day[fill.day] += gained

    @property
    def realized(self) -> Fraction:
        """Of all days."""
        return sum(self.by_day.values(), Fraction(0))

    def check(self) -> None:
        """Both ways come to the same: profit = money, and what the rest has cost."""
        assert self.realized == self.money + self.cost


def exact(text: str) -> Fraction:
    """A decimal text as it stands."""
    return Fraction(Decimal(text))


def is_same(text: str, amount: Fraction, *, flat: bool) -> bool:
    """Whether a ledger's amount is this one.

    To the last digit where nothing is held; else the ledger has rounded the cost of what was sold,
    by less than any venue's smallest unit.
    """
    return exact(text) == amount if flat else abs(exact(text) - amount) < DUST
