"""One connection to a venue: connects, subscribes, watches, repairs, and never gives up.

Faults are repaired at the smallest scope: a channel that broke is subscribed anew; a sequence gap,
a silent socket or the venue's own word costs the connection. What was missed stands on the tape as
a GAP from the last good frame to the new subscription. A bug in decoding is not caught: it ends the
process, and the supervisor starts it again.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec

from processes.backoff import Backoff, ConnectLimit
from processes.clock import monotonic_s
from processes.collector.recorder import Recorder
from processes.collector.subscriptions import Desk
from processes.collector.tape import Tape
from processes.collector.websocket import UpgradeRefusedError, WebSocket, WebSocketError, connect
from processes.logs import Log
from schemas.instruments import Channel
from schemas.tape import Marker, MarkerReason
from venues.pace import Pace
from venues.wire import (
    Acknowledged,
    BadFrame,
    ChannelBroken,
    Codec,
    Ended,
    FrameBatch,
    InstrumentsChanged,
    Notice,
    Opened,
    Refused,
    SequenceGap,
    ServerNotice,
    Subscription,
    Venue,
)

WATCH_S = 0.1
NO_LIMIT = 1 << 30
HEALTHY_S = 10.0
"""A connection that lived this long was a success: the backoff begins anew."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings allow a connection."""

    subscribe_s: float
    silence_s: float
    stale_s: dict[Channel, float]
    ping_s: float
    subscribe_tries: int = 3
    refused_retry_s: float = 600.0


class Session:
    """One connection's whole life.

    Args:
        venue: requests and codec. wanted: its subscriptions. tape: where slots go.
        next_epoch: a number for each connection. now_ns: the session's clock.
        on_full: takes a subscription that the venue wants on another connection.
        on_change: called when something worth telling has changed.
        on_instruments: takes what the venue says of its pairs and assets.
        recorder: keeps every frame, both ways.
    """

    def __init__(
        self,
        venue: Venue,
        wanted: list[Subscription],
        tape: Tape,
        *,
        number: int,
        timeouts: Timeouts,
        backoff: Backoff,
        limit: ConnectLimit,
        pace: Pace,
        next_epoch: Callable[[], int],
        now_ns: Callable[[], int],
        log: Log,
        on_full: Callable[[Subscription], None],
        on_change: Callable[[], None],
        on_instruments: Callable[[InstrumentsChanged], None] = lambda _: None,
        recorder: Recorder | None = None,
    ) -> None:
        self.desk = Desk(
            wanted,
            timeouts.subscribe_s,
            tries=timeouts.subscribe_tries,
            retry_s=timeouts.refused_retry_s,
        )
        self.codec: Codec = venue.codec(wanted, tape.publish, number)
        self.text = "not connected yet"
        self.connections = 0
        self.gaps = 0
        self.resyncs = 0
        self.bytes = 0
        self.has_data = False
        self.limit = NO_LIMIT
        """Most subscriptions that the venue has let this connection have, as far as it has said."""
        self._venue = venue
        self._tape = tape
        self._timeouts = timeouts
        self._backoff = backoff
        self._connects = limit
        self._pace = pace
        self._wanted = list(wanted)
        self._url = ""
        self._outbox: deque[tuple[str, Callable[[], None]]] = deque()
        self._pinged_s = 0.0
        self._waited_s = 0.0
        self._next_epoch = next_epoch
        self._now_ns = now_ns
        self._log = log.bind(connection=number)
        self._on_full = on_full
        self._on_change = on_change
        self._on_instruments = on_instruments
        self._number = number
        self._recorder = recorder
        self._socket: WebSocket | None = None
        self._end_reason = MarkerReason.NONE
        self._paused = False
        self._closed_for_maintenance = False
        self._stopping = False
        self._wished = asyncio.Event()
        """Clear while a person wants this connection closed."""
        self._wished.set()
        self.last_error = ""
        self.last_error_ns = 0

    def add(self, subscription: Subscription) -> None:
        """Have one more subscription on this connection."""
        self._wanted.append(subscription)
        self.codec.want(subscription)
        self.desk.add(subscription)

    async def run(self) -> None:
        """Connect again and again, until told to stop."""
        while not self.is_stopping():
            await self._wished.wait()
            await asyncio.sleep(self._connects.delay_s())
            try:
                socket = await self._connect()
            except (OSError, TimeoutError, WebSocketError) as error:
                self._not_connected(error)
                await asyncio.sleep(self._backoff.next_s())
                continue
            began_s = monotonic_s()
            try:
                await self._live(socket)
            finally:
                self._end()
            if isinstance(socket.error, WebSocketError):
                self._tell(f"the venue breaks the protocol: {socket.error}")
            elif socket.error is not None:
                raise socket.error
            if self.is_stopping():
                return
            if monotonic_s() - began_s > HEALTHY_S or self._end_reason == MarkerReason.SEQUENCE:
                self._backoff.succeeded()
            await asyncio.sleep(self._backoff.next_s())

    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def disconnect(self) -> None:
        """A person wants no connection until `connect`; a restart of the process connects too."""
        if self._wished.is_set():
            self._wished.clear()
            self._log.warning("disconnected by hand")
            if self._socket is not None:
                self._close(MarkerReason.STOP, "disconnected by hand")
            else:
                self._tell("disconnected by hand")

    def connect(self) -> None:
        """Connect again, at once."""
        if not self._wished.is_set():
            self._log.info("connected by hand")
            self._backoff.succeeded()
            self._wished.set()

    def renew(self, text: str) -> None:
        """Connect anew, at once: whatever this socket still shows, the venue has given it up."""
        if self._socket is not None:
            self._backoff.succeeded()
            self._close(MarkerReason.CONNECTION_LOST, text)

    def stop(self) -> None:
        """The process ends in order: say so on the tape. A cancel alone may be lost in a wait."""
        self._stopping = True
        if self._socket is not None:
            self._end_reason = MarkerReason.STOP
            self._socket.abort()

    async def _connect(self) -> WebSocket:
        self._end_reason = MarkerReason.CONNECTION_LOST
        epoch = self._next_epoch()
        self._url = await self._venue.address(self._wanted)
        self.codec.open(epoch, self._now_ns())
        self.desk.reset()
        self.has_data = self._paused = False
        return await connect(
            self._url, self._feed, self._now_ns, lambda socket: self._opened(socket, epoch)
        )

    def _not_connected(self, error: Exception) -> None:
        """A try failed; a venue that is in maintenance says so at its door, and is waited for."""
        why = str(error) or type(error).__name__
        if (
            isinstance(error, UpgradeRefusedError)
            and error.status == HTTPStatus.SERVICE_UNAVAILABLE
        ):
            why = f"the venue is in maintenance ({why})"
            if not self._closed_for_maintenance:
                self._closed_for_maintenance = True
                self.codec.mark(Marker.MAINTENANCE_BEGIN, MarkerReason.MAINTENANCE)
                self.codec.flush()
        self._tell(f"cannot connect to {self._url}: {why}")

    def _opened(self, socket: WebSocket, epoch: int) -> None:
        """The connection stands; nothing has been read from it yet."""
        self._socket = socket
        self._outbox.clear()
        self._pinged_s = self._waited_s = monotonic_s()
        self.connections += 1
        if self._recorder is not None:
            self._recorder.opened(self._number, self._now_ns())
        self.codec.mark(Marker.CONNECTED, MarkerReason.NONE)
        if self._closed_for_maintenance:
            self._closed_for_maintenance = False
            self.codec.mark(Marker.MAINTENANCE_END, MarkerReason.MAINTENANCE)
        self.codec.flush()
        self._log.info("connected", url=self._url, epoch=epoch)
        for request in self._venue.opening(self._number):
            self._send(request)

    async def _live(self, socket: WebSocket) -> None:
        """Watch an open connection until it ends."""
        if not self._wished.is_set():  # by hand, while it was being opened
            self._close(MarkerReason.STOP, "disconnected by hand")
        while not socket.closed.is_set():
            self._drive()
            self._watch(socket)
            try:
                await asyncio.wait_for(socket.closed.wait(), WATCH_S)
            except TimeoutError:
                continue

    def _drive(self) -> None:
        """Ask for what is due, as fast as the venue takes requests."""
        if not self._paused:
            for request in self._venue.subscribe(self.desk.due(monotonic_s())):
                self._outbox.append((request.text, partial(self._asked, request.subscriptions)))
        while self._outbox and self._pace.take("commands", self._venue.command_interval_s):
            text, on_sent = self._outbox.popleft()
            self._send(text)
            on_sent()
        if self._outbox and not self.desk.any_asked():
            # Nothing can be heard before the first request has had its turn.
            self._waited_s = monotonic_s()

    def _asked(self, subscriptions: list[Subscription]) -> None:
        for subscription in subscriptions:
            self.desk.sent(subscription, monotonic_s())
            self.codec.sent(subscription)

    def _watch(self, socket: WebSocket) -> None:
        now_s = monotonic_s()
        for notice in self.codec.tick(self._now_ns()):
            self._take(notice)
        self.codec.flush()
        if self._timeouts.ping_s and now_s - self._pinged_s > self._timeouts.ping_s:
            self._pinged_s = now_s
            self._send(self._venue.ping())
        if now_s - max(socket.heard_s, self._waited_s) > self._timeouts.silence_s:
            self._close(MarkerReason.SILENCE, f"silent for {self._timeouts.silence_s:g} s")
        elif self.desk.is_stuck(now_s):
            self._close(MarkerReason.SILENCE, "an unsubscription was never confirmed")
        elif not self._paused:
            self._give_up(now_s)
            self._watch_channels()

    def _give_up(self, now_s: float) -> None:
        """Say which streams the venue never answers for; no other one waits for them."""
        for subscription in self.desk.give_up(now_s):
            self.codec.mark(Marker.REFUSED, MarkerReason.VENUE_REFUSED, subscription=subscription)
            self.codec.flush()
            self._log.warning(
                "subscription never answered",
                symbol=subscription.instrument.symbol,
                channel=subscription.stream.channel,
                retry_s=self._timeouts.refused_retry_s,
            )
            self._tell("")

    def _watch_channels(self) -> None:
        now_ns = self._now_ns()
        for subscription, channel_id, data_ns in self.codec.data_ns():
            limit_s = self._timeouts.stale_s.get(subscription.stream.channel)
            if limit_s is not None and now_ns - data_ns > limit_s * 1e9:
                self.codec.mark(Marker.STALE, MarkerReason.SILENCE, subscription=subscription)
                self.codec.interrupt(MarkerReason.SILENCE, subscription)
                self.codec.flush()
                self._resubscribe(subscription, channel_id, f"no data for {limit_s:g} s")

    def _resubscribe(self, subscription: Subscription, channel_id: int, why: str) -> None:
        self.resyncs += 1
        self._log.warning(
            "channel subscribed anew",
            symbol=subscription.instrument.symbol,
            channel=subscription.stream.channel,
            reason=why,
        )
        self.codec.mute(channel_id)
        self.desk.ending(subscription)
        text = self._venue.unsubscribe(subscription, channel_id)
        self._outbox.append((text, partial(self._ended, subscription, channel_id)))
        self._drive()

    def _ended(self, subscription: Subscription, channel_id: int) -> None:
        """An unsubscription has gone out; where the venue never confirms one, it is done."""
        self.desk.sent(subscription, monotonic_s())
        if not self._venue.ends_are_confirmed:
            self.codec.end_channel(channel_id)
            self.desk.ended(channel_id)

    def _feed(self, batch: FrameBatch, recv_ns: int) -> None:
        self._tape.recv_ns = recv_ns
        self.bytes += batch.size
        try:
            notices = self.codec.feed(batch, recv_ns)
        finally:
            # Behind the decoding, which has waited long enough, and kept also if it failed.
            if self._recorder is not None:
                self._recorder.received(self._number, batch, recv_ns)
        self.has_data = True
        for notice in notices:
            self._take(notice)

    def _take(self, notice: Notice) -> None:
        match notice:
            case Acknowledged():
                self.desk.acknowledged(notice.subscription, notice.channel_id)
                self._tell("")
            case Ended():
                self.desk.ended(notice.channel_id)
            case Refused():
                self._take_refusal(notice)
            case SequenceGap():
                self.gaps += 1
                text = f"frame {notice.expected} expected, {notice.found} came"
                self._close(MarkerReason.SEQUENCE, text)
            case ChannelBroken():
                self._resubscribe(notice.subscription, notice.channel_id, notice.text)
            case BadFrame():
                self._log.warning("frame skipped", frame=notice.text, reason=notice.why)
            case Opened():
                self._paused = not notice.operative
                if self._paused:
                    self._pause("the venue is in maintenance")
            case ServerNotice():
                self._take_announcement(notice)
            case InstrumentsChanged():
                self._on_instruments(notice)

    def _take_refusal(self, notice: Refused) -> None:
        tell = self._log.warning if notice.permanent else self._log.info
        tell("subscription refused", code=notice.code, reason=notice.text)
        if notice.subscription is None:
            return
        if notice.full and len(self.desk) > 1:
            self._wanted = [each for each in self._wanted if each is not notice.subscription]
            self.desk.take_out(notice.subscription)
            # What is left has room: asked for and not refused.
            self.limit = min(self.limit, len(self.desk))
            self._on_full(notice.subscription)
        else:
            text = f"{notice.code or ''} {notice.text}".strip()
            self.desk.refused(notice.subscription, text, permanent=notice.permanent)
        self._tell("")

    def _take_announcement(self, notice: ServerNotice) -> None:
        self._log.info("the venue announces", text=notice.text)
        if notice.pause:
            self._pause(notice.text)
        elif notice.resubscribe:
            self.codec.mark(Marker.MAINTENANCE_END, MarkerReason.MAINTENANCE)
            self._close(MarkerReason.MAINTENANCE, "maintenance ended, everything anew")
        elif notice.reconnect:
            self._close(MarkerReason.SERVER_RESTART, "the venue's server restarts")

    def _pause(self, text: str) -> None:
        self._paused = True
        self.codec.mark(Marker.MAINTENANCE_BEGIN, MarkerReason.MAINTENANCE)
        self.codec.flush()
        self._tell(text)

    def _close(self, reason: MarkerReason, text: str) -> None:
        self._end_reason = reason
        self._log.warning("connection given up", reason=reason.name.lower(), text=text)
        self._tell(text)
        if self._socket is not None:
            self._socket.abort()

    def _end(self) -> None:
        self.codec.interrupt(self._end_reason)
        self.codec.mark(Marker.DISCONNECTED, self._end_reason)
        self.codec.flush()
        self._socket = None
        self.has_data = False
        self.desk.reset()
        if self._end_reason == MarkerReason.CONNECTION_LOST:
            self._tell("the connection was lost")
        self._log.info("disconnected", reason=self._end_reason.name.lower())

    def _send(self, text: str) -> None:
        if self._socket is not None and text:
            self._socket.send(text)
            if self._recorder is not None:
                self._recorder.sent(self._number, text, self._now_ns())

    def _tell(self, text: str) -> None:
        self.text = text
        if text:
            self.last_error, self.last_error_ns = text, self._now_ns()
        self._on_change()

    def describe(self) -> dict[str, Any]:
        """The connection and all of its streams, for people."""
        seen = {id(one): at_ns for one, _, at_ns in self.codec.data_ns()}
        live, refused, wanted = self.desk.counts()
        state = "connected" if self._socket is not None else "connecting"
        return {
            "connection": self._number,
            "state": state if self._wished.is_set() else "disconnected",
            "live": live,
            "refused": refused,
            "wanted": wanted,
            "named_limit": 0 if self.limit == NO_LIMIT else self.limit,
            "url": self._url.partition("?")[0],
            "opened": self.connections,
            "gaps": self.gaps,
            "resyncs": self.resyncs,
            "bytes": self.bytes,
            "last_error": self.last_error,
            "last_error_ns": self.last_error_ns,
            "streams": [
                {
                    "symbol": one.subscription.instrument.symbol,
                    "instrument": one.subscription.instrument.index,
                    "channel": one.subscription.stream.table,
                    "suffix": one.subscription.stream.suffix,
                    "primary": one.subscription.primary,
                    "state": one.state.value,
                    "text": one.text,
                    "data_ns": seen.get(id(one.subscription), 0),
                }
                for one in self.desk.entries()
            ],
        }


def place_anew(subscription: Subscription, sessions: list[Session]) -> bool:
    """Give a subscription that one connection had no room for to another that has; False if none.

    The lowest limit that the venue has named on any connection holds for all of them.
    """
    limit = min(session.limit for session in sessions)
    for session in sessions:
        if len(session.desk) < limit:
            session.add(subscription)
            return True
    return False
