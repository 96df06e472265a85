"""The way out: one transaction writes the held blocks of all rings, and how far each ring is.

    WATCH bridge:positions · HGETALL · MULTI · XADD ... · HSET bridge:positions · EXEC

All of it or nothing is in Redis, so a crash between two of them doubles nothing and leaves nothing
out. The WATCH is against an older transaction of ours that a Redis which was frozen executes late:
whichever comes second is refused.
"""

from collections.abc import Sequence
from typing import Any, Final

import redis

from processes.bridge.link import Link
from processes.bridge.source import Source
from processes.clock import monotonic_s
from schemas.streams import POSITIONS

NOTE_S: Final = 1.0
"""How often Redis is told how far rings are that had nothing for it."""


class Outlet:
    """All rings to one Redis."""

    def __init__(self, link: Link, sources: Sequence[Source], prefix: str) -> None:
        self.written = 0
        """Entries that Redis has taken."""
        self.refused = 0
        """Entries that Redis alone did not want, as where a key is no stream."""
        self.took_ns = 0
        """How long the last transaction was; 0 before the first."""
        self._link = link
        self._sources = list(sources)
        self._key = prefix + POSITIONS
        self._next_note_s = 0.0

    def turn(self) -> bool:
        """Take what is new and write it; True if there may be more at once.

        Raises:
            what `link.FAILURES` names: nothing is lost by it, the blocks are still held.
        """
        for source in self._sources:
            source.fill()
            if source.empty:
                source.passed()
        if any(not source.empty for source in self._sources):
            return self._link.due() and self._write()
        if monotonic_s() >= self._next_note_s and self._link.due():
            self._write()
        return any(source.lag for source in self._sources)

    def idle(self) -> bool:
        """Whether everything that is in the rings is in Redis."""
        return all(source.empty and not source.lag for source in self._sources)

    def _write(self) -> bool:
        began_s = monotonic_s()
        with self._link.client.pipeline(transaction=True) as pipe:
            pipe.watch(self._key)  # type: ignore[no-untyped-call]
            stored: Any = pipe.hgetall(self._key)
            void = [source for source in self._sources if not source.agree(stored)]
            if void:
                return True
            entries = [entry for source in self._sources for entry in source.entries]
            pipe.multi()
            for stream, length, source_of, body, flags in entries:
                more = ("flags", flags) if flags else ()
                pipe.execute_command(  # type: ignore[no-untyped-call]
                    "XADD", stream, "MAXLEN", "~", length, "*", "source", source_of, "body", body,
                    *more,
                )  # fmt: skip
            marks: Any = {source.ring: source.mark for source in self._sources}
            pipe.hset(self._key, mapping=marks)
            try:
                results = pipe.execute(raise_on_error=False)
            except redis.WatchError:
                return True
        refused = sum(isinstance(result, Exception) for result in results)
        self.refused += refused
        self.written += len(entries) - refused
        for source in self._sources:
            source.delivered()
        self.took_ns = int((monotonic_s() - began_s) * 1e9)
        self._next_note_s = monotonic_s() + NOTE_S
        return True
