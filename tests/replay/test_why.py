"""The chain behind a decision, of a recorded session, is what the rings had."""

import json

import numpy as np
import pytest

from processes.cli.why import why
from processes.execution.ledger import open_ledger
from processes.execution.risk import ENTRY_CHECKS
from processes.operations.chain import Chain, checks_of, find_chain
from processes.places import Paths
from schemas.decisions import NUMBERS
from schemas.errors import OperatorError, UsageError
from schemas.features import CATALOGUE
from schemas.settings import LedgerSettings, Settings
from schemas.trading import REASON_TEXT, Action, Intent, OrderFilled, OrderState, Reason
from tests.recorded import SESSION, Recorder, record


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Recorder:
    return record(
        tmp_path_factory.mktemp("why"), 20261121, seconds=60.0, features__trigger="true",
        risk__allow_short="true",
        strategy__enter_threshold=0.05, strategy__min_expected_value_bps=-1000,
        strategy__cooldown_s=0, risk__max_spread_bps=1000,
    )  # fmt: skip


def chain(session: Recorder, what, which="last"):
    return find_chain(session.data, LedgerSettings(), str(what), which)


def decisions(session: Recorder) -> np.ndarray:
    slots = session.decisions.slots
    return slots[slots["kind"] == 16]


def test_every_number_of_the_chain_is_that_of_the_rings(session):
    slot = decisions(session)[decisions(session)["action"] > 0][0]
    found = chain(session, slot["sequence"])
    assert found.missing == []
    assert found.action == Action(int(slot["action"])).name.lower()
    assert found.reason == Reason(int(slot["reason"])).name.lower()
    assert list(found.numbers.values()) == slot["numbers"][: len(NUMBERS)].tolist()
    row = session.features.slots[int(slot["feature_sequence"]) - 1]
    assert list(found.features.values()) == row["values"][: len(CATALOGUE)].tolist()
    assert [tape.sequence for tape in found.tapes] == [int(row["tape_position_0"])]
    assert len(found.book["bids"]) == int((row["book"][10:20] > 0).sum())
    assert found.book["bids"][0][0] < found.book["asks"][0][0]
    prediction = session.predictions.slots[int(slot["prediction_sequence"]) - 1]
    assert found.models["moving_average_cross"]["up"] == float(prediction["outputs"][1][0])
    assert found.input["sequence"] == int(slot["input_sequence"])


def test_a_hold_says_its_reason_and_that_no_check_was_asked(session):
    asked = [int(code) for code, _ in ENTRY_CHECKS]
    slots = decisions(session)
    slot = slots[(slots["action"] == 0) & ~np.isin(slots["reason"], asked)][0]
    found = chain(session, slot["sequence"])
    reason = Reason(int(slot["reason"]))
    assert (found.action, found.reason, found.checks) == ("hold", reason.name.lower(), [])
    assert found.reason_text == REASON_TEXT[reason]


@pytest.mark.parametrize("code", [code for code, _ in ENTRY_CHECKS])
def test_a_denial_says_which_checks_passed_before_it(code):
    codes = [each.name for each, _ in ENTRY_CHECKS]
    found = checks_of(code, Chain(session=1))
    place = codes.index(code.name)
    assert [check.code for check in found] == codes
    results = [check.result for check in found]
    assert results == ["passed"] * place + ["denied"] + ["not asked"] * (len(codes) - place - 1)


def test_an_order_leads_to_its_decision_and_to_what_it_cost(session, monkeypatch, capsys):
    slot = decisions(session)[decisions(session)["command_low"] != 0][0]
    number = f"{int(slot['command_high']):016x}{int(slot['command_low']):016x}"
    ledger = open_ledger(LedgerSettings(), session.data, SESSION)
    wanted = Intent(
        command_id=number, instrument=int(slot["instrument"]), symbol="tBTCUSD", side="buy",
        quantity="2", kind="market", decision_sequence=int(slot["input_sequence"]),
    )  # fmt: skip
    ledger.record_intent(wanted)
    price = float(slot["reference_price"]) * 1.001
    told = OrderFilled(number, "f1", repr(price), "2", "0.5", "USD", 5)
    ledger.record_event(told, OrderState.FILLED)
    ledger.close()
    for what in ("last", number, number[:8]):
        found = chain(session, what)
        assert found.decision == int(slot["sequence"])
        assert found.order == wanted
        assert found.events == [told]
        assert found.cost["fee USD"] == "0.5"
    monkeypatch.setattr(
        "processes.cli.why.find_paths",
        lambda: Paths(run=session.data, data=session.data, logs=session.data),
    )
    monkeypatch.setattr("processes.cli.why.latest_settings", lambda _: Settings())
    why("last", "last", as_json=True)
    assert json.loads(capsys.readouterr().out)["slippage_bps"] == pytest.approx(10.0, abs=0.01)
    why("last", "last", as_json=False)
    text = capsys.readouterr().out
    for words in ("market data", "features: row", "models: prediction", "cost:", "+10.00 bp"):
        assert words in text
    found = chain(session, slot["sequence"])
    assert found.order == wanted, "and back from the decision to the order"


@pytest.mark.parametrize("what", ["gently", "abc", "ABCDEF", "-1", "", "0" * 33])
def test_what_is_neither_order_nor_decision_says_what_to_type(session, what):
    with pytest.raises(UsageError, match="dcctl orders"):
        chain(session, what)


def test_what_is_not_there_is_said(session):
    with pytest.raises(OperatorError, match="no decision of session"):
        chain(session, 10**9)
    with pytest.raises(OperatorError, match="no order"):
        chain(session, "f" * 32)
