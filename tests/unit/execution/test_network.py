"""The thread of network accounts: order of commands, bounds, and how it ends."""

import asyncio
import queue

import pytest

from processes.execution.brokers.base import QUEUE_COMMANDS, Outstanding
from processes.execution.brokers.network import BrokerLoop, Cancel, CancelAll, Reconcile, Submit
from schemas.trading import AccountConnected, Reconciled
from tests.helpers import wait_until
from tests.unit.execution.test_gate import intent


class Session:
    """Takes commands down; a command it is told to break at ends it."""

    def __init__(self, loop: BrokerLoop, *, breaks_at: int = -1, blocked: bool = False) -> None:
        self.taken: list = []
        self.ended = False
        self._loop, self._breaks_at, self._blocked = loop, breaks_at, blocked

    async def run(self, commands) -> None:
        self._loop.emit(AccountConnected("one", 0))
        try:
            while True:
                if self._blocked:
                    await asyncio.Event().wait()
                if len(self.taken) == self._breaks_at:
                    raise ValueError("a fault of ours")
                self.taken.append(await commands.get())
        finally:
            self.ended = True


@pytest.fixture
def make():
    made = []

    def build(events=100, **more):
        loop = BrokerLoop(queue.Queue(events))
        session = Session(loop, **more)
        made.append(loop)
        return loop, session, loop.add("one", session)

    yield build
    for loop in made:
        loop.close()
        assert not loop._thread.is_alive()


def test_commands_come_in_order_and_the_end_waits_for_the_sessions(make):
    loop, session, broker = make()
    assert not broker.submit(intent()), "before the start nothing is taken"
    broker.start()
    asked = Outstanding(intent=intent())
    assert broker.submit(intent())
    assert broker.cancel("1" * 32)
    assert broker.cancel_all()
    assert broker.reconcile([asked])
    wait_until(lambda: len(session.taken) == 4, 5, "four commands")
    assert session.taken == [Submit(intent()), Cancel("1" * 32), CancelAll(), Reconcile((asked,))]
    broker.close()
    assert session.ended
    assert broker.error is None
    assert not broker.submit(intent())
    assert loop._events.get_nowait() == AccountConnected("one", 0)


def test_a_full_way_in_refuses(make):
    _, _, broker = make(blocked=True)
    broker.start()
    assert sum(broker.submit(intent()) for _ in range(2 * QUEUE_COMMANDS)) == QUEUE_COMMANDS


def test_a_session_that_breaks_ends_all_and_says_so(make):
    loop, _, broker = make(breaks_at=1)
    other = Session(loop)
    loop.add("other", other)
    broker.start()
    broker.submit(intent())
    wait_until(lambda: broker.error is not None, 5, "the error is told")
    assert "a fault of ours" in str(broker.error)
    assert other.ended
    assert not broker.submit(intent())


def test_events_that_nobody_takes_end_it_rather_than_be_lost(make):
    loop, _, broker = make(events=1)
    loop._events.put(Reconciled("one", 0))
    broker.start()
    wait_until(lambda: broker.error is not None, 5, "it ends")
    assert "does not take" in str(broker.error)
