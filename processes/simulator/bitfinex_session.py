"""Bitfinex's public WebSocket protocol, the venue's side of it, whatever stands behind it.

Written from the protocol pages alone (ws-general, ws-public). All array frames of a connection
share one sequence; heartbeats go to every channel, to those whose ack is late as well. Text that
is not JSON, and a status key that is unknown, get no answer, as at the venue.
"""

import json
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from processes.simulator.conversation import Conduct, Conversation, as_object

TIMESTAMP, SEQ_ALL, CHECKSUM, BULK = 32768, 65536, 131072, 536870912
SECOND_NS = 10**9
HEARTBEAT_NS = 15 * SECOND_NS
LEAVE_NS = SECOND_NS // 50
"""From unsubscribe to its ack; frames go on meanwhile."""
IDLE_NS = 60 * SECOND_NS
"""A socket that has neither a subscription nor said anything for so long is dropped."""
MAX_CHANNELS = 30
INFO = {
    "restart": (20051, "Stopping. Please try to reconnect"),
    "maintenance": (20060, "Maintenance started"),
    "maintenance_end": (20061, "Maintenance ended"),
}
SERVER_ID = "5f6a0f2e-0000-4000-8000-000000000000"


class Subscribed:
    """One subscription of one client, as the protocol sees it."""

    def __init__(self, number: int, request: dict[str, Any], symbol: str) -> None:
        self.number = number
        self.name = str(request.get("channel", ""))
        self.request = request
        self.symbol = symbol
        self.acknowledged = False
        self.leaving = False
        """Unsubscribed, and the ack is on its way."""


C = TypeVar("C", bound=Subscribed)


class BitfinexSession(Conversation, Generic[C]):
    """The venue's end of one socket.

    Args:
        send: takes finished frames.
        first_channel: ids count up from here, other than those of other connections.
    """

    def __init__(
        self,
        send: Callable[[str], None],
        now_ns: int,
        *,
        first_channel: int = 1,
        max_channels: int = MAX_CHANNELS,
        conduct: Conduct | None = None,
    ) -> None:
        super().__init__(send, conduct)
        self.sequence = 0
        self.flags = 0
        self.channels: dict[int, C] = {}
        self._next_channel = first_channel
        self._max_channels = max_channels
        self._next_heartbeat_ns = now_ns + HEARTBEAT_NS
        self._heard_ns = now_ns
        self._event(
            {
                "event": "info",
                "version": 2,
                "serverId": SERVER_ID,
                "platform": {"status": 1 if self.conduct.operative else 0},
            }
        )

    # ---- what stands behind it

    @abstractmethod
    def complete(self, request: dict[str, Any]) -> tuple[int, str] | None:
        """Fill in defaults; code and text if the venue refuses the request."""

    @abstractmethod
    def knows_status(self, request: dict[str, Any]) -> bool:
        """True if a status request's key is known; others get no answer."""

    @abstractmethod
    def make(self, number: int, request: dict[str, Any]) -> C:
        """The channel of a request that is complete."""

    @abstractmethod
    def begin(self, channel: C, now_ns: int) -> None:
        """Send the channel's snapshot."""

    @abstractmethod
    def tick_channel(self, channel: C, now_ns: int) -> None:
        """Send whatever is due on one channel."""

    # ---- what the client says

    def receive(self, text: str, now_ns: int) -> None:
        """One frame from the client."""
        self._heard_ns = now_ns
        request = as_object(text)
        if request is None:
            return
        event = request.get("event")
        if event == "ping":
            cid = {"cid": request["cid"]} if "cid" in request else {}
            self._event({"event": "pong", "ts": now_ns // 10**6, **cid})
        elif event == "conf":
            self._configure(request)
        elif event == "subscribe":
            self._subscribe(request, now_ns)
            if self.conduct.doubles():
                self._subscribe(request, now_ns)
        elif event == "unsubscribe":
            self._unsubscribe(request, now_ns)
        else:
            self._event({"event": "error", "msg": f"event: invalid ({event})", "code": 10000})

    def _configure(self, request: dict[str, Any]) -> None:
        flags = request.get("flags", 0)
        if not isinstance(flags, int) or isinstance(flags, bool) or flags < 0:
            self._event({"event": "conf", "status": "FAILED", "flags": self.flags})
            return
        self.flags = flags
        self._event({"event": "conf", "status": "OK", "flags": flags})

    def _subscribe(self, request: dict[str, Any], now_ns: int) -> None:
        if request.get("channel") == "status" and not self.knows_status(request):
            return
        fault = self.complete(request)
        if fault is not None:
            self._refuse(request, *fault)
            return
        symbol = request.get("symbol") or str(request["key"]).split(":", 2)[-1]
        if self.conduct.refuses(symbol):
            self._refuse(request, 10300, "key: invalid" if "key" in request else "symbol: invalid")
            return
        open_now = [channel for channel in self.channels.values() if not channel.leaving]
        same = [channel for channel in open_now if _same(channel.request, request)]
        if same:
            self._refuse(request, 10301, "subscribe: dup", chanId=same[0].number)
            return
        limit = self.conduct.limit
        if len(open_now) >= (self._max_channels if limit is None else limit):
            self._refuse(request, 10305, "subscribe: limit")
            return
        self._open(request, now_ns)

    def _open(self, request: dict[str, Any], now_ns: int) -> None:
        number = self._next_channel
        self._next_channel += 1
        channel = self.make(number, request)
        self.channels[number] = channel
        late_ns = self.conduct.delays_ns()
        if late_ns:
            # Seen in recordings: the channel lives already, and its heartbeat outruns the ack.
            self.send_frame(number, '"hb"', now_ns)
            self.later(now_ns + late_ns, lambda at_ns: self._acknowledge(channel, at_ns))
        else:
            self._acknowledge(channel, now_ns)

    def _acknowledge(self, channel: C, now_ns: int) -> None:
        if channel.number not in self.channels:
            return
        answer = {key: value for key, value in channel.request.items() if key != "event"}
        self._event({"event": "subscribed", "chanId": channel.number, **answer, **_pair_of(answer)})
        channel.acknowledged = True
        self.begin(channel, now_ns)

    def _refuse(self, request: dict[str, Any], code: int, text: str, **more: Any) -> None:
        echo = {key: value for key, value in request.items() if key != "event"}
        error = {"event": "error", "msg": text, "code": code}
        self._event({**echo, **error, **more, **_pair_of(request)})

    def _unsubscribe(self, request: dict[str, Any], now_ns: int) -> None:
        number = request.get("chanId")
        channel = self.channels.get(number) if isinstance(number, int) else None
        if channel is None or channel.leaving:
            self._refuse(request, 10401, "unsubscribe: invalid")
            return
        channel.leaving = True

        def leave(_: int) -> None:
            del self.channels[channel.number]
            self._event({"event": "unsubscribed", "status": "OK", "chanId": channel.number})

        self.later(now_ns + LEAVE_NS, leave)

    # ---- what the client is told

    def tick(self, now_ns: int) -> None:
        """Send whatever is due."""
        self.keep_promises(now_ns)
        if not self.channels and now_ns >= self._heard_ns + IDLE_NS:
            self.ended = True
        if now_ns >= self.faults.heartbeats_only_until_ns and self.conduct.operative:
            for channel in list(self.channels.values()):
                if channel.acknowledged:
                    self.tick_channel(channel, now_ns)
        if now_ns >= self._next_heartbeat_ns:
            self._next_heartbeat_ns += HEARTBEAT_NS
            for number in self.channels:
                self.send_frame(number, '"hb"', now_ns)

    def announce(self, what: str) -> None:
        """An info event: 20051 restart, 20060 and 20061 maintenance."""
        code, text = INFO[what]
        self._event({"event": "info", "code": code, "msg": text})

    def _event(self, event: dict[str, Any]) -> None:
        self._send(json.dumps(event, separators=(",", ":")))

    def send_frame(
        self,
        number: int,
        body: str,
        now_ns: int,
        symbol: str = "",
        *,
        snapshot: bool = False,
        time_ms: int = 0,
    ) -> None:
        """Send one array frame with the tail that the client asked for.

        Args:
            symbol: whose faults may hit it; none for heartbeats.
            time_ms: the tail's time, if it is not now.
        """
        self.sequence += 1
        tail = f",{self.sequence}" if self.flags & SEQ_ALL else ""
        if self.flags & TIMESTAMP:
            tail += f",{time_ms or now_ns // 10**6}"
        frame = f"[{number},{body}{tail}]"
        if snapshot:
            self.send_snapshot(symbol, frame)
        elif not symbol or not self.faults.takes("gap", symbol):
            self._send(frame)


def _pair_of(request: dict[str, Any]) -> dict[str, str]:
    """What acks and errors add to a request with a symbol."""
    symbol = str(request.get("symbol", ""))
    if not symbol:
        return {}
    return {"currency" if symbol.startswith("f") else "pair": symbol[1:]}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    ignored = {"subId", "event"}
    return {k: v for k, v in one.items() if k not in ignored} == {
        k: v for k, v in other.items() if k not in ignored
    }
