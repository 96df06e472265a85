"""Windows of 30 s against plain numpy, however rows come in blocks and whatever ends the
process."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from processes.influx.aggregates import GRACE_NS, WINDOW_NS, KeptTable, WindowTable
from processes.influx.lines import Tags
from tests.unit.influx.slots import SECOND, TABLES, parse

START = 1_790_000_010_000_000_000 // WINDOW_NS * WINDOW_NS
TAGS = Tags(lambda: TABLES)
COLUMNS = ("a", "b")


def rows(count: int, seed: int = 1):
    draw = np.random.default_rng(seed)
    times = START + np.arange(count, dtype=np.int64) // 2 * SECOND
    values = draw.normal(0, 1, (count, 2)).astype(np.float32)
    values[draw.random(values.shape) < 0.2] = np.nan
    return times, np.arange(count) % 2, values


def oracle(times, instruments, values) -> dict:
    found = {}
    starts = times // WINDOW_NS * WINDOW_NS
    for start in sorted(set(starts.tolist())):
        if start + WINDOW_NS + GRACE_NS > times.max():
            continue
        for instrument in sorted(set(instruments.tolist())):
            mine = values[(starts == start) & (instruments == instrument)].astype(np.float64)
            fields = {"rows": len(mine)}
            for column, name in enumerate(COLUMNS):
                known = mine[np.isfinite(mine[:, column]), column]
                fields[f"{name}_count"] = len(known)
                if len(known):
                    fields |= {
                        f"{name}_mean": pytest.approx(known.mean(), rel=1e-12),
                        f"{name}_min": known.min(), f"{name}_max": known.max(),
                        f"{name}_last": known[-1],
                    }  # fmt: skip
            if len(mine):
                found[start, TABLES.instruments[instrument].symbol] = fields
    return found


def told(lines: list[bytes]) -> dict:
    parsed = [parse(line) for line in lines]
    found = {(time_ns, tags["symbol"]): fields for _, tags, fields, time_ns in parsed}
    assert len(found) == len(parsed)
    return found


def test_windows_say_what_numpy_says():
    times, instruments, values = rows(400)
    table = WindowTable("m", COLUMNS)
    table.add(times, instruments, values)
    lines = table.close(TAGS).lines
    assert told(lines) == oracle(times, instruments, values)
    assert len(lines) == 12
    assert table.close(TAGS).lines == []
    assert table.late == 0


@given(cuts=st.lists(st.integers(1, 399), max_size=12), restarts=st.sets(st.integers(0, 12)))
@given_settings(max_examples=40)
def test_blocks_and_restarts_change_no_bit(cuts, restarts):
    whole = WindowTable("m", COLUMNS)
    columns = rows(400)
    whole.add(*columns)
    wanted = whole.close(TAGS).lines
    table, found = WindowTable("m", COLUMNS), []
    for number, places in enumerate(np.split(np.arange(400), sorted(cuts))):
        if number in restarts:  # what was written is on disk, the process begins anew
            kept = msgspec.msgpack.encode(table.keep())
            table = WindowTable("m", COLUMNS)
            table.restore(msgspec.msgpack.decode(kept, type=KeptTable))
        table.add(*[column[places] for column in columns])
        found += table.close(TAGS).lines
    assert found == wanted


def test_a_window_is_closed_by_rows_and_a_late_row_is_counted_and_left_out():
    table = WindowTable("m", COLUMNS)
    one = np.array([[1.0, 2.0]], np.float32)

    def add(offset_s: float) -> int:
        when = np.array([START + int(offset_s * SECOND)], np.int64)
        table.add(when, np.array([0]), one)
        return len(table.close(TAGS).lines)

    assert add(1) == 0
    assert add(31.9) == 0  # not yet: a row of the first may still come
    assert add(29.9) == 0
    assert table.late == 0
    assert add(32) == 1
    assert add(29.9) == 0
    assert table.late == 1
    assert add(62) == 1


def test_a_late_row_is_late_in_the_middle_of_a_block_as_well():
    times = START + np.array([1, 33, 2, 65], np.int64) * SECOND
    table = WindowTable("m", COLUMNS)
    table.add(times, np.zeros(4, int), np.ones((4, 2)))
    assert table.late == 1
    assert [parse(line)[2]["rows"] for line in table.close(TAGS).lines] == [1, 1]


def test_a_state_of_other_columns_is_not_taken():
    table = WindowTable("m", COLUMNS)
    table.add(*rows(20))
    other = WindowTable("m", ("a", "c"))
    other.restore(table.keep())
    assert other.keep().windows == []
