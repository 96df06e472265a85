"""From a prediction to what a strategy wants, and whether that is worth its cost.

A strategy reads one prediction and the position held, nothing else; it is a small class, chosen by
name in the settings and exchanged while running. Expected value is the expected move after the fees
of both ways, the spread, and slippage (half a spread more for an order that takes the book).
"""

from decimal import Decimal
from math import isfinite
from typing import Final, NamedTuple, Protocol

from schemas.decisions import STRATEGIES
from schemas.predictions import MODELS, Rung
from schemas.settings import Settings
from schemas.trading import Action, Reason


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


class Signal(NamedTuple):
    """What a strategy wants."""

    action: Action
    confidence: float
    move_bps: float
    """Expected move in the direction of the action; of a hold, the plain expectation."""


class Strategy(Protocol):
    """What the policy asks of a strategy."""

    name: str
    needs_network: bool

    def signal(self, prediction: Prediction, threshold: float) -> Signal:
        """What it wants, seen without a position."""


class ModelStrategy:
    """Follows one model's probabilities: in when one side leads by the threshold."""

    def __init__(self, name: str, *, needs_network: bool) -> None:
        self.name = name
        self.needs_network = needs_network
        self._row = MODELS.index(name)

    def signal(self, prediction: Prediction, threshold: float) -> Signal:
        """Up less down, against the threshold."""
        up, _, down, move, _ = prediction.outputs[self._row]
        lead = up - down
        if lead > threshold:
            return Signal(Action.ENTER_LONG, lead, move)
        if -lead > threshold:
            return Signal(Action.ENTER_SHORT, -lead, -move)
        return Signal(Action.HOLD, abs(lead), move)


REGISTRY: Final[dict[str, Strategy]] = {
    "moving_average_cross": ModelStrategy("moving_average_cross", needs_network=False),
    "tcn": ModelStrategy("tcn", needs_network=True),
}
assert set(REGISTRY) < set(STRATEGIES)


class Wish(NamedTuple):
    """What the policy came to: an action to be checked, or a hold with its reason."""

    action: Action
    reason: Reason
    strategy: str
    confidence: float = 0.0
    move_bps: float = 0.0
    cost_bps: float = 0.0
    value_bps: float = 0.0


class Policy:
    """Gates and expected value around the chosen strategy."""

    def __init__(self, settings: Settings) -> None:
        self.obey(settings)

    def obey(self, settings: Settings) -> None:
        """Take settings."""
        self._strategy = REGISTRY[settings.strategy.name]
        self._enabled = settings.strategy.enabled
        self._threshold = settings.strategy.enter_threshold
        self._min_value_bps = settings.strategy.min_expected_value_bps
        self._horizon_ns = int(settings.strategy.horizon_s * 1e9)
        self._fee_bps = settings.execution.paper.fee_bps
        self._stale_ns = settings.risk.stale_after_ms * 1_000_000
        self._max_spread_bps = settings.risk.max_spread_bps
        self._allow_short = settings.risk.allow_short

    def wish(self, prediction: Prediction, held: Decimal, opened_ns: int, now_ns: int) -> Wish:
        """What to do about one prediction, given what is held of its instrument."""
        name = self._strategy.name
        if not isfinite(prediction.reference_price) or prediction.reference_price <= 0:
            return Wish(Action.HOLD, Reason.NOT_FINITE, name)
        if held and opened_ns and now_ns - opened_ns > self._horizon_ns:
            return Wish(Action.EXIT, Reason.EXIT_HORIZON, name)
        gate = self._gate(prediction, now_ns)
        if gate is not None:
            return Wish(Action.HOLD, gate, name)
        signal = self._strategy.signal(prediction, self._threshold)
        if not isfinite(signal.confidence) or not isfinite(signal.move_bps):
            return Wish(Action.HOLD, Reason.NOT_FINITE, name)
        if held:
            return self._with_position(signal, held, name)
        return self._without_position(signal, prediction, name)

    def _gate(self, prediction: Prediction, now_ns: int) -> Reason | None:
        """Why nothing of this prediction may be used, if so."""
        if not self._enabled:
            return Reason.STRATEGY_DISABLED
        if now_ns - prediction.cut_ns > self._stale_ns:
            return Reason.STALE_DATA
        if prediction.invalid:
            return Reason.INVALID_FEATURES
        if self._strategy.needs_network and prediction.rung == Rung.POSITIONS_ONLY:
            return Reason.NO_MODEL
        return None

    def _with_position(self, signal: Signal, held: Decimal, name: str) -> Wish:
        same = Action.ENTER_LONG if held > 0 else Action.ENTER_SHORT
        if signal.action == Action.HOLD:
            return Wish(Action.HOLD, Reason.NO_SIGNAL, name, signal.confidence, signal.move_bps)
        if signal.action == same:
            reason = Reason.ALREADY_IN_POSITION
            return Wish(Action.HOLD, reason, name, signal.confidence, signal.move_bps)
        return Wish(Action.EXIT, Reason.EXIT_SIGNAL, name, signal.confidence, signal.move_bps)

    def _without_position(self, signal: Signal, prediction: Prediction, name: str) -> Wish:
        cost = 2 * self._fee_bps + 1.5 * prediction.spread_bps
        value = signal.move_bps - cost
        found = (name, signal.confidence, signal.move_bps, cost, value)
        if signal.action == Action.HOLD:
            return Wish(Action.HOLD, Reason.NO_SIGNAL, *found)
        if not isfinite(cost):
            return Wish(Action.HOLD, Reason.NOT_FINITE, *found)
        if signal.action == Action.ENTER_SHORT and not self._allow_short:
            return Wish(Action.HOLD, Reason.SHORT_NOT_ALLOWED, *found)
        if prediction.spread_bps > self._max_spread_bps:
            return Wish(Action.HOLD, Reason.SPREAD, *found)
        if value < self._min_value_bps:
            return Wish(Action.HOLD, Reason.EV_TOO_SMALL, *found)
        return Wish(signal.action, Reason.SIGNAL, *found)
