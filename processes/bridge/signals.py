"""The way in: entries of `signal:in` to execution, which journals each before it is acknowledged.

    read (group) ─▶ validate ─▶ to execution ─▶ journaled, decided ─▶ XACK
                        └─▶ `signal:refused`, XACK

An entry is acknowledged when its outcome stands somewhere for good. If this process dies before
that, the next one claims it (XAUTOCLAIM) and brings it again; execution knows the ids that it has
journaled, so the machine takes a signal at most once, and one that grew too old meanwhile not at
all. One batch is under way at a time.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import redis

from processes.bridge.courier import Courier
from processes.bridge.entries import Names
from processes.bridge.link import Link
from processes.clock import monotonic_s
from schemas.settings import BridgeSettings
from schemas.streams import SIGNAL_GROUP, SIGNAL_IN, SIGNAL_REFUSED, SignalBody
from schemas.trading import Action, ExternalSignal

CONSUMER: Final = "bridge"
MAX_BODY_BYTES: Final = 4096
MAX_ID_CHARACTERS: Final = 64
RETRY_S: Final = 0.5
_decode = msgspec.json.Decoder(SignalBody).decode


class Refusal(NamedTuple):
    """An entry that does not reach execution."""

    entry: bytes
    reason: str
    body: bytes


class SignalRefusedError(Exception):
    """The text says why."""


def signal_of(
    entry: bytes, fields: dict[bytes, bytes], names: Names, now_ns: int, settings: BridgeSettings
) -> ExternalSignal:
    """What an entry says, checked.

    Raises:
        SignalRefusedError: it says nothing that can be decided on.
    """
    raw = fields.get(b"body", b"")
    if not raw:
        raise SignalRefusedError("no field body")
    if len(raw) > MAX_BODY_BYTES:
        raise SignalRefusedError(f"a body of {len(raw)} bytes, at most {MAX_BODY_BYTES}")
    try:
        said = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SignalRefusedError(f"body: {error}") from None
    if said.action == "hold":
        raise SignalRefusedError("action hold asks for nothing: enter_long, enter_short or exit")
    number = fields.get(b"id", entry).decode(errors="replace")
    if not 0 < len(number) <= MAX_ID_CHARACTERS or not number.isascii() or not number.isprintable():
        raise SignalRefusedError(f"id: 1 to {MAX_ID_CHARACTERS} printable ASCII characters")
    item = names.find(said.exchange, said.symbol)
    if item is None:
        raise SignalRefusedError(f"no instrument {said.symbol[:40]!r} at {said.exchange[:40]!r}")
    age_ms = now_ns // 1_000_000 - said.ts
    limits = settings.signals
    if age_ms > limits.max_age_ms:
        raise SignalRefusedError(f"stale: {age_ms} ms old, at most {limits.max_age_ms}")
    if age_ms < -limits.max_ahead_ms:
        raise SignalRefusedError(f"ts: {-age_ms} ms ahead, at most {limits.max_ahead_ms}")
    return ExternalSignal(
        id=f"{said.strategy}/{number}",
        entry=entry.decode(),
        instrument=item.index,
        action=Action[said.action.upper()],
        confidence=said.confidence,
        price=said.price_ref or 0.0,
        ts_ns=said.ts * 1_000_000,
    )


class Signals:
    """The consumer group's only member."""

    def __init__(
        self,
        link: Link,
        courier: Courier,
        names: Names,
        settings: BridgeSettings,
        now_ns: Callable[[], int],
    ) -> None:
        self.taken = 0
        """Signals that execution has journaled, in this process's life."""
        self.refused = 0
        """Signals that did not reach it."""
        self.trouble = ""
        """Why execution does not take any; empty while it does."""
        self._link = link
        self._courier = courier
        self._names = names
        self._settings = settings
        self._now_ns = now_ns
        self._stream = settings.prefix + SIGNAL_IN
        self._refused_stream = settings.prefix + SIGNAL_REFUSED
        self._refusals: list[Refusal] = []
        self._done: list[bytes] = []
        """Entries to acknowledge."""
        self._under_way: list[bytes] = []
        self._pending_from: bytes | None = b"0-0"
        """Where claiming of unacknowledged entries goes on; None when there are none left."""
        self._has_group = False
        self._next_s = 0.0

    def turn(self) -> None:
        """Do what can be done without waiting.

        Raises:
            what `link.FAILURES` names: whatever is not acknowledged is read again.
        """
        if self._under_way:
            self._hear()
        if self._under_way or monotonic_s() < self._next_s or not self._link.due():
            return
        if self._refusals or self._done:
            self._acknowledge()
        self._next_s = monotonic_s() + self._settings.signals.poll_ms / 1e3
        entries = self._read()
        if entries:
            self._take(entries)

    # ---- from Redis

    def _read(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        client, count = self._link.client, self._settings.signals.batch
        try:
            if not self._has_group:
                self._make_group()
            if self._pending_from is not None:
                told: Any = client.xautoclaim(
                    self._stream, SIGNAL_GROUP, CONSUMER, 0, self._pending_from, count=count
                )
                self._pending_from = None if told[0] == b"0-0" else told[0]
                return [entry for entry in told[1] if entry[1]]
            read: Any = client.xreadgroup(SIGNAL_GROUP, CONSUMER, {self._stream: ">"}, count=count)
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._has_group = False  # Redis has been emptied
            return []
        return list(read[0][1]) if read else []

    def _make_group(self) -> None:
        try:
            self._link.client.xgroup_create(self._stream, SIGNAL_GROUP, "0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._has_group = True
        self._pending_from = b"0-0"

    def _acknowledge(self) -> None:
        """Refused ones are written down, then all are acknowledged: together, or neither."""
        length = self._settings.lengths.refused
        with self._link.client.pipeline(transaction=True) as pipe:
            for entry, reason, raw in self._refusals:
                fields: dict[Any, Any] = {"entry": entry, "reason": reason, "body": raw}
                pipe.xadd(self._refused_stream, fields, maxlen=length)
            pipe.xack(self._stream, SIGNAL_GROUP, *self._done, *[one[0] for one in self._refusals])
            try:
                pipe.execute()
            except redis.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                self._has_group = False
        self.refused += len(self._refusals)
        self._refusals, self._done = [], []

    # ---- to execution

    def _take(self, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        good: list[ExternalSignal] = []
        for entry, fields in entries:
            try:
                good.append(signal_of(entry, fields, self._names, self._now_ns(), self._settings))
            except SignalRefusedError as error:
                raw = fields.get(b"body", b"")[:MAX_BODY_BYTES]
                self._refusals.append(Refusal(entry, str(error), raw))
        if good:
            self._under_way = [signal.entry.encode() for signal in good]
            self._courier.send("signals", {"signals": good})

    def _hear(self) -> None:
        """Take execution's answer. Without one, the entries are claimed again later."""
        try:
            reply = self._courier.answer()
        except TimeoutError as error:
            self._give_up(f"execution: {error}")
            return
        if reply is None:
            return
        if not reply.ok:
            self._give_up(f"execution: {reply.error}"[:120])
            return
        self.trouble = ""
        self.taken += len(self._under_way)
        self._done += self._under_way
        self._under_way = []

    def _give_up(self, trouble: str) -> None:
        self.trouble = trouble
        self._under_way = []
        self._pending_from = b"0-0"
        self._next_s = monotonic_s() + RETRY_S

    def close(self) -> None:
        """Acknowledge what can be, give the rest up: it is claimed again."""
        self._courier.close()  # first: the bus cannot end while a socket of it is open
        if self._done or self._refusals:
            self._acknowledge()
