"""The glue around the network's step, compiled: which rows go together, memory, prediction slots.

All arrays of the chain are handed over at once, as a table of their addresses: a number costs a
call less to hand over than an array, and one number less than many.
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from models.rules import moving_average_cross
from models.stack import outputs_of
from models.tcn import CLIP, DEPTH, HIDDEN_DEPTH, OUTPUTS
from schemas import features, predictions
from schemas.features import COLUMN, Invalid
from schemas.predictions import MAX_MODELS, MODELS, NETWORK, RULE
from schemas.tape import LEVELS
from shm.atomics import memory

MOST_ROWS: Final = 4096
_CROSS, _VOLATILITY = COLUMN["mean_cross_bps"], COLUMN["volatility_60s_bps"]
_SPREAD, _AGE = COLUMN["spread_bps"], COLUMN["book_age_s"]
_COLUMNS: Final = len(COLUMN)
_BOOK: Final = 4 * LEVELS
_DROPPED: Final = int(Invalid.DROPPED)
_NOTHING: Final = np.float32(0)
_LOOKS_BACK: Final = 2
"""The age of the youngest hidden row, but the newest itself, that the second layer looks at."""
_NETWORK, _RULE = MODELS.index(NETWORK), MODELS.index(RULE)

# Addresses of the chain's arrays, and sizes, in one int64 table.
(
    A_NEWEST,  # (instruments) int64: the newest row of each instrument, -1 without one
    A_COUNTS,  # (instruments) int64: how many rows of it there are
    A_RECENT,  # (instruments, DEPTH) int64: its newest rows, the newest first
    A_MEMBERS,  # (instruments * HIDDEN_DEPTH, 2) int64: instrument and age of each row to step
    A_MEAN,
    A_SCALE,  # (F) float32
    A_INPUTS,  # (instruments, DEPTH, F) float32: the newest normalised rows, the newest last
    A_HIDDEN,  # (instruments, HIDDEN_DEPTH, H) float32: the newest hidden rows, the newest last
    A_NETWORK,  # (instruments, OUTPUTS) float32: raw outputs of the last step
    A_OUT,  # (instruments) prediction slots
    A_FIRST,  # (3F, H) float32: the first layer
    A_FIRST_BIAS,  # (H) float32
    A_SECOND,  # (3H, H) float32: the second layer
    A_SECOND_BIAS,  # (H) float32
    A_HEAD,  # (H, OUTPUTS) float32
    A_HEAD_BIAS,  # (OUTPUTS) float32
    A_SAID,  # (MAX_MODELS, instruments, OUTPUTS) float32: what the models beside the network said
    A_REGIMES,  # (instruments) float32: the state each instrument's market is in, NaN without one
    A_LAYERS,  # (MOST_ROWS) int64: rows in the order in which they are followed
    N_INSTRUMENTS,
    N_HIDDEN,
) = range(21)
TABLE: Final = 21


@njit(cache=True, nogil=True)
def arrange(table: int, rows_address: int, count: int) -> int:
    """Find each instrument's newest rows; how many of the rows count.

    Those do that are of instruments at all, and such that a model may see.
    """
    t = carray(memory(table), (TABLE,), np.int64)
    rows = carray(memory(rows_address), (count,), features.SLOT)
    instruments = t[N_INSTRUMENTS]
    newest = carray(memory(t[A_NEWEST]), (instruments,), np.int64)
    counts = carray(memory(t[A_COUNTS]), (instruments,), np.int64)
    recent = carray(memory(t[A_RECENT]), (instruments, DEPTH), np.int64)
    for index in range(instruments):
        newest[index] = -1
        counts[index] = 0
    good = 0
    for index in range(count - 1, -1, -1):
        instrument = rows[index].instrument
        if instrument >= instruments or rows[index].invalid & _DROPPED != 0:
            continue
        age = counts[instrument]
        if age < DEPTH:
            recent[instrument, age] = index
        if age == 0:
            newest[instrument] = index
        counts[instrument] = age + 1
        good += 1
    return good


@njit(cache=True, nogil=True)
def lay_out(table: int, rows_address: int, count: int, ends_address: int) -> int:
    """Order the rows that count into layers, none of which has two rows of an instrument.

    The first rows of all instruments come first, then the second ones, and so on; `arrange` was
    called with the same rows. Where each layer ends is written to (count) int64 at `ends_address`.
    Returns how many there are.
    """
    t = carray(memory(table), (TABLE,), np.int64)
    rows = carray(memory(rows_address), (count,), features.SLOT)
    instruments = t[N_INSTRUMENTS]
    counts = carray(memory(t[A_COUNTS]), (instruments,), np.int64)
    order = carray(memory(t[A_LAYERS]), (MOST_ROWS,), np.int64)
    ends = carray(memory(ends_address), (MOST_ROWS,), np.int64)
    layers = listed = 0
    for instrument in range(instruments):
        layers = max(layers, counts[instrument])
    for layer in range(layers):
        ends[layer] = 0
    seen = np.zeros(instruments, np.int64)
    for index in range(count):
        instrument = rows[index].instrument
        if instrument < instruments and rows[index].invalid & _DROPPED == 0:
            ends[seen[instrument]] += 1
            seen[instrument] += 1
    for layer in range(layers):
        listed += ends[layer]
        ends[layer] = listed - ends[layer]  # where it begins, until it is filled
    seen[:] = 0
    for index in range(count):
        instrument = rows[index].instrument
        if instrument < instruments and rows[index].invalid & _DROPPED == 0:
            layer = seen[instrument]
            order[ends[layer]] = index
            ends[layer] += 1
            seen[instrument] += 1
    return layers


@njit(cache=True, nogil=True)
def list_newest(table: int) -> int:
    """Put the newest row of each instrument in the place of the layers; how many there are."""
    t = carray(memory(table), (TABLE,), np.int64)
    instruments = t[N_INSTRUMENTS]
    newest = carray(memory(t[A_NEWEST]), (instruments,), np.int64)
    order = carray(memory(t[A_LAYERS]), (MOST_ROWS,), np.int64)
    listed = 0
    for instrument in range(instruments):
        if newest[instrument] >= 0:
            order[listed] = newest[instrument]
            listed += 1
    return listed


@njit(cache=True, nogil=True)
def copy_rows(
    table: int, rows_address: int, count: int, begin: int, end: int, values: Any, book: Any,
    price: Any, instrument: Any,
) -> None:  # fmt: skip
    """The rows listed from `begin` to `end`, as a follower takes them."""
    t = carray(memory(table), (TABLE,), np.int64)
    rows = carray(memory(rows_address), (count,), features.SLOT)
    order = carray(memory(t[A_LAYERS]), (MOST_ROWS,), np.int64)
    for place in range(end - begin):
        row = rows[order[begin + place]]
        seen, levels = row["values"], row["book"]
        for column in range(_COLUMNS):
            values[place, column] = seen[column]
        for level in range(_BOOK):
            book[place, level] = levels[level]
        price[place] = row.reference_price
        instrument[place] = row.instrument


@njit(cache=True, nogil=True)
def keep_said(table: int, model: int, said: Any, instrument: Any) -> None:
    """What a follower said of some instruments, until it says more of them."""
    t = carray(memory(table), (TABLE,), np.int64)
    instruments = t[N_INSTRUMENTS]
    kept = carray(memory(t[A_SAID]), (MAX_MODELS, instruments, OUTPUTS), np.float32)
    for place in range(len(instrument)):
        for column in range(OUTPUTS):
            kept[model, instrument[place], column] = said[place, column]


@njit(cache=True, nogil=True)
def advance(table: int, rows_address: int, count: int) -> tuple[int, int]:
    """Move every instrument's memory on by its rows, and list the rows to be stepped.

    Only the last HIDDEN_DEPTH rows of an instrument are: what went before them is in no output any
    more. Returns how many must be stepped first, since the second layer of the newest looks at
    them, and how many after those.
    """
    t = carray(memory(table), (TABLE,), np.int64)
    rows = carray(memory(rows_address), (count,), features.SLOT)
    instruments, width = t[N_INSTRUMENTS], t[N_HIDDEN]
    counts = carray(memory(t[A_COUNTS]), (instruments,), np.int64)
    recent = carray(memory(t[A_RECENT]), (instruments, DEPTH), np.int64)
    members = carray(memory(t[A_MEMBERS]), (instruments * HIDDEN_DEPTH, 2), np.int64)
    mean = carray(memory(t[A_MEAN]), (_COLUMNS,), np.float32)
    scale = carray(memory(t[A_SCALE]), (_COLUMNS,), np.float32)
    inputs = carray(memory(t[A_INPUTS]), (instruments, DEPTH, _COLUMNS), np.float32)
    hidden = carray(memory(t[A_HIDDEN]), (instruments, HIDDEN_DEPTH, width), np.float32)
    for instrument in range(instruments):
        new = min(counts[instrument], DEPTH)
        if new == 0:
            continue
        for place in range(DEPTH - new):
            for column in range(_COLUMNS):
                inputs[instrument, place, column] = inputs[instrument, place + new, column]
        for age in range(new):
            values = rows[recent[instrument, age]]["values"]
            for column in range(_COLUMNS):
                scaled = (values[column] - mean[column]) * scale[column]
                inputs[instrument, DEPTH - 1 - age, column] = min(max(scaled, -CLIP), CLIP)
        for place in range(HIDDEN_DEPTH - new):
            for column in range(width):
                hidden[instrument, place, column] = hidden[instrument, place + new, column]
    listed = before = 0
    for age in range(HIDDEN_DEPTH - 1, -1, -1):
        for instrument in range(instruments):
            if counts[instrument] > age:
                members[listed, 0] = instrument
                members[listed, 1] = age
                listed += 1
        if age == _LOOKS_BACK:
            before = listed
    return before, listed - before


@njit(cache=True, nogil=True)
def gather(
    table: int, begin: int, end: int, batch: int, newest: int, first: int, second: int
) -> None:
    """Fill a batch with the listed rows from `begin` to `end`; what is left of it with zeros.

    Args:
        newest: address of (batch, F) float32, the rows. first, second: addresses of (batch, H)
            float32, what earlier rows and the bias add to each layer.
    """
    t = carray(memory(table), (TABLE,), np.int64)
    instruments, width = t[N_INSTRUMENTS], t[N_HIDDEN]
    members = carray(memory(t[A_MEMBERS]), (instruments * HIDDEN_DEPTH, 2), np.int64)
    inputs = carray(memory(t[A_INPUTS]), (instruments, DEPTH, _COLUMNS), np.float32)
    hidden = carray(memory(t[A_HIDDEN]), (instruments, HIDDEN_DEPTH, width), np.float32)
    kernel = carray(memory(t[A_FIRST]), (3 * _COLUMNS, width), np.float32)
    bias = carray(memory(t[A_FIRST_BIAS]), (width,), np.float32)
    deep_kernel = carray(memory(t[A_SECOND]), (3 * width, width), np.float32)
    deep_bias = carray(memory(t[A_SECOND_BIAS]), (width,), np.float32)
    x = carray(memory(newest), (batch, _COLUMNS), np.float32)
    p = carray(memory(first), (batch, width), np.float32)
    q = carray(memory(second), (batch, width), np.float32)
    for place in range(batch):
        for column in range(width):
            p[place, column] = q[place, column] = 0.0
        if place >= end - begin:
            for column in range(_COLUMNS):
                x[place, column] = 0.0
            continue
        instrument, age = members[begin + place, 0], members[begin + place, 1]
        row = DEPTH - 1 - age
        for column in range(width):
            p[place, column] = bias[column]
        for tap in range(_COLUMNS):
            x[place, tap] = inputs[instrument, row, tap]
            older, old = inputs[instrument, row - 2, tap], inputs[instrument, row - 1, tap]
            for column in range(width):
                p[place, column] += older * kernel[tap, column]
                p[place, column] += old * kernel[_COLUMNS + tap, column]
        if age > 0:
            continue  # its output is nobody's
        for column in range(width):
            q[place, column] = deep_bias[column]
        for tap in range(width):
            older, old = hidden[instrument, 0, tap], hidden[instrument, 2, tap]
            for column in range(width):
                q[place, column] += older * deep_kernel[tap, column]
                q[place, column] += old * deep_kernel[width + tap, column]


@njit(cache=True, nogil=True)
def absorb(table: int, begin: int, end: int, batch: int, hidden: int, deeper: int) -> None:
    """After a step: keep the hidden rows, and the raw outputs of the newest rows."""
    t = carray(memory(table), (TABLE,), np.int64)
    instruments, width = t[N_INSTRUMENTS], t[N_HIDDEN]
    members = carray(memory(t[A_MEMBERS]), (instruments * HIDDEN_DEPTH, 2), np.int64)
    kept = carray(memory(t[A_HIDDEN]), (instruments, HIDDEN_DEPTH, width), np.float32)
    network = carray(memory(t[A_NETWORK]), (instruments, OUTPUTS), np.float32)
    head = carray(memory(t[A_HEAD]), (width, OUTPUTS), np.float32)
    bias = carray(memory(t[A_HEAD_BIAS]), (OUTPUTS,), np.float32)
    h = carray(memory(hidden), (batch, width), np.float32)
    d = carray(memory(deeper), (batch, width), np.float32)
    for place in range(end - begin):
        instrument, age = members[begin + place, 0], members[begin + place, 1]
        for column in range(width):
            kept[instrument, HIDDEN_DEPTH - 1 - age, column] = h[place, column]
        if age > 0:
            continue
        for column in range(OUTPUTS):
            network[instrument, column] = bias[column]
        for tap in range(width):
            value = max(d[place, tap], _NOTHING)
            for column in range(OUTPUTS):
                network[instrument, column] += value * head[tap, column]


@njit(cache=True, nogil=True)
def write_predictions(
    table: int, rows_address: int, count: int, has_network: bool, has_rule: bool, version: int,
    learnt: int, rung: int, device: int, batch_rows: int, generation: int, made_ns: int, flags: int,
) -> int:  # fmt: skip
    """A prediction slot for the newest row of each instrument; how many.

    The blend is the network's word where there is one, the rule's where there is none: what holds
    until a fitted blend has spoken.
    """
    t = carray(memory(table), (TABLE,), np.int64)
    instruments = t[N_INSTRUMENTS]
    rows = carray(memory(rows_address), (count,), features.SLOT)
    newest = carray(memory(t[A_NEWEST]), (instruments,), np.int64)
    network = carray(memory(t[A_NETWORK]), (instruments, OUTPUTS), np.float32)
    said = carray(memory(t[A_SAID]), (MAX_MODELS, instruments, OUTPUTS), np.float32)
    regimes = carray(memory(t[A_REGIMES]), (instruments,), np.float32)
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
        slot.learner_state = learnt
        slot.instrument = instrument
        slot.rung = rung
        slot.device = device
        slot.batch_rows = batch_rows
        slot.flags = flags
        slot.config_generation = generation
        slot.drain_first = rows[0].sequence & 0xFFFFFFFF
        outputs, blend = slot.outputs, slot.blend
        for model in range(MAX_MODELS):
            for column in range(OUTPUTS):
                outputs[model, column] = said[model, instrument, column]
        if has_rule:
            up, flat, down, move, spread = moving_average_cross(values[_CROSS], values[_VOLATILITY])
            outputs[_RULE, 0] = up
            outputs[_RULE, 1] = flat
            outputs[_RULE, 2] = down
            outputs[_RULE, 3] = move
            outputs[_RULE, 4] = spread
        if has_network:
            outputs_of(network[instrument], outputs[_NETWORK])
        spoken = _NETWORK if has_network else _RULE
        for column in range(OUTPUTS):
            blend[column] = outputs[spoken, column]
        slot.spread_bps = values[_SPREAD]
        slot.volatility_bps = values[_VOLATILITY]
        slot.regime = regimes[instrument]
        slot.book_age_s = values[_AGE]
        slot.mean_cross_bps = values[_CROSS]
    return made
