"""Bitfinex's account channel: channel 0 of a connection that has authenticated.

Every frame of it carries two numbers at its end, if numbers were asked for: that of the
connection's array frames and that of the account's. The answer to a command has only the second
one, which no notification moves on, and a heartbeat only the first. With `dms` all orders of the
account are canceled when the socket is gone, whoever ended it. Filters are ignored: everything is
told. Sources: ws-auth and its pages; numbers as the venue's own client reads them.
"""

import json
from decimal import Decimal
from typing import Any

from processes.simulator.account import Account
from processes.simulator.bitfinex import CONFIRM_NS, Connection
from processes.simulator.bitfinex_desk import (
    BitfinexDesk,
    RefusalError,
    submitted_text,
)
from processes.simulator.bitfinex_private_rows import (
    joined,
    named_row,
    notification,
    order_row,
    refused_row,
    trade_row,
    wallet_row,
    wallets,
)
from processes.simulator.bitfinex_session import HEARTBEAT_NS, SEQ_ALL, TIMESTAMP
from processes.simulator.delivery import Command
from processes.simulator.events import AccountEvent, BalanceEvent, FillEvent, OrderEvent

ACCOUNT = "account"
"""What faults call this channel."""
DEAD_MAN_FLAG = 4
MULTI_MOST = 75
RATE_TEXT = "ratelimit: error"
COMMANDS: dict[str, Command] = {
    "on": "order",
    "ou": "amend",
    "oc": "cancel",
    "oc_multi": "cancel",
    "ox_multi": "order",
}
Answer = str
"""The payload of a notification."""


class PrivateConnection(Connection):
    """The venue's end of one socket, which may authenticate.

    Args:
        desk: who takes the commands. The rest as Connection takes it.
    """

    def __init__(self, desk: BitfinexDesk, *arguments: Any, **more: Any) -> None:
        self.desk = desk
        self.account: Account | None = None
        self.account_sequence = 0
        self._cancels = False
        super().__init__(*arguments, **more)
        self._account_heartbeat_ns = 0
        self._waiting: list[AccountEvent] = []

    # ---- what the client says

    def receive(self, text: str, now_ns: int) -> None:
        """A command, an auth event, or what every connection knows."""
        value = _parsed(text)
        if isinstance(value, list):
            self._heard_ns = now_ns
            self._input(value, now_ns)
        elif isinstance(value, dict) and value.get("event") == "auth":
            self._heard_ns = now_ns
            self._authenticate(value, now_ns)
        else:
            super().receive(text, now_ns)

    def _authenticate(self, request: dict[str, Any], now_ns: int) -> None:
        try:
            account = self._admitted(request)
        except RefusalError as refusal:
            self._event(
                {
                    "event": "auth", "status": "FAILED", "chanId": 0, "code": refusal.code,
                    "msg": str(refusal),
                }
            )  # fmt: skip
            return
        self._event(
            {
                "event": "auth", "status": "OK", "chanId": 0, "userId": 1,
                "auth_id": f"{now_ns:032x}", "caps": {"orders": {"read": 1, "write": 1}},
            }
        )  # fmt: skip
        self.account = account
        self._cancels = request.get("dms") == DEAD_MAN_FLAG
        self._account_heartbeat_ns = now_ns + HEARTBEAT_NS
        self.send_record("ps", "[]", now_ns)
        self.send_record("ws", wallets(account, reckoned=False), now_ns)
        self.send_record("os", joined(map(order_row, account.open.values())), now_ns)
        account.delivery.listeners.append(self._listen)

    def _admitted(self, request: dict[str, Any]) -> Account:
        """Whose auth event it is.

        Raises:
            RefusalError: it is refused.
        """
        payload, nonce = request.get("authPayload"), request.get("authNonce")
        if payload != f"AUTH{nonce}":
            raise RefusalError("auth: payload", 10111)
        if self.account is not None:
            raise RefusalError("auth: dup", 10100)  # not published
        return self.desk.admit(request.get("apiKey"), nonce, str(payload), request.get("authSig"))

    def _input(self, frame: list[Any], now_ns: int) -> None:
        """`[0, "on", null, {...}]`; what is no input gets no answer."""
        if self.account is None or len(frame) < 4 or frame[0] != 0:
            return
        name, wanted = frame[1], frame[3]
        if name == "calc":
            self._reckon(self.account, wanted, now_ns)
        elif name in COMMANDS and isinstance(wanted, dict | list):
            self._command(self.account, name, wanted, now_ns)

    # ---- commands

    def _command(self, account: Account, name: str, wanted: Any, now_ns: int) -> None:
        treatment = account.faults.treatment(COMMANDS[name])
        if treatment.lost == "request":
            self.ended = treatment.cut
            return
        answers = self._carry_out(account, name, wanted, now_ns)
        if treatment.events_first:
            account.delivery.pump(now_ns)
            self._tell(now_ns)
        if treatment.lost == "answer":
            self.ended = treatment.cut
            return

        def answer(at_ns: int) -> None:
            for each in answers:
                self.send_record("n", each, at_ns, is_answer=True)

        self.later(now_ns + treatment.late_ns, answer)
        self.keep_promises(now_ns)

    def _carry_out(self, account: Account, name: str, wanted: Any, now_ns: int) -> list[Answer]:
        """Do what is asked for; the answers in order."""
        if name == "ox_multi":
            operations = wanted if isinstance(wanted, list) else []
            done = [self._carry_out(account, *pair, now_ns) for pair in _operations(operations)]
            return [answer for answers in done for answer in answers]
        if not isinstance(wanted, dict):
            return []
        refused = refused_row(wanted) if name == "on" else _named(wanted)
        try:
            self._check_doors(account)
            return [self._carry_out_one(account, name, wanted, now_ns)]
        except RefusalError as refusal:
            return [notification(f"{name}-req", refused, now_ns, error=str(refusal))]

    def _check_doors(self, account: Account) -> None:
        if not self.conduct.operative:
            raise RefusalError("maintenance")  # not published
        if account.faults.takes("rate_limit"):
            raise RefusalError(RATE_TEXT)

    def _carry_out_one(
        self, account: Account, name: str, wanted: dict[str, Any], now_ns: int
    ) -> Answer:
        desk = self.desk
        if name == "oc_multi":
            found = desk.cancel_many(account, wanted, now_ns)
            text = f"Submitting {len(found)} order cancellations."
            rows = joined(order_row(order, as_sent=True) for order in found)
            return notification("oc_multi-req", rows, now_ns, text=text)
        if name == "on":
            order = desk.place(account, wanted, now_ns)
            text = submitted_text(order.request)
        elif name == "ou":
            order = desk.update(account, wanted, now_ns)
            text = submitted_text(order.request).replace("Submitting", "Submitting update to")
        else:
            order = desk.cancel(account, wanted, now_ns)
            text = f"Submitted for cancellation; waiting for confirmation (ID: {order.id})."
        row = order_row(order, as_sent=True)
        return notification(f"{name}-req", row, now_ns, text=text)

    def _reckon(self, account: Account, wanted: Any, now_ns: int) -> None:
        """What is available in wallets that were asked for: `[["wallet_exchange_USD"]]`."""
        for item in wanted if isinstance(wanted, list) else []:
            name = str(item[0]) if isinstance(item, list) and item else ""
            asset = name.removeprefix("wallet_exchange_")
            balances = account.balances
            if name != asset and asset in balances.assets:
                row = wallet_row(asset, balances.total(asset), balances.available(asset))
                self.send_record("wu", row, now_ns)

    # ---- what the client is told

    def _listen(self, event: AccountEvent, _: int) -> None:
        self._waiting.append(event)

    def tick(self, now_ns: int) -> None:
        """Send whatever is due."""
        if self.account is not None:
            self._heard_ns = now_ns  # the account channel is one: the socket is not idle
        super().tick(now_ns)
        if now_ns >= self.faults.heartbeats_only_until_ns:
            self._tell(now_ns)
        if self.account is not None and now_ns >= self._account_heartbeat_ns:
            self._account_heartbeat_ns += HEARTBEAT_NS
            self.send_frame(0, '"hb"', now_ns)

    def _tell(self, now_ns: int) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            if isinstance(event, FillEvent):
                self._tell_fill(event, now_ns)
            elif isinstance(event, BalanceEvent):
                self.send_record("wu", wallet_row(event.asset, event.total, None), now_ns)
            elif isinstance(event, OrderEvent):
                self._tell_order(event, now_ns)

    def _tell_fill(self, event: FillEvent, now_ns: int) -> None:
        """The order's update, the execution, and a little later its confirmation with the fee."""
        fill, order = event.fill_made, event.order
        if order.left:
            self.send_record("ou", order_row(order), now_ns)
        self.send_record("te", trade_row(fill, order, confirmed=False), now_ns)
        confirmed = trade_row(fill, order, confirmed=True)
        self.later(now_ns + CONFIRM_NS, lambda at_ns: self.send_record("tu", confirmed, at_ns))

    def _tell_order(self, event: OrderEvent, now_ns: int) -> None:
        order = event.order
        if event.what == "new" and order.request.kind == "limit":
            self.send_record("on", order_row(order), now_ns)
        elif event.what == "amended":
            self.send_record("ou", order_row(order), now_ns)
        elif event.what in {"filled", "canceled"}:
            self.send_record("oc", order_row(order), now_ns)

    def send_record(self, tag: str, payload: str, now_ns: int, *, is_answer: bool = False) -> None:
        """One frame of channel 0 with its numbers."""
        if tag != "n":
            self.account_sequence += 1
        if not is_answer:
            self.sequence += 1
        numbers = [self.account_sequence] if is_answer else [self.sequence, self.account_sequence]
        tail = "".join(f",{number}" for number in numbers) if self.flags & SEQ_ALL else ""
        if self.flags & TIMESTAMP:
            tail += f",{now_ns // 10**6}"
        frame = f'[0,"{tag}",{payload}{tail}]'
        if is_answer or not self.faults.takes("gap", ACCOUNT):
            self._send(frame)

    def close(self, now_ns: int) -> None:
        """The socket is gone: listen no longer, and cancel all if that was asked for."""
        super().close(now_ns)
        account, self.account = self.account, None
        if account is None:
            return
        account.delivery.listeners.remove(self._listen)
        if self._cancels:
            account.cancel_all(now_ns, cause="dead_man")


def _parsed(text: str) -> Any:
    """A frame with its numbers exact, or None."""
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        return None


def _named(wanted: dict[str, Any]) -> str:
    """What a refusal repeats of a command that names an order."""
    return named_row(wanted.get("id"), wanted.get("cid"))


def _operations(pairs: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Those that are any; the venue does the first 75."""
    return [
        (pair[0], pair[1])
        for pair in pairs[:MULTI_MOST]
        if isinstance(pair, list)
        and len(pair) == 2
        and pair[0] in COMMANDS
        and pair[0] != "ox_multi"
    ]
