"""The lake's tables: one Arrow schema a channel of the tape, and one a ring behind it.

Constants of a stream (venue, channel, symbol, precision ...) are schema metadata, not columns.
A raw book's `order_id` is the venue's number, or 0 where its ids are texts, which stand in
`order_text`. `period` is of funding markets, in days, 0 elsewhere; there `price` is a rate and
`count` offers. Every table of the tape begins with the same columns; a marker is a row with
`marker` set, its particulars as JSON in `marker_detail`, and nulls or zeros elsewhere.
"""

from typing import Final

import pyarrow as pa

from schemas.features import CATALOGUE, MAX_TAPES
from schemas.predictions import MODELS, outputs_of
from schemas.tape import LIQUIDATION_COLUMNS, STATUS_COLUMNS

LABEL: Final = pa.dictionary(pa.int8(), pa.string())
"""A short text that takes few values."""

_COMMON: Final = [
    ("tape_seq", pa.uint64()),
    ("venue_seq", pa.uint64()),
    ("event_ns", pa.int64()),
    ("recv_ns", pa.int64()),
    ("epoch", pa.uint32()),
    ("flags", pa.uint16()),
    ("marker", pa.string()),
    ("marker_detail", pa.string()),
]
_PRICES: Final = ("open", "close", "high", "low", "volume")
TICKER_COLUMNS: Final = {
    "bid": "bid",
    "bid_sz": "bid_size",
    "ask": "ask",
    "ask_sz": "ask_size",
    "last": "last",
    "vol": "volume",
    "high": "high",
    "low": "low",
    "daily_change": "daily_change",
    "daily_change_rel": "daily_change_relative",
    "frr": "flash_return_rate",
    "bid_period": "bid_period",
    "ask_period": "ask_period",
    "frr_amount_available": "flash_return_rate_available",
    "vwap": "average_price",
}
"""Lake column → field of `tape.TICKER`."""

CATALOGUED = frozenset({*(feature.name for feature in CATALOGUE), "masked"})
"""Columns of `features` that a file of an older catalogue may not have."""
PLACED = frozenset(name for model in MODELS for name in outputs_of(model))
"""Columns of `predictions` that a file of a line-up with fewer places may not have."""
LATER: Final = {"features": CATALOGUED, "predictions": PLACED}

SCHEMAS: Final[dict[str, pa.Schema]] = {
    "ticker": pa.schema([*_COMMON, *[(name, pa.float64()) for name in TICKER_COLUMNS]]),
    "trades": pa.schema(
        [
            *_COMMON,
            ("trade_id", pa.uint64()),
            ("price", pa.float64()),
            ("amount", pa.float64()),
            ("msg_type", LABEL),
            ("is_snapshot", pa.bool_()),
            ("period", pa.uint32()),
        ]
    ),
    "books": pa.schema(
        [
            *_COMMON,
            ("price", pa.float64()),
            ("count", pa.uint32()),
            ("amount", pa.float64()),
            ("side", LABEL),
            ("is_snapshot", pa.bool_()),
            ("period", pa.uint32()),
        ]
    ),
    "raw_books": pa.schema(
        [
            *_COMMON,
            ("order_id", pa.uint64()),
            ("order_text", pa.string()),
            ("price", pa.float64()),
            ("amount", pa.float64()),
            ("op", LABEL),
            ("side", LABEL),
            ("is_snapshot", pa.bool_()),
            ("period", pa.uint32()),
        ]
    ),
    "candles": pa.schema(
        [
            *_COMMON,
            ("mts", pa.int64()),
            *[(name, pa.float64()) for name in _PRICES],
            ("vwap", pa.float64()),
            ("trades", pa.float64()),
            ("timeframe", LABEL),
            ("is_snapshot", pa.bool_()),
        ]
    ),
    "status": pa.schema([*_COMMON, *[(name, pa.float64()) for name in STATUS_COLUMNS]]),
    "liquidations": pa.schema(
        [
            *_COMMON,
            ("position_id", pa.uint64()),
            ("symbol", pa.string()),
            *[(name, pa.float64()) for name in LIQUIDATION_COLUMNS],
        ]
    ),
    "connection": pa.schema(_COMMON),
    "features": pa.schema(
        [
            ("seq", pa.uint64()),
            ("cut", pa.uint64()),
            ("cut_ns", pa.int64()),
            ("made_ns", pa.int64()),
            ("reason", LABEL),
            ("invalid", pa.uint64()),
            ("newest_recv_ns", pa.int64()),
            ("reference_price", pa.float64()),
            ("config_generation", pa.uint32()),
            *[(f"tape_position_{tape}", pa.uint64()) for tape in range(MAX_TAPES)],
            *[(feature.name, pa.float32()) for feature in CATALOGUE],
            ("masked", pa.uint64()),
            ("book", pa.list_(pa.float32(), 40)),
        ]
    ),
    "predictions": pa.schema(
        [
            ("seq", pa.uint64()),
            ("cut", pa.uint64()),
            ("cut_ns", pa.int64()),
            ("made_ns", pa.int64()),
            ("feature_seq", pa.uint64()),
            ("newest_recv_ns", pa.int64()),
            ("reference_price", pa.float64()),
            ("invalid", pa.uint64()),
            ("model_version", pa.uint64()),
            ("learner_state", pa.uint64()),
            ("rung", LABEL),
            ("device", LABEL),
            ("batch_rows", pa.uint16()),
            ("flags", pa.uint16()),
            ("config_generation", pa.uint32()),
            ("drain_first", pa.uint32()),
            *[
                (f"{model}_{output}", pa.float32())
                for model in (*MODELS, "blend")
                for output in ("up", "flat", "down", "move_bps", "spread_bps")
            ],
            ("spread_bps", pa.float32()),
            ("volatility_bps", pa.float32()),
            ("regime", pa.float32()),
            ("book_age_s", pa.float32()),
            ("mean_cross_bps", pa.float32()),
        ]
    ),
    "decisions": pa.schema(
        [
            ("seq", pa.uint64()),
            ("kind", LABEL),
            ("time_ns", pa.int64()),
            ("made_ns", pa.int64()),
            ("input_seq", pa.uint64()),
            ("cut", pa.uint64()),
            ("feature_seq", pa.uint64()),
            ("prediction_seq", pa.uint64()),
            ("reference_price", pa.float64()),
            ("newest_recv_ns", pa.int64()),
            ("command_id", pa.binary(16)),
            ("action", LABEL),
            ("reason", LABEL),
            ("instrument", pa.uint16()),
            ("strategy", LABEL),
            ("rung", LABEL),
            ("invalid", pa.uint64()),
            ("kill_level", LABEL),
            ("config_generation", pa.uint32()),
            ("numbers", pa.list_(pa.float64(), 16)),
            ("message", pa.binary()),
        ]
    ),
}
"""Tables by channel, and by ring for those behind the tape."""
