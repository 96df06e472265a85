"""What every venue's codec does: one connection's channels, slots, markers, gaps and interruptions.

A venue's codec derives from `ConnectionCodec` and brings two things: `decode`, its compiled kernel,
which takes nearly all frames, and `take_frame`, which takes in Python what the kernel stops at.
A frame that cannot be decoded is skipped whole and told as `BadFrame`; a book that may miss one
update is told as `ChannelBroken`, and only that book. Never here: sockets, time, retries.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Self

import msgspec

from schemas.errors import DecodeError
from schemas.tape import Marker, MarkerReason
from venues import decoding
from venues.channels import Channels
from venues.wire import (
    BadFrame,
    ChannelBroken,
    FrameBatch,
    Notice,
    SequenceGap,
    Subscription,
)

BAD_FRAME_ERRORS: Final = (
    DecodeError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    OverflowError,
    RecursionError,
)
"""What a frame that is not as it should be may cause; anything else is a bug and ends us."""


class ConnectionCodec(Channels, ABC):
    """Decoder of one connection; arguments as `Channels`."""

    # ---- what a venue brings

    @abstractmethod
    def decode(self, batch: FrameBatch, first: int, recv_ns: int) -> int:
        """Take the frames of a batch from `first` on, compiled; why it stopped.

        That is one of `decoding.DONE`, `EVENT` ..., with the particulars in the `R_*` words.
        """

    @abstractmethod
    def take_frame(self, frame: bytes) -> Notice | list[Notice] | None:
        """Take one frame that the kernel left; raises one of `BAD_FRAME_ERRORS` if it is bad."""

    def begins_connection(self, frame: bytes) -> bool:
        """Whether a recorded frame is the first of a new connection; asked once a frame, in order.

        Never, for a venue that greets nobody.
        """
        del frame
        return False

    def sent(self, subscription: Subscription) -> None:
        """A subscription was just asked for; news to venues that never acknowledge one."""
        del subscription

    def tick(self, recv_ns: int) -> list[Notice]:
        """What follows from time alone; called some ten times a second."""
        del recv_ns
        return []

    def report(self) -> dict[str, dict[str, Any]]:
        """What only this venue's recordings have to tell: counts or particulars, by name."""
        return {}

    def beside(self, connection: int) -> Self:
        """A decoder for another connection of a recording, with its markets and streams."""
        made = type(self)(
            self.markets,
            self._publish,
            allot=self._allot,
            tolerant=self._tolerant,
            connection=connection,
        )
        made.share(self._wanted)
        return made

    # ---- frames

    def feed(self, batch: FrameBatch, recv_ns: int) -> list[Notice]:
        """Decode the frames of one socket read, received at `recv_ns`."""
        notices: list[Notice] = []
        self._recv_ns = recv_ns
        if self._markets_version != self.markets.version:
            self._bind()
        done, frames = 0, batch.count
        result = self._result
        while done < frames and not self.broken:
            stop = self.decode(batch, done, recv_ns)
            if stop == decoding.DONE:
                break
            done = int(result[decoding.R_FRAMES])
            if stop in {decoding.EVENT, decoding.SLOW}:
                told = self._try_frame(batch.frame(done))
                done += 1
                if isinstance(told, list):
                    notices += told
                elif told is not None:
                    notices.append(told)
            elif stop == decoding.GAP:
                notices.append(
                    self.on_gap(int(result[decoding.R_EXPECTED]), int(result[decoding.R_FOUND]))
                )
            elif stop == decoding.BAD_CHECKSUM:
                notices.append(self._on_bad_checksum())
            elif stop == decoding.FULL:
                self.flush()
        self._last_recv_ns = recv_ns
        self.flush()
        return notices

    def _try_frame(self, frame: bytes) -> Notice | list[Notice] | None:
        try:
            return self.take_frame(frame)
        except BAD_FRAME_ERRORS as error:
            return self._bad_frame(frame, error)

    def _bad_frame(self, frame: bytes, error: Exception) -> BadFrame:
        self.bad_frames += 1
        return BadFrame(text=frame[:200].decode(errors="replace"), why=str(error) or repr(error))

    def _try_payload(self, place: int, frame: bytes, take: Callable[[], None]) -> Notice | None:
        """Run `take`, which applies a channel's payload; what it raises costs the frame.

        Of a live book it costs the channel: a book that misses one update is wrong until its next
        snapshot.
        """
        channel = self._channels[place]
        try:
            take()
        except BAD_FRAME_ERRORS as error:
            bad = self._bad_frame(frame, error)
            if channel["book"] < 0 or self._tolerant:
                return bad
            return self._break_channel(place, MarkerReason.BAD_FRAME, bad.why)
        channel["data_ns"] = self._recv_ns
        channel["data_frames"] += 1
        return None

    # ---- faults

    def on_gap(self, expected: int, found: int) -> SequenceGap:
        """Frames are missing: a live connection is decoded no further."""
        self.gaps += 1
        if self._tolerant:
            self._state[decoding.LAST_SEQUENCE] = found - 1
            self.mark(Marker.GAP, MarkerReason.SEQUENCE, lost=max(found - expected, 0))
        else:
            self.broken = True
        return SequenceGap(expected=expected, found=found)

    def _on_bad_checksum(self) -> ChannelBroken:
        result = self._result
        return self._break_channel(
            int(result[decoding.R_CHANNEL]),
            MarkerReason.CHECKSUM,
            f"checksum is {result[decoding.R_EXPECTED]}, the venue says {result[decoding.R_FOUND]}",
        )

    def _break_channel(self, place: int, reason: MarkerReason, text: str) -> ChannelBroken:
        channel = self._channels[place]
        subscription = self._by_place[place]
        self.mark(Marker.RESYNC, reason, place=place)
        if not self._tolerant:
            channel["muted"] = 1
            interruption = self.interruption(reason)
            if channel["good_ns"]:
                interruption = msgspec.structs.replace(
                    interruption,
                    venue_sequence=int(channel["good_sequence"]),
                    event_ns=int(channel["good_event_ns"]),
                    recv_ns=int(channel["good_ns"]),
                )
            self.markets.interrupt(subscription, interruption)
        return ChannelBroken(
            channel_id=int(channel["id"]), subscription=subscription, reason=reason, text=text
        )
