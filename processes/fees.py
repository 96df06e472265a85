"""What venues take of fills, by instrument: for who trades on paper and who weighs a forecast."""

from collections.abc import Sequence

from schemas.instruments import Instrument
from schemas.settings import FeeSettings, Settings


def fees_by_instrument(
    instruments: Sequence[Instrument], settings: Settings
) -> dict[int, FeeSettings]:
    """What each instrument's venue takes."""
    usual = settings.execution.paper.fee_bps
    otherwise = FeeSettings(maker_bps=usual, taker_bps=usual)
    fees = settings.backtest.fees
    return {item.index: getattr(fees, item.venue, None) or otherwise for item in instruments}
