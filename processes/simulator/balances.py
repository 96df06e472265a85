"""What an account has: whole numbers of 10^-18 of each asset, with what its orders hold.

Exact: a price is ticks, an amount is units of 10^-8, so that no product of the two has a digit
below 10^-18. Never negative: an order that is not covered is refused before it is taken.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from processes.simulator.market import UNITS

ATOMS = 10**18
"""Of one whole asset."""
UNIT_ATOMS = ATOMS // UNITS
PARTS = 10**6
"""Fees are so many parts of a million."""


def atoms(text: str) -> int:
    """Decimal text as atoms.

    Raises:
        ValueError: it has digits below 10^-18.
    """
    value = Decimal(text).scaleb(18)
    whole = int(value)
    if whole != value:
        raise ValueError(f"{text} has digits below 10^-18")
    return whole


def atoms_text(value: int) -> str:
    """Atoms as plain decimal text without trailing zeros: 1500000000000000000 is `1.5`."""
    sign = "-" if value < 0 else ""
    whole, part = divmod(abs(value), ATOMS)
    return f"{sign}{whole}.{part:018d}".rstrip("0").rstrip(".")


def fixed_atoms_text(value: int, decimals: int) -> str:
    """Atoms with so many decimals; what lies below is rounded half up (it is for showing only)."""
    grain = 10 ** (18 - decimals)
    shown = (abs(value) + grain // 2) // grain
    whole, part = divmod(shown, 10**decimals)
    sign = "-" if value < 0 and shown else ""
    return f"{sign}{whole}.{part:0{decimals}d}" if decimals else f"{sign}{whole}"


def cost_atoms(tick: Decimal, ticks: int, units: int) -> int:
    """Price times amount."""
    return int(tick.scaleb(10)) * ticks * units


def fee_atoms(amount: int, parts: int, decimals: int) -> int:
    """A fee on an amount; negative parts are paid out.

    What lies below so many decimals is dropped, so that the fees of an order's fills together are
    never more than the fee of the whole, which is what the order holds.
    """
    grain = int(10 ** (18 - decimals))
    rounded = abs(amount * parts) // (PARTS * grain) * grain
    return -rounded if parts < 0 else rounded


class Balances:
    """Totals and holds by asset."""

    def __init__(self, totals: Mapping[str, str]) -> None:
        self._totals = {asset: atoms(text) for asset, text in totals.items()}
        self._held: dict[str, int] = {}

    @property
    def assets(self) -> Iterable[str]:
        """All assets that there have been."""
        return self._totals.keys()

    def total(self, asset: str) -> int:
        """All of an asset, holds included."""
        return self._totals.get(asset, 0)

    def held(self, asset: str) -> int:
        """What orders and positions hold of it."""
        return self._held.get(asset, 0)

    def available(self, asset: str) -> int:
        """What a new order may use."""
        return self.total(asset) - self.held(asset)

    def hold(self, asset: str, change: int) -> None:
        """Hold more, or less."""
        self._held[asset] = self.held(asset) + change
        assert self._held[asset] >= 0, f"more released than held of {asset}"

    def add(self, asset: str, change: int) -> None:
        """Book a change of the total."""
        self._totals[asset] = self.total(asset) + change
