"""Once a day, and once only, whatever is restarted or slept through."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.retraining.schedule import Schedule, last_before


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("time", "now", "wanted"),
    [
        ("03:10", "2026-03-01T03:09:59", "2026-02-28T03:10:00"),
        ("03:10", "2026-03-01T03:10:00", "2026-03-01T03:10:00"),
        ("00:00", "2026-01-01T00:00:00", "2026-01-01T00:00:00"),
        ("23:59", "2026-01-01T00:00:00", "2025-12-31T23:59:00"),
    ],
)
def test_the_last_instant_of_a_time_of_day(time, now, wanted):
    assert last_before(time, at(now)) == at(wanted)


def test_the_first_day_waits_and_a_restart_does_not_train_again(tmp_path):
    path = tmp_path / "state" / "retraining.json"
    schedule = Schedule(path, "03:10", at("2026-03-01T12:00:00"))
    assert schedule.due(at("2026-03-01T23:59:59")) == 0
    assert schedule.next_ns() == at("2026-03-02T03:10:00")
    assert schedule.due(at("2026-03-02T03:10:00")) == at("2026-03-02T03:10:00")
    schedule.done({"gbdt": "promoted x"}, at("2026-03-02T03:10:00"))
    again = Schedule(path, "03:10", at("2026-03-02T03:30:00"))
    assert again.due(at("2026-03-02T03:30:00")) == 0
    assert again.last is not None
    assert again.last.told == {"gbdt": "promoted x"}


def test_days_that_were_slept_through_are_one_training(tmp_path):
    path = tmp_path / "retraining.json"
    Schedule(path, "03:10", at("2026-03-01T12:00:00"))
    woken = Schedule(path, "03:10", at("2026-03-09T02:00:00"))
    due_ns = woken.due(at("2026-03-09T02:00:00"))
    assert due_ns == at("2026-03-08T03:10:00")
    woken.done({}, due_ns)
    assert woken.due(at("2026-03-09T02:00:01")) == 0
    assert woken.due(at("2026-03-09T03:10:00")) != 0


def test_what_cannot_be_read_begins_anew(tmp_path):
    path = tmp_path / "retraining.json"
    path.write_bytes(b"{")
    assert Schedule(path, "03:10", at("2026-03-01T12:00:00")).due(at("2026-03-01T12:00:01")) == 0


@given(
    minutes=st.lists(st.integers(1, 3000), min_size=1, max_size=40),
    hour=st.integers(0, 23),
    restarts=st.randoms(use_true_random=False),
)
def test_each_day_at_most_once(tmp_path_factory, minutes, hour, restarts):
    path = tmp_path_factory.mktemp("state") / "retraining.json"
    now = begun = at("2026-03-01T12:00:00")
    schedule = Schedule(path, f"{hour:02d}:00", now)
    done: list[int] = []
    for step in minutes:
        now += step * 60 * 10**9
        if restarts.random() < 0.5:
            schedule = Schedule(path, schedule.at, now)
        if due := schedule.due(now):
            done.append(due)
            schedule.done({}, due)
        newest = last_before(schedule.at, now)
        assert newest in {last_before(schedule.at, begun), *done}  # nothing is owed
    assert len(set(done)) == len(done)
    assert done == sorted(done)
