"""Recordings served as the venue would: per subscription, at the recorded pace or as fast as read.

Acks are made for the client's own requests; channel ids, sequence numbers and tails are those of
the connection that is served. A subscription that was not recorded is refused as an unknown symbol
is. All subscriptions of a connection share one clock, which starts with the first of them, so that
they stand to each other as recorded; who subscribes late gets what was missed at once. A recording
of several connections: when one has been played to its end, the client is cut and gets the next one
when it comes back. After the last frame only heartbeats go on.
"""

import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from processes.simulator.bitfinex_session import (
    BULK,
    CHECKSUM,
    BitfinexSession,
    Subscribed,
)
from processes.simulator.conversation import Conversation
from processes.simulator.gmo import GmoConnection
from processes.simulator.kraken_session import (
    DEPTH_REFUSED,
    PAIR_REFUSED,
    KrakenSession,
    Subscription,
)
from processes.simulator.market import BookSide
from processes.simulator.orders import Rules
from processes.simulator.recordings import (
    EVERYBODY,
    READERS,
    Cue,
    Key,
    Recording,
    bitfinex_entries,
    bitfinex_key,
    read_lines,
)
from processes.simulator.venue import Level, Venue
from schemas.errors import OperatorError

ROOM_FRAMES = 500
"""So many frames may wait to leave before the playing does."""
KRAKEN_CHECKSUM = re.compile(r'("checksum"\s*:\s*)(\d+)')


class Player:
    """One recorded connection on its way to one client.

    Args:
        speed: times as fast as recorded; 0 = everything is due.
    """

    def __init__(self, recording: Recording, speed: float) -> None:
        self.recording = recording
        self.speed = speed
        self._begin_ns = 0
        self._heap: list[tuple[int, int, Key]] = []
        self._cursors: dict[Key, Iterator[Cue]] = {}
        self._next: dict[Key, Cue] = {}
        self._begun: dict[Key, int] = {}

    def start(self, key: Key, now_ns: int) -> None:
        """Play a subscription's next take; the last one again if there is no further one."""
        if not self._begun:
            self._begin_ns = now_ns
            self._load(EVERYBODY)
        self._load(key)

    def stop(self, key: Key) -> None:
        """The client unsubscribed."""
        self._cursors.pop(key, None)
        self._next.pop(key, None)

    def due(self, now_ns: int, room: int) -> Iterator[tuple[Key, Cue]]:
        """What is to be sent now, in recorded order, no more than there is room for."""
        while self._heap and room > 0:
            due_ns, place, key = self._heap[0]
            if due_ns > now_ns:
                return
            heapq.heappop(self._heap)
            cue = self._next.get(key)
            if cue is None or cue.place != place:
                continue
            self._advance(key)
            room -= 1
            yield key, cue

    @property
    def finished(self) -> bool:
        """Every recorded subscription was played to the end of its last take."""
        recorded = {key: len(takes) for key, takes in self.recording.takes.items() if key}
        played = all(self._begun.get(key, 0) >= takes for key, takes in recorded.items())
        return played and not self._heap

    def _load(self, key: Key) -> None:
        takes = self.recording.takes.get(key, [])
        number = self._begun.get(key, 0)
        self._begun[key] = number + 1
        if takes:
            self._cursors[key] = iter(takes[min(number, len(takes) - 1)])
            self._advance(key)

    def _advance(self, key: Key) -> None:
        cue = next(self._cursors[key], None)
        if cue is None:
            self.stop(key)
            return
        self._next[key] = cue
        heapq.heappush(self._heap, (self._due_ns(cue), cue.place, key))

    def _due_ns(self, cue: Cue) -> int:
        if not self.speed or not cue.recv_ns:
            return self._begin_ns
        return self._begin_ns + int((cue.recv_ns - self.recording.first_ns) / self.speed)


class BitfinexPlayback(BitfinexSession[Subscribed]):
    """Bitfinex's end of a socket in front of a recording."""

    def __init__(
        self, player: Player, send: Callable[[str], None], now_ns: int, **more: Any
    ) -> None:
        super().__init__(send, now_ns, **more)
        self.player = player
        self._by_key: dict[Key, Subscribed] = {}

    def complete(self, request: dict[str, Any]) -> tuple[int, str] | None:
        """Only what was recorded is there."""
        if request.get("channel") == "book":
            request.setdefault("prec", "P0")
            request.setdefault("freq", "F0")
            request["len"] = str(request.get("len", "25"))
        if bitfinex_key(request) in self.player.recording.takes:
            return None
        return 10300, "key: invalid" if "key" in request else "symbol: invalid"

    def knows_status(self, request: dict[str, Any]) -> bool:
        """True if the key was recorded."""
        return bitfinex_key(request) in self.player.recording.takes

    def make(self, number: int, request: dict[str, Any]) -> Subscribed:
        """A channel of the recording."""
        symbol = request.get("symbol") or str(request.get("key", "")).split(":", 2)[-1]
        return Subscribed(number, request, symbol)

    def begin(self, channel: Subscribed, now_ns: int) -> None:
        """The recording begins with the snapshot."""
        key = bitfinex_key(channel.request)
        self._by_key[key] = channel
        self.player.start(key, now_ns)

    def tick_channel(self, channel: Subscribed, now_ns: int) -> None:
        """Nothing is due on a channel by itself: the player says what comes next."""

    def tick(self, now_ns: int) -> None:
        """Send whatever is due."""
        super().tick(now_ns)
        if now_ns < self.faults.heartbeats_only_until_ns or not self.conduct.operative:
            return
        for key, cue in self.player.due(now_ns, ROOM_FRAMES - self.backlog()):
            if key == EVERYBODY:
                self._send(cue.text)
                continue
            channel = self._by_key[key]
            if channel.number not in self.channels:
                self.player.stop(key)
                continue
            self._play(channel, cue, now_ns)

    def _play(self, channel: Subscribed, cue: Cue, now_ns: int) -> None:
        time_ms = cue.time_ms or cue.recv_ns // 10**6
        body = cue.text
        if body.startswith('"cs",'):
            if not self.flags & CHECKSUM:
                return
            if self.faults.takes("spoil", channel.symbol):
                body = f'"cs",{int(body[5:]) ^ 1}'
        bodies = [body]
        if body.startswith("[[") and channel.name == "book" and not cue.first:
            bodies = [body] if self.flags & BULK else bitfinex_entries(body)
        for part in bodies:
            self.send_frame(
                channel.number, part, now_ns, channel.symbol, snapshot=cue.first, time_ms=time_ms
            )


class KrakenPlayback(KrakenSession):
    """Kraken's end of a socket in front of a recording."""

    def __init__(
        self, player: Player, send: Callable[[str], None], now_ns: int, **more: Any
    ) -> None:
        super().__init__(send, now_ns, **more)
        self.player = player

    def refusal_of(self, channel: str, symbol: str, options: dict[str, Any]) -> str:
        """Only what was recorded is there, in the depth in which it was recorded."""
        key = (channel, symbol, options.get("interval"))
        if key not in self.player.recording.takes:
            return f"{PAIR_REFUSED} {symbol}"
        recorded = self.player.recording.options.get(key, {})
        if "depth" not in options:
            return ""
        depth = recorded.get("depth", options["depth"])
        fits = options["depth"] == depth or (recorded.get("thin") and options["depth"] > depth)
        return "" if fits else DEPTH_REFUSED

    def begin(self, subscription: Subscription, now_ns: int) -> None:
        """The recording begins with the snapshot."""
        options = subscription.options
        self.player.start(
            (subscription.channel, subscription.symbol, options.get("interval")), now_ns
        )

    def update(self, subscription: Subscription, now_ns: int) -> None:
        """Nothing is due on a subscription by itself: the player says what comes next."""

    def tick(self, now_ns: int) -> None:
        """Send whatever is due."""
        super().tick(now_ns)
        if now_ns < self.faults.heartbeats_only_until_ns or not self.conduct.operative:
            return
        for key, cue in self.player.due(now_ns, ROOM_FRAMES - self.backlog()):
            if key == EVERYBODY:
                self._send(cue.text)
            elif key not in self.subscriptions:
                self.player.stop(key)
            else:
                self._play(key, cue)

    def _play(self, key: Key, cue: Cue) -> None:
        text = cue.text
        if cue.first:
            if self.subscriptions[key[0], key[1], key[2]].options["snapshot"]:
                self.send_snapshot(key[1], text)
            return
        if key[0] in {"book", "level3"}:
            if self.faults.takes("gap", key[1]):
                return
            if self.faults.takes("spoil", key[1]):
                text = KRAKEN_CHECKSUM.sub(lambda m: f"{m[1]}{int(m[2]) ^ 1}", text)
        self._send(text)


class GmoPlayback(GmoConnection):
    """GMO Coin's end of a socket in front of a recording."""

    def __init__(
        self, player: Player, send: Callable[[str], None], now_ns: int, **more: Any
    ) -> None:
        super().__init__({}, send, now_ns, **more)
        self.player = player
        self._playing: set[Key] = set()

    def lists(self, symbol: object) -> bool:
        """True if anything of the symbol was recorded."""
        return any(key and key[1] == symbol for key in self.player.recording.takes)

    def begin(self, channel: str, symbol: str, now_ns: int, *, taker_only: bool) -> None:  # noqa: ARG002
        """Play what was recorded; a repeated subscription is silent."""
        if (channel, symbol) not in self._playing:
            self._playing.add((channel, symbol))
            self.player.start((channel, symbol), now_ns)

    def leave(self, channel: str, symbol: str) -> None:
        """The client unsubscribed."""
        self._playing.discard((channel, symbol))
        self.player.stop((channel, symbol))

    @property
    def subscribed(self) -> int:
        """Subscriptions of this socket."""
        return len(self._playing)

    def tick_data(self, now_ns: int) -> None:
        """Send whatever is due."""
        for key, cue in self.player.due(now_ns, ROOM_FRAMES - self.backlog()):
            if cue.first:
                self.send_snapshot(key[1], cue.text)
            elif key == EVERYBODY or not self.faults.takes("gap", key[1]):
                self._send(cue.text)


PLAYBACKS: dict[str, Callable[..., Conversation]] = {
    "bitfinex": BitfinexPlayback,
    "kraken": KrakenPlayback,
    "gmo": GmoPlayback,
}


class PlaybackVenue(Venue):
    """A venue whose sockets are in front of a recording; its REST calls know no market.

    Args:
        venue: the venue itself, without symbols. files: one recording, in order.

    Raises:
        OperatorError: a file cannot be read.
    """

    def __init__(self, venue: Venue, files: Sequence[str], speed: float) -> None:
        self._venue = venue
        self.name, self.sockets, self.frames = venue.name, venue.sockets, venue.frames
        super().__init__((), venue.settings, venue.now_ns, lambda _history, _trade: None)
        self.accounts = venue.accounts
        self.conduct = venue.conduct
        try:
            lines = list(read_lines(map(Path, files)))
        except OSError as error:
            raise OperatorError(
                f"cannot read a recording of simulator.playback: {error}"
            ) from error
        self.recordings = READERS[self.name](lines)
        self._speed = speed
        self._number = 0
        self._open: list[tuple[Player, Conversation]] = []

    def open(
        self, path: str, send: Callable[[str], None], now_ns: int, number: int
    ) -> Conversation:
        """A socket in front of the recorded connection whose turn it is."""
        player = Player(self.recordings[self._number], self._speed)
        options = self._venue.socket_options(path, number)
        conversation = PLAYBACKS[self.name](player, send, now_ns, **options)
        self._open.append((player, conversation))
        return conversation

    def rules(self) -> Rules:
        """As the venue's."""
        return self._venue.rules()

    def tick(self, now_ns: int) -> None:  # noqa: ARG002
        """Cut a client that has seen all of a recorded connection, if another one follows."""
        self._open = [(p, c) for p, c in self._open if not c.ended]
        for player, conversation in self._open:
            last = self._number + 1 == len(self.recordings)
            if player.finished and not last and not conversation.backlog():
                conversation.ended = True
                self._number += 1

    def socket_options(self, path: str, number: int) -> dict[str, Any]:
        """As the venue's."""
        return self._venue.socket_options(path, number)

    def routes(self) -> list[web.RouteDef]:
        """The venue's calls."""
        return self._venue.routes()

    @property
    def refuses_sockets(self) -> bool:
        """As the venue does."""
        return self._venue.refuses_sockets

    def refusal_of(self, path: str, now_ns: int) -> int:
        """As the venue does."""
        return self._venue.refusal_of(path, now_ns)

    def true_book(self, symbol: str, options: dict[str, Any]) -> dict[BookSide, list[Level]]:
        """A recording has no truth but itself: refused as an unknown symbol."""
        return self._venue.true_book(symbol, options)

    def true_trades(self, symbol: str) -> list[Level]:
        """Refused as an unknown symbol."""
        return self._venue.true_trades(symbol)

    def true_candles(self, symbol: str, timeframe: str) -> list[Level]:
        """Refused as an unknown symbol."""
        return self._venue.true_candles(symbol, timeframe)
