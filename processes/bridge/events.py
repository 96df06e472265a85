"""Decision slots to bodies of `signal:out` and `order:events`.

Of our own decisions those that act are signals; of outside signals each one is, denied or not,
since whoever sent it wants its outcome. What an order is of is remembered from its ORDER slot: the
events of a broker name nothing but its id.
"""

from collections import OrderedDict
from typing import Final, TypeVar

import msgspec
import numpy as np

from processes.bridge.entries import Entry, Names, body, head
from schemas.decisions import NUMBERS, STRATEGIES, SlotKind
from schemas.settings import BridgeSettings
from schemas.streams import (
    ORDER_EVENTS,
    SIGNAL_OUT,
    FillData,
    OrderData,
    SignalBody,
    SignalMeta,
)
from schemas.trading import (
    Action,
    BrokerEvent,
    ExternalSignal,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderNew,
    OrderRejected,
    OrderUnknown,
    Reason,
)

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
REMEMBERED: Final = 10_000
"""Orders, and outside signals, of which more may come."""
_EXTERNAL: Final = STRATEGIES.index("external")
_CONFIDENCE, _QUANTITY = NUMBERS.index("confidence"), NUMBERS.index("quantity")
_STATES: Final[dict[type, str]] = {
    OrderAccepted: "accepted",
    OrderCanceled: "canceled",
    OrderRejected: "rejected",
    OrderExpired: "expired",
    OrderUnknown: "unknown",
}
_MESSAGES: Final = (SlotKind.ORDER, SlotKind.INPUT_BROKER, SlotKind.INPUT_SIGNAL)


class Events:
    """The decisions ring as entries."""

    def __init__(self, settings: BridgeSettings, source: str, names: Names) -> None:
        self._source = source
        self._names = names
        self._orders: OrderedDict[str, OrderNew] = OrderedDict()
        self._signals: OrderedDict[int, ExternalSignal] = OrderedDict()
        self._signal = (settings.prefix + SIGNAL_OUT, settings.lengths.signal)
        self._order = (settings.prefix + ORDER_EVENTS, settings.lengths.order)
        self.streams = {"signal": self._signal, "order": self._order}
        """Name and length of each stream that this ring feeds."""
        self._encoder = msgspec.json.Encoder()
        self._broker = msgspec.msgpack.Decoder(BrokerEvent)
        self._new = msgspec.msgpack.Decoder(OrderNew)
        self._outside = msgspec.msgpack.Decoder(ExternalSignal)

    def entries(self, slots: np.ndarray) -> list[Entry]:
        """The entries of these slots, in their order; what they tell of orders is remembered."""
        kinds = slots["kind"]
        acts = (slots["action"] != Action.HOLD) | (slots["strategy"] == _EXTERNAL)
        wanted = np.isin(kinds, _MESSAGES) | ((kinds == SlotKind.DECISION) & acts)
        made = []
        for slot in slots[wanted]:
            said = self._told(slot)
            if said is not None:
                (stream, length), text = said
                made.append(Entry(stream, length, f"{self._source}/{slot['sequence']}", text))
        return made

    def _told(self, slot: np.void) -> tuple[tuple[str, int], bytes] | None:
        kind = int(slot["kind"])
        if kind == SlotKind.DECISION:
            return self._signal, self._decision(slot)
        message = slot["message"].tobytes()[: int(slot["message_length"])]
        if kind == SlotKind.INPUT_SIGNAL:
            _remember(self._signals, int(slot["sequence"]), self._outside.decode(message))
            return None
        time_ns = int(slot["time_ns"])
        if kind == SlotKind.ORDER:
            order = self._new.decode(message)
            _remember(self._orders, order.command_id, order)
            return self._order, self._state(order.command_id, "new", time_ns)
        event = self._broker.decode(message)
        if isinstance(event, OrderFilled):
            return self._order, self._fill(event)
        state = _STATES.get(type(event))
        if state is None or not hasattr(event, "command_id"):
            return None
        more = {name: getattr(event, name, "") for name in ("text", "venue_order_id")}
        return self._order, self._state(event.command_id, state, event.time_ns, **more)

    def _decision(self, slot: np.void) -> bytes:
        item = self._names.of(int(slot["instrument"]))
        number = f"{int(slot['command_high']):016x}{int(slot['command_low']):016x}"
        signal = self._signals.get(int(slot["input_sequence"]))
        numbers, price = slot["numbers"], float(slot["reference_price"])
        meta = SignalMeta(
            reason=Reason(int(slot["reason"])).name.lower(),
            quantity=float(numbers[_QUANTITY]),
            command_id=number if int(number, 16) else "",
            signal_id=signal.id if signal else "",
        )
        return self._encoder.encode(
            SignalBody(
                type="signal",
                exchange=item.venue,
                symbol=item.symbol,
                ts=int(slot["time_ns"]) // 1_000_000,
                strategy=STRATEGIES[int(slot["strategy"])],
                action=Action(int(slot["action"])).name.lower(),  # type: ignore[arg-type]
                confidence=min(max(float(numbers[_CONFIDENCE]), 0.0), 1.0),
                price_ref=price if price > 0.0 else None,
                meta=msgspec.structs.asdict(meta),
            )
        )

    def _begin(self, kind: str, order: OrderNew | None) -> bytes:
        if order is None:
            return head(kind, "", "")
        item = self._names.of(order.instrument)
        return head(kind, item.venue, item.symbol)

    def _state(
        self, command_id: str, state: str, time_ns: int, text: str = "", venue_order_id: str = ""
    ) -> bytes:
        order = self._orders.get(command_id)
        data = OrderData(
            command_id=command_id,
            state=state,  # type: ignore[arg-type]
            side=order.side if order else "",
            quantity=order.quantity if order else "",
            strategy=order.strategy if order else "",
            venue_order_id=venue_order_id,
            text=text,
        )
        return body(self._begin("order", order), time_ns, self._encoder.encode(data))

    def _fill(self, event: OrderFilled) -> bytes:
        order = self._orders.get(event.command_id)
        data = FillData(
            command_id=event.command_id,
            fill_id=event.fill_id,
            side=order.side if order else "",
            price=event.price,
            quantity=event.quantity,
            fee=event.fee,
            fee_currency=event.fee_currency,
        )
        return body(self._begin("fill", order), event.time_ns, self._encoder.encode(data))


def _remember(table: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    table[key] = value
    while len(table) > REMEMBERED:
        table.popitem(last=False)
