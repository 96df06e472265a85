"""One batch on its way: what the server's answer means, and a refused batch taken apart.

    answer                    meaning
    ------------------------- -----------------------------------------------------------------
    2xx                       it has all of it
    no answer, 408, 429, 5xx  later
    413                       too large: in halves
    400, 422                  a line is wrong: in halves until it stands alone. Some servers have
                              stored the other lines and some have not; to send them again is
                              safe, since a point overwrites itself
    401, 403, 404, others     the token, a bucket or the address is wrong: a person must look

A server that says *later* in the middle ends the attempt; the batch is then tried whole again.
Requests are bounded: when a batch has needed too many, what is left of it is put aside whole.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from processes.influx.dead_letters import Refused


class Answer(NamedTuple):
    """What a server said to a write. `status` 0: it could not be reached or did not answer."""

    status: int
    message: str = ""
    retry_after_s: float = 0.0


class Meaning(Enum):
    """What an answer comes to."""

    TAKEN = "taken"
    LATER = "later"
    TOO_LARGE = "too large"
    WRONG_LINE = "wrong line"
    NOT_ALLOWED = "not allowed"


def meaning_of(status: int) -> Meaning:
    """Sort a status."""
    if 200 <= status < 300:
        return Meaning.TAKEN
    if status in {0, 408, 429} or status >= 500:
        return Meaning.LATER
    if status == 413:
        return Meaning.TOO_LARGE
    if status in {400, 422}:
        return Meaning.WRONG_LINE
    return Meaning.NOT_ALLOWED


class Shipped(NamedTuple):
    """How an attempt ended: TAKEN (but for what was refused), LATER or NOT_ALLOWED."""

    meaning: Meaning
    answer: Answer
    refused: list[Refused]


def ship(body: bytes, send: Callable[[bytes], Answer], extra_requests: int) -> Shipped:
    """Send a body, in parts if need be.

    Args:
        send: one request. extra_requests: most of them beyond the first.
    """
    answer = send(body)
    meaning = meaning_of(answer.status)
    if meaning not in {Meaning.TOO_LARGE, Meaning.WRONG_LINE}:
        return Shipped(meaning, answer, [])
    refused: list[Refused] = []
    parts = _halves(body.split(b"\n"), answer, refused)
    for _ in range(extra_requests):
        if not parts:
            return Shipped(Meaning.TAKEN, answer, refused)
        part = parts.pop()
        answer = send(b"\n".join(part))
        meaning = meaning_of(answer.status)
        if meaning in {Meaning.LATER, Meaning.NOT_ALLOWED}:
            return Shipped(meaning, answer, [])
        if meaning is not Meaning.TAKEN:
            parts += _halves(part, answer, refused)
    refused += [
        _refused(part, f"not taken apart further; last: {answer.message}") for part in parts
    ]
    return Shipped(Meaning.TAKEN, answer, refused)


def _halves(part: list[bytes], answer: Answer, refused: list[Refused]) -> list[list[bytes]]:
    """Two halves to be sent, the first one on top; a line by itself is refused."""
    if len(part) == 1:
        refused.append(_refused(part, f"{answer.status}: {answer.message}"))
        return []
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


def _refused(lines: list[bytes], message: str) -> Refused:
    return Refused(message, [line.decode("utf-8", "replace") for line in lines])
