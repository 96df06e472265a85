"""A span of time that somebody asks for, and the sessions that may hold some of it."""

from pathlib import Path
from typing import Final

from msgspec import Struct

from processes.sessions import sessions_of

FOREVER: Final = (1 << 63) - 1
SESSION_NS: Final = 1_000_000
"""A session's number is its beginning in ms."""


class Span(Struct, frozen=True, kw_only=True):
    """From one time up to another, which is not in it."""

    from_ns: int = 0
    to_ns: int = FOREVER


def sessions_in(data: Path, span: Span) -> list[int]:
    """Sessions that may hold events of a span, in order."""
    known = sessions_of(data)
    ends = [*[session * SESSION_NS for session in known[1:]], FOREVER][: len(known)]
    return [
        session
        for session, end_ns in zip(known, ends, strict=True)
        if session * SESSION_NS < span.to_ns and end_ns > span.from_ns
    ]
