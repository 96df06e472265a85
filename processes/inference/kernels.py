"""The glue around the network's step, compiled: gathering taps, and writing prediction slots."""

import math
from typing import Any, Final

import numpy as np
from numba import carray, njit

from models.tcn import CLIP, HIDDEN_TAPS, INPUT_TAPS, OUTPUTS
from schemas import features, predictions
from schemas.features import COLUMN
from shm.atomics import memory

_CROSS, _VOLATILITY = COLUMN["mean_cross_bps"], COLUMN["volatility_60s_bps"]
_SPREAD, _AGE = COLUMN["spread_bps"], COLUMN["book_age_s"]
_NAN: Final = np.float32(np.nan)


@njit(cache=True, nogil=True)
def arrange(rows_address: int, count: int, instruments: int, rounds: Any, newest: Any) -> int:
    """Put each row into a round, so that no round has an instrument twice; how many rounds.

    `rounds[i]` becomes row i's round (-1 for a row of no instrument), `newest[k]` the last row of
    instrument k or -1.
    """
    rows = carray(memory(rows_address), (count,), features.SLOT)
    seen = np.zeros(instruments, np.int64)
    for index in range(instruments):
        newest[index] = -1
    most = 0
    for index in range(count):
        instrument = rows[index].instrument
        if instrument >= instruments:
            rounds[index] = -1
            continue
        rounds[index] = seen[instrument]
        seen[instrument] += 1
        most = max(most, seen[instrument])
        newest[instrument] = index
    return most


@njit(cache=True, nogil=True)
def gather(
    rows_address: int, rows_count: int, chosen: Any, count: int, mean: Any, scale: Any,
    inputs_kept: Any, hidden_kept: Any, inputs: Any, taps: Any,
) -> None:  # fmt: skip
    """Fill the batch: normalised inputs with two earlier ones, and two earlier hidden rows.

    Args:
        inputs_kept: (instruments, 2, F), t-2 and t-1. hidden_kept: (instruments, 4, H), t-4 to t-1.
        inputs: (batch, 3F). taps: (batch, 2H). Rows behind `count` become zeros.
    """
    columns = mean.shape[0]
    width = hidden_kept.shape[2]
    rows = carray(memory(rows_address), (rows_count,), features.SLOT)
    for place in range(inputs.shape[0]):
        if place >= count:
            for column in range(3 * columns):
                inputs[place, column] = 0.0
            for column in range(2 * width):
                taps[place, column] = 0.0
            continue
        row = rows[chosen[place]]
        values = row["values"]
        instrument = row.instrument
        for column in range(columns):
            scaled = (values[column] - mean[column]) * scale[column]
            inputs[place, column] = inputs_kept[instrument, 0, column]
            inputs[place, columns + column] = inputs_kept[instrument, 1, column]
            inputs[place, 2 * columns + column] = min(max(scaled, -CLIP), CLIP)
        for column in range(width):
            taps[place, column] = hidden_kept[instrument, 0, column]
            taps[place, width + column] = hidden_kept[instrument, 2, column]


@njit(cache=True, nogil=True)
def keep(
    rows_address: int, rows_count: int, chosen: Any, count: int, inputs: Any, hidden: Any,
    inputs_kept: Any, hidden_kept: Any,
) -> None:  # fmt: skip
    """Move every stepped instrument's taps on by one row."""
    rows = carray(memory(rows_address), (rows_count,), features.SLOT)
    columns = inputs_kept.shape[2]
    width = hidden_kept.shape[2]
    for place in range(count):
        instrument = rows[chosen[place]].instrument
        for column in range(columns):
            for tap in range(INPUT_TAPS - 1):
                inputs_kept[instrument, tap, column] = inputs_kept[instrument, tap + 1, column]
            inputs_kept[instrument, INPUT_TAPS - 1, column] = inputs[place, 2 * columns + column]
        for column in range(width):
            for tap in range(HIDDEN_TAPS - 1):
                hidden_kept[instrument, tap, column] = hidden_kept[instrument, tap + 1, column]
            hidden_kept[instrument, HIDDEN_TAPS - 1, column] = hidden[place, column]


@njit(cache=True, nogil=True)
def write_predictions(
    rows_address: int, rows_count: int, chosen: Any, count: int, network: Any, has_network: bool,
    rule: Any, out: int,
) -> None:  # fmt: skip
    """Prediction slots of the chosen rows: the network's five, the rule's, the blend.

    Args:
        network: (rows, 5) raw outputs: logits, move, log spread; ignored without `has_network`.
        rule: (rows, 5) finished outputs. Both are by place in `chosen`.

    The blend is the network's word where there is one, the rule's where there is none.
    """
    rows = carray(memory(rows_address), (rows_count,), features.SLOT)
    slots = carray(memory(out), (count,), predictions.SLOT)
    for place in range(count):
        row = rows[chosen[place]]
        values = row["values"]
        slot = slots[place]
        slot.cut = row.cut
        slot.cut_ns = row.cut_ns
        slot.feature_sequence = row.sequence
        slot.newest_recv_ns = row.newest_recv_ns
        slot.reference_price = row.reference_price
        slot.invalid = row.invalid
        slot.instrument = row.instrument
        outputs, blend = slot.outputs, slot.blend
        for model in range(predictions.MAX_MODELS):
            for column in range(OUTPUTS):
                outputs[model, column] = _NAN
        for column in range(OUTPUTS):
            outputs[1, column] = rule[place, column]
            blend[column] = rule[place, column]
        if has_network:
            highest_logit = max(network[place, 0], network[place, 1], network[place, 2])
            total = np.float32(0.0)
            for column in range(3):
                weight = np.float32(math.exp(network[place, column] - highest_logit))
                outputs[0, column] = weight
                total += weight
            for column in range(3):
                outputs[0, column] /= total
            outputs[0, 3] = network[place, 3]
            outputs[0, 4] = math.exp(min(max(network[place, 4], -3.0), 5.0))
            for column in range(OUTPUTS):
                blend[column] = outputs[0, column]
        slot.spread_bps = values[_SPREAD]
        slot.volatility_bps = values[_VOLATILITY]
        slot.regime = _NAN
        slot.book_age_s = values[_AGE]
        slot.mean_cross_bps = values[_CROSS]
