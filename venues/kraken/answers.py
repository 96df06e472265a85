"""What Kraken says to requests, and of itself: acks, refusals, pongs, status.

Rules (docs.kraken.com/api/docs/websocket-v2, and recordings): a request with many symbols is
answered symbol by symbol, and some may fail; a refusal leaves the socket open and is the only place
where the failure shows; it may name its symbol, or nothing but the request's number; the first
frame of a connection is its status, sent again on changes.
"""

from abc import abstractmethod
from typing import Any, Final

from schemas.account import AccountEvent
from schemas.errors import DecodeError
from schemas.tape import Marker, MarkerReason
from venues.codec import ConnectionCodec
from venues.kraken.account import CHANNELS as PRIVATE_CHANNELS
from venues.kraken.account import KrakenAccount
from venues.kraken.subscriptions import asked_for, describe, name_of
from venues.names import channel_number
from venues.numbers import NumberText, as_integer
from venues.wire import (
    Acknowledged,
    Ended,
    Notice,
    Opened,
    Refused,
    ServerNotice,
    Subscription,
)

_PERMANENT: Final = ("not supported", "not found", "invalid arguments", "malformed", "unknown")
"""Words of refusals that asking again does not change."""
_SESSION: Final = "ESession:"
_MAINTENANCE: Final = "maintenance"
_WARNINGS_KEPT: Final = 100


class AnsweringCodec(ConnectionCodec):
    """The half of the codec that knows requests; arguments as `ConnectionCodec`."""

    account: KrakenAccount
    system: str = ""
    """The venue's state: online, cancel_only, post_only, maintenance; empty before its word."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._warned: set[str] = set()

    @abstractmethod
    def enter(self, subscription: Subscription) -> Acknowledged:
        """Give a subscription the channel of its name."""

    @abstractmethod
    def count_account(self, event: AccountEvent) -> None:
        """Note an event of a private channel."""

    def take_answer(self, message: dict[str, Any]) -> list[Notice]:
        """A frame with a `method`.

        Raises:
            DecodeError, KeyError, TypeError, ValueError: it is not as it must be.
        """
        method, success = message["method"], message.get("success")
        if method in {"pong", "ping"}:
            return []
        if method in {"subscribe", "unsubscribe"}:
            result = message.get("result", {})
            if not isinstance(result, dict):
                raise DecodeError("an answer whose result is no object")
            if result.get("channel") in PRIVATE_CHANNELS:
                self.count_account(self.account.take_reply(message))
                return self._warnings(result)
            if success is not True:
                return self._on_failure(method, message)
            described = describe(result)
            if described is None:  # instrument
                return self._warnings(result)
            symbol, channel, parameters = described
            subscription = self.find(symbol, symbol, channel, parameters)
            if method == "unsubscribe":
                return [] if subscription is None else self._end(subscription)
            if subscription is None:
                raise DecodeError("an ack of a stream that was not asked for")
            return [self.enter(subscription), *self._warnings(result)]
        self.count_account(self.account.take_reply(message))
        return []

    def _warnings(self, result: dict[str, Any]) -> list[Notice]:
        """What an ack warns of, each text once."""
        notices: list[Notice] = []
        for warning in result.get("warnings", []):
            text = f"{result.get('channel')}: {warning}"
            if text not in self._warned and len(self._warned) < _WARNINGS_KEPT:
                self._warned.add(text)
                notices.append(ServerNotice(text=text))
        return notices

    def _end(self, subscription: Subscription) -> list[Notice]:
        number = channel_number(*name_of(subscription))
        return [Ended(channel_id=number)] if self.end_channel(number) else []

    # ---- refusals

    def _on_failure(self, method: str, message: dict[str, Any]) -> list[Notice]:
        error = message.get("error", "")
        text = error if isinstance(error, str) else str(error)
        meant = self._meant(message)
        if method == "unsubscribe":
            # What cannot be ended is not there.
            return [notice for each in meant for notice in self._end(each)]
        # A request that was repeated is refused while the first one is live.
        open_ones = [each for each in meant if not self.has_channel(each)]
        if meant and not open_ones:
            return []
        permanent = any(words in text.lower() for words in _PERMANENT)
        notices: list[Notice] = []
        for subscription in open_ones:
            self.mark(Marker.REFUSED, MarkerReason.VENUE_REFUSED, subscription=subscription)
            notices.append(
                Refused(code=0, text=text, subscription=subscription, permanent=permanent)
            )
        if not meant:
            notices.append(Refused(code=0, text=text, subscription=None, permanent=permanent))
        if text.startswith(_SESSION):
            # The token is spent; a new connection fetches another.
            notices.append(ServerNotice(reconnect=True, text=text))
        return notices

    def _meant(self, message: dict[str, Any]) -> list[Subscription]:
        """The subscriptions that a refusal speaks of, as far as it says."""
        number, symbol = message.get("req_id"), message.get("symbol")
        method, stream, instrument = (
            asked_for(as_integer(number)) if isinstance(number, NumberText) else ("", -1, -1)
        )
        if symbol is None and not method:
            return []
        return [
            each
            for each in self._wanted
            if symbol in {None, each.instrument.symbol}
            and (not method or each.stream.index == stream)
            and (method != "unsubscribe" or each.instrument.index == instrument)
        ]

    def has_channel(self, subscription: Subscription) -> bool:
        """Whether a subscription is acknowledged."""
        return any(what is subscription for what in self._by_place.values())

    def take_error(self, message: dict[str, Any]) -> list[Notice]:
        """A frame that says nothing but that something failed."""
        return [Refused(code=0, text=str(message["error"]), subscription=None, permanent=False)]

    # ---- status

    def take_status(self, message: dict[str, Any]) -> list[Notice]:
        """The venue's state: the connection's greeting, or a change.

        Without matching (cancel_only, post_only) market data goes on; in maintenance it does not,
        and afterwards every book is void.
        """
        row = message["data"][0]
        system, before = row["system"], self.system
        if not isinstance(system, str):
            raise DecodeError(f"{system!r} is no state of the venue")
        self.system = system
        notices: list[Notice] = []
        if not before:
            notices.append(Opened(operative=system != _MAINTENANCE, text=system))
        elif system == _MAINTENANCE != before:
            notices.append(ServerNotice(pause=True, text=system))
        elif before == _MAINTENANCE != system:
            notices.append(ServerNotice(resubscribe=True, text=system))
        elif system != before:
            notices.append(ServerNotice(text=f"the venue is {system}"))
        for planned in [*row.get("upcoming_maintenance", []), *row.get("emergency", [])]:
            text = ", ".join(f"{key} {planned[key]}" for key in sorted(planned) if planned[key])
            notices.append(ServerNotice(text=f"maintenance: {text}"[:500]))
        return notices
