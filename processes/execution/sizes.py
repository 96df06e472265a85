"""What quantities a venue takes of an instrument: steps, the smallest, the least they must cost.

From the venue's own listing as the instrument table has it, and the settings' floor.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from processes.execution.positions import EXACT
from schemas.instruments import Instrument

AMOUNT_STEP: Final = Decimal("0.00000001")
"""Where the listing says none."""
ZERO: Final = Decimal(0)


class Size(NamedTuple):
    """Of one instrument."""

    step: Decimal
    smallest: Decimal
    min_notional: Decimal

    def floored(self, quantity: Decimal) -> Decimal:
        """The nearest quantity towards zero that is a whole number of steps."""
        if not EXACT.remainder(quantity, self.step):
            return quantity
        return EXACT.multiply(EXACT.divide_int(quantity, self.step), self.step)


def sizes_of(instruments: Iterable[Instrument], floor: Decimal) -> dict[int, Size]:
    """Of a whole table; `floor` is the smallest quantity that the settings allow."""
    return {
        item.index: Size(
            Decimal(item.quantity_step) if item.quantity_step else AMOUNT_STEP,
            max(Decimal(item.min_quantity or 0), floor),
            Decimal(item.min_notional or 0),
        )
        for item in instruments
    }


def size_of(sizes: dict[int, Size], instrument: int) -> Size:
    """Of an instrument; of one that is not in the table, nothing is too small."""
    return sizes.get(instrument, Size(AMOUNT_STEP, ZERO, ZERO))
