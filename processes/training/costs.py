"""What a trade that a forecast suggests would cost: fees, spread and slippage of a round trip."""

from collections.abc import Iterable

import numpy as np

from models.samples import Samples
from processes.fees import fees_by_instrument
from schemas.features import COLUMN
from schemas.instruments import Instrument
from schemas.settings import Settings


def round_trip_bps(
    samples: Samples, instruments: Iterable[Instrument], settings: Settings
) -> np.ndarray:
    """(n) float64: what entering at each row and leaving again costs, as taker both ways.

    Fees are those of `backtest.fees`, or `execution.paper.fee_bps`; the spread is the row's, half
    of it each way; slippage is `training.slippage_bps` each way.
    """
    fees = fees_by_instrument(list(instruments), settings)
    taken = np.zeros(max(fees, default=0) + 1)
    for number, fee in fees.items():
        taken[number] = fee.taker_bps
    spread = samples.values[:, COLUMN["spread_bps"]].astype(np.float64)
    each_way = taken[samples.instrument] + settings.training.slippage_bps
    cost: np.ndarray = 2 * each_way + np.maximum(spread, 0.0)
    return cost
