"""The glue around the network's step, compiled: which rows go together, taps, prediction slots.

All arrays of the chain are handed over at once, as a table of their addresses; a drain of one row
costs four calls of about a microsecond and the network between them.
"""

import math
from typing import Any, Final

import numpy as np
from numba import carray, njit

from models.rules import moving_average_cross
from models.tcn import CLIP, HIDDEN_TAPS, INPUT_TAPS, OUTPUTS, SPREAD_BOUND
from schemas import features, predictions
from schemas.features import COLUMN
from shm.atomics import memory

MOST_ROWS: Final = 4096
_CROSS, _VOLATILITY = COLUMN["mean_cross_bps"], COLUMN["volatility_60s_bps"]
_SPREAD, _AGE = COLUMN["spread_bps"], COLUMN["book_age_s"]
_COLUMNS: Final = len(COLUMN)
_NAN: Final = np.float32(np.nan)
_NETWORK, _RULE = predictions.MODELS.index("tcn"), predictions.MODELS.index("moving_average_cross")

# Addresses of the chain's arrays, and sizes, in one int64 table.
(
    A_ROUNDS,  # (MOST_ROWS) int64: the round of each row
    A_NEWEST,  # (instruments) int64: the newest row of each instrument, -1 without one
    A_MEMBERS,  # (largest batch) int64: rows of the batch being stepped
    A_MEAN,
    A_SCALE,  # (F) float32
    A_INPUTS_KEPT,  # (instruments, 2, F) float32: t-2, t-1
    A_HIDDEN_KEPT,  # (instruments, 4, H) float32: t-4 to t-1
    A_NETWORK,  # (instruments, 5) float32: raw outputs of the last step
    A_OUT,  # (instruments) prediction slots
    A_SECOND,  # (3H, H) float32: the second layer
    A_SECOND_BIAS,  # (H) float32
    N_INSTRUMENTS,
    N_HIDDEN,
) = range(13)
TABLE: Final = 16


@njit(cache=True, nogil=True)
def arrange(table: int, rows_address: int, count: int) -> tuple[int, int]:
    """Put each row into a round, so that no round has an instrument twice.

    Returns how many rounds there are, and how many rows are of instruments at all.
    """
    t = carray(memory(table), (TABLE,), np.int64)
    rows = carray(memory(rows_address), (count,), features.SLOT)
    instruments = t[N_INSTRUMENTS]
    rounds = carray(memory(t[A_ROUNDS]), (MOST_ROWS,), np.int64)
    newest = carray(memory(t[A_NEWEST]), (instruments,), np.int64)
    for index in range(instruments):
        newest[index] = -1
    most = 0
    good = 0
    for index in range(count):
        instrument = rows[index].instrument
        if instrument >= instruments:
            rounds[index] = -1
            continue
        before = newest[instrument]
        rounds[index] = rounds[before] + 1 if before >= 0 else 0
        newest[instrument] = index
        most = max(most, rounds[index] + 1)
        good += 1
    return most, good


@njit(cache=True, nogil=True)
def gather(
    table: int, rows_address: int, count: int, number: int, first: int, batch: int, inputs: int,
    past: int,
) -> tuple[int, int]:  # fmt: skip
    """Fill a batch with rows of one round, from row `first` on.

    Args:
        inputs: address of (batch, 3F) float32: t-2, t-1, t, normalised.
        past: address of (batch, H) float32: what hidden rows t-4 and t-2 add to the second layer,
            and its bias.

    Returns how many rows are in the batch, and the row to go on from.
    """
    t = carray(memory(table), (TABLE,), np.int64)
    width = t[N_HIDDEN]
    rows = carray(memory(rows_address), (count,), features.SLOT)
    rounds = carray(memory(t[A_ROUNDS]), (MOST_ROWS,), np.int64)
    members = carray(memory(t[A_MEMBERS]), (batch,), np.int64)
    mean = carray(memory(t[A_MEAN]), (_COLUMNS,), np.float32)
    scale = carray(memory(t[A_SCALE]), (_COLUMNS,), np.float32)
    kept = carray(memory(t[A_INPUTS_KEPT]), (t[N_INSTRUMENTS], INPUT_TAPS, _COLUMNS), np.float32)
    hidden = carray(memory(t[A_HIDDEN_KEPT]), (t[N_INSTRUMENTS], HIDDEN_TAPS, width), np.float32)
    x = carray(memory(inputs), (batch, 3 * _COLUMNS), np.float32)
    second = carray(memory(t[A_SECOND]), (3 * width, width), np.float32)
    bias = carray(memory(t[A_SECOND_BIAS]), (width,), np.float32)
    p = carray(memory(past), (batch, width), np.float32)
    index = first
    place = 0
    while index < count and place < batch:
        if rounds[index] == number:
            row = rows[index]
            values = row["values"]
            instrument = row.instrument
            members[place] = index
            for column in range(_COLUMNS):
                scaled = (values[column] - mean[column]) * scale[column]
                x[place, column] = kept[instrument, 0, column]
                x[place, _COLUMNS + column] = kept[instrument, 1, column]
                x[place, 2 * _COLUMNS + column] = min(max(scaled, -CLIP), CLIP)
            for column in range(width):
                p[place, column] = bias[column]
            for tap in range(width):
                older, old = hidden[instrument, 0, tap], hidden[instrument, 2, tap]
                for column in range(width):
                    p[place, column] += older * second[tap, column]
                    p[place, column] += old * second[width + tap, column]
            place += 1
        index += 1
    for empty in range(place, batch):
        for column in range(3 * _COLUMNS):
            x[empty, column] = 0.0
        for column in range(width):
            p[empty, column] = 0.0
    return place, index


@njit(cache=True, nogil=True)
def absorb(
    table: int, rows_address: int, count: int, members_count: int, batch: int, inputs: int,
    hidden: int, outputs: int,
) -> None:  # fmt: skip
    """After a step: move the taps of its instruments on by one row, and keep the raw outputs."""
    t = carray(memory(table), (TABLE,), np.int64)
    width = t[N_HIDDEN]
    instruments = t[N_INSTRUMENTS]
    rows = carray(memory(rows_address), (count,), features.SLOT)
    members = carray(memory(t[A_MEMBERS]), (batch,), np.int64)
    kept = carray(memory(t[A_INPUTS_KEPT]), (instruments, INPUT_TAPS, _COLUMNS), np.float32)
    deep = carray(memory(t[A_HIDDEN_KEPT]), (instruments, HIDDEN_TAPS, width), np.float32)
    network = carray(memory(t[A_NETWORK]), (instruments, OUTPUTS), np.float32)
    x = carray(memory(inputs), (batch, 3 * _COLUMNS), np.float32)
    h = carray(memory(hidden), (batch, width), np.float32)
    y = carray(memory(outputs), (batch, OUTPUTS), np.float32)
    for place in range(members_count):
        instrument = rows[members[place]].instrument
        for column in range(_COLUMNS):
            kept[instrument, 0, column] = kept[instrument, 1, column]
            kept[instrument, 1, column] = x[place, 2 * _COLUMNS + column]
        for column in range(width):
            for tap in range(HIDDEN_TAPS - 1):
                deep[instrument, tap, column] = deep[instrument, tap + 1, column]
            deep[instrument, HIDDEN_TAPS - 1, column] = h[place, column]
        for column in range(OUTPUTS):
            network[instrument, column] = y[place, column]


@njit(cache=True, nogil=True)
def _network_outputs(raw: Any, out: Any) -> None:
    """Logits to probabilities, the move as it is, the spread bounded."""
    highest = max(raw[0], raw[1], raw[2])
    total = 0.0
    for column in range(3):
        weight = math.exp(raw[column] - highest)
        out[column] = weight
        total += weight
    for column in range(3):
        out[column] /= total
    out[3] = raw[3]
    out[4] = math.exp(SPREAD_BOUND * math.tanh(raw[4] / SPREAD_BOUND))


@njit(cache=True, nogil=True)
def write_predictions(
    table: int, rows_address: int, count: int, has_network: bool, version: int, rung: int,
    device: int, batch_rows: int, generation: int, made_ns: int, flags: int,
) -> int:  # fmt: skip
    """A prediction slot for the newest row of each instrument; how many.

    The blend is the network's word where there is one, the rule's where there is none.
    """
    t = carray(memory(table), (TABLE,), np.int64)
    instruments = t[N_INSTRUMENTS]
    rows = carray(memory(rows_address), (count,), features.SLOT)
    newest = carray(memory(t[A_NEWEST]), (instruments,), np.int64)
    network = carray(memory(t[A_NETWORK]), (instruments, OUTPUTS), np.float32)
    slots = carray(memory(t[A_OUT]), (instruments,), predictions.SLOT)
    made = 0
    for instrument in range(instruments):
        if newest[instrument] < 0:
            continue
        row = rows[newest[instrument]]
        values = row["values"]
        slot = slots[made]
        made += 1
        slot.made_ns = made_ns
        slot.cut = row.cut
        slot.cut_ns = row.cut_ns
        slot.feature_sequence = row.sequence
        slot.newest_recv_ns = row.newest_recv_ns
        slot.reference_price = row.reference_price
        slot.invalid = row.invalid
        slot.model_version = version
        slot.instrument = instrument
        slot.rung = rung
        slot.device = device
        slot.batch_rows = batch_rows
        slot.flags = flags
        slot.config_generation = generation
        outputs, blend = slot.outputs, slot.blend
        for model in range(predictions.MAX_MODELS):
            for column in range(OUTPUTS):
                outputs[model, column] = _NAN
        up, flat, down, move, spread = moving_average_cross(values[_CROSS], values[_VOLATILITY])
        outputs[_RULE, 0] = up
        outputs[_RULE, 1] = flat
        outputs[_RULE, 2] = down
        outputs[_RULE, 3] = move
        outputs[_RULE, 4] = spread
        if has_network:
            _network_outputs(network[instrument], outputs[_NETWORK])
        spoken = _NETWORK if has_network else _RULE
        for column in range(OUTPUTS):
            blend[column] = outputs[spoken, column]
        slot.spread_bps = values[_SPREAD]
        slot.volatility_bps = values[_VOLATILITY]
        slot.regime = _NAN
        slot.book_age_s = values[_AGE]
        slot.mean_cross_bps = values[_CROSS]
    return made
