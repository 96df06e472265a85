"""Line protocol: every number comes back as it was, what has no form is left out, types never
change, and no two points of a series have the same time."""

import numpy as np
import pytest

from processes.influx.lines import (
    FEATURES,
    PREDICTIONS,
    Bucket,
    FloatFields,
    Tags,
    decision_lines,
    escape_tag,
    fact_line,
    feature_lines,
    marker_lines,
    prediction_lines,
    prediction_values,
    switch_lines,
    unique_ns,
)
from processes.influx.main import Maker
from schemas.decisions import NUMBERS
from schemas.messages import ConfigChanged, KillChanged, ProcessChanged, RungChanged
from schemas.trading import KillLevel
from tests.influx_shim import malformed
from tests.unit.influx.slots import (
    TABLES,
    decision_slots,
    feature_slots,
    marker_slots,
    parse,
    prediction_slots,
    warm_slot,
)

NOW = 1_790_000_000_000_000_000


@pytest.fixture
def tags() -> Tags:
    return Tags(lambda: TABLES)


def test_a_feature_row_comes_back_to_the_last_bit_of_its_float32(tags):
    slots = feature_slots(200, NOW)
    made = feature_lines(slots, tags)
    assert made.bucket is Bucket.FAST
    assert not malformed(b"\n".join(made.lines))
    for slot, line in zip(slots, made.lines, strict=True):
        measurement, found, fields, time_ns = parse(line)
        assert measurement == "features"
        assert found == {
            "venue": "bitfinex", "symbol": TABLES.instruments[slot["instrument"]].symbol,
            "pair": TABLES.instruments[slot["instrument"]].pair,
        }  # fmt: skip
        for name, value in zip(FEATURES, slot["values"], strict=False):
            assert (name in fields) == bool(np.isfinite(value)), name
            if name in fields:
                assert np.float32(fields[name]) == value
        assert fields["reference_price"] == slot["reference_price"]
        assert (fields["reason"], fields["invalid"]) == (1, slot["invalid"])
        assert fields["latency_us"] == 700
        assert time_ns == int(slot["cut_ns"]) + int(slot["sequence"]) % 1000


def test_a_slot_that_is_no_row_makes_no_line_and_no_window(tags):
    maker = Maker(tags)
    assert maker.lines("features", warm_slot(1, NOW)) == []
    rows = feature_slots(3, NOW, 2)
    both = np.concatenate([warm_slot(1, NOW).view(np.uint8), rows.view(np.uint8)])
    (made,) = maker.lines("features", both.view(rows.dtype))
    assert made == feature_lines(rows, tags)
    assert {one.instrument for one in maker.tables["features"].keep().windows} == {0, 1}


def test_predictions_come_back_without_the_models_that_did_not_run(tags):
    slots = prediction_slots(50, NOW)
    values = prediction_values(slots)
    for row, line in zip(values, prediction_lines(slots, tags).lines, strict=True):
        measurement, _, fields, _ = parse(line)
        assert measurement == "predictions"
        assert "regime" not in fields
        found = {name: np.float32(fields[name]) for name in PREDICTIONS if name in fields}
        assert found == {n: v for n, v in zip(PREDICTIONS, row, strict=True) if np.isfinite(v)}


def test_every_decision_has_its_numbers_and_only_what_acted_or_was_denied_is_audited(tags):
    slots = decision_slots(60, NOW)
    numbers, audit = decision_lines(slots, tags)
    decided = [slot for slot in slots if slot["sequence"] % 2 == 0]
    assert len(numbers.lines) == len(decided)
    for slot, line in zip(decided, numbers.lines, strict=True):
        _, found, fields, _ = parse(line)
        assert found["strategy"] == "moving_average_cross"
        assert [fields[name] for name in NUMBERS] == slot["numbers"][: len(NUMBERS)].tolist()
        assert fields["latency_us"] == 3000
    assert audit.bucket is Bucket.LOGS
    told = [parse(line) for line in audit.lines]
    assert [one[2]["cut"] for one in told] == [
        n for n in range(2, 61, 2) if n % 12 == 0 or n % 10 == 0
    ]
    first, second = told[0], told[1]
    assert (first[1]["action"], first[1]["reason"]) == ("hold", "cooldown")
    assert first[2]["text"] == "too soon after the instrument's last order"
    assert first[2]["command_id"] == ""
    assert (second[1]["action"], second[2]["command_id"]) == ("enter_long", f"{12:016x}{5:016x}")


def test_the_kill_switch_is_told_when_it_moves_also_between_two_blocks():
    slots = decision_slots(10, NOW)
    slots["kill_level"] = [0, 0, 3, 3, 3, 0, 0, 1, 1, 1]
    moved = [parse(line) for line in switch_lines(slots, 0).lines]
    assert [(one[1]["level"], one[2]["before"]) for one in moved] == [
        ("flatten", 0), ("none", 3), ("pause", 0),
    ]  # fmt: skip
    assert switch_lines(slots[8:], KillLevel.PAUSE) is None
    assert len(switch_lines(slots[8:], KillLevel.NONE).lines) == 1


def test_gaps_are_told_and_snapshots_are_not(tags):
    made = marker_lines("bitfinex", marker_slots(40, NOW), tags)
    told = [parse(line) for line in made.lines]
    assert not malformed(b"\n".join(made.lines))
    assert len(told) == 8
    assert {one[1]["marker"] for one in told} == {"gap"}
    assert told[0][1]["channel"] == "trades"
    assert (told[1][1]["symbol"], told[1][1]["channel"]) == ("_", "connection")
    assert told[0][2]["lost"] == 3
    assert told[0][2]["to_venue_sequence"] == (1 << 63) - 1
    assert marker_lines("bitfinex", marker_slots(4, NOW), tags) is None


def test_facts_that_stand_in_no_ring_are_told():
    fact = ProcessChanged(process="features", state="failed", time_ns=NOW, text='a "b"\n\\c')
    _, found, fields, time_ns = parse(fact_line(fact).lines[0])
    assert (found, time_ns) == ({"process": "features"}, NOW)
    assert fields == {"state": "failed", "text": 'a "b" \\c'}
    assert parse(fact_line(RungChanged(rung=1, time_ns=5, text="x")).lines[0])[1] == {"rung": "cpu"}
    keys = ["a.b", "c"]
    line = fact_line(ConfigChanged(generation=2, time_ns=5, keys=keys)).lines[0]
    assert not malformed(line)
    assert parse(line)[2] == {"generation": 2, "keys": "a.b, c"}
    assert fact_line(KillChanged(level=1, by="x", time_ns=5)) is None  # the ring tells it


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a", b"a"), ("a b", b"a\\ b"), ("a,b=c", b"a\\,b\\=c"), ("", b"_"), ("a\\", b"a"),
     ("a\nb", b"a\\ b"), ("\\", b"_")],
)  # fmt: skip
def test_tags_are_escaped_so_that_a_line_stays_one(text, escaped):
    assert escape_tag(text) == escaped
    assert not malformed(b"m,t=%b v=1.0 5" % escaped)


def test_tables_are_read_again_for_a_new_instrument_and_never_for_a_known_one():
    asked = []

    def load():
        asked.append(1)
        from schemas.instruments import Tables

        return Tables(instruments=TABLES.instruments[: len(asked)])

    tags = Tags(load)
    assert tags.of(0) == tags.of(0) == b"venue=bitfinex,symbol=tBTCUSD,pair=BTC/USD"
    assert len(asked) == 1
    assert tags.of(1).startswith(b"venue=bitfinex,symbol=tDOGE:USD")
    assert len(asked) == 2


def test_two_slots_of_one_time_are_two_points():
    times = np.full(1000, NOW + 123_456, np.int64)
    assert len(set(unique_ns(times, np.arange(5000, 6000, dtype=np.uint64)).tolist())) == 1000


def test_a_row_without_a_number_has_no_text():
    fields = FloatFields(["a", "b"])
    rows = np.array([[np.nan, np.inf], [1e-30, -0.0], [np.nan, 3]], np.float32)
    assert fields.texts(rows) == [b"", b"a=1e-30,b=-0.0", b"b=3.0"]
    assert fields.texts(rows[:0]) == []
