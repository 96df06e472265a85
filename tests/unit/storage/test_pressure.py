"""The machine of three steps against its table, and its rules for any course of loads."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.storage.pressure import Pressure, Step
from schemas.settings import PressureSettings

SETTINGS = PressureSettings(sample_at=0.5, tops_at=0.75, back_below=0.25, back_after_s=10.0)
FULL, SAMPLED, TOPS = Step
TABLE = {
    FULL: {0.8: TOPS, 0.6: SAMPLED, 0.3: FULL, 0.1: FULL},
    SAMPLED: {0.8: TOPS, 0.6: SAMPLED, 0.3: SAMPLED, 0.1: FULL},
    TOPS: {0.8: TOPS, 0.6: TOPS, 0.3: TOPS, 0.1: SAMPLED},
}


def at(step: Step) -> Pressure:
    made = Pressure(SETTINGS)
    made.turn({FULL: 0.0, SAMPLED: 0.5, TOPS: 0.75}[step], 0.0)
    assert made.step == step
    return made


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("load", [0.8, 0.6, 0.3, 0.1])
def test_every_cell_of_the_table(step, load):
    assert at(step).turn(load, 10.0) == TABLE[step][load]


@pytest.mark.parametrize("load", [0.8, 0.6, 0.3, 0.1])
def test_a_load_from_outside_counts_as_the_rings_own(load):
    pressure = at(FULL)
    pressure.outside = load
    assert pressure.turn(0.0, 10.0) == TABLE[FULL][load]


def test_nothing_is_kept_whole_while_something_is_owed():
    pressure = at(SAMPLED)
    assert pressure.turn(0.0, 20.0, owes=True) == SAMPLED
    assert pressure.turn(0.0, 20.1) == FULL


def test_switched_off_it_stays_where_it_is():
    pressure = Pressure(PressureSettings(enabled=False))
    assert pressure.turn(1.0, 1.0) == FULL


def test_thresholds_out_of_order_are_refused():
    with pytest.raises(msgspec.ValidationError, match="back_below < sample_at < tops_at"):
        msgspec.convert({"sample_at": 0.8}, PressureSettings)


@given(
    st.lists(st.tuples(st.floats(0, 1.2), st.floats(0, 6), st.booleans()), min_size=1, max_size=60)
)
def test_any_course_of_loads(course):
    pressure, now_s, low_for_s, switches = Pressure(SETTINGS), 0.0, 0.0, 0
    for load, passed_s, owes in course:
        now_s += passed_s
        low_for_s = low_for_s + passed_s if load < SETTINGS.back_below else 0.0
        before, after = pressure.step, pressure.turn(load, now_s, owes=owes)
        if load >= SETTINGS.tops_at:
            assert after == TOPS
        elif load >= SETTINGS.sample_at:
            assert after == max(before, SAMPLED)
        else:
            assert after in {before, max(before - 1, FULL)}
        if after < before:
            # One step at a time, after a low load all the while, and nothing owed at the end.
            assert low_for_s >= SETTINGS.back_after_s - 1e-6
            assert after == SAMPLED or not owes
        if after != before:
            low_for_s = 0.0
            switches += 1
    assert pressure.switches == switches
