"""The faults of the simulator: one way to ask for each, the same for every venue.

    {"kind": KIND, "venue": name, "client": number, "symbol": text, "seconds": s, "count": n}

Only `kind` must be given: without `venue` a fault is meant for all venues, without `client` for all
open sockets, without `symbol` for whatever comes first.

    kind             what happens
    cut              the TCP connection ends without a close frame
    cut_snapshot     the next snapshot (of `symbol`) ends in the middle, and the connection with it
    silence          nothing leaves for `seconds`; then what was held back does
    heartbeats_only  no data for `seconds`; heartbeats (at GMO Coin: pings) go on
    gap              the next frame (of `symbol`) is lost: at Bitfinex its number is missing, at
                     Kraken a book update, which the next checksum shows; at GMO Coin nothing shows
    bad_checksum     the next checksum of `symbol` is wrong; GMO Coin sends none
    restart          Bitfinex says 20051, the others hang up; with `seconds` the venue is down then
    maintenance      Bitfinex 20060, Kraken status `maintenance`: no data; GMO Coin hangs up and
                     answers 503; ends after `seconds`, without them at `maintenance_end`
    maintenance_end  Bitfinex 20061, Kraken status `online`, GMO Coin takes sockets again
    down             all sockets are cut and every request gets 503 for `seconds`, or until `up`
    up               the end of `down`
    rest_down        REST answers 503 for `seconds`; the sockets go on
    rest_slow        for `seconds` every answer of REST comes 3 s late
    refuse           the next `count` subscriptions (of `symbol`) are refused
    late_ack         the next `count` acks come `seconds` late; at Bitfinex a heartbeat comes before
                     them; at GMO Coin, which acknowledges nothing, the first data is late
    dup              the next `count` subscriptions are taken twice: the second one is a duplicate,
                     of which GMO Coin says nothing
    limit            a connection may have `count` subscriptions; without `count` the venue's number
    slow             for `seconds` there are 50 ms between two frames
    storm            the next `count` connections are refused (`how`: refuse) or cut at once (cut)
    garbage          `count` frames that are no frames, out of the seed
    move             somebody trades the market of `symbol` through to `price`, and quotes around it

These are meant for accounts, without `account` (an API key) for all of the venue's:

    kind                 what happens
    reject_order         the next `count` orders are refused
    insufficient_funds   the next `count` orders are refused for want of money
    rate_limit           the next `count` commands are refused as too many
    nonce_error          the next `count` signed requests are refused for their nonce (or time)
    lose_request         the next `count` commands (only of the kind `command`: order, amend,
                         cancel) are not taken and their connection is cut; `how` silent: it stays
    lose_answer          the same, but the command is taken and its answer never comes
    late_answer          the next `count` answers to commands come `seconds` late
    late_fills           the next `count` fills are told `seconds` late, with what follows of them
    doubled_events       the next `count` events are told twice
    out_of_order_events  events of the next `count` commands are told before the commands' answers
    hold_fills           for `seconds`, or until `release_fills`, orders match nothing but for
                         `share` (decimal text, 0 to 1) of each
    release_fills        the end of `hold_fills`
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from random import Random
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from processes.simulator.conversation import ANY
from schemas.errors import OperatorError

Kind = Literal[
    "cut", "cut_snapshot", "silence", "heartbeats_only", "gap", "bad_checksum", "restart",
    "maintenance", "maintenance_end", "down", "up", "refuse", "late_ack", "dup", "limit", "slow",
    "storm", "garbage", "rest_down", "rest_slow", "move",
    "reject_order", "insufficient_funds", "rate_limit", "nonce_error", "lose_request",
    "lose_answer", "late_answer", "late_fills", "doubled_events", "out_of_order_events",
    "hold_fills", "release_fills",
]  # fmt: skip
ACCOUNT_KINDS = frozenset(
    {
        "reject_order", "insufficient_funds", "rate_limit", "nonce_error", "lose_request",
        "lose_answer", "late_answer", "late_fills", "doubled_events", "out_of_order_events",
        "hold_fills", "release_fills",
    }
)  # fmt: skip
DEFAULT_S = 5.0
FOREVER_NS = 1 << 62


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """One request for a fault."""

    kind: Kind
    venue: str = ""
    client: int = 0
    symbol: str = ANY
    seconds: float | None = None
    count: int | None = None
    how: Literal["refuse", "cut", "silent"] = "refuse"
    account: str = ""
    command: Literal["", "order", "amend", "cancel"] = ""
    share: Annotated[str, Meta(pattern=r"^(0(\.\d{1,8})?|1)$")] = "0"
    price: Annotated[str, Meta(pattern=r"^(\d{1,12}(\.\d{1,12})?)?$")] = ""

    @property
    def times(self) -> int:
        """`count`, or once."""
        return 1 if self.count is None else self.count

    def until_ns(self, now_ns: int) -> int:
        """The end of the fault, five seconds from now if nothing is said."""
        return now_ns + int((DEFAULT_S if self.seconds is None else self.seconds) * 1e9)

    @property
    def held_share(self) -> Decimal:
        """`share` as a number."""
        return Decimal(self.share)

    def until_told_ns(self, now_ns: int) -> int:
        """The end of the fault, for those that last if nothing is said."""
        return FOREVER_NS if self.seconds is None else self.until_ns(now_ns)


def read_fault(arguments: dict[str, Any], venues: Iterable[str]) -> Fault:
    """The fault that a command asks for.

    Raises:
        OperatorError: it says what there is, or which venues are served.
    """
    try:
        fault = msgspec.convert(arguments, Fault)
    except msgspec.ValidationError as error:
        kinds = ", ".join(Kind.__args__)  # type: ignore[attr-defined]
        raise OperatorError(f"no such fault: {error}; there are {kinds}") from error
    if fault.venue not in {"", *venues}:
        raise OperatorError(f"no venue {fault.venue} here; there are {', '.join(venues)}")
    if (fault.seconds or 0) < 0 or (fault.count or 0) < 0:
        raise OperatorError("seconds and count of a fault are not negative")
    if fault.kind == "move" and not (fault.price and fault.venue and fault.symbol != ANY):
        raise OperatorError("move needs a venue, a symbol and a price")
    if fault.kind == "bad_checksum" and fault.venue == "gmo":
        raise OperatorError("gmo sends no checksums; ask for bad_checksum at bitfinex or kraken")
    return fault


WHOLE_GARBAGE = (
    "", "}{", "null", "[]", "{}", "7", '"text"', "[null]", "[[[[[[[[", '{"channel":null}',
    '{"channel":"book","type":"update","data":[{}]}', '{"channel":"orderbooks"}', '[1,"cs"]',
    "[1,[1,2,3,4,5,6,7,8]]", '{"event":"subscribed"}', '{"method":"subscribe"}', "[1e999,[]]",
)  # fmt: skip


def garbage(draw: Random, known: Iterable[str]) -> str:
    """A frame that is none: nonsense, or one of the known frames cut or with a byte changed."""
    frames = list(known)
    choice = draw.random()
    if choice < 0.4 or not frames:
        return draw.choice(WHOLE_GARBAGE)
    frame = draw.choice(frames)
    place = draw.randrange(max(len(frame), 1))
    if choice < 0.6:
        return frame[:place]
    if choice < 0.8:
        return f"{frame[:place]}{draw.choice('[]{},:x0')}{frame[place + 1 :]}"
    return json.dumps([draw.randrange(1 << 40), draw.random(), None, {"a": [draw.random()]}])
