"""What a bot's refusal means for a call that changes something: four verdicts.

    NOT_SENT   no connection was made, or the gate was shut: the bot has not heard of it
    REFUSED    the bot looked at it and did nothing
    DOUBTFUL   it says no, but has said so of calls that it had carried out: a re-read decides
    UNKNOWN    nobody can say: an escaped error, a broken connection, a time-out, half an answer

A time-out does not cancel the call: the bot finishes it. A 500 is an error that escaped; at a live
bot an order may then stand at the venue of which the bot knows nothing. Texts are only a hint, so
even what was REFUSED is looked for once more where that can be done.
"""

import re
from enum import Enum, auto
from typing import Final

import msgspec

from schemas.errors import VenueError


class Call(Enum):
    """The kinds of calls, as far as refusals differ."""

    READ = auto()
    ENTER = auto()
    EXIT = auto()
    CANCEL = auto()
    CONTROL = auto()


class Verdict(Enum):
    """What is known of the call."""

    NOT_SENT = auto()
    REFUSED = auto()
    DOUBTFUL = auto()
    UNKNOWN = auto()


class BotError(VenueError):
    """A call to the bot failed; `verdict` says what may have happened nevertheless."""

    def __init__(self, text: str, verdict: Verdict, status: int = 0) -> None:
        super().__init__(text)
        self.verdict = verdict
        self.status = status
        """HTTP, or 0 where there was no answer."""

    @property
    def absent(self) -> bool:
        """The bot says that there is no such trade."""
        return self.status == NOT_FOUND


NOT_FOUND: Final = 404
_PREFIX: Final = re.compile(r"^Error querying [^:]*: ")
_NEITHER_RUNS: Final = ("trader is not running",)
_REFUSALS: Final[dict[Call, tuple[str, ...]]] = {
    Call.READ: (),
    Call.ENTER: (
        *_NEITHER_RUNS, "Force_entry not enabled", "Can't go short", "Symbol does not exist",
        "Wrong pair selected", "Maximum number of trades", "Failed to enter position",
    ),
    Call.EXIT: (*_NEITHER_RUNS, "Remaining amount of"),
    Call.CANCEL: _NEITHER_RUNS,
    Call.CONTROL: (),
}  # fmt: skip
"""How texts of a plain refusal begin. Not here, since each was seen after a success too: `position
for X already open` (it may be this very one, answered twice), `no active trade` (the cancel erased
the trade), `Failed to exit trade.` (the exit cancelled an unfilled entry), `invalid argument`,
`Invalid trade_id.`, `No open order for trade_id.` (it was over before the call), `Order not
found.` (also when the venue is away)."""


class _Error(msgspec.Struct):
    error: str = ""
    detail: object = ""


def text_of(body: bytes) -> str:
    """What a body says went wrong, without the bot's own wrapping; at most 200 characters."""
    try:
        answer = msgspec.json.decode(body, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:200].decode("utf-8", "replace").strip()
    said = answer.error or answer.detail
    text = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    return _PREFIX.sub("", text)[:200]


def judge(call: Call, what: str, status: int, body: bytes) -> BotError:
    """The error that an answer other than 200 is.

    Args:
        what: method and path, for the text.
    """
    said = text_of(body)
    text = f"{what}: HTTP {status}: {said}"
    if status == 401:
        return BotError(f"{text}; check the account's username and password", Verdict.REFUSED, 401)
    if status in {NOT_FOUND, 405, 422}:
        return BotError(text, Verdict.REFUSED, status)
    if status == 502:
        plain = said.startswith(_REFUSALS[call])
        return BotError(text, Verdict.REFUSED if plain else Verdict.DOUBTFUL, status)
    if status == 503:
        # Asked for what this run mode does not have; the call was not looked at.
        return BotError(text, Verdict.REFUSED, status)
    return BotError(text, Verdict.UNKNOWN, status)
