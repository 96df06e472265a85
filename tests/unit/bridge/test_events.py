"""Slots of the decisions ring as bodies of `signal:out` and `order:events`."""

import msgspec
import numpy as np

from processes.bridge.events import Events
from schemas import decisions
from schemas.decisions import NUMBERS, STRATEGIES, SlotKind
from schemas.settings import BridgeSettings
from schemas.streams import DATA, MarketBody, SignalBody, SignalMeta
from schemas.trading import (
    Action,
    ExternalSignal,
    OrderAccepted,
    OrderFilled,
    OrderNew,
    OrderRejected,
    Reason,
    Reconciled,
)
from tests.unit.bridge.conftest import T0

ORDER = "ab" * 16


def slot(sequence: int, kind: SlotKind, message: object = None, **more) -> np.ndarray:
    made = np.zeros(1, decisions.SLOT)
    made["sequence"], made["kind"], made["time_ns"] = sequence, kind, T0
    if message is not None:
        raw = msgspec.msgpack.encode(message)
        made["message_length"] = len(raw)
        made["message"][0, : len(raw)] = np.frombuffer(raw, np.uint8)
    for name, value in more.items():
        made[name] = value
    return made


def told(events: Events, *slots: np.ndarray) -> list[tuple[str, str, dict]]:
    block = np.zeros(len(slots), decisions.SLOT)
    for index, one in enumerate(slots):
        block[index] = one[0]
    return [
        (one.stream, one.source, msgspec.json.decode(one.body)) for one in events.entries(block)
    ]


def new_order() -> OrderNew:
    return OrderNew(ORDER, 0, "buy", "0.00150000", "market", "", False, "external")


def test_the_life_of_an_order(rings):
    events = Events(BridgeSettings(), "7/decisions", rings.names)
    fill = OrderFilled(ORDER, "f1", "60000.1", "0.0015", "0.009", "USD", T0 + 10**9)
    found = told(
        events,
        slot(1, SlotKind.ORDER, new_order()),
        slot(2, SlotKind.INPUT_TIMER, {}),
        slot(3, SlotKind.INPUT_BROKER, OrderAccepted(ORDER, "v1", T0)),
        slot(4, SlotKind.INPUT_BROKER, fill),
        slot(5, SlotKind.INPUT_BROKER, Reconciled("paper", T0)),
        slot(6, SlotKind.INPUT_BROKER, OrderRejected(ORDER, T0, "too late")),
    )
    assert [source for _, source, _ in found] == [f"7/decisions/{n}" for n in (1, 3, 4, 6)]
    for stream, _, body in found:
        assert stream == "order:events"
        assert (body["exchange"], body["symbol"]) == ("bitfinex", "tBTCUSD")
        msgspec.convert(msgspec.convert(body, MarketBody).data, DATA[body["type"]])
    assert [body["data"].get("state", "fill") for *_, body in found] == [
        "new", "accepted", "fill", "rejected",
    ]  # fmt: skip
    assert found[0][2]["data"]["quantity"] == "0.00150000"
    assert found[1][2]["data"]["venue_order_id"] == "v1"
    assert found[2][2]["data"] == {
        "command_id": ORDER, "fill_id": "f1", "side": "buy", "price": "60000.1",
        "quantity": "0.0015", "fee": "0.009", "fee_currency": "USD",
    }  # fmt: skip
    assert found[2][2]["ts"] == (T0 + 10**9) // 10**6
    assert found[3][2]["data"]["text"] == "too late"


def test_an_order_from_before_the_ring_is_told_by_its_id(rings):
    events = Events(BridgeSettings(), "7/decisions", rings.names)
    ((_, _, body),) = told(events, slot(9, SlotKind.INPUT_BROKER, OrderAccepted(ORDER, "v", T0)))
    assert (body["symbol"], body["data"]["command_id"]) == ("", ORDER)


def decision(sequence: int, action: Action, reason: Reason, strategy: str, **more) -> np.ndarray:
    made = slot(
        sequence, SlotKind.DECISION, action=action, reason=reason,
        strategy=STRATEGIES.index(strategy), reference_price=60000.0, **more,
    )  # fmt: skip
    made["numbers"][0, NUMBERS.index("confidence")] = 0.75
    return made


def test_decisions_that_act_are_signals_and_every_outside_one_is(rings):
    events = Events(BridgeSettings(prefix="x:"), "7/decisions", rings.names)
    outside = ExternalSignal("far/1", "1-0", 0, Action.ENTER_LONG, 0.75, 0.0, T0)
    found = told(
        events,
        decision(1, Action.HOLD, Reason.NO_SIGNAL, "tcn"),
        decision(2, Action.ENTER_LONG, Reason.SIGNAL, "tcn", command_high=1, command_low=2),
        slot(3, SlotKind.INPUT_SIGNAL, outside),
        decision(4, Action.HOLD, Reason.KILLED, "external", input_sequence=3),
    )
    assert [stream for stream, *_ in found] == ["x:signal:out"] * 2
    first, second = (msgspec.convert(body, SignalBody) for *_, body in found)
    assert list(found[0][2]) == [
        "type", "exchange", "symbol", "ts", "strategy", "action", "confidence", "price_ref", "meta",
    ]  # fmt: skip
    assert (first.strategy, first.action, first.confidence) == ("tcn", "enter_long", 0.75)
    assert first.price_ref == 60000.0
    meta = msgspec.convert(first.meta, SignalMeta)
    assert meta.command_id == f"{1:016x}{2:016x}"
    meta = msgspec.convert(second.meta, SignalMeta)
    assert (second.action, meta.reason, meta.signal_id) == ("hold", "killed", "far/1")
