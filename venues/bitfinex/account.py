"""The account channel: frames of channel 0 to events of `schemas/account.py`.

Owns both sequences of an authenticated connection and the ids of fills that were told. Source: the
authenticated channels of docs.bitfinex.com, and for what the page leaves open the venue's own
clients (bitfinex-api-py for fields, bitfinex-api-node for numbers):

    [0, TYPE, PAYLOAD, PUBLIC, ACCOUNT]      every frame but these two
    [0, "hb", PUBLIC]
    [0, "n", PAYLOAD, ACCOUNT]               a notification whose type ends in -req
    and a time behind or between them with the TIMESTAMP flag: it is known by its size

A fill is told once, by `tu`, which alone has the fee; what never gets one is not told at all: the
order's update says that something was filled, and REST knows the fee. PUBLIC counts the array
frames of the connection, channels of market data included. ACCOUNT counts the frames of channel 0;
a notification repeats the last number, and 0 means that the venue is still gathering. Arrays grow
and have nulls: nothing here counts on a length.
"""

from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from schemas.account import (
    AccountEvent,
    AccountFigures,
    AccountGap,
    AccountState,
    BalanceChange,
    CommandAnswer,
    Fee,
    Fill,
    FundingChange,
    OrderStatus,
    OrderUpdate,
    PositionChange,
    plain_decimal,
)
from schemas.errors import DecodeError
from schemas.trading import OrderSide
from venues.bitfinex.subscriptions import FLAG_SEQUENCE
from venues.codec import BAD_FRAME_ERRORS
from venues.numbers import NumberText, as_integer, as_number, parse_exact

VENUE: Final = "bitfinex"
FAILURE: Final = "FAILURE"
"""The code of an answer that says so: not a refusal, and nobody knows what was done."""
_FILLS_MAX: Final = 4096
_AMOUNT_DECIMALS: Final = 8
_TIME_MIN: Final = 1_000_000_000_000
_SECONDS_MAX, _TIME_MAX = 100_000_000_000, 1_000_000_000_000_000
"""A time below the first is in seconds; milliseconds would be of 1973."""
_POST_ONLY, _REDUCE_ONLY = 4096, 1024
_REFUSED_KEYS: Final = frozenset({10100, 10111, 10112, 10113})
"""Key, payload, signature, encryption; 10114, a nonce too small, passes with the next nonce."""
_ANNOUNCEMENTS: Final = {
    20051: "the venue's server restarts",
    20060: "maintenance: orders are not reliable",
    20061: "maintenance ended: connect anew",
}
_FUNDING_SIDES: Final[dict[int, Literal["lend", "borrow", ""]]] = {1: "lend", -1: "borrow"}
"""By the sign of an amount or a side."""
_STATUSES: Final[tuple[tuple[str, OrderStatus], ...]] = (
    ("ACTIVE", "open"),
    ("PARTIALLY FILLED", "partially_filled"),
    ("EXECUTED", "filled"),
    ("FORCED EXECUTED", "filled"),
    ("CANCELED", "canceled"),
    ("POSTONLY CANCELED", "canceled"),
    ("IOC CANCELED", "canceled"),
    ("FILLORKILL CANCELED", "canceled"),
    ("EXPIRED", "expired"),
    ("CLOSED (EXPIRED)", "expired"),
    ("CLOSED", "canceled"),
    ("INSUFFICIENT", "rejected"),
    ("RSN_", "rejected"),
)
"""How a status begins; details stand behind: `PARTIALLY FILLED @ 107.6(-0.2)`."""


class Row:
    """A record's fields by their places; what is null or not there is empty."""

    def __init__(self, fields: Any) -> None:
        if not isinstance(fields, list):
            raise DecodeError(f"{str(fields)[:100]} is no record")
        self._fields = fields

    def __bool__(self) -> bool:
        return bool(self._fields)

    def value(self, at: int) -> Any:
        """The field as it came, or None."""
        return self._fields[at] if at < len(self._fields) else None

    def text(self, at: int) -> str:
        """A text."""
        value = self.value(at)
        if isinstance(value, NumberText):
            return value.text
        return value if isinstance(value, str) else ""

    def number(self, at: int) -> Decimal | None:
        """A number, exactly as written, which some fields have as a text."""
        value = self.value(at)
        if value is None or value == "":
            return None
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return Decimal(value)  # of an answer over REST
        return Decimal(plain_decimal(value) if isinstance(value, str) else as_number(value).text)

    def decimal(self, at: int) -> str:
        """A number as plain decimal text."""
        number = self.number(at)
        return "" if number is None else plain_decimal(str(number))

    def size(self, at: int) -> str:
        """A number without its sign."""
        return self.decimal(at).removeprefix("-")

    def amount(self, at: int) -> Decimal | None:
        """An amount without its sign: eight decimals, and what lies below is a double's artefact.

        Such as 0.053312790000000006, seen in candles: taken for a fill, it would be asked for for
        ever.
        """
        number = self.number(at)
        if number is None:
            return None
        exponent = number.as_tuple().exponent
        is_long = isinstance(exponent, int) and exponent < -_AMOUNT_DECIMALS
        return abs(round(number, _AMOUNT_DECIMALS) if is_long else number)

    def amount_text(self, at: int) -> str:
        """An amount as plain decimal text."""
        amount = self.amount(at)
        return "" if amount is None else plain_decimal(str(amount))

    def key(self, at: int) -> str:
        """An id."""
        number = self.number(at)
        if number is None:
            return ""
        if number != int(number):
            raise DecodeError(f"{number} is no id")
        return str(int(number))

    def time_ns(self, at: int) -> int:
        """A time in ms, which can have a fraction."""
        number = self.number(at) or Decimal(0)
        if not 0 <= number < _TIME_MAX:
            raise DecodeError(f"{number} is no time")
        return int(number * 1_000_000)

    def told_ns(self, at: int) -> int:
        """A notification's time: in ms, or in seconds with a fraction."""
        number = self.number(at) or Decimal(0)
        return self.time_ns(at) * (1000 if number < _SECONDS_MAX else 1)

    def sign(self, at: int) -> int:
        """-1, 0 or 1."""
        number = self.number(at)
        return 0 if not number else 1 if number > 0 else -1

    def side(self, at: int) -> OrderSide | Literal[""]:
        """The side that a signed amount says."""
        sides: dict[int, OrderSide] = {1: "buy", -1: "sell"}
        return sides.get(self.sign(at), "")


class AccountDecoder:
    """The events of one authenticated connection; give it every frame of the connection."""

    def __init__(self) -> None:
        self.unknown = 0
        """Account frames of a type that is not known here."""
        self.uncounted = 0
        """Frames whose numbers were not those that the flags promise."""
        self._flags = 0
        self._public = 0
        self._account = 0
        self._told: OrderedDict[str, None] = OrderedDict()
        self._takers: dict[str, Callable[[str, Any], list[AccountEvent]]] = {
            **dict.fromkeys(("os", "on", "ou", "oc"), self._orders),
            **dict.fromkeys(("ps", "pn", "pu", "pc"), self._positions),
            **dict.fromkeys(("te", "tu"), self._fills),
            **dict.fromkeys(("ws", "wu"), self._wallets),
            **dict.fromkeys(("fos", "fon", "fou", "foc"), self._offers),
            **dict.fromkeys(("fcs", "fcn", "fcu", "fcc"), self._loans),
            **dict.fromkeys(("fls", "fln", "flu", "flc"), self._loans),
            "bu": self._balance,
            "miu": self._margin,
            "fiu": self._funding,
            "n": self._notification,
        }

    def open(self) -> None:
        """A new connection: no flags and no numbers yet; what was told stays told."""
        self._flags = self._public = self._account = 0

    def take(self, frame: bytes) -> list[AccountEvent]:
        """The events of one frame, a gap before it first.

        Raises:
            DecodeError: the frame is not as any of the venue's; its numbers were taken all the
                same, and the next frame is as good as ever.
        """
        try:
            if frame[:1] != b"[":
                return self._event(msgspec.json.decode(frame, type=dict[str, Any]))
            values = parse_exact(frame)
            gaps = self._count(values)
            if as_integer(values[0]) != 0 or values[1] == "hb":
                return gaps
            return gaps + self._account_frame(values)
        except (*BAD_FRAME_ERRORS, ArithmeticError) as error:
            raise DecodeError(f"{error or type(error).__name__}: {frame[:200]!r}") from None

    # ---- numbers

    def _count(self, values: list[Any]) -> list[AccountEvent]:
        """Check a frame's numbers, and note them."""
        if len(values) < 2:
            raise DecodeError("a frame has a channel and a payload")
        tag = values[1] if isinstance(values[1], str) else ""
        tail = [as_integer(value) for value in values[3 if tag and tag != "hb" else 2 :]]
        numbers = [number for number in tail if number < _TIME_MIN]
        if not self._flags & FLAG_SEQUENCE:
            return []
        is_account = as_integer(values[0]) == 0 and tag != "hb"
        is_request = is_account and tag == "n" and _is_request(values)
        wanted = 1 if is_request or not is_account else 2
        if len(numbers) != wanted:
            self.uncounted += 1
            return []
        gaps = [] if is_request else self._count_public(numbers[0])
        return gaps + (self._count_account(tag, numbers[-1]) if is_account else [])

    def _count_public(self, number: int) -> list[AccountEvent]:
        expected, self._public = self._public + 1, number
        if expected in {1, number}:
            return []
        return [AccountGap(venue=VENUE, channel="", expected=expected, found=number)]

    def _count_account(self, tag: str, number: int) -> list[AccountEvent]:
        if number == 0:
            return []
        last, self._account = self._account, number
        expected = last if tag == "n" else last + 1
        if last == 0 or number == expected:
            return []
        return [AccountGap(venue=VENUE, channel="account", expected=expected, found=number)]

    # ---- events

    def _event(self, event: dict[str, Any]) -> list[AccountEvent]:
        name, text = event.get("event"), str(event.get("msg", ""))
        good = event.get("status") == "OK"
        if name == "conf" and good:
            self._flags = int(event.get("flags", 0))
        elif name == "auth":
            permanent = not good and int(event.get("code", 0)) in _REFUSED_KEYS
            return [_state(live=good, permanent=permanent, text=text)]
        elif name == "error":
            code = str(event.get("code", ""))
            return [CommandAnswer(venue=VENUE, command="", accepted=False, code=code, text=text)]
        elif name == "unauth" and good:
            return [_state(live=False, text="the connection is authenticated no longer")]
        elif name == "info" and event.get("code") in _ANNOUNCEMENTS:
            return [_state(live=False, text=_ANNOUNCEMENTS[event["code"]])]
        return []

    def _account_frame(self, values: list[Any]) -> list[AccountEvent]:
        tag = values[1]
        take = self._takers.get(tag) if isinstance(tag, str) else None
        if take is None:
            self.unknown += 1
            return []
        return take(tag, values[2])

    def _orders(self, tag: str, payload: Any) -> list[AccountEvent]:
        return [order_update(row, tag) for row in _rows(tag, payload)]

    def _positions(self, tag: str, payload: Any) -> list[AccountEvent]:
        return [_position(row, tag) for row in _rows(tag, payload)]

    def _wallets(self, tag: str, payload: Any) -> list[AccountEvent]:
        return [_wallet(row, tag) for row in _rows(tag, payload)]

    def _offers(self, tag: str, payload: Any) -> list[AccountEvent]:
        return [_offer(row, tag) for row in _rows(tag, payload)]

    def _loans(self, tag: str, payload: Any) -> list[AccountEvent]:
        return [_loan(row, tag) for row in _rows(tag, payload)]

    def _fills(self, tag: str, payload: Any) -> list[AccountEvent]:
        """A fill is told once: with its confirmation, which has the fee."""
        fill = fill_of(Row(payload))
        if tag == "te" or fill.fill_id in self._told:
            return []
        self._told[fill.fill_id] = None
        if len(self._told) > _FILLS_MAX:
            self._told.popitem(last=False)
        return [fill]

    def _balance(self, _: str, payload: Any) -> list[AccountEvent]:
        return [_figures("balance", Row(payload), ("assets", "assets_net"))]

    def _margin(self, _: str, payload: Any) -> list[AccountEvent]:
        row = Row(payload)
        if row.text(0) == "base":
            base = ("profit", "swaps", "margin_balance", "margin_net", "margin_required")
            return [_figures("margin", Row(row.value(1)), base)]
        of_symbol = ("tradable", "gross", "buy", "sell")
        return [_figures(f"margin:{row.text(1)}", Row(row.value(2)), of_symbol)]

    def _funding(self, _: str, payload: Any) -> list[AccountEvent]:
        row = Row(payload)
        names = ("yield_loan", "yield_lend", "duration_loan", "duration_lend")
        return [_figures(f"funding:{row.text(1)}", Row(row.value(2)), names)]

    def _notification(self, _: str, payload: Any) -> list[AccountEvent]:
        row = Row(payload)
        command = row.text(1)
        data = row.value(4)
        if command == "ox_multi-req" and isinstance(data, list):
            # One of several, each of them a notification itself.
            parts = [part for part in data if isinstance(part, list) and Row(part).text(1)]
            return [answer for part in parts for answer in self._notification("n", part)]
        while isinstance(data, list) and data and isinstance(data[0], list):
            data = data[0]  # of several orders the first
        is_order = isinstance(data, list) and command.startswith("o")
        order = Row(data) if is_order else Row([])
        return [
            CommandAnswer(
                venue=VENUE,
                command=command,
                accepted=row.text(6) not in {"ERROR", FAILURE},
                request_id=row.text(2),
                order_id=order.text(0),
                client_order_id=order.text(2),
                code=row.text(5) or (FAILURE if row.text(6) == FAILURE else ""),
                text=row.text(7),
                time_ns=row.told_ns(0),
            )
        ]


def _rows(tag: str, payload: Any) -> list[Row]:
    """The records of a frame: many of a snapshot, else one."""
    if not tag.endswith("s"):
        return [Row(payload)]
    if not isinstance(payload, list):
        raise DecodeError(f"{tag} without a list")
    return [row for row in map(Row, payload) if row]


def _is_request(values: list[Any]) -> bool:
    """Whether a notification answers a command."""
    payload = values[2] if len(values) > 2 else None
    return isinstance(payload, list) and Row(payload).text(1).endswith("-req")


def _state(*, live: bool, permanent: bool = False, text: str) -> AccountState:
    return AccountState(venue=VENUE, channel="", live=live, permanent=permanent, text=text)


def _status(text: str) -> OrderStatus:
    """What a status text begins with."""
    word = text.upper()
    return next((status for prefix, status in _STATUSES if word.startswith(prefix)), "unknown")


def _closed_status(text: str) -> OrderStatus:
    """Of what has ended: whatever its words, it can go on no more."""
    status = _status(text)
    return status if status in {"filled", "expired", "rejected"} else "canceled"


def order_update(row: Row, tag: str) -> OrderUpdate:
    """An order's record; `os` of one that rests, `oc` of one that is over."""
    kind, text = row.text(8), row.text(13)
    status = _closed_status(text) if tag == "oc" else _status(text)
    if status == "open" and "STOP" in kind:
        status = "pending"
    ordered, remaining = row.amount(7), row.amount(6)
    filled = ""
    if ordered is not None and remaining is not None:
        filled = plain_decimal(str(ordered - remaining))
        if status == "rejected" and remaining < ordered:
            status = "canceled"  # what was filled of it stands
    flags = int(row.number(12) or 0)
    stops, is_market = "STOP" in kind, "MARKET" in kind
    limit = (
        row.decimal(19) if "STOP LIMIT" in kind else "" if stops or is_market else row.decimal(16)
    )
    force = next((word for word in ("IOC", "FOK") if kind.endswith(word)), "")
    return OrderUpdate(
        venue=VENUE,
        order_id=row.key(0),
        symbol=row.text(3),
        status=status,
        status_text=text,
        client_order_id=row.key(2),
        side=row.side(7) or row.side(6),
        order_type=kind,
        quantity=row.amount_text(7),
        filled_quantity=filled,
        limit_price=limit,
        stop_price=row.decimal(16) if stops else "",
        average_price=row.decimal(17) if row.number(17) else "",
        time_in_force=force or ("GTD" if row.value(10) else ""),
        post_only=bool(flags & _POST_ONLY),
        reduce_only=bool(flags & _REDUCE_ONLY),
        event=tag,
        time_ns=row.time_ns(5),
        created_ns=row.time_ns(4),
        is_snapshot=tag == "os",
    )


def fill_of(row: Row) -> Fill:
    """An execution's record."""
    fee = row.decimal(9)
    makers: dict[int, Literal["maker", "taker", ""]] = {1: "maker", -1: "taker"}
    # The venue's fee is what it adds to the balance: negative is what we paid.
    amount = fee.removeprefix("-") if fee.startswith("-") or not row.number(9) else f"-{fee}"
    paid = (Fee(asset=row.text(10), amount=amount),) if fee else ()
    return Fill(
        venue=VENUE,
        fill_id=row.key(0),
        order_id=row.key(3),
        symbol=row.text(1),
        side=row.side(4),
        price=row.decimal(5),
        quantity=row.amount_text(4),
        client_order_id=row.key(11),
        fees=paid,
        liquidity=makers.get(row.sign(8), ""),
        time_ns=row.time_ns(2),
    )


def _wallet(row: Row, tag: str) -> BalanceChange:
    details = row.value(6) if isinstance(row.value(6), dict) else {}
    order = details.get("order_id")
    return BalanceChange(
        venue=VENUE,
        asset=row.text(1),
        balance=row.decimal(2),
        wallet=row.text(0),
        available=row.decimal(4),
        cause=str(details.get("reason") or row.text(5)),
        reference=str(as_integer(order)) if isinstance(order, NumberText) else "",
        is_snapshot=tag == "ws",
    )


def _position(row: Row, tag: str) -> PositionChange:
    text = row.text(1)
    closed = tag == "pc" or text.upper().startswith("CLOSED")
    return PositionChange(
        venue=VENUE,
        symbol=row.text(0),
        status="closed" if closed else "open",
        status_text=text,
        side=row.side(2),
        quantity=row.size(2),
        position_id=row.key(11),
        average_price=row.decimal(3),
        profit=row.decimal(6),
        liquidation_price=row.decimal(8),
        leverage=row.decimal(9),
        time_ns=row.time_ns(13),
        is_snapshot=tag == "ps",
    )


def _offer(row: Row, tag: str) -> FundingChange:
    text = row.text(10)
    return FundingChange(
        venue=VENUE,
        kind="offer",
        funding_id=row.key(0),
        symbol=row.text(1),
        status=_closed_status(text) if tag == "foc" else _status(text),
        status_text=text,
        side=_FUNDING_SIDES.get(row.sign(5) or row.sign(4), ""),
        amount=row.size(4),
        original_amount=row.size(5),
        rate=row.decimal(14),
        period_days=int(row.key(15) or 0),
        time_ns=row.time_ns(3),
        created_ns=row.time_ns(2),
        is_snapshot=tag == "fos",
    )


def _loan(row: Row, tag: str) -> FundingChange:
    text = row.text(7)
    return FundingChange(
        venue=VENUE,
        kind="credit" if tag.startswith("fc") else "loan",
        funding_id=row.key(0),
        symbol=row.text(1),
        status=_closed_status(text) if tag in {"fcc", "flc"} else _status(text),
        status_text=text,
        side=_FUNDING_SIDES.get(row.sign(2), ""),
        amount=row.size(5),
        rate=row.decimal(11),
        period_days=int(row.key(12) or 0),
        time_ns=row.time_ns(4),
        created_ns=row.time_ns(3),
        is_snapshot=tag in {"fcs", "fls"},
    )


def _figures(scope: str, row: Row, names: tuple[str, ...]) -> AccountFigures:
    """Sums by name; null ones are left out."""
    figures = {name: row.decimal(at) for at, name in enumerate(names) if row.value(at) is not None}
    return AccountFigures(venue=VENUE, scope=scope, figures=figures)
