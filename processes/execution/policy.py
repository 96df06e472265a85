"""From a prediction to what a strategy wants, and whether that is worth its cost.

A strategy follows one model: in when its probability of one side leads by the threshold. It reads
one prediction and the position held, nothing else, is chosen by name in the settings and exchanged
while running. Expected value is the expected move after the fees of both ways, the spread, and
slippage (half a spread more for an order that takes the book).

The rules stand in one compiled function, which `screen.py` calls for a whole drain.
"""

from decimal import Decimal
from math import inf, isfinite
from typing import Any, Final, NamedTuple

import numpy as np
from numba import carray, njit

from schemas.decisions import STRATEGIES
from schemas.predictions import MODELS, Rung
from schemas.settings import Settings
from schemas.trading import Action, ExternalSignal, Reason
from shm.atomics import memory


class Prediction(NamedTuple):
    """One prediction as execution's journal holds it."""

    instrument: int
    rung: int
    invalid: int
    cut: int
    cut_ns: int
    feature_sequence: int
    prediction_sequence: int
    newest_recv_ns: int
    reference_price: float
    spread_bps: float
    volatility_bps: float
    book_age_s: float
    outputs: tuple[tuple[float, ...], ...]
    """(up, flat, down, move, spread of the move) a model, in the order of MODELS."""


class Strategy(NamedTuple):
    """What the policy asks of a strategy."""

    model: int
    """Place of the model it follows in MODELS."""
    needs_network: bool


REGISTRY: Final[dict[str, Strategy]] = {
    "moving_average_cross": Strategy(MODELS.index("moving_average_cross"), needs_network=False),
    "tcn": Strategy(MODELS.index("tcn"), needs_network=True),
}
assert set(REGISTRY) < set(STRATEGIES)

EXTERNAL: Final = "external"
"""The strategy of decisions about signals from elsewhere."""

RULES: Final = np.dtype(
    [
        ("strategy", "i8"),
        ("model", "i8"),
        ("needs_network", "i8"),
        ("enabled", "i8"),
        ("allow_short", "i8"),
        ("horizon_ns", "i8"),
        ("stale_ns", "i8"),
        ("threshold", "f8"),
        ("min_value_bps", "f8"),
        ("fee_bps", "f8"),
        ("max_spread_bps", "f8"),
    ]
)
"""The settings as a kernel reads them."""

_HOLD, _LONG, _SHORT, _EXIT = (
    int(action) for action in (Action.HOLD, Action.ENTER_LONG, Action.ENTER_SHORT, Action.EXIT)
)
_LEAST_PRICE = 1e-12
"""Below it no quantity can be computed, and nothing is traded."""
_MOST_LEAD = 1.001
"""Between two probabilities, as float32 has them."""
_POSITIONS_ONLY = int(Rung.POSITIONS_ONLY)
_OPEN = -1
(
    _NO_SIGNAL, _SIGNAL, _EXIT_SIGNAL, _EXIT_HORIZON, _ALREADY_IN, _EV_TOO_SMALL, _DISABLED, _STALE,
    _INVALID, _NO_MODEL, _SPREAD, _NOT_FINITE, _NO_SHORT, _CLOCK,
) = (
    int(reason)
    for reason in (
        Reason.NO_SIGNAL, Reason.SIGNAL, Reason.EXIT_SIGNAL, Reason.EXIT_HORIZON,
        Reason.ALREADY_IN_POSITION, Reason.EV_TOO_SMALL, Reason.STRATEGY_DISABLED,
        Reason.STALE_DATA, Reason.INVALID_FEATURES, Reason.NO_MODEL, Reason.SPREAD,
        Reason.NOT_FINITE, Reason.SHORT_NOT_ALLOWED, Reason.CLOCK,
    )
)  # fmt: skip


@njit(cache=True, nogil=True)
def _gate(rules: Any, rung: int, invalid: int, age_ns: int) -> int:
    """Why nothing of a prediction may be used, if so."""
    if rules.enabled == 0:
        return _DISABLED
    if age_ns > rules.stale_ns:
        return _STALE
    if age_ns < -rules.stale_ns:
        return _CLOCK
    if invalid != 0:
        return _INVALID
    if rules.needs_network != 0 and rung == _POSITIONS_ONLY:
        return _NO_MODEL
    return _OPEN


@njit(cache=True, nogil=True)
def _entry(rules: Any, action: int, spread_bps: float, cost: float, value: float) -> int:
    """Why a position is not entered, or that there is a signal to."""
    if action == _HOLD:
        return _NO_SIGNAL
    if not isfinite(cost) or spread_bps < 0.0:
        return _NOT_FINITE
    if action == _SHORT and rules.allow_short == 0:
        return _NO_SHORT
    if spread_bps > rules.max_spread_bps:
        return _SPREAD
    if value < rules.min_value_bps:
        return _EV_TOO_SMALL
    return _SIGNAL


@njit(cache=True, nogil=True)
def weigh(
    rules_address: int, rung: int, invalid: int, cut_ns: int, price: float, spread_bps: float,
    up: float, down: float, move: float, held: int, opened_ns: int, now_ns: int,
) -> tuple[int, int, float, float, float, float]:  # fmt: skip
    """What to do about one prediction: action, reason, confidence, move, cost and value.

    `held` is 1 with a long position of the instrument, -1 with a short one, 0 with none. The move
    is the expected one in the direction of the action; of a hold, the plain expectation.
    """
    rules = carray(memory(rules_address), (1,), RULES)[0]
    if not isfinite(price) or price < _LEAST_PRICE:
        return _HOLD, _NOT_FINITE, 0.0, 0.0, 0.0, 0.0
    if held != 0 and opened_ns != 0 and now_ns - opened_ns > rules.horizon_ns:
        return _EXIT, _EXIT_HORIZON, 0.0, 0.0, 0.0, 0.0
    gate = _gate(rules, rung, invalid, now_ns - cut_ns)
    if gate != _OPEN:
        return _HOLD, gate, 0.0, 0.0, 0.0, 0.0
    lead = up - down
    action, confidence = _HOLD, abs(lead)
    if lead > rules.threshold:
        action = _LONG
    elif -lead > rules.threshold:
        action, move = _SHORT, -move
    if not confidence <= _MOST_LEAD or not isfinite(move):
        return _HOLD, _NOT_FINITE, 0.0, 0.0, 0.0, 0.0
    if held != 0:
        if action == _HOLD:
            return _HOLD, _NO_SIGNAL, confidence, move, 0.0, 0.0
        if action == (_LONG if held > 0 else _SHORT):
            return _HOLD, _ALREADY_IN, confidence, move, 0.0, 0.0
        return _EXIT, _EXIT_SIGNAL, confidence, move, 0.0, 0.0
    cost = 2.0 * rules.fee_bps + 1.5 * spread_bps
    value = move - cost
    reason = _entry(rules, action, spread_bps, cost, value)
    return (action if reason == _SIGNAL else _HOLD), reason, confidence, move, cost, value


class Wish(NamedTuple):
    """What the policy came to: an action to be checked, or a hold with its reason."""

    action: Action
    reason: Reason
    strategy: str
    confidence: float = 0.0
    move_bps: float = 0.0
    cost_bps: float = 0.0
    value_bps: float = 0.0


_OUT: Final = (Action.EXIT, Reason.EXIT_SIGNAL)


class Policy:
    """Gates and expected value around the chosen strategy."""

    def __init__(self, settings: Settings) -> None:
        self._rules = np.zeros(1, RULES)
        self.rules_address = int(self._rules.ctypes.data)
        self.obey(settings)

    def obey(self, settings: Settings) -> None:
        """Take settings."""
        self._name = settings.strategy.name
        self._strategy = REGISTRY[self._name]
        self._rules[0] = (
            STRATEGIES.index(self._name),
            self._strategy.model,
            self._strategy.needs_network,
            settings.strategy.enabled,
            settings.risk.allow_short,
            int(settings.strategy.horizon_s * 1e9),
            settings.risk.stale_after_ms * 1_000_000,
            settings.strategy.enter_threshold,
            settings.strategy.min_expected_value_bps,
            settings.execution.paper.fee_bps,
            settings.risk.max_spread_bps,
        )
        self._signal_age_ns = settings.bridge.signals.max_age_ms * 1_000_000

    def wish(self, prediction: Prediction, held: Decimal, opened_ns: int, now_ns: int) -> Wish:
        """What to do about one prediction, given what is held of its instrument."""
        up, _, down, move, _ = prediction.outputs[self._strategy.model]
        action, reason, *numbers = weigh(
            self.rules_address, prediction.rung, prediction.invalid, prediction.cut_ns,
            prediction.reference_price, prediction.spread_bps, up, down, move,
            (held > 0) - (held < 0), opened_ns, now_ns,
        )  # fmt: skip
        return Wish(Action(action), Reason(reason), self._name, *numbers)

    def wish_of(
        self, signal: ExternalSignal, market: Prediction | None, held: Decimal, now_ns: int
    ) -> Wish:
        """What to do about a signal from elsewhere, given what is known of its market.

        Its market is judged as for a prediction; whether it is worth its cost is its writer's word.
        """
        action, reason = self._weigh_signal(signal, market, held, now_ns)
        return Wish(action, reason, EXTERNAL, signal.confidence)

    def _weigh_signal(
        self, signal: ExternalSignal, market: Prediction | None, held: Decimal, now_ns: int
    ) -> tuple[Action, Reason]:
        rules = self._rules[0]
        if now_ns - signal.ts_ns > self._signal_age_ns:
            return Action.HOLD, Reason.SIGNAL_STALE
        if signal.ts_ns - now_ns > self._signal_age_ns:
            return Action.HOLD, Reason.CLOCK
        if market is None:
            return Action.HOLD, Reason.NO_MARKET
        if now_ns - market.cut_ns > rules["stale_ns"]:
            return Action.HOLD, Reason.STALE_DATA
        if market.cut_ns - now_ns > rules["stale_ns"]:
            return Action.HOLD, Reason.CLOCK
        if market.invalid:
            return Action.HOLD, Reason.INVALID_FEATURES
        price = market.reference_price
        if not isfinite(price) or price < _LEAST_PRICE or not 0.0 <= signal.price < inf:
            return Action.HOLD, Reason.NOT_FINITE
        if not 0.0 <= signal.confidence <= _MOST_LEAD:
            return Action.HOLD, Reason.NOT_FINITE
        if signal.action == Action.EXIT:
            return _OUT if held else (Action.HOLD, Reason.NOTHING_TO_EXIT)
        if held:
            same = (held > 0) == (signal.action == Action.ENTER_LONG)
            return (Action.HOLD, Reason.ALREADY_IN_POSITION) if same else _OUT
        if signal.action == Action.ENTER_SHORT and not rules["allow_short"]:
            return Action.HOLD, Reason.SHORT_NOT_ALLOWED
        if not 0.0 <= market.spread_bps <= rules["max_spread_bps"]:
            return Action.HOLD, Reason.SPREAD
        return signal.action, Reason.SIGNAL
