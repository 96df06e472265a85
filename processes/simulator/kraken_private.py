"""Kraken's private WebSocket: the channels `executions` and `balances`.

Each channel counts its own frames from 1 on every connection, and a frame that is lost keeps its
number. A token opens a subscription; what the connection was opened for goes on when the token is
too old. Commands are in kraken_commands.py. Source: pages executions, balances of Spot WebSocket
v2.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from processes.simulator.account import Account
from processes.simulator.delivery import Listener
from processes.simulator.events import AccountEvent, BalanceEvent, FillEvent, OrderEvent
from processes.simulator.kraken_commands import COMMANDS, Answer, KrakenCommands
from processes.simulator.kraken_desk import RATE_REFUSED, UNAVAILABLE, KrakenDesk
from processes.simulator.kraken_executions import (
    Row,
    as_json,
    balance_row,
    balance_rows,
    fill_row,
    joined,
    order_rows,
    snapshot_rows,
)
from processes.simulator.kraken_rates import TIERS
from processes.simulator.kraken_session import KrakenSession, RefusalError, Subscription

PRIVATE_CHANNELS = ("executions", "balances")
TRADES_SHOWN = 50
TERSE = frozenset({"new", "trade", "filled", "canceled", "expired"})
"""What is told where `order_status` is false."""
OPTIONS: dict[str, dict[str, bool]] = {
    "executions": {
        "snap_orders": True, "snap_trades": False, "order_status": True, "ratecounter": False,
    },
    "balances": {"snapshot": True},
}  # fmt: skip


class PrivateSubscription(Subscription):
    """One private channel: whose it is, and what waits to be told."""

    def __init__(self, channel: str, options: dict[str, Any], account: Account) -> None:
        super().__init__(channel, "", options)
        self.account = account
        self.sequence = 0
        self.told: list[Row] = []
        self.listener: Listener | None = None


class KrakenPrivateConnection(KrakenSession):
    """The venue's end of one private socket.

    Args:
        desk: who takes the commands. The rest as KrakenSession takes it.
    """

    def __init__(
        self, desk: KrakenDesk, send: Callable[[str], None], now_ns: int, **more: Any
    ) -> None:
        super().__init__(send, now_ns, channels=PRIVATE_CHANNELS, **more)
        self.desk = desk
        self._commands = KrakenCommands(desk)
        self._admitted: dict[str, Account] = {}

    # ---- what the client says

    def read(self, text: str) -> dict[str, Any] | None:
        """A request whose numbers keep their digits."""
        try:
            value = json.loads(text, parse_float=Decimal)
        except (ValueError, RecursionError, ArithmeticError):
            return None
        return value if isinstance(value, dict) else None

    def carry_out(self, request: dict[str, Any], now_ns: int) -> None:
        """A command, or what every connection knows."""
        if request.get("method") in COMMANDS:
            self._command(request, now_ns)
        else:
            super().carry_out(request, now_ns)

    def checked(self, request: dict[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
        """Channel and options of a private subscription; the account is its token's.

        Raises:
            RefusalError: no such channel, or no good token.
        """
        params = self.params(request)
        channel = self.channel_of(params)
        self._account(params, now_ns=self.heard_ns)
        options: dict[str, Any] = {
            name: bool(params.get(name, default)) for name, default in OPTIONS[channel].items()
        }
        return channel, options, [""]

    def refusal_of(self, channel: str, symbol: str, options: dict[str, Any]) -> str:  # noqa: ARG002
        """Nothing more can be wrong."""
        return ""

    def make(
        self, channel: str, symbol: str, options: dict[str, Any], request: dict[str, Any]
    ) -> PrivateSubscription:  # fmt: skip
        """A subscription of the token's account."""
        del symbol
        account = self._account(self.params(request), self.heard_ns)
        if channel == "executions":
            options["maxratecount"] = int(min(TIERS[self.desk.tier][0], 10**6))
        return PrivateSubscription(channel, options, account)

    def _account(self, params: dict[str, Any], now_ns: int) -> Account:
        token = params.get("token")
        known = self._admitted.get(token) if isinstance(token, str) else None
        account = known or self.desk.tokens.account_of(token, now_ns)
        # A connection that was opened with a token goes on with it.
        self._admitted[str(token)] = account
        return account

    # ---- channels

    def begin(self, subscription: Subscription, now_ns: int) -> None:
        """Send the snapshot; from here on everything is told."""
        assert isinstance(subscription, PrivateSubscription)
        account, options = subscription.account, subscription.options
        if subscription.channel == "executions":
            trades = TRADES_SHOWN if options["snap_trades"] else 0
            rows = snapshot_rows(account, orders=options["snap_orders"], trades=trades)
            wanted = options["snap_orders"] or bool(trades)
        else:
            rows, wanted = balance_rows(account), options["snapshot"]
        if wanted:
            self._send_rows(subscription, rows, "snapshot")

        def listen(event: AccountEvent, _: int) -> None:
            subscription.told += self._rows(subscription, event)

        subscription.listener = listen
        account.delivery.listeners.append(listen)
        self.update(subscription, now_ns)

    def _rows(self, subscription: PrivateSubscription, event: AccountEvent) -> list[Row]:
        if subscription.channel == "balances":
            return [balance_row(event)] if isinstance(event, BalanceEvent) else []
        if isinstance(event, FillEvent):
            return [fill_row(event)]
        rows = order_rows(event) if isinstance(event, OrderEvent) else []
        if not subscription.options["order_status"]:
            rows = [row for row in rows if row["exec_type"] in TERSE]
        return rows

    def update(self, subscription: Subscription, now_ns: int) -> None:  # noqa: ARG002
        """Send what was told, a frame each."""
        assert isinstance(subscription, PrivateSubscription)
        rows, subscription.told = subscription.told, []
        for row in rows:
            self._send_rows(subscription, [row], "update")

    def _send_rows(self, subscription: PrivateSubscription, rows: list[Row], kind: str) -> None:
        subscription.sequence += 1
        channel = subscription.channel
        frame = self.make_object(
            f'"channel":"{channel}"', f'"type":"{kind}"', f'"data":[{joined(rows)}]',
            f'"sequence":{subscription.sequence}',
        )  # fmt: skip
        if kind == "snapshot":
            self.send_snapshot(channel, frame)
        elif not self.faults.takes("gap", channel):
            self._send(frame)

    def leave(self, subscription: Subscription) -> None:
        """Listen no longer."""
        assert isinstance(subscription, PrivateSubscription)
        if subscription.listener is not None:
            subscription.account.delivery.listeners.remove(subscription.listener)
            subscription.listener = None

    def close(self, now_ns: int) -> None:
        """The socket is gone: listen no longer."""
        super().close(now_ns)
        for subscription in self.subscriptions.values():
            self.leave(subscription)
        self.subscriptions.clear()

    # ---- commands

    def _command(self, request: dict[str, Any], now_ns: int) -> None:
        account = self._account(self.params(request), now_ns)
        if not self.conduct.operative:
            raise RefusalError(UNAVAILABLE)
        if account.faults.takes("rate_limit"):
            raise RefusalError(RATE_REFUSED)
        kind = COMMANDS[request["method"]]
        treatment = account.faults.treatment(kind) if kind else None
        if treatment is not None and treatment.lost == "request":
            self.ended = treatment.cut
            return
        answers = self._commands.carry_out(account, request, now_ns)
        if treatment is not None and treatment.events_first:
            account.delivery.pump(now_ns)
            self.tick_channels(now_ns)
        if treatment is not None and treatment.lost == "answer":
            self.ended = treatment.cut
            return
        late_ns = 0 if treatment is None else treatment.late_ns
        self.later(now_ns + late_ns, lambda at_ns: self._answer(request, answers, now_ns, at_ns))
        self.keep_promises(now_ns)

    def _answer(
        self, request: dict[str, Any], answers: list[Answer], in_ns: int, out_ns: int
    ) -> None:
        for answer in answers:
            parts = [f'"method":{json.dumps(request["method"])}']
            parts.append(f'"success":{"false" if answer.error else "true"}')
            if answer.error:
                parts.append(f'"error":{json.dumps(answer.error)}')
            if answer.result is not None:
                parts.append(f'"result":{as_json(answer.result)}')
            parts += [f"{json.dumps(k)}:{as_json(v)}" for k, v in answer.beside.items()]
            self._send(self.make_object(*parts, *self.stamps(request, in_ns, out_ns)))
