"""Kraken's private channels, `executions` and `balances`, as events of `schemas/account.py`.

Rules (docs.kraken.com/api/docs/websocket-v2/executions and /balances): later rows of an order leave
out what has not changed, so rows are merged by order_id; a `trade` row says partially_filled also
where it completes the order, and the `filled` row comes after it; fills may be told again and are
known by exec_id; each channel counts its frames by itself, and a missing number means to subscribe
it anew. Numbers keep the wire's digits; exponents are written out.

Owns the orders that are open and the fills that are known; both are bounded. No sockets, no keys.
"""

from collections import OrderedDict
from typing import Any, Final

from msgspec.structs import replace

from schemas.account import (
    AccountEvent,
    AccountGap,
    AccountState,
    BalanceChange,
    CommandAnswer,
    Fee,
    Fill,
    Liquidity,
    OrderStatus,
    OrderUpdate,
)
from schemas.errors import DecodeError
from schemas.trading import OrderSide
from venues.numbers import NumberText, as_integer, as_text, decimal_or_empty, decimal_text
from venues.times import account_time_ns

VENUE: Final = "kraken"
CHANNELS: Final = frozenset({"executions", "balances"})
ORDERS_KEPT: Final = 20_000
FILLS_KEPT: Final = 100_000
"""Ids of that many fills are remembered, the oldest forgotten first."""

_STATUSES: Final[dict[str, OrderStatus]] = {
    "pending_new": "pending",
    "new": "open",
    "triggered": "open",
    "pending_cancel": "open",
    "partially_filled": "partially_filled",
    "filled": "filled",
    "canceled": "canceled",
    "expired": "expired",
    "rejected": "rejected",
}
_LIQUIDITY: Final[dict[str, Liquidity]] = {"m": "maker", "t": "taker"}
_SIDES: Final[dict[str, OrderSide]] = {"buy": "buy", "sell": "sell"}
_OF_A_FILL: Final = frozenset(
    {"exec_id", "trade_id", "last_qty", "last_price", "cost", "liquidity_ind", "fees", "exec_type"}
)
"""Fields that belong to one row and not to the order."""


class KrakenAccount:
    """One private connection's state."""

    def __init__(self) -> None:
        self._orders: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._fills: OrderedDict[str, None] = OrderedDict()
        self._sequence: dict[str, int] = {}

    def open(self) -> None:
        """Begin a connection: sequences anew; orders and fills stay known."""
        self._sequence.clear()

    def take(self, message: dict[str, Any]) -> list[AccountEvent]:
        """The events of one frame of a private channel, parsed with `venues.numbers.parse_exact`.

        Raises:
            DecodeError, KeyError, TypeError: the frame is not as it must be; nothing was taken.
        """
        channel, rows = message["channel"], message["data"]
        if channel not in CHANNELS or not isinstance(rows, list):
            raise DecodeError(f"{channel!r} is no private channel's frame")
        is_snapshot = message.get("type") == "snapshot"
        # All is parsed before anything is taken: of a bad frame not even the number, so that the
        # next one shows a gap and the channel is subscribed anew.
        executions = self._parsed_executions(rows) if channel == "executions" else []
        balances = (
            [change for row in rows for change in self._balances(row, is_snapshot=is_snapshot)]
            if channel == "balances"
            else []
        )
        gap = self._advance(channel, message.get("sequence"), is_snapshot=is_snapshot)
        events: list[AccountEvent] = [gap] if gap is not None else []
        for row, fill in executions:
            events += self._take_execution(row, fill, is_snapshot=is_snapshot)
        return [*events, *balances]

    def _advance(self, channel: str, number: Any, *, is_snapshot: bool) -> AccountGap | None:
        """Check a channel's count; a snapshot, and the first frame, begins it anew."""
        if number is None:
            return None
        sequence = as_integer(number)
        last = self._sequence.get(channel)
        self._sequence[channel] = sequence
        if last is None or is_snapshot or sequence == last + 1:
            return None
        return AccountGap(venue=VENUE, channel=channel, expected=last + 1, found=sequence)

    # ---- executions

    def _parsed_executions(self, rows: list[Any]) -> list[tuple[dict[str, Any], Fill | None]]:
        """All rows with their fills, so that a bad one is found before any is taken."""
        merged: dict[str, dict[str, Any]] = {}
        parsed = []
        for row in rows:
            order_id = _text(row["order_id"])
            known = merged.get(order_id) or self._orders.get(order_id, {})
            order = merged[order_id] = known | row
            _status(order)
            self._order_update(order, row, is_snapshot=False)
            parsed.append((row, self._fill(order, row) if "exec_id" in row else None))
        return parsed

    def _take_execution(
        self, row: dict[str, Any], fill: Fill | None, *, is_snapshot: bool
    ) -> list[AccountEvent]:
        order_id = _text(row["order_id"])
        order = self._orders.get(order_id, {}) | {
            key: value for key, value in row.items() if key not in _OF_A_FILL
        }
        events: list[AccountEvent] = []
        if fill is not None:
            if fill.fill_id in self._fills:
                return []  # told before
            self._fills[fill.fill_id] = None
            if len(self._fills) > FILLS_KEPT:
                self._fills.popitem(last=False)
            events.append(replace(fill, is_snapshot=is_snapshot))
        update = self._order_update(order, row, is_snapshot=is_snapshot)
        if update.is_final and row.get("exec_type") != "trade":
            self._orders.pop(order_id, None)
        else:
            self._orders[order_id] = order
            self._orders.move_to_end(order_id)
            if len(self._orders) > ORDERS_KEPT:
                self._orders.popitem(last=False)
        return [*events, update]

    def _order_update(
        self, order: dict[str, Any], row: dict[str, Any], *, is_snapshot: bool
    ) -> OrderUpdate:
        status, status_text = _status(order)
        return OrderUpdate(
            venue=VENUE,
            order_id=_text(order["order_id"]),
            symbol=_text(order.get("symbol", "")),
            status=status,
            status_text=status_text,
            client_order_id=_text(order.get("cl_ord_id", "")),
            side=_SIDES.get(_text(order.get("side", "")), ""),
            order_type=_text(order.get("order_type", "")),
            quantity=decimal_or_empty(order.get("order_qty")),
            filled_quantity=decimal_or_empty(order.get("cum_qty")),
            limit_price=decimal_or_empty(order.get("limit_price")),
            stop_price=decimal_or_empty(order.get("stop_price")),
            average_price=decimal_or_empty(order.get("avg_price")),
            time_in_force=_text(order.get("time_in_force", "")),
            post_only=order.get("post_only") is True,
            reduce_only=order.get("reduce_only") is True,
            event=_text(row.get("exec_type", "")),
            reason=_text(row.get("reason", "")),
            time_ns=self._time(row),
            is_snapshot=is_snapshot,
        )

    def _fill(self, order: dict[str, Any], row: dict[str, Any]) -> Fill:
        trade_id = row.get("trade_id")
        fees = row.get("fees", [])
        return Fill(
            venue=VENUE,
            fill_id=_text(row["exec_id"]),
            order_id=_text(row["order_id"]),
            symbol=_text(order.get("symbol", "")),
            side=_SIDES.get(_text(order.get("side", "")), ""),
            price=decimal_text(row["last_price"]),
            quantity=decimal_text(row["last_qty"]),
            client_order_id=_text(order.get("cl_ord_id", "")),
            trade_id="" if trade_id is None else str(as_integer(trade_id)),
            fees=tuple(
                Fee(asset=_text(fee["asset"]), amount=decimal_text(fee["qty"])) for fee in fees
            ),
            liquidity=_LIQUIDITY.get(_text(row.get("liquidity_ind", "")), ""),
            time_ns=self._time(row),
        )

    # ---- balances

    def _balances(self, row: dict[str, Any], *, is_snapshot: bool) -> list[BalanceChange]:
        """A snapshot's row has a balance for each wallet, an update's one ledger event."""
        asset = _text(row["asset"])
        wallets = row.get("wallets")
        if wallets:
            return [
                BalanceChange(
                    venue=VENUE,
                    asset=asset,
                    balance=decimal_text(wallet["balance"]),
                    wallet=f"{_text(wallet['type'])}:{_text(wallet['id'])}",
                    is_snapshot=is_snapshot,
                )
                for wallet in wallets
            ]
        wallet = [_text(row.get(key, "")) for key in ("wallet_type", "wallet_id")]
        return [
            BalanceChange(
                venue=VENUE,
                asset=asset,
                balance=decimal_text(row["balance"]),
                wallet=":".join(wallet) if any(wallet) else "",
                change=decimal_or_empty(row.get("amount")),
                fee=decimal_or_empty(row.get("fee")),
                cause=_text(row.get("type", "")),
                change_id=_text(row.get("ledger_id", "")),
                reference=_text(row.get("ref_id", "")),
                time_ns=self._time(row),
                is_snapshot=is_snapshot,
            )
        ]

    def _time(self, row: dict[str, Any]) -> int:
        return account_time_ns(row["timestamp"]) if "timestamp" in row else 0

    # ---- answers

    def take_reply(self, message: dict[str, Any]) -> AccountEvent:
        """The answer to a private subscription or a trading command.

        Raises:
            DecodeError, TypeError: it is not as it must be.
        """
        method, accepted = _text(message["method"]), message.get("success") is True
        result = message.get("result") or {}
        text = _text(message.get("error", ""))
        answered_ns = account_time_ns(message["time_out"]) if "time_out" in message else 0
        if method in {"subscribe", "unsubscribe"}:
            live = accepted and method == "subscribe"
            channel = _text(result.get("channel", ""))
            return AccountState(venue=VENUE, channel=channel, live=live, text=text)
        number = message.get("req_id")
        return CommandAnswer(
            venue=VENUE,
            command=method,
            accepted=accepted,
            request_id="" if number is None else str(as_integer(number)),
            order_id=_text(result.get("order_id", "")),
            client_order_id=_text(result.get("cl_ord_id", "")),
            code=text.partition(":")[0] if text.startswith("E") and ":" in text else "",
            text=text,
            warnings=tuple(_text(each) for each in result.get("warnings", ())),
            time_ns=answered_ns,
        )

    def take_batch(self, message: dict[str, Any]) -> list[CommandAnswer]:
        """The answer to a batch of orders that was taken: one for each order, in their order.

        Raises:
            DecodeError, KeyError, TypeError: it is not as it must be.
        """
        answers = []
        for row in message["result"]:
            error = _text(row.get("error") or "")
            one = self.take_reply({**message, "result": row, "success": not error, "error": error})
            assert isinstance(one, CommandAnswer)
            answers.append(one)
        return answers


def _text(value: Any) -> str:
    """A text as it came, a number as its digits.

    Raises:
        DecodeError: it is something else.
    """
    return value.text if isinstance(value, NumberText) else as_text(value)


def _status(order: dict[str, Any]) -> tuple[OrderStatus, str]:
    """Our word and the venue's: `order_status`, or what the last event makes of the order."""
    text = _text(order.get("order_status") or order.get("exec_type", ""))
    return _STATUSES.get(text, "unknown"), text
