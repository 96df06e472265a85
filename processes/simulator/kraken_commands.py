"""Trading methods of Kraken's private WebSocket, from a request's parameters to its answers.

Every order that a request names is answered by itself; so does a cancel of three orders have three
answers. What is not served (triggers, iceberg, cash quantities, margin) is refused. Source:
pages add_order, amend_order, edit_order, cancel_order, cancel_all, cancel_all_orders_after,
batch_add and batch_cancel of Spot WebSocket v2.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from processes.simulator.account import Account
from processes.simulator.delivery import Command
from processes.simulator.kraken_books import order_text
from processes.simulator.kraken_desk import ARGUMENTS, KrakenDesk, Wanted
from processes.simulator.kraken_executions import names
from processes.simulator.kraken_session import MALFORMED, RefusalError
from processes.simulator.numbers import time_text
from processes.simulator.orders import AccountOrder

COMMANDS: dict[object, Command | None] = {
    "add_order": "order",
    "batch_add": "order",
    "amend_order": "amend",
    "edit_order": "amend",
    "cancel_order": "cancel",
    "cancel_all": "cancel",
    "batch_cancel": "cancel",
    "cancel_all_orders_after": None,
}
"""Methods, and which kind of command each is; keeping a timer alive is none."""
NOT_SERVED = (
    "triggers", "conditional", "cash_order_qty", "display_qty", "margin", "effective_time",
)  # fmt: skip
BATCH_ADD = (2, 15)
BATCH_CANCEL = (2, 50)
DEADLINE_NS = (500_000_000, 60 * 10**9)
LATE = "EService:Deadline elapsed"


class Answer(Struct, kw_only=True):
    """One reply: a result or an error, and what stands beside them."""

    result: Any = None
    error: str = ""
    beside: dict[str, Any] = {}


class KrakenCommands:
    """The methods, before the desk."""

    def __init__(self, desk: KrakenDesk) -> None:
        self._desk = desk
        self._methods = {
            "add_order": self._add,
            "batch_add": self._batch_add,
            "amend_order": self._amend,
            "edit_order": self._edit,
            "cancel_order": self._cancel,
            "cancel_all": self._cancel_all,
            "batch_cancel": self._batch_cancel,
            "cancel_all_orders_after": self._cancel_after,
        }

    def carry_out(self, account: Account, request: dict[str, Any], now_ns: int) -> list[Answer]:
        """Do what is asked for; the answers in order."""
        params = request["params"]
        try:
            check_deadline(params, now_ns)
            return self._methods[request["method"]](account, params, now_ns)
        except RefusalError as refusal:
            return [Answer(error=str(refusal))]

    # ---- orders

    def _add(self, account: Account, params: dict[str, Any], now_ns: int) -> list[Answer]:
        validate = _flag(params, "validate")
        order = self._desk.place(account, _wanted(params), now_ns, validate=validate)
        return [Answer(result={} if order is None else names(order))]

    def _batch_add(self, account: Account, params: dict[str, Any], now_ns: int) -> list[Answer]:
        """All are looked at before any is taken; for want of funds one can fail by itself."""
        orders = params.get("orders")
        if not isinstance(orders, list) or not all(isinstance(each, dict) for each in orders):
            raise RefusalError(MALFORMED)
        if not BATCH_ADD[0] <= len(orders) <= BATCH_ADD[1]:
            raise RefusalError(f"{ARGUMENTS}:orders")
        wanted = [_wanted({**each, "symbol": params.get("symbol")}) for each in orders]
        for each in wanted:
            self._desk.place(account, each, now_ns, validate=True)
        if _flag(params, "validate"):
            return [Answer(result=[{} for _ in wanted])]
        rows: list[dict[str, Any]] = []
        for each in wanted:
            try:
                order = self._desk.place(account, each, now_ns)
                assert order is not None
                rows.append(names(order))
            except RefusalError as refusal:
                rows.append({"error": str(refusal), "cl_ord_id": each.client_id or ""})
        return [Answer(result=rows)]

    def _amend(self, account: Account, params: dict[str, Any], now_ns: int) -> list[Answer]:
        order = self._named(account, params)
        amend_id = self._desk.amend(
            account, order, now_ns, quantity=_number(params, "order_qty"),
            price=_number(params, "limit_price"), post_only=_flag(params, "post_only"),
        )  # fmt: skip
        return [Answer(result={"amend_id": amend_id, **names(order)})]

    def _edit(self, account: Account, params: dict[str, Any], now_ns: int) -> list[Answer]:
        old = self._named(account, {"order_id": params.get("order_id")})
        changes: dict[str, Any] = {}
        for name, field in (("order_qty", "quantity"), ("limit_price", "price")):
            value = _number(params, name)
            if value is not None:
                changes[field] = value
        if "post_only" in params:
            changes["post_only"] = _flag(params, "post_only")
        if "order_userref" in params:
            changes["userref"] = _userref(params)
        if params.get("symbol") != old.symbol:
            raise RefusalError(f"{ARGUMENTS}:symbol")
        new = self._desk.edit(account, old, changes, now_ns)
        return [
            Answer(result={"order_id": order_text(new.id), "original_order_id": order_text(old.id)})
        ]

    # ---- cancels

    def _cancel(self, account: Account, params: dict[str, Any], now_ns: int) -> list[Answer]:
        answers = []
        for name in _order_names(params):
            try:
                for order in self._desk.find(account, **name):
                    self._desk.cancel(account, order, now_ns)
                    answers.append(Answer(result=names(order)))
            except RefusalError as refusal:
                answers.append(Answer(error=str(refusal)))
        return answers

    def _cancel_all(
        self,
        account: Account,
        params: dict[str, Any],  # noqa: ARG002
        now_ns: int,
    ) -> list[Answer]:
        return [Answer(result={"count": self._desk.cancel_all(account, now_ns)})]

    def _batch_cancel(self, account: Account, params: dict[str, Any], now_ns: int) -> list[Answer]:
        given = params.get("orders", [])
        if not isinstance(given, list):
            raise RefusalError(f"{ARGUMENTS}:orders")
        meant = _order_names({"order_id": given, "cl_ord_id": params.get("cl_ord_id", [])})
        if not BATCH_CANCEL[0] <= len(meant) <= BATCH_CANCEL[1]:
            raise RefusalError(f"{ARGUMENTS}:orders")
        count = 0
        for name in meant:
            try:
                for order in self._desk.find(account, **name):
                    self._desk.cancel(account, order, now_ns)
                    count += 1
            except RefusalError:
                continue
        return [Answer(beside={"orders_cancelled": count})]

    def _cancel_after(self, account: Account, params: dict[str, Any], now_ns: int) -> list[Answer]:
        due_ns = self._desk.cancel_after(account, params.get("timeout"), now_ns)
        trigger = time_text(due_ns, 0) if due_ns else "0"
        return [Answer(result={"currentTime": time_text(now_ns, 0), "triggerTime": trigger})]

    def _named(self, account: Account, params: dict[str, Any]) -> AccountOrder:
        order_id, client_id = params.get("order_id"), params.get("cl_ord_id")
        if (order_id is None) == (client_id is None):
            raise RefusalError(ARGUMENTS)
        if order_id is not None:
            return self._desk.find(account, order_id=str(order_id))[0]
        return self._desk.find(account, client_id=str(client_id))[0]


def _wanted(params: dict[str, Any]) -> Wanted:
    for name in NOT_SERVED:
        if params.get(name):
            raise RefusalError(f"{ARGUMENTS}:{name}")
    client_id = params.get("cl_ord_id")
    if client_id is not None and not isinstance(client_id, str):
        raise RefusalError(f"{ARGUMENTS}:cl_ord_id")
    return Wanted(
        symbol=_text(params, "symbol"),
        side=_text(params, "side"),
        order_type=_text(params, "order_type"),
        quantity=_number(params, "order_qty"),
        price=_number(params, "limit_price"),
        time_in_force=_text(params, "time_in_force", "gtc"),
        post_only=_flag(params, "post_only"),
        reduce_only=_flag(params, "reduce_only"),
        client_id=client_id,
        userref=_userref(params),
        self_trade=_text(params, "stp_type", "cancel_newest"),
        expires_ns=None if params.get("expire_time") is None else _moment(params, "expire_time"),
    )


def _text(params: dict[str, Any], name: str, default: str = "") -> str:
    value = params.get(name, default)
    if not isinstance(value, str):
        raise RefusalError(f"{ARGUMENTS}:{name}")
    return value


def _number(params: dict[str, Any], name: str) -> Decimal | None:
    """A bare number; text is none here."""
    value = params.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise RefusalError(f"{ARGUMENTS}:{name}")
    return Decimal(value)


def _flag(params: dict[str, Any], name: str) -> bool:
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise RefusalError(f"{ARGUMENTS}:{name}")
    return value


def _userref(params: dict[str, Any]) -> int | None:
    value = params.get("order_userref")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise RefusalError(f"{ARGUMENTS}:order_userref")
    return value


def _order_names(params: dict[str, Any]) -> list[dict[str, Any]]:
    """The orders that a cancel is meant for, each as `KrakenDesk.find` takes it."""
    found: list[dict[str, Any]] = []
    kinds = (("order_id", "order_id", str), ("cl_ord_id", "client_id", str))
    for name, field, kind in (*kinds, ("order_userref", "userref", int)):
        values = params.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise RefusalError(f"{ARGUMENTS}:{name}")
        found += [{field: value} for value in values]
    if not found:
        raise RefusalError(ARGUMENTS)
    return found


def check_deadline(params: Mapping[str, Any], now_ns: int) -> None:
    """See whether a request has come in time.

    Raises:
        RefusalError: it has come after its deadline, or has an impossible one.
    """
    if params.get("deadline") is None:
        return
    due_ns = _moment(params, "deadline")
    if due_ns <= now_ns:
        raise RefusalError(LATE)
    if not DEADLINE_NS[0] <= due_ns - now_ns <= DEADLINE_NS[1]:
        raise RefusalError(f"{ARGUMENTS}:deadline")


def _moment(params: Mapping[str, Any], name: str) -> int:
    """A time as the venue writes it, in ns."""
    try:
        return int(datetime.fromisoformat(params[name]).timestamp() * 1e6) * 1000
    except (TypeError, ValueError, OverflowError) as error:
        raise RefusalError(f"{ARGUMENTS}:{name}") from error
