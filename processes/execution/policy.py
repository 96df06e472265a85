"""From a prediction to what a strategy wants, and whether that is worth its cost.

A strategy (`strategies/`) says what it wants of one prediction and the position held. Here are the
gates around it (age, validity, the model chain, regime, spread and its quantile) and the expected
value: the expected move after the taker's fees of both ways, the spread, and slippage (half a
spread more for an order that takes the book). Fees and the widest spread are the instrument's.

The rules stand in one compiled function, which `screen.py` calls for a whole drain. What it learns,
an estimate of each instrument's quantile of spreads, is brought up to date after each drain and
begins anew with each life of execution.
"""

from collections.abc import Mapping
from decimal import Decimal
from math import inf, isfinite, nan
from typing import Any, Final, NamedTuple

import numpy as np
from numba import carray, njit

from processes.execution.routes import Route
from processes.execution.scopes import Scoped
from processes.execution.strategies.always_flat import stay_flat
from processes.execution.strategies.base import EXIT, FLAT, HOLD, LONG, SHORT, TREND
from processes.execution.strategies.follow_model import follow
from processes.execution.strategies.registry import REGISTRY
from processes.execution.strategies.volatility_trend import trend
from schemas.decisions import STRATEGIES
from schemas.predictions import Rung
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
    """(up, flat, down, move, spread of the move) a model, in the order of SPEAKERS."""
    regime: float = nan


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
        ("rule", "i8"),
        ("regimes", "i8"),
        ("terms", "i8"),
        ("spreads", "i8"),
        ("min_value_bps", "f8"),
        ("horizon_s", "f8"),
        ("spread_quantile", "f8"),
        ("first", "f8"),
        ("second", "f8"),
        ("third", "f8"),
    ]
)
"""The settings as a kernel reads them. `regimes` has a bit a regime, 0 = all; `terms` and `spreads`
are addresses of what is by instrument."""
INSTRUMENTS: Final = 1 << 16
_FEE, _MAX_SPREAD = 0, 1
_QUANTILE, _SEEN = 0, 1
_LEARN = 0.002
"""How far one spread moves the estimate of its quantile, relatively."""
_ENOUGH = 100
"""So many spreads are seen before the estimate counts."""

_LEAST_PRICE = 1e-12
"""Below it no quantity can be computed, and nothing is traded."""
_MOST_LEAD = 1.001
"""Between two probabilities, as float32 has them."""
_POSITIONS_ONLY = int(Rung.POSITIONS_ONLY)
_OPEN = -1
(
    _NO_SIGNAL, _SIGNAL, _EXIT_SIGNAL, _EXIT_HORIZON, _ALREADY_IN, _EV_TOO_SMALL, _DISABLED, _STALE,
    _INVALID, _NO_MODEL, _SPREAD, _NOT_FINITE, _NO_SHORT, _CLOCK, _REGIME, _SPREAD_QUANTILE,
) = (
    int(reason)
    for reason in (
        Reason.NO_SIGNAL, Reason.SIGNAL, Reason.EXIT_SIGNAL, Reason.EXIT_HORIZON,
        Reason.ALREADY_IN_POSITION, Reason.EV_TOO_SMALL, Reason.STRATEGY_DISABLED,
        Reason.STALE_DATA, Reason.INVALID_FEATURES, Reason.NO_MODEL, Reason.SPREAD,
        Reason.NOT_FINITE, Reason.SHORT_NOT_ALLOWED, Reason.CLOCK,
        Reason.REGIME, Reason.SPREAD_QUANTILE,
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
def _in_regime(regimes: int, regime: float) -> bool:
    if regimes == 0:
        return True
    return 0.0 <= regime < 63.0 and (regimes >> int(regime)) & 1 == 1


@njit(cache=True, nogil=True)
def _entry(
    rules: Any, instrument: int, action: int, spread_bps: float, regime: float, cost: float,
    value: float,
) -> int:  # fmt: skip
    """Why a position is not entered, or that there is a signal to."""
    if action == HOLD:
        return _NO_SIGNAL
    if not isfinite(cost) or spread_bps < 0.0:
        return _NOT_FINITE
    if action == SHORT and rules.allow_short == 0:
        return _NO_SHORT
    if not _in_regime(rules.regimes, regime):
        return _REGIME
    if spread_bps > carray(memory(rules.terms), (INSTRUMENTS, 2), np.float64)[instrument, 1]:
        return _SPREAD
    learned = carray(memory(rules.spreads), (INSTRUMENTS, 2), np.float64)[instrument]
    if rules.spread_quantile < 1.0 and learned[1] >= _ENOUGH and spread_bps > learned[0]:
        return _SPREAD_QUANTILE
    if value < rules.min_value_bps:
        return _EV_TOO_SMALL
    return _SIGNAL


@njit(cache=True, nogil=True)
def learn_spread(rules_address: int, instrument: int, spread_bps: float) -> None:
    """Move the estimate of an instrument's quantile of spreads by one that was seen."""
    rules = carray(memory(rules_address), (1,), RULES)[0]
    if not isfinite(spread_bps) or spread_bps <= 0.0:
        return
    learned = carray(memory(rules.spreads), (INSTRUMENTS, 2), np.float64)[instrument]
    if learned[1] == 0.0:
        learned[0] = spread_bps
    elif spread_bps > learned[0]:
        learned[0] *= 1.0 + _LEARN * rules.spread_quantile
    else:
        learned[0] *= 1.0 - _LEARN * (1.0 - rules.spread_quantile)
    learned[1] += 1.0


@njit(cache=True, nogil=True)
def _wanted(
    rules: Any, up: float, down: float, move: float, spread_bps: float, volatility_bps: float,
    held: int,
) -> tuple[int, float, float]:  # fmt: skip
    """What the strategy in force wants."""
    if rules.rule == FLAT:
        return stay_flat(held)
    if rules.rule == TREND:
        return trend(rules.first, rules.second, rules.third, up, down, spread_bps, volatility_bps)
    return follow(rules.first, up, down, move)


@njit(cache=True, nogil=True)
def weigh(
    rules_address: int, instrument: int, rung: int, invalid: int, cut_ns: int, price: float,
    spread_bps: float, volatility_bps: float, regime: float, up: float, down: float, move: float,
    held: int, opened_ns: int, now_ns: int,
) -> tuple[int, int, float, float, float, float]:  # fmt: skip
    """What to do about one prediction: action, reason, confidence, move, cost and value.

    `held` is 1 with a long position of the instrument, -1 with a short one, 0 with none. The move
    is the expected one in the direction of the action; of a hold, the plain expectation.
    """
    rules = carray(memory(rules_address), (1,), RULES)[0]
    if not isfinite(price) or price < _LEAST_PRICE:
        return HOLD, _NOT_FINITE, 0.0, 0.0, 0.0, 0.0
    if held != 0 and opened_ns != 0 and now_ns - opened_ns > rules.horizon_ns:
        return EXIT, _EXIT_HORIZON, 0.0, 0.0, 0.0, 0.0
    gate = _gate(rules, rung, invalid, now_ns - cut_ns)
    if gate != _OPEN:
        return HOLD, gate, 0.0, 0.0, 0.0, 0.0
    action, confidence, move = _wanted(rules, up, down, move, spread_bps, volatility_bps, held)
    if not confidence <= _MOST_LEAD or not isfinite(move):
        return HOLD, _NOT_FINITE, 0.0, 0.0, 0.0, 0.0
    if held != 0:
        if action == HOLD:
            return HOLD, _NO_SIGNAL, confidence, move, 0.0, 0.0
        if action == (LONG if held > 0 else SHORT):
            return HOLD, _ALREADY_IN, confidence, move, 0.0, 0.0
        return EXIT, _EXIT_SIGNAL, confidence, move, 0.0, 0.0
    fee_bps = carray(memory(rules.terms), (INSTRUMENTS, 2), np.float64)[instrument, 0]
    cost = 2.0 * fee_bps + 1.5 * spread_bps
    value = move - cost
    reason = _entry(rules, instrument, action, spread_bps, regime, cost, value)
    return (action if reason == _SIGNAL else HOLD), reason, confidence, move, cost, value


class Wish(NamedTuple):
    """What the policy came to: an action to be checked, or a hold with its reason."""

    action: Action
    reason: Reason
    strategy: str
    confidence: float = 0.0
    move_bps: float = 0.0
    cost_bps: float = 0.0
    value_bps: float = 0.0
    horizon_s: float = 0.0
    """How long what is entered is held at the most."""


_OUT: Final = (Action.EXIT, Reason.EXIT_SIGNAL)


class Policy:
    """Gates and expected value around the chosen strategy."""

    def __init__(self) -> None:
        self._rules = np.zeros(1, RULES)
        self._terms = np.zeros((INSTRUMENTS, 2))
        """Fee and widest spread by instrument."""
        self._spreads = np.zeros((INSTRUMENTS, 2))
        """Estimate of the quantile of spreads, and how many were seen, by instrument."""
        self.rules_address = int(self._rules.ctypes.data)

    def obey(
        self, settings: Settings, routes: Mapping[int, Route], limits: Mapping[int, Scoped]
    ) -> None:
        """Take settings; fees are those of each instrument's account."""
        told = settings.strategy
        self._name = told.name
        self._strategy = strategy = REGISTRY[told.name]
        self._terms[:, _FEE] = settings.execution.paper.fee_bps
        self._terms[:, _MAX_SPREAD] = settings.risk.max_spread_bps
        for instrument, route in routes.items():
            self._terms[instrument, _FEE] = float(route.taker * 10_000)
        for instrument, one in limits.items():
            if instrument >= 0:
                self._terms[instrument, _MAX_SPREAD] = one.max_spread_bps
        self._rules[0] = (
            STRATEGIES.index(self._name),
            strategy.model,
            strategy.needs_network,
            told.enabled,
            settings.risk.allow_short,
            int(told.horizon_s * 1e9),
            settings.risk.stale_after_ms * 1_000_000,
            strategy.rule,
            sum(1 << regime for regime in set(told.regimes)),
            self._terms.ctypes.data,
            self._spreads.ctypes.data,
            told.min_expected_value_bps,
            told.horizon_s,
            told.max_spread_quantile,
            *strategy.parameters(told),
        )
        self._signal_age_ns = settings.bridge.signals.max_age_ms * 1_000_000

    def wish(self, prediction: Prediction, held: Decimal, opened_ns: int, now_ns: int) -> Wish:
        """What to do about one prediction, given what is held of its instrument."""
        up, _, down, move, _ = prediction.outputs[self._strategy.model]
        action, reason, confidence, move_bps, cost_bps, value_bps = weigh(
            self.rules_address, prediction.instrument, prediction.rung, prediction.invalid,
            prediction.cut_ns, prediction.reference_price, prediction.spread_bps,
            prediction.volatility_bps, prediction.regime, up, down, move,
            (held > 0) - (held < 0), opened_ns, now_ns,
        )  # fmt: skip
        horizon_s = float(self._rules["horizon_s"][0])
        return Wish(
            Action(action), Reason(reason), self._name, confidence, move_bps, cost_bps, value_bps,
            horizon_s,
        )  # fmt: skip

    def wish_of(
        self, signal: ExternalSignal, market: Prediction | None, held: Decimal, now_ns: int
    ) -> Wish:
        """What to do about a signal from elsewhere, given what is known of its market.

        Its market is judged as for a prediction; whether it is worth its cost is its writer's word.
        """
        action, reason = self._weigh_signal(signal, market, held, now_ns)
        horizon_s = float(self._rules["horizon_s"][0])
        return Wish(action, reason, EXTERNAL, signal.confidence, horizon_s=horizon_s)

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
        widest_bps = self._terms[signal.instrument, _MAX_SPREAD]
        if not 0.0 <= market.spread_bps <= widest_bps:
            return Action.HOLD, Reason.SPREAD
        return signal.action, Reason.SIGNAL
