"""Everything behind one decision, from the lake and the ledger.

Market data (which tapes, read up to which sequence, and the book there), the feature row, the
models' outputs, what the policy made of them, each check that was asked and how it answered, the
order, what its venue told, its fills and what it cost. Nothing is computed anew: all of it was
recorded when it happened.
"""

import re
from decimal import Decimal
from math import isnan
from pathlib import Path
from typing import Any, Final

import msgspec

from processes.execution.journal import DRAIN
from processes.execution.reading import FillRow, LedgerView, total
from processes.execution.risk import ENTRY_CHECKS, EXIT_CHECKS
from processes.lake_places import Place, open_lake
from processes.recordings.recording import find_session
from processes.recordings.rows import last_sequence, rows_between
from processes.rings import enabled_venues
from processes.sessions import SessionFolder
from schemas.decisions import NUMBERS
from schemas.errors import OperatorError, UsageError
from schemas.features import CATALOGUE
from schemas.predictions import MODELS, outputs_of
from schemas.settings import LedgerSettings
from schemas.tape import LEVELS
from schemas.trading import REASON_TEXT, Intent, OrderEvent, Reason

ORDER_LETTERS: Final = 6
"""Fewest letters of a command id that name an order."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A risk check and what it said of this decision."""

    code: str
    result: str
    """passed, denied, or not asked: those behind the one that denied."""


class Tape(msgspec.Struct, frozen=True, kw_only=True):
    """How far a tape had been read at the cut."""

    ring: str
    sequence: int


class Chain(msgspec.Struct, kw_only=True):
    """The chain; parts that the lake does not have are empty, and `missing` says which."""

    session: int
    decision: int = 0
    """Its sequence in the decisions ring."""
    time_ns: int = 0
    venue: str = ""
    symbol: str = ""
    action: str = ""
    reason: str = ""
    reason_text: str = ""
    strategy: str = ""
    rung: str = ""
    kill_level: str = ""
    config_generation: int = 0
    reference_price: float = 0.0
    numbers: dict[str, float] = {}
    checks: list[Check] = []
    input: dict[str, Any] = {}
    prediction: dict[str, Any] = {}
    models: dict[str, dict[str, float]] = {}
    features: dict[str, float] = {}
    cut: dict[str, Any] = {}
    tapes: list[Tape] = []
    book: dict[str, list[tuple[float, float]]] = {}
    """Bids and asks at the cut as (price, size), best first."""
    order: Intent | None = None
    order_state: str = ""
    events: list[OrderEvent] = []
    fills: list[FillRow] = []
    cost: dict[str, str] = {}
    missing: list[str] = []


def find_chain(data: Path, ledger: LedgerSettings, what: str, session: str) -> Chain:
    """The chain of an order (the beginning of its id), a decision (its number), or the last order.

    Raises:
        UsageError: `what` is none of these. OperatorError: there is no such thing.
    """
    view, lake = LedgerView(ledger, data), open_lake(data / "lake")
    if re.fullmatch(r"\d{1,18}", what):
        chain = Chain(session=find_session(data, session), decision=int(what))
        rows = rows_between(lake, "decisions", chain.session, int(what), int(what))
        row = rows[0] if rows else None
        if row is None or row["kind"] != "decision":
            newest = last_sequence(lake, "decisions", chain.session)
            raise OperatorError(
                f"{what} is no decision of session {chain.session} in the lake, which has it up to "
                f"{newest}; dcctl tap decisions shows their numbers"
            )
        number = bytes(row["command_id"] or b"").hex()
        found = view.order(number) if int(number or "0", 16) else []
    else:
        found = _orders(view, what)
        chain = Chain(session=found[0].session)
        row = _decision_of(lake, chain.session, found[0].intent)
    if found:
        chain.order, chain.order_state = found[0].intent, found[0].state
        _add_outcome(chain, view)
    if row is None:
        intent = chain.order
        if intent is not None and not intent.decision_sequence:
            # The kill switch's own: no prediction and no signal asked for it.
            reason = Reason(intent.reason)
            chain.reason, chain.reason_text = reason.name.lower(), REASON_TEXT[reason]
        else:
            chain.missing.append("the decision is not in the lake (storage is a second behind)")
        return chain
    folder = SessionFolder(data, chain.session)
    _add_decision(chain, row, folder)
    _add_input(chain, lake, row)
    _add_prediction(chain, lake, row)
    _add_features(chain, lake, row, folder)
    return chain


def _orders(view: LedgerView, what: str) -> list[Any]:
    if what == "last":
        found = view.orders(limit=1)
        if not found:
            raise OperatorError("the ledger has no order yet; name a decision: dcctl why NUMBER")
        return found
    if not re.fullmatch(rf"[0-9a-f]{{{ORDER_LETTERS},32}}", what):
        raise UsageError(
            f"{what}: say last, a decision's number, or at least {ORDER_LETTERS} letters of an "
            "order's id; dcctl orders shows them"
        )
    found = view.order(what)
    if not found:
        raise OperatorError(f"the ledger has no order {what}; dcctl orders shows them")
    if len(found) > 1:
        raise OperatorError(f"more than one order begins with {what}; say more of it")
    return found


def _decision_of(lake: Place, session: int, intent: Intent) -> dict[str, Any] | None:
    """The decision's row; its input stands at most two drains before it."""
    first = intent.decision_sequence
    if not first:
        return None
    rows = rows_between(lake, "decisions", session, first, first + 2 * DRAIN)
    return next(
        (row for row in rows if row["kind"] == "decision" and row["input_seq"] == first), None
    )


def _add_decision(chain: Chain, row: dict[str, Any], folder: SessionFolder) -> None:
    chain.decision = int(row["seq"])
    chain.time_ns = int(row["time_ns"])
    tables = folder.tables(folder.generations()[-1])
    item = next(one for one in tables.instruments if one.index == row["instrument"])
    chain.venue, chain.symbol = item.venue, item.symbol
    for name in ("action", "reason", "strategy", "rung", "kill_level"):
        setattr(chain, name, str(row[name]))
    chain.config_generation = int(row["config_generation"])
    chain.reference_price = float(row["reference_price"])
    reason = Reason[chain.reason.upper()]
    chain.reason_text = REASON_TEXT[reason]
    chain.numbers = dict(zip(NUMBERS, row["numbers"], strict=False))
    chain.checks = checks_of(reason, chain)


def checks_of(reason: Reason, chain: Chain) -> list[Check]:
    """Which checks were asked: in their order, up to the one that denied."""
    wanted_in = chain.order is not None or reason in {code for code, _ in ENTRY_CHECKS}
    if not wanted_in:
        return []  # the policy had nothing to propose
    leaves = chain.order.reduce_only if chain.order else chain.numbers.get("position", 0.0) != 0.0
    found, asked = [], True
    for code, _ in EXIT_CHECKS if leaves else ENTRY_CHECKS:
        result = "not asked" if not asked else ("denied" if code == reason else "passed")
        asked = asked and code != reason
        found.append(Check(code=code.name, result=result))
    return found


def _add_input(chain: Chain, lake: Place, row: dict[str, Any]) -> None:
    number = int(row["input_seq"])
    rows = rows_between(lake, "decisions", chain.session, number, number)
    if not rows:
        chain.missing.append(f"input {number} of the decision")
        return
    found = rows[0]
    chain.input = {"sequence": number, "kind": found["kind"], "time_ns": int(found["time_ns"])}
    if found["kind"] == "input_signal" and found["message"]:
        chain.input["signal"] = msgspec.msgpack.decode(found["message"])


def _add_prediction(chain: Chain, lake: Place, row: dict[str, Any]) -> None:
    number = int(row["prediction_seq"])
    rows = rows_between(lake, "predictions", chain.session, number, number) if number else []
    if not rows:
        chain.missing.append(f"prediction {number}")
        return
    found = rows[0]
    names = ("seq", "cut", "cut_ns", "made_ns", "feature_seq", "rung", "device", "flags")
    chain.prediction = {name: found[name] for name in names}
    for name in ("model_version", "learner_state"):
        chain.prediction[name] = f"{found[name]:016x}"
    for name in ("spread_bps", "volatility_bps", "book_age_s"):
        chain.prediction[name] = found[name]
    for model in (*MODELS, "blend"):
        columns = outputs_of(model)
        prefix = len(model) + 1
        outputs = {column[prefix:]: found[column] for column in columns}
        if any(value is not None and not isnan(value) for value in outputs.values()):
            chain.models[model] = outputs


def _add_features(chain: Chain, lake: Place, row: dict[str, Any], folder: SessionFolder) -> None:
    number = int(row["feature_seq"])
    rows = rows_between(lake, "features", chain.session, number, number) if number else []
    if not rows:
        chain.missing.append(f"feature row {number}")
        return
    found = rows[0]
    # Those that the row's catalogue had not yet are null.
    chain.features = {
        feature.name: found[feature.name]
        for feature in CATALOGUE
        if found[feature.name] is not None
    }
    names = ("seq", "cut", "cut_ns", "made_ns", "newest_recv_ns", "reason", "invalid")
    chain.cut = {name: found[name] for name in names}
    venues = enabled_venues(folder.settings(chain.config_generation))
    chain.tapes = [
        Tape(ring=f"tape.{venue}", sequence=int(found[f"tape_position_{place}"]))
        for place, venue in enumerate(venues)
    ]
    book, middle = found["book"], float(found["reference_price"])
    for side, base in (("bids", 0), ("asks", 2 * LEVELS)):
        chain.book[side] = [
            (round(middle + book[base + level], 10), book[base + LEVELS + level])
            for level in range(LEVELS)
            if book[base + LEVELS + level] > 0
        ]


def _add_outcome(chain: Chain, view: LedgerView) -> None:
    """What the venue told, and what the order cost against the price it was decided at."""
    assert chain.order is not None
    chain.events = view.events(chain.order.command_id)
    chain.fills = view.fills(command_id=chain.order.command_id, limit=10_000)[::-1]
    if not chain.fills:
        return
    quantity = total([fill.quantity for fill in chain.fills])
    notional = sum(
        (Decimal(fill.price) * Decimal(fill.quantity) for fill in chain.fills), Decimal(0)
    )
    chain.cost = {
        "quantity": f"{quantity:f}",
        "average_price": f"{(notional / quantity).normalize():f}",
        "notional": f"{notional:f}",
    }
    for currency in sorted({fill.fee_currency for fill in chain.fills}):
        paid = total([fill.fee for fill in chain.fills if fill.fee_currency == currency])
        chain.cost[f"fee {currency}".strip()] = f"{paid:f}"


def slippage_bps(chain: Chain) -> float | None:
    """How much worse than the reference price the order was filled; None without a fill."""
    if not chain.cost or not chain.reference_price or chain.order is None:
        return None
    average = float(chain.cost["average_price"])
    sign = 1.0 if chain.order.side == "buy" else -1.0
    return sign * (average / chain.reference_price - 1.0) * 1e4
