"""The kill switch's last level ends the instance once nothing is open."""

from processes.supervisor.shutdown import DEADLINE_S, Shutdown
from schemas.trading import KillLevel

PULLED = (KillLevel.SHUTDOWN, KillLevel.SHUTDOWN)


def test_lower_levels_end_nothing():
    watch = Shutdown(1.0)
    for now_s in range(100):
        assert watch.due(KillLevel.FLATTEN, KillLevel.FLATTEN, 0, float(now_s)) is None


def test_it_waits_until_nothing_was_open_for_a_while():
    watch = Shutdown(1.0)
    assert watch.due(*PULLED, 2, 0.0) is None
    assert watch.due(*PULLED, 0, 1.0) is None
    assert watch.due(*PULLED, 1, 1.9) is None, "something opened again"
    assert watch.due(*PULLED, 0, 2.0) is None
    assert watch.due(*PULLED, 0, 2.9) is None
    assert "nothing is open" in str(watch.due(*PULLED, 0, 3.0))


def test_what_was_flat_before_execution_obeyed_does_not_count():
    watch = Shutdown(1.0)
    assert watch.due(KillLevel.SHUTDOWN, KillLevel.NONE, 0, 0.0) is None
    assert watch.due(KillLevel.SHUTDOWN, KillLevel.NONE, 0, 5.0) is None
    assert watch.due(*PULLED, 0, 5.1) is None
    assert watch.due(*PULLED, 0, 6.1) is not None


def test_it_does_not_wait_for_ever():
    watch = Shutdown(1.0)
    assert watch.due(*PULLED, None, 0.0) is None
    assert watch.due(*PULLED, None, DEADLINE_S - 0.1) is None
    assert "execution is not alive" in str(watch.due(*PULLED, None, DEADLINE_S))
    assert "3 are open" in str(watch.due(*PULLED, 3, DEADLINE_S + 1))


def test_arming_begins_anew():
    watch = Shutdown(1.0)
    assert watch.due(*PULLED, 1, 0.0) is None
    assert watch.due(KillLevel.NONE, KillLevel.NONE, 0, DEADLINE_S) is None
    assert watch.due(*PULLED, 1, DEADLINE_S + 1) is None
