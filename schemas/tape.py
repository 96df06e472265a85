"""The tape: one slot is one normalised market event. 256 bytes, a 96-byte header and a payload.

    offset size field            what it holds
    ------ ---- ---------------- ---------------------------------------------------------------
         0    8 sequence         u64, the ring's own; 1, 2, 3 ... for ever
         8    8 event_ns         i64, the venue's time of the event, ns UTC; 0 where it gives none
        16    8 recv_ns          i64, when the bytes were read from the socket, ns UTC
        24    8 venue_sequence   u64, the venue's number of the frame; 0 where it gives none
        32    8 price            f64
        40    8 size             f64, never negative: the side says who
        48    8 reference_price  f64, what the payload's price offsets are measured from
        56    8 id_low           u64, trade or order id; a text id is packed into both words
        64    8 id_high          u64
        72    4 epoch            u32, number of the connection that brought it
        76    4 count            u32, orders at the level
        80    1 kind             u8, `Kind`
        81    1 side             u8, `Side`
        82    2 flags            u16, `Flag` bits
        84    2 instrument       u16, index into the instrument table; 65535 = the whole connection
        86    2 stream           u16, index into the stream table; 65535 = the whole connection
        88    8 spare
        96  160 payload          by kind, below

Payload of trades and book levels: `book`, 40 x f32, the instrument's primary book *after* the
event: 10 bid price offsets, 10 bid sizes, 10 ask price offsets, 10 ask sizes; best first, zeros
where the book is thinner. Offsets are from `reference_price`, since an absolute float32 has steps
of 1 at 13 million. Tickers, candles, status and markers use the same bytes for exact columns of
their own.
"""

from enum import IntEnum, IntFlag

import numpy as np

from schemas.layout import Row, fingerprint, layout

VERSION = 2
SLOT_BYTES = 256
LEVELS = 10
WHOLE_CONNECTION = 65535


class Kind(IntEnum):
    """What a slot is."""

    TRADE = 1
    BOOK_LEVEL = 2
    L3_ORDER = 3
    TICKER = 4
    CANDLE = 5
    STATUS = 6
    MARKER = 7


class Side(IntEnum):
    """Bid or buyer, ask or seller."""

    NONE = 0
    BID = 1
    ASK = 2


class Flag(IntFlag):
    """Bits of a slot's `flags`."""

    FRAME_END = 1
    """The last slot of a frame: only after these may a book be read."""
    SNAPSHOT = 2
    """Part of a snapshot."""
    DELETE = 4
    """The level or order is gone."""
    BACKFILLED = 8
    """Happened in a gap, learnt later."""
    SAMPLED = 16
    """Written by a degraded recorder: neighbours were left out."""
    CONFIRMED = 32
    """A trade that came first as its confirmation (Bitfinex `tu` without `te`)."""
    PRIMARY = 64
    """A level of the book that fills the payload and feeds features."""
    FUNDING = 128
    """A funding market: price is a rate, count a period in days; `id_low` of a level is the number
    of offers at it."""
    DERIVED = 256
    """Not in the frame, but following from it by the venue's rules: a level that left the
    subscribed depth, or that a full snapshot no longer lists."""
    LIQUIDATION = 512
    """A STATUS slot that is a liquidation: its columns are `LIQUIDATION`."""


class Marker(IntEnum):
    """What a MARKER slot says; the reason stands beside it."""

    CONNECTED = 1
    DISCONNECTED = 2
    SUBSCRIBED = 3
    UNSUBSCRIBED = 4
    REFUSED = 5
    SNAPSHOT_BEGIN = 6
    SNAPSHOT_END = 7
    GAP = 8
    RESYNC = 9
    SAMPLED = 10
    BACKFILLED = 11
    MAINTENANCE_BEGIN = 12
    MAINTENANCE_END = 13
    STALE = 14


class MarkerReason(IntEnum):
    """Why a marker was written."""

    NONE = 0
    START = 1
    STOP = 2
    CONNECTION_LOST = 3
    SEQUENCE = 4
    CHECKSUM = 5
    SILENCE = 6
    SERVER_RESTART = 7
    MAINTENANCE = 8
    BAD_FRAME = 9
    COLLECTOR_RESTART = 10
    VENUE_REFUSED = 11
    CONNECT_FAILED = 12
    RECONFIGURED = 13
    TOO_FAR = 14
    """Further back, or more, than is fetched."""
    NOT_JOINED = 15
    """The venue's list does not hold the trade that was known last, so nothing is taken from it."""
    INCOMPLETE = 16
    """The venue's list ends before what the stream told next."""


HEADER: list[Row] = [
    ("sequence", "<u8", 0),
    ("event_ns", "<i8", 8),
    ("recv_ns", "<i8", 16),
    ("venue_sequence", "<u8", 24),
    ("price", "<f8", 32),
    ("size", "<f8", 40),
    ("reference_price", "<f8", 48),
    ("id_low", "<u8", 56),
    ("id_high", "<u8", 64),
    ("epoch", "<u4", 72),
    ("count", "<u4", 76),
    ("kind", "u1", 80),
    ("side", "u1", 81),
    ("flags", "<u2", 82),
    ("instrument", "<u2", 84),
    ("stream", "<u2", 86),
    ("spare", "<u8", 88),
]

SLOT = layout([*HEADER, ("book", ("<f4", (4 * LEVELS,)), 96)], SLOT_BYTES)
"""Trades, book levels and orders; the form in which rings and journals hold every slot."""

TICKER = layout(
    [
        *HEADER,
        ("bid", "<f8", 96),
        ("bid_size", "<f8", 104),
        ("ask", "<f8", 112),
        ("ask_size", "<f8", 120),
        ("last", "<f8", 128),
        ("volume", "<f8", 136),
        ("high", "<f8", 144),
        ("low", "<f8", 152),
        ("daily_change", "<f8", 160),
        ("daily_change_relative", "<f8", 168),
        ("flash_return_rate", "<f8", 176),
        ("bid_period", "<f8", 184),
        ("ask_period", "<f8", 192),
        ("flash_return_rate_available", "<f8", 200),
        ("average_price", "<f8", 208),
    ],
    SLOT_BYTES,
)
"""Tickers, NaN where the venue gives nothing: funding markets alone have the four columns from
`flash_return_rate`, Kraken alone the day's volume-weighted `average_price`."""

CANDLE = layout(
    [
        *HEADER,
        ("start_ns", "<i8", 96),
        ("open", "<f8", 104),
        ("close", "<f8", 112),
        ("high", "<f8", 120),
        ("low", "<f8", 128),
        ("volume", "<f8", 136),
        ("average_price", "<f8", 144),
        ("trade_count", "<f8", 152),
    ],
    SLOT_BYTES,
)
"""Candles; the timeframe stands in the stream table. The last two are NaN but for Kraken."""

STATUS_COLUMNS = (
    "derivative_price",
    "spot_price",
    "insurance_fund_balance",
    "next_funding_ms",
    "next_funding_accrued",
    "next_funding_step",
    "current_funding",
    "mark_price",
    "open_interest",
    "clamp_min",
    "clamp_max",
)

STATUS = layout(
    [*HEADER, *[(name, "<f8", 96 + 8 * i) for i, name in enumerate(STATUS_COLUMNS)]], SLOT_BYTES
)
"""Status of a derivative; NaN where the venue gave nothing."""

LIQUIDATION_COLUMNS = ("amount", "base_price", "acquired_price", "is_match", "is_market_sold")

LIQUIDATION = layout(
    [
        *HEADER,
        *[(name, "<f8", 96 + 8 * i) for i, name in enumerate(LIQUIDATION_COLUMNS)],
        ("symbol", "S32", 136),
    ],
    SLOT_BYTES,
)
"""STATUS slots flagged LIQUIDATION; one stream a venue brings those of all its symbols.

    offset size field           what it holds
    ------ ---- --------------- ---------------------------------------------------------------
        56    8 id_low          u64, the position's id
        80    1 side            BID: the position was long, ASK: short; `size` is its amount
        96    8 amount          f64, positive long, negative short
       104    8 base_price      f64, what the position was opened at; also the header's `price`
       112    8 acquired_price  f64, what it was taken over at; NaN in a trigger
       120    8 is_match        f64, 0 = the trigger, 1 = the execution in the market
       128    8 is_market_sold  f64, 0 = taken over by the venue, 1 = sold in the market
       136   32 symbol          the venue's, ASCII, zeros behind it
"""

MARKER = layout(
    [
        *HEADER,
        ("marker", "<u4", 96),
        ("reason", "<u4", 100),
        ("from_epoch", "<u4", 104),
        ("connection", "<u4", 108),
        ("from_event_ns", "<i8", 112),
        ("to_event_ns", "<i8", 120),
        ("from_recv_ns", "<i8", 128),
        ("to_recv_ns", "<i8", 136),
        ("from_venue_sequence", "<u8", 144),
        ("to_venue_sequence", "<u8", 152),
        ("channel_id", "<u8", 160),
        ("lost", "<u8", 168),
    ],
    SLOT_BYTES,
)
"""Markers. A GAP says: after (from_epoch, from_venue_sequence), known last at from_*_ns, nothing is
known until (epoch, to_venue_sequence) at to_*_ns; `lost` counts frames where that is known.

A BACKFILLED closes the GAPs of a trades stream between its from_recv_ns and to_recv_ns, behind the
`count` trades that were fetched over REST. With reason NONE all trades between the ids `id_low` and
`id_high`, which were told before and after, are on the tape; otherwise only those made from
from_event_ns to to_event_ns, both 0 where nothing could be had."""

FINGERPRINT = fingerprint(
    SLOT,
    VERSION,
    (str(fingerprint(view, VERSION)) for view in (TICKER, CANDLE, STATUS, LIQUIDATION, MARKER)),
)


def view_as(slots: np.ndarray, form: np.dtype[np.void]) -> np.ndarray:
    """The same slots with another kind's columns; no copy."""
    return slots.view(form)
