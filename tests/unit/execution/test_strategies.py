"""Strategies and the policy's gates: what each wants, what it costs, and what holds it back."""

from pathlib import Path

import numpy as np
import pytest

from config.loader import load
from processes.execution.effects import Send
from processes.execution.journal import InputJournal
from processes.execution.machine import Machine
from processes.execution.screen import Screen
from processes.execution.strategies.registry import REGISTRY
from schemas import decisions, predictions
from schemas.decisions import NUMBERS, STRATEGIES
from schemas.instruments import Instrument
from schemas.predictions import BLEND, MODELS, SPEAKERS
from schemas.settings import StrategySettings
from schemas.trading import Action, Reason, Reconciled
from tests.helpers import ROOT
from tests.recorded import Ring
from tests.unit.execution.test_machine import T0, enter, fill, prediction
from tests.unit.execution.test_risk import BTC, COIN, ETH, SECOND, machine, reason, settings


def test_every_name_of_the_settings_is_a_strategy_with_a_file():
    names = StrategySettings.__annotations__["name"].__args__
    assert set(names) == set(REGISTRY)
    folder = Path(ROOT, "processes", "execution", "strategies")
    modules = {type(one).__module__.rpartition(".")[2] for one in REGISTRY.values()}
    assert modules <= {path.stem for path in folder.glob("*.py")}


def test_always_flat_enters_nothing_and_leaves_what_is_held():
    made = machine()
    _, intent = enter(made)
    made.on_event(fill(intent), T0)
    made.on_config(settings(strategy__name="always_flat"))
    assert reason(made, ETH) == Reason.NO_SIGNAL
    decision, effects = made.on_prediction(prediction(2), T0, 2)
    assert (decision.action, decision.reason) == (Action.EXIT, Reason.EXIT_SIGNAL)
    assert decision.strategy == "always_flat"
    assert effects[0].intent.side == "sell"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"volatility_bps": 30.0, "spread_bps": 1.0}, Reason.SIGNAL),
        ({"volatility_bps": 1.9, "spread_bps": 1.0}, Reason.NO_SIGNAL),
        ({"volatility_bps": float("nan")}, Reason.NO_SIGNAL),
        ({"volatility_bps": 30.0, "up": 0.2}, Reason.NO_SIGNAL),
        ({"volatility_bps": 2.0, "spread_bps": 1.0}, Reason.EV_TOO_SMALL),
        ({"volatility_bps": 30.0, "up": 0.0, "down": 0.9}, Reason.SHORT_NOT_ALLOWED),
    ],
)
def test_a_trend_is_followed_where_volatility_pays_the_spread(values, code):
    made = machine(strategy__name="volatility_trend", execution__paper__fee_bps="1")
    decision, _ = made.on_prediction(prediction(**values), T0, 1)
    assert decision.reason == code
    if code == Reason.SIGNAL:
        assert decision.wish.move_bps == 30.0
        assert decision.wish.value_bps == 30.0 - 2 * 1 - 1.5 * 1


def test_fees_are_those_of_the_instruments_account():
    accounts = (
        '{dear: {broker: paper, instruments: ["kraken:*"], taker_bps: 40}, paper: {broker: paper}}'
    )
    made = machine(execution__accounts=accounts, execution__paper__fee_bps="1")
    costs = {}
    for instrument in (BTC, COIN):
        decision, _ = made.on_prediction(prediction(instrument=instrument), T0, 1)
        costs[instrument] = decision.wish.cost_bps
        assert (decision.reason == Reason.SIGNAL) == (instrument == BTC)
    assert costs == {BTC: 2 * 1 + 1.5, COIN: 2 * 40 + 1.5}
    assert decision.reason == Reason.EV_TOO_SMALL


def test_the_widest_spread_may_be_an_instruments_own():
    made = machine(risk__per_instrument='{"bitfinex:tBTCUSD": {max_spread_bps: 3}}')
    assert reason(made, BTC, spread_bps=4.0) == Reason.SPREAD
    assert reason(made, ETH, spread_bps=4.0) == Reason.SIGNAL


@pytest.mark.parametrize(
    ("regimes", "regime", "code"),
    [
        ("[]", float("nan"), Reason.SIGNAL),
        ("[0, 2]", 2.0, Reason.SIGNAL),
        ("[0, 2]", 1.0, Reason.REGIME),
        ("[0, 2]", float("nan"), Reason.REGIME),
        ("[0, 2]", 1e9, Reason.REGIME),
        ("[62]", 62.0, Reason.SIGNAL),
    ],
)
def test_positions_are_entered_in_the_regimes_that_are_named(regimes, regime, code):
    assert reason(machine(strategy__regimes=regimes), regime=regime) == code


class Drained:
    """Predictions as they come: in drains, through the screen."""

    def __init__(self, **changes) -> None:
        instruments = [Instrument(index=0, venue="kraken", symbol="BTC/USD", pair="BTC/USD")]
        self.ring = Ring(decisions.SLOT)
        self.machine = Machine(7, instruments, load("demo", environment={}, changes=changes))
        self.machine.on_event(Reconciled("paper", T0), T0)
        self.screen = Screen(InputJournal(self.ring, lambda: T0), self.machine)
        self.now_ns = T0

    def take(self, spread_bps: float, *, up: float = 0.0, speaker: str = "") -> np.void:
        self.now_ns += SECOND
        slot = np.zeros(1, predictions.SLOT)
        slot["cut_ns"], slot["reference_price"] = self.now_ns, 100.0
        slot["cut"] = self.now_ns
        slot["spread_bps"], slot["regime"] = spread_bps, 3.0
        slot["outputs"][:, : len(MODELS), 3] = slot["blend"][:, 3] = 100.0
        for place, name in enumerate(MODELS):
            slot["outputs"][:, place, 0] = up if speaker in {"", name} else 0.0
        slot["blend"][:, 0] = up if speaker in {"", BLEND} else 0.0
        effects = self.screen.decide(int(slot.ctypes.data), 1, self.now_ns)
        assert all(isinstance(effect, Send) for effect in effects)
        return self.ring.blocks[-1][-1]


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_strategy_follows_its_own_place_and_no_other(speaker):
    made = Drained(**{"strategy.name": speaker})
    assert made.take(1.0, speaker=speaker)["reason"] == Reason.NO_SIGNAL
    for other in SPEAKERS:
        if other != speaker:
            assert made.take(1.0, up=0.9, speaker=other)["reason"] == Reason.NO_SIGNAL
    slot = made.take(1.0, up=0.9, speaker=speaker)
    assert (slot["reason"], STRATEGIES[slot["strategy"]]) == (Reason.SIGNAL, speaker)


def test_nothing_is_entered_while_the_spread_is_among_the_widest(seed):
    draw = np.random.default_rng(seed)
    made = Drained(**{"strategy.max_spread_quantile": "0.9"})
    for spread in draw.uniform(1.0, 2.0, 2000):
        made.take(float(spread))
    quantile = made.machine._policy._spreads[0, 0]
    assert 1.8 < quantile < 2.0
    assert made.take(1.99, up=0.9)["reason"] == Reason.SPREAD_QUANTILE
    assert made.take(1.2, up=0.9)["reason"] == Reason.SIGNAL


def test_a_decision_says_how_long_it_holds_for_screened_or_not():
    made = Drained(**{"strategy.horizon_s": "45"})
    column = NUMBERS.index("horizon_s")
    assert made.take(1.0)["numbers"][column] == 45
    slot = made.take(1.0, up=0.9)
    assert (slot["action"], slot["numbers"][column]) == (Action.ENTER_LONG, 45)
