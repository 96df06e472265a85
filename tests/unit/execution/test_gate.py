"""The last look: what passes at which level, and when the switch may be acknowledged."""

import threading

import numpy as np
import pytest

from processes.execution.gate import SendGate
from schemas.trading import Intent, KillLevel

SECOND = 10**9


def intent(**more) -> Intent:
    values = {
        "command_id": "1" * 32, "instrument": 0, "symbol": "s", "side": "buy", "quantity": "1",
        "kind": "market", **more,
    }  # fmt: skip
    return Intent(**values)


@pytest.fixture
def word():
    return np.zeros(1, np.int64)


@pytest.fixture
def gate(word):
    return SendGate(int(word.ctypes.data), lambda: 10 * SECOND, 2 * SECOND)


@pytest.mark.parametrize(
    ("level", "entry", "exit_", "own"),
    [
        (KillLevel.NONE, True, True, True),
        (KillLevel.PAUSE, False, True, True),
        (KillLevel.CANCEL, False, False, True),
        (KillLevel.FLATTEN, False, False, True),
        (KillLevel.SHUTDOWN, False, False, True),
    ],
)
def test_what_passes_at_which_level(gate, word, level, entry, exit_, own):
    word[0] = level
    now = {"decided_ns": 9 * SECOND}
    assert (gate.refusal(intent(**now)) == "") is entry
    assert (gate.refusal(intent(**now, reduce_only=True)) == "") is exit_
    assert (gate.refusal(intent(**now, strategy="kill_switch")) == "") is own


def test_an_order_that_waited_is_not_sent(gate):
    assert "waited" in gate.refusal(intent(decided_ns=7 * SECOND))
    assert gate.refusal(intent(decided_ns=8 * SECOND)) == ""


def test_it_is_not_idle_while_something_is_between_look_and_write(gate):
    assert gate.idle
    with gate.sending(intent(decided_ns=9 * SECOND)) as refused:
        assert refused == ""
        assert not gate.idle
    assert gate.idle
    with pytest.raises(OSError, match="gone"), gate.sending(intent(decided_ns=9 * SECOND)):
        raise OSError("gone")
    assert gate.idle


def test_nothing_is_written_after_it_was_seen_idle_with_the_switch_pulled(word):
    """Many threads send as fast as they can; the switch is pulled in their midst."""
    for _ in range(20):
        word[0] = KillLevel.NONE
        gate = SendGate(int(word.ctypes.data), lambda: 0, SECOND)
        acknowledged, written_after = threading.Event(), []
        begun = threading.Barrier(5)

        def send(gate=gate, begun=begun, acknowledged=acknowledged, late=written_after) -> None:
            begun.wait()
            while True:
                with gate.sending(intent()) as refused:
                    if refused:
                        return
                    if acknowledged.is_set():
                        late.append(1)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait()
        word[0] = KillLevel.CANCEL
        while not gate.idle:
            pass
        acknowledged.set()
        for thread in threads:
            thread.join()
        assert written_after == []
