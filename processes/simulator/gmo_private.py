"""GMO Coin's private WebSocket, the venue's side of it.

The token in its address says whose it is; it ends with the token. Nothing is acknowledged, and no
state is told on subscribing but for positionSummaryEvents' INIT. All private sockets of the machine
share one command a second. What was missed while nobody listened is never told. Source:
api.coin.z.com/docs.
"""

import json
from collections.abc import Callable

from processes.simulator.account import Account
from processes.simulator.conversation import Conduct, Conversation, Ping, as_object
from processes.simulator.events import AccountEvent, FillEvent, OrderEvent, PositionEvent
from processes.simulator.gmo import PARAMETER, PONGS_MISSED, TOO_FAST, UNUSED_NS, CommandLimit
from processes.simulator.gmo_private_desk import Tokens
from processes.simulator.gmo_private_rows import (
    Row,
    execution_frame,
    order_frame,
    position_frame,
    sum_frame,
)

SECOND_NS = 10**9
CHANNELS = ("executionEvents", "orderEvents", "positionEvents", "positionSummaryEvents")
SUMS = "positionSummaryEvents"
PERIOD_NS = 5 * SECOND_NS


class GmoPrivateConnection(Conversation):
    """The venue's end of one private socket.

    Args:
        token: of the address. limit: shared by all private sockets. ping_ns: between two pings.
    """

    def __init__(
        self,
        tokens: Tokens,
        token: str,
        account: Account,
        leverage: int,
        send: Callable[[str], None],
        now_ns: int,
        *,
        limit: CommandLimit,
        conduct: Conduct,
        ping_ns: int,
    ) -> None:
        super().__init__(send, conduct)
        self._tokens = tokens
        self._token = token
        self._account = account
        self._leverage = leverage
        self._limit = limit
        self._ping_ns = ping_ns
        self._next_ping_ns = now_ns + ping_ns
        self._opened_ns = now_ns
        self._used = False
        self._begins_ns: dict[str, int] = {}
        """When each channel that was asked for begins to be told."""
        self._period_ns = 0
        """When sums are due again; 0 = they are told only when they change."""
        account.delivery.listeners.append(self._listen)

    # ---- what the client says

    def receive(self, text: str, now_ns: int) -> None:
        """One frame from the client."""
        if not self._limit.admits(now_ns):
            if self._limit.too_fast == "error":
                self._error(TOO_FAST)
            return
        request = as_object(text)
        if request is None:
            self._error(PARAMETER)
            return
        command, channel = request.get("command"), request.get("channel")
        option = request.get("option")
        if command not in {"subscribe", "unsubscribe"}:
            self._error(f"{PARAMETER} command")
        elif channel not in CHANNELS or self.conduct.refuses(str(channel)):
            self._error(f"{PARAMETER} channel")
        elif option not in {None, "PERIODIC"} or (option and channel != SUMS):
            self._error(f"{PARAMETER} option")
        elif command == "unsubscribe":
            self._begins_ns.pop(channel, None)
        else:
            self._subscribe(channel, now_ns, periodic=option is not None)

    def _subscribe(self, channel: str, now_ns: int, *, periodic: bool) -> None:
        self._used = True
        begin_ns = now_ns + self.conduct.delays_ns()
        if channel != SUMS:
            self._begins_ns.setdefault(channel, begin_ns)
            return
        # Only the latest request for sums counts.
        self._begins_ns[channel] = begin_ns
        self._period_ns = begin_ns + PERIOD_NS if periodic else 0
        self.later(begin_ns, lambda at_ns: self._tell_sums("INIT", at_ns))
        self.keep_promises(now_ns)

    # ---- what it is told

    def _listen(self, event: AccountEvent, now_ns: int) -> None:
        if isinstance(event, FillEvent):
            self._tell("executionEvents", execution_frame(event), now_ns)
        elif isinstance(event, OrderEvent):
            frame = order_frame(event)
            if frame is not None:
                self._tell("orderEvents", frame, now_ns)
        elif isinstance(event, PositionEvent):
            fill = self._account.fills.get(event.fill)
            profit = 0 if fill is None else fill.profit
            frame = position_frame(event, profit, self._leverage)
            self._tell("positionEvents", frame, now_ns)
            position = event.position
            sums = sum_frame(self._account, position.symbol, position.side, "UPDATE", now_ns)
            self._tell(SUMS, sums, now_ns)

    def _tell(self, channel: str, frame: Row, now_ns: int) -> None:
        begin_ns = self._begins_ns.get(channel)
        if begin_ns is None or now_ns < begin_ns or now_ns < self.faults.heartbeats_only_until_ns:
            return
        if not self.faults.takes("gap", channel):
            self._send(json.dumps(frame))

    def _tell_sums(self, kind: str, now_ns: int) -> None:
        held = {(p.symbol, p.side) for p in self._account.positions.open.values()}
        for symbol, side in sorted(held):
            self._tell(SUMS, sum_frame(self._account, symbol, side, kind, now_ns), now_ns)

    # ---- time

    def tick(self, now_ns: int) -> None:
        """Send whatever is due."""
        lost = self._tokens.account_of(self._token, now_ns) is None
        unused = not self._used and now_ns >= self._opened_ns + UNUSED_NS
        self.ended |= lost or unused
        if now_ns >= self._next_ping_ns:
            self._next_ping_ns = now_ns + self._ping_ns
            self.ended |= self.unanswered >= PONGS_MISSED
            self.unanswered += 1
            self._send(Ping())
        self.keep_promises(now_ns)
        if self._period_ns and now_ns >= self._period_ns:
            self._period_ns = now_ns + PERIOD_NS
            self._tell_sums("PERIODIC", now_ns)

    def announce(self, what: str) -> None:
        """The venue says nothing: it hangs up."""
        if what != "maintenance_end":
            self.ended = True

    def close(self, now_ns: int) -> None:
        """The socket is gone: listen no longer."""
        super().close(now_ns)
        self._account.delivery.listeners.remove(self._listen)

    def _error(self, text: str) -> None:
        self._send(json.dumps({"error": text}))
