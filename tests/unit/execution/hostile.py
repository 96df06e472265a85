"""Inputs that are wrong, and the code that each gets: for the test and docs/reference/codes.md."""

from typing import Any, Final, NamedTuple

from schemas.features import Invalid
from schemas.trading import Reason

SECOND: Final = 10**9
NAN, INF = float("nan"), float("inf")


class Hostile(NamedTuple):
    """One input: a prediction, or an outside signal. Times are relative to now."""

    what: str
    changes: dict[str, Any]
    reason: Reason


PREDICTIONS: Final = (
    Hostile("price NaN", {"reference_price": NAN}, Reason.NOT_FINITE),
    Hostile("price infinite", {"reference_price": INF}, Reason.NOT_FINITE),
    Hostile("price negative", {"reference_price": -100.0}, Reason.NOT_FINITE),
    Hostile("price zero", {"reference_price": 0.0}, Reason.NOT_FINITE),
    Hostile("price 1e-300", {"reference_price": 1e-300}, Reason.NOT_FINITE),
    Hostile("price 1e300", {"reference_price": 1e300}, Reason.MIN_SIZE),
    Hostile("probability NaN", {"up": NAN}, Reason.NOT_FINITE),
    Hostile("probability infinite", {"up": INF}, Reason.NOT_FINITE),
    Hostile("probability 7", {"up": 7.0}, Reason.NOT_FINITE),
    Hostile("probability -7", {"down": -7.0}, Reason.NOT_FINITE),
    Hostile("expected move NaN", {"move": NAN}, Reason.NOT_FINITE),
    Hostile("expected move infinite", {"move": INF}, Reason.NOT_FINITE),
    Hostile("expected move minus infinite", {"move": -INF}, Reason.NOT_FINITE),
    Hostile("expected move zero", {"move": 0.0}, Reason.EV_TOO_SMALL),
    Hostile("spread NaN", {"spread_bps": NAN}, Reason.NOT_FINITE),
    Hostile("spread infinite", {"spread_bps": INF}, Reason.NOT_FINITE),
    Hostile("spread negative", {"spread_bps": -5.0}, Reason.NOT_FINITE),
    Hostile("spread huge", {"spread_bps": 1e9}, Reason.SPREAD),
    Hostile("the row says stale", {"invalid": int(Invalid.STALE)}, Reason.INVALID_FEATURES),
    Hostile("the row says crossed", {"invalid": int(Invalid.CROSSED)}, Reason.INVALID_FEATURES),
    Hostile("a minute old", {"cut_ns": -60 * SECOND}, Reason.STALE_DATA),
    Hostile("the clock jumps a day forth", {"cut_ns": -86_400 * SECOND}, Reason.STALE_DATA),
    Hostile("the clock jumps a day back", {"cut_ns": 86_400 * SECOND}, Reason.CLOCK),
    Hostile("from the year 1970", {"cut_ns": -(1 << 60)}, Reason.STALE_DATA),
    Hostile("an instrument that is not there", {"instrument": 40_000}, Reason.NO_ACCOUNT),
)
SIGNALS: Final = (
    Hostile("price NaN", {"price": NAN}, Reason.NOT_FINITE),
    Hostile("price infinite", {"price": INF}, Reason.NOT_FINITE),
    Hostile("price negative", {"price": -100.0}, Reason.NOT_FINITE),
    Hostile("price twice the market's", {"price": 200.0}, Reason.PRICE_BAND),
    Hostile("price 1e300", {"price": 1e300}, Reason.PRICE_BAND),
    Hostile("confidence NaN", {"confidence": NAN}, Reason.NOT_FINITE),
    Hostile("confidence infinite", {"confidence": INF}, Reason.NOT_FINITE),
    Hostile("confidence -1", {"confidence": -1.0}, Reason.NOT_FINITE),
    Hostile("a minute old", {"ts_ns": -60 * SECOND}, Reason.SIGNAL_STALE),
    Hostile("dated tomorrow", {"ts_ns": 86_400 * SECOND}, Reason.CLOCK),
    Hostile("an instrument that is not there", {"instrument": 40_000}, Reason.NO_MARKET),
)
