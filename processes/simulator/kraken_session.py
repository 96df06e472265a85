"""Kraken's Spot WebSocket v2, the venue's side of it, whatever stands behind it.

Every symbol of a request is answered by itself; a refusal leaves the socket open and the other
symbols subscribed. The snapshot comes a tenth of a second after the ack. Keys of an object stand in
any order, as at the venue. level3 lives on a socket of its own and needs a token. Source: pages
spot-ws-v2 of docs.kraken.com; texts of refusals that no recording holds are marked so below.
"""

import json
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from processes.simulator.conversation import Conduct, Conversation, as_object, seeded
from processes.simulator.history import KRAKEN_FRAMES
from processes.simulator.kraken_books import BOOK_DEPTHS, LEVEL3_DEPTHS
from processes.simulator.numbers import time_text

SECOND_NS = 10**9
HEARTBEAT_NS = SECOND_NS
SNAPSHOT_NS = SECOND_NS // 10
"""From a subscription's ack to its snapshot."""
IDLE_NS = 60 * SECOND_NS
"""A socket without a subscription on which the client is silent for so long is closed."""
LEVEL3_SYMBOLS = 200
"""Per connection."""
DEPTH_REFUSED = "Subscription depth not supported"
PAIR_REFUSED = "Currency pair not supported"
SESSION_REFUSED = "ESession:Invalid session"
# No recording holds these texts.
INTERVAL_REFUSED = "Subscription ohlc interval not supported"
TRIGGER_REFUSED = "Event trigger not supported"
CHANNEL_REFUSED = "Channel not supported"
METHOD_REFUSED = "Unsupported method"
AGAIN_REFUSED = "Already subscribed"
LIMIT_REFUSED = "Exceeded subscription limit"
MISSING_REFUSED = "Subscription Not Found"
MALFORMED = "Malformed request"
PUBLIC_CHANNELS = ("ticker", "book", "trade", "ohlc", "instrument")
WARNINGS = {
    "ohlc": "timestamp is deprecated, use interval_begin",
    "instrument": "tick_size is deprecated, use price_increment",
}


class RefusalError(Exception):
    """A request that the venue turns down; the text is the venue's."""


class Subscription:
    """One channel of one symbol on one connection."""

    def __init__(self, channel: str, symbol: str, options: dict[str, Any]) -> None:
        self.channel = channel
        self.symbol = symbol
        self.options = options
        self.live = False
        """Snapshot and updates are on their way."""


class KrakenSession(Conversation):
    """The venue's end of one socket.

    Args:
        send: takes finished frames. number: of the connection; key orders follow from it.
        knows_token: says whether a token is good. channels: those of this socket.
    """

    def __init__(
        self,
        send: Callable[[str], None],
        now_ns: int,
        *,
        number: int = 1,
        conduct: Conduct | None = None,
        knows_token: Callable[[str, int], bool] = lambda _token, _now_ns: False,
        channels: tuple[str, ...] = PUBLIC_CHANNELS,
    ) -> None:
        super().__init__(send, conduct)
        self.subscriptions: dict[tuple[str, str, Any], Subscription] = {}
        self.draw = seeded("kraken", number)
        self._channels = channels
        self._knows_token = knows_token
        # Beyond 2^53, as the venue's are: it is no double.
        self._identity = (1 << 63) + number * 0x9E3779B97F4A7C15 % (1 << 62)
        self._next_heartbeat_ns = 0
        self.heard_ns = now_ns
        self._send_status("online" if self.conduct.operative else "maintenance")

    # ---- what stands behind it

    @abstractmethod
    def refusal_of(self, channel: str, symbol: str, options: dict[str, Any]) -> str:
        """Why there is no such channel of this symbol, or nothing."""

    def make(
        self,
        channel: str,
        symbol: str,
        options: dict[str, Any],
        request: dict[str, Any],  # noqa: ARG002
    ) -> Subscription:
        """A subscription that was granted."""
        return Subscription(channel, symbol, options)

    def leave(self, subscription: Subscription) -> None:
        """A subscription has ended."""

    @abstractmethod
    def begin(self, subscription: Subscription, now_ns: int) -> None:
        """Send the snapshot if it was asked for."""

    @abstractmethod
    def update(self, subscription: Subscription, now_ns: int) -> None:
        """Send what is new."""

    def send_instruments(self, kind: str, system: str) -> None:
        """Send the instrument channel's `snapshot` or `update`."""

    # ---- what the client says

    def receive(self, text: str, now_ns: int) -> None:
        """One frame from the client; what comes on a connection that is being cut is lost."""
        if self.ended:
            return
        self.heard_ns = now_ns
        request = self.read(text)
        if request is None:
            self._send(self.make_object(f'"error":"{MALFORMED}"', '"success":false'))
            return
        try:
            self.carry_out(request, now_ns)
        except RefusalError as refusal:
            self._refuse(request, now_ns, str(refusal))

    def read(self, text: str) -> dict[str, Any] | None:
        """The JSON object of a request, or None."""
        return as_object(text)

    def carry_out(self, request: dict[str, Any], now_ns: int) -> None:
        """One request.

        Raises:
            RefusalError: it is refused as a whole.
        """
        method = request.get("method")
        if method == "ping":
            self._reply(request, now_ns, method="pong")
        elif method == "subscribe":
            self._subscribe(request, now_ns)
            if self.conduct.doubles():
                self._subscribe(request, now_ns)
        elif method == "unsubscribe":
            self._unsubscribe(request, now_ns)
        else:
            raise RefusalError(METHOD_REFUSED)

    def _subscribe(self, request: dict[str, Any], now_ns: int) -> None:
        channel, options, symbols = self.checked(request)
        if channel == "level3" and not self._knows_token(self._token(request), now_ns):
            raise RefusalError(SESSION_REFUSED)
        late_ns = self.conduct.delays_ns()
        for symbol in symbols:
            refusal = self._refusal_of(channel, symbol, options)
            if refusal:
                self._refuse(request, now_ns, refusal, symbol)
                continue
            subscription = self.make(channel, symbol, options, request)
            self.subscriptions[_key(channel, symbol, options)] = subscription
            self.later(now_ns + late_ns, partial(self._acknowledge, request, subscription, now_ns))
        self.keep_promises(now_ns)

    def _acknowledge(
        self, request: dict[str, Any], subscription: Subscription, in_ns: int, now_ns: int
    ) -> None:
        channel, symbol, options = (
            subscription.channel, subscription.symbol, subscription.options,
        )  # fmt: skip
        result: dict[str, Any] = {"channel": channel, **options}
        if symbol:
            result["symbol"] = symbol
        if channel in WARNINGS:
            result["warnings"] = [WARNINGS[channel]]
        self._reply(request, in_ns, method="subscribe", result=result, out_ns=now_ns)
        if not self._next_heartbeat_ns:
            self._next_heartbeat_ns = now_ns + HEARTBEAT_NS
        self.later(now_ns + SNAPSHOT_NS, lambda at_ns: self._begin(subscription, at_ns))

    def _unsubscribe(self, request: dict[str, Any], now_ns: int) -> None:
        channel, options, symbols = self.checked(request)
        for symbol in symbols:
            key = _key(channel, symbol, options)
            if key not in self.subscriptions:
                self._refuse(request, now_ns, MISSING_REFUSED, symbol)
                continue
            self.leave(self.subscriptions.pop(key))
            result = {"channel": channel, **{k: v for k, v in options.items() if k != "snapshot"}}
            if symbol:
                result["symbol"] = symbol
            self._reply(request, now_ns, method="unsubscribe", result=result)

    def checked(self, request: dict[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
        """Channel, options with their defaults, symbols.

        Raises:
            RefusalError: the request is refused as a whole.
        """
        params = self.params(request)
        channel = self.channel_of(params)
        options: dict[str, Any] = {}
        if channel in {"book", "level3"}:
            depths = BOOK_DEPTHS if channel == "book" else LEVEL3_DEPTHS
            options["depth"] = _one_of(params.get("depth", 10), depths, DEPTH_REFUSED)
        elif channel == "ohlc":
            minutes = [int(name) for name in KRAKEN_FRAMES]
            options["interval"] = _one_of(params.get("interval", 1), minutes, INTERVAL_REFUSED)
        elif channel == "ticker":
            trigger = params.get("event_trigger", "trades")
            options["event_trigger"] = _one_of(trigger, ("trades", "bbo"), TRIGGER_REFUSED)
        elif channel == "instrument":
            options["include_tokenized_assets"] = bool(params.get("include_tokenized_assets"))
        options["snapshot"] = bool(params.get("snapshot", channel != "trade"))
        symbols = params.get("symbol", [])
        if channel == "instrument":
            return channel, options, [""]
        if not isinstance(symbols, list) or not symbols:
            raise RefusalError(MALFORMED)
        return channel, options, [str(symbol) for symbol in symbols]

    def params(self, request: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a request.

        Raises:
            RefusalError: it has none.
        """
        params = request.get("params")
        if not isinstance(params, dict):
            raise RefusalError(MALFORMED)
        return params

    def channel_of(self, params: dict[str, Any]) -> str:
        """The channel that is meant.

        Raises:
            RefusalError: this socket has no such channel.
        """
        channel = params.get("channel")
        if not isinstance(channel, str) or channel not in self._channels:
            raise RefusalError(CHANNEL_REFUSED)
        return channel

    def _refusal_of(self, channel: str, symbol: str, options: dict[str, Any]) -> str:
        """Why a subscription is refused, or nothing."""
        refusal = self.refusal_of(channel, symbol, options)
        if refusal:
            return refusal
        if self.conduct.refuses(symbol):
            return f"{PAIR_REFUSED} {symbol}"
        if _key(channel, symbol, options) in self.subscriptions:
            return AGAIN_REFUSED
        limit = self.conduct.limit
        if limit is None and channel == "level3":
            limit = LEVEL3_SYMBOLS
        return LIMIT_REFUSED if limit is not None and len(self.subscriptions) >= limit else ""

    def _token(self, request: dict[str, Any]) -> str:
        token = request["params"].get("token", "")
        return token if isinstance(token, str) else ""

    # ---- what the client is told

    def tick(self, now_ns: int) -> None:
        """Send whatever is due."""
        self.keep_promises(now_ns)
        if not self.subscriptions and now_ns >= self.heard_ns + IDLE_NS:
            self.ended = True
        self.tick_channels(now_ns)
        if self._next_heartbeat_ns and now_ns >= self._next_heartbeat_ns:
            # A venue that was held up does not make good for heartbeats.
            self._next_heartbeat_ns = max(
                self._next_heartbeat_ns + HEARTBEAT_NS, now_ns - HEARTBEAT_NS
            )
            self._send('{"channel":"heartbeat"}')

    def tick_channels(self, now_ns: int) -> None:
        """Send what is new on all channels, if anything but heartbeats may leave."""
        if now_ns >= self.faults.heartbeats_only_until_ns and self.conduct.operative:
            for subscription in list(self.subscriptions.values()):
                if subscription.live:
                    self.update(subscription, now_ns)

    def announce(self, what: str) -> None:
        """A status update: `maintenance`, and `online` after it. A restart has no word here."""
        if what == "restart":
            self.ended = True
            return
        system = "maintenance" if what == "maintenance" else "online"
        self._send_status(system)
        for subscription in self.subscriptions.values():
            if subscription.channel == "instrument" and subscription.live:
                self.send_instruments("update", system)

    def _begin(self, subscription: Subscription, now_ns: int) -> None:
        key = _key(subscription.channel, subscription.symbol, subscription.options)
        if self.subscriptions.get(key) is subscription:
            subscription.live = True
            self.begin(subscription, now_ns)

    def _send_status(self, system: str) -> None:
        row = self.make_object(
            '"version":"2.0.10"', f'"system":"{system}"', '"api_version":"v2"',
            f'"connection_id":{self._identity}', '"upcoming_maintenance":[]', '"emergency":[]',
        )  # fmt: skip
        self._send(self.make_object('"channel":"status"', '"type":"update"', f'"data":[{row}]'))

    # ---- replies

    def _reply(
        self,
        request: dict[str, Any],
        in_ns: int,
        *,
        method: str,
        result: dict[str, Any] | None = None,
        out_ns: int = 0,
    ) -> None:
        parts = [f'"method":"{method}"']
        if result is not None:
            parts += [f'"result":{json.dumps(result, sort_keys=True)}', '"success":true']
        self._send(self.make_object(*parts, *self.stamps(request, in_ns, out_ns or in_ns)))

    def _refuse(self, request: dict[str, Any], now_ns: int, text: str, symbol: str = "") -> None:
        parts = [f'"error":{json.dumps(text)}', '"success":false']
        if isinstance(request.get("method"), str):
            parts.append(f'"method":{json.dumps(request["method"])}')
        if symbol:
            parts.append(f'"symbol":{json.dumps(symbol)}')
        if text == SESSION_REFUSED:
            parts.append('"status":"error"')
        self._send(self.make_object(*parts, *self.stamps(request, now_ns, now_ns)))

    def stamps(self, request: dict[str, Any], in_ns: int, out_ns: int) -> list[str]:
        """What every reply ends with: its times, and the request's number."""
        stamps = [
            f'"time_in":"{time_text(in_ns, 6)}"', f'"time_out":"{time_text(out_ns + 35_000, 6)}"',
        ]  # fmt: skip
        number = request.get("req_id")
        if isinstance(number, int) and not isinstance(number, bool):
            stamps.append(f'"req_id":{number}')
        return stamps

    def make_object(self, *members: str) -> str:
        """A JSON object of members in any order."""
        turn = int(self.draw.random() * len(members))
        return f"{{{','.join(members[turn:] + members[:turn])}}}"


def _key(channel: str, symbol: str, options: dict[str, Any]) -> tuple[str, str, Any]:
    """What a connection can have only once: one depth of a book, each interval of ohlc."""
    return channel, symbol, options.get("interval")


def _one_of(value: object, allowed: Any, refusal: str) -> Any:
    if isinstance(value, bool) or value not in allowed:
        raise RefusalError(refusal)
    return value
