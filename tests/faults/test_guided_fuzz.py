"""Damaged frames against every decoder, guided: what finds new ground is damaged further.

New ground is a line of `venues/` that Python had not run, a kind of notice, an error's words, or a
tally that had not moved: the compiled kernels show what they found by what they hand over. Frames
to begin with are the simulator's; whatever comes, nothing may be raised, nothing may grow without
end, and clean frames afterwards must give the books that they give to a fresh decoder.

Whole: ./scripts/test --long -s tests/faults/test_guided_fuzz.py
"""

import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from processes.simulator.server import Exchange
from schemas.settings import SimulatorSettings
from tests.conformance.subjects import SUBJECTS, Subject
from tests.feeding import Tables
from tests.helpers import ROOT
from venues.book import ASK, BID, wire_levels
from venues.channels import BLOCK_SLOTS
from venues.codec import ConnectionCodec
from venues.registry import open_recording, open_venue, wanted_streams
from venues.wire import BATCH_BYTES, FrameBatch, Refused, Subscription

START_NS = 1_790_000_000_000_000_000
CORPUS = 4000
VENUES = str(ROOT / "venues")
ODD = (
    b"1e999", b"-1", b"0", b"9" * 40, b"null", b'"x"', b"[]", b"{}", b"-0", b"1e-400", b"true",
    b"0.000000000000000000000001", b'"\\u0000"', b"[[[[[[[[", b"18446744073709551616",
)  # fmt: skip


def clean_frames(subject: Subject) -> list[bytes]:
    """What the venue's simulator sends in its first seconds to somebody who wants everything."""
    now_ns = START_NS
    served = {"symbols": (), subject.served: subject.symbols}
    exchange = Exchange(SimulatorSettings(events_per_s=60.0, **served), lambda: now_ns)
    frames: list[bytes] = []
    socket = exchange.venues[subject.name].open(
        subject.path, lambda text: frames.append(text.encode()), now_ns, 1
    )
    venue: Any = open_venue(subject.name, subject.settings, "")
    tables, wanted = Tables(subject.name), []
    for symbol, pair, channel, parameters, primary in wanted_streams(
        subject.name, subject.settings.__class__(symbols=subject.symbols)
    ):
        instrument, stream = tables.allot(symbol, pair, channel, parameters)
        wanted.append(Subscription(instrument=instrument, stream=stream, primary=primary))
    requests = [*venue.opening(0), *(request.text for request in venue.subscribe(wanted))]
    for step in range(600):
        now_ns += 20_000_000
        if (requests and step % 60 == 0) or (requests and subject.greets):
            socket.receive(requests.pop(0), now_ns)
        exchange.tick()
        socket.tick(now_ns)
    return [frame for frame in frames if frame]


class Ground:
    """What has been reached so far."""

    def __init__(self) -> None:
        self.reached: set[Any] = set()
        self._new = 0

    def note(self, feature: Any) -> None:
        if feature not in self.reached:
            self.reached.add(feature)
            self._new += 1

    def found_new(self) -> bool:
        new, self._new = self._new, 0
        return new > 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        def line(frame: FrameType, event: str, _: Any) -> Any:
            if event == "line":
                self.note((frame.f_code.co_filename, frame.f_lineno))
            return line

        def call(frame: FrameType, event: str, _: Any) -> Any:
            return line if frame.f_code.co_filename.startswith(VENUES) else None

        sys.settrace(call)
        try:
            yield
        finally:
            sys.settrace(None)


class Target:
    """A decoder and what it put out."""

    def __init__(self, subject: Subject, ground: Ground) -> None:
        self.ground = ground
        self.slots = 0
        self.codec: ConnectionCodec = open_recording(
            subject.name, self._publish, Tables(subject.name).allot
        )
        self.codec.open(1, START_NS, from_first=False)

    def _publish(self, _: Any, count: int) -> None:
        assert 0 < count <= BLOCK_SLOTS
        self.slots += count

    def feed(self, frames: list[bytes]) -> None:
        before = self.codec.tallies.copy()
        batch = FrameBatch()
        for frame in frames:
            assert batch.add(frame)
        with self.ground.watching():
            notices = self.codec.feed(batch, START_NS)
        for notice in notices:
            words = getattr(notice, "why", "") or (
                notice.text if isinstance(notice, Refused) else ""
            )
            self.ground.note((type(notice).__name__, re.sub(r"[^a-z ]+", "#", words)[:60]))
        for place, moved in enumerate((self.codec.tallies - before).tolist()):
            assert moved >= 0
            if moved:
                self.ground.note(("tally", place, min(moved.bit_length(), 4)))

    def books(self) -> dict[Any, Any]:
        markets = self.codec.markets
        return {
            (place, side): wire_levels(markets.books, book, side, 10_000)
            for place, book in markets.indices().items()
            for side in (BID, ASK)
        }


def damage(draw: random.Random, frame: bytes, others: list[bytes]) -> bytes:
    """The frame with one to four things wrong."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(frame) + 1)
        end = min(len(frame), at + draw.choice((1, 1, 2, 8, 64)))
        what = draw.random()
        if what < 0.2:
            frame = frame[:at] + bytes([draw.randrange(256)]) + frame[at + 1 :]
        elif what < 0.35:
            frame = frame[:at] + frame[end:]
        elif what < 0.45:
            frame = frame[:end] + frame[at:end] + frame[end:]
        elif what < 0.55:
            frame = frame[:at]
        elif what < 0.7:
            other = draw.choice(others)
            frame = frame[:at] + other[draw.randrange(len(other) + 1) :]
        else:
            numbers = list(re.finditer(rb'-?\d[\d.eE+-]*|"[^"]*"', frame))
            if numbers:
                one = draw.choice(numbers)
                frame = frame[: one.start()] + draw.choice(ODD) + frame[one.end() :]
    return frame[: BATCH_BYTES // 8]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_damaged_frames_guided_by_what_they_reach(subject: Subject, seed: int, long_run: bool):
    draw, ground = random.Random(seed), Ground()
    clean = clean_frames(subject)
    fresh = Target(subject, Ground())
    fresh.feed(clean)
    wanted = fresh.books()
    assert wanted
    corpus = list(clean)
    target = Target(subject, ground)
    target.feed(clean)
    ground.found_new()
    end_s = time.monotonic() + (60 if long_run else 4)
    tries = healed = 0
    while time.monotonic() < end_s or not healed:
        for _ in range(100):
            tries += 1
            frames = [damage(draw, draw.choice(corpus), clean)]
            frames += [draw.choice(clean)] * draw.randint(0, 2)
            target.feed(frames)
            if ground.found_new():
                corpus.append(frames[0])
                if len(corpus) > CORPUS:
                    corpus[draw.randrange(len(clean), CORPUS)] = corpus.pop()
        # Clean frames on a new connection: every book they bring is as it should be.
        target.codec.open(2 + healed, START_NS, from_first=False)
        target.feed(clean)
        found = target.books()
        symbols = target.codec.markets.indices()
        assert len(symbols) < 20_000
        for place, levels in wanted.items():
            assert found[place] == levels, place
        healed += 1
        if healed % 20 == 0:
            target = Target(subject, ground)
            target.feed(clean)
    print(f"{subject.name}: {tries} frames, {len(corpus) - len(clean)} led on, "
          f"{len(ground.reached)} places reached, {healed} times healed, seed {seed}")  # fmt: skip
    assert len(corpus) > len(clean)
