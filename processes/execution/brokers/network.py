"""Brokers with a socket: one thread and one event loop for all accounts of the network.

`NetworkBroker` is execution's end of an account, called from its main thread; `Session` is the
venue's end and lives in the loop alone. Between them commands go one way and events the other, both
bounded: a full way in refuses the command, a full way out ends the loop, and execution with it,
rather than lose an event.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import uvloop
from msgspec import Struct

from processes.execution.brokers.base import QUEUE_COMMANDS, Events, Outstanding
from schemas.errors import OperatorError
from schemas.trading import BrokerEvent, Intent

CLOSE_S: Final = 5.0


class Submit(Struct, frozen=True):
    """Send this order, once."""

    intent: Intent


class Cancel(Struct, frozen=True):
    """Ask for the cancel of one order."""

    command_id: str


class CancelAll(Struct, frozen=True):
    """Ask for the cancel of every order of the account."""


class Reconcile(Struct, frozen=True):
    """Answer for these orders."""

    outstanding: tuple[Outstanding, ...]


class Settle(Struct, frozen=True):
    """A person has looked at the venue for an order that several there may be."""

    command_id: str
    venue_order_id: str
    """Which of them it is; empty: none."""


Command = Submit | Cancel | CancelAll | Reconcile | Settle


class Commands:
    """Commands on their way from execution's thread to a session, in order."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Command] = asyncio.Queue()
        self._given = 0
        self._taken = 0

    @property
    def waiting(self) -> int:
        """How many are under way, those included that the loop has not seen yet."""
        return self._given - self._taken

    def give(self, loop: asyncio.AbstractEventLoop, command: Command) -> bool:
        """From execution's thread alone; False if too many wait or the loop has ended."""
        if self.waiting >= QUEUE_COMMANDS:
            return False
        try:
            loop.call_soon_threadsafe(self._queue.put_nowait, command)
        except RuntimeError:
            return False  # closed in between
        self._given += 1
        return True

    async def get(self) -> Command:
        """The next one; in the loop."""
        command = await self._queue.get()
        self._taken += 1
        return command

    def get_nowait(self) -> Command | None:
        """The next one if it is there already, for who sends several at once."""
        if self._queue.empty():
            return None
        self._taken += 1
        return self._queue.get_nowait()


Emit = Callable[[BrokerEvent], None]


class Session(Protocol):
    """One account's way to its venue, on the loop."""

    async def run(self, commands: Commands) -> None:
        """Connect, connect again, take commands in order; until cancelled.

        What it raises ends execution: a venue's faults are no reason to.
        """


class BrokerLoop:
    """The thread of all network accounts. `error` is what ended it."""

    def __init__(self, events: Events) -> None:
        self.error: BaseException | None = None
        self._events = events
        self._brokers: list[NetworkBroker] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun = threading.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = threading.Thread(target=self._live, name="brokers", daemon=True)

    def add(self, account: str, session: Session) -> "NetworkBroker":
        """An account; before `start`."""
        broker = NetworkBroker(self, account, session)
        self._brokers.append(broker)
        return broker

    def emit(self, event: BrokerEvent) -> None:
        """An event to execution.

        Raises:
            OperatorError: execution does not take them; the loop ends.
        """
        try:
            self._events.put_nowait(event)
        except queue.Full:
            raise OperatorError("execution does not take its brokers' events") from None

    def start(self) -> None:
        """Begin, if it has not; every account's `start` calls it."""
        if not self._begun.is_set() and not self._thread.is_alive():
            self._thread.start()
            self._begun.wait()

    def put(self, commands: Commands, command: Command) -> bool:
        """A command, from execution's thread; False if the loop has ended."""
        if self._loop is None or self.error is not None or not self._thread.is_alive():
            return False
        return commands.give(self._loop, command)

    def close(self) -> None:
        """End all sessions, then the thread."""
        if self._loop is None or not self._thread.is_alive():
            return
        try:
            self._loop.call_soon_threadsafe(self._stop)
        except RuntimeError:
            return
        self._thread.join(CLOSE_S)

    # ---- the loop's thread

    def _live(self) -> None:
        try:
            uvloop.run(self._run())
        except BaseException as error:  # noqa: BLE001 (kept for execution, which ends)
            self.error = error
        finally:
            self._begun.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(broker.session.run(broker.commands), name=broker.account)
            for broker in self._brokers
        ]
        self._begun.set()
        try:
            # A session ends by being cancelled; whatever else ends one ends all of them.
            await asyncio.gather(*self._tasks)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stop(self) -> None:
        self._stopping = True
        for task in self._tasks:
            task.cancel()


class NetworkBroker:
    """Execution's end of one account of the network."""

    def __init__(self, loop: BrokerLoop, account: str, session: Session) -> None:
        self.account = account
        self.session = session
        self.commands = Commands()
        self._loop = loop

    @property
    def error(self) -> BaseException | None:
        """What ended the loop."""
        return self._loop.error

    def start(self) -> None:
        """Begin to connect."""
        self._loop.start()

    def submit(self, intent: Intent) -> bool:
        """Hand an order over."""
        return self._put(Submit(intent))

    def cancel(self, command_id: str) -> bool:
        """Ask for a cancel."""
        return self._put(Cancel(command_id))

    def cancel_all(self) -> bool:
        """Ask for the cancel of all."""
        return self._put(CancelAll())

    def reconcile(self, outstanding: Sequence[Outstanding]) -> bool:
        """Ask about orders."""
        return self._put(Reconcile(tuple(outstanding)))

    def settle(self, command_id: str, venue_order_id: str) -> bool:
        """Hand on a person's word."""
        return self._put(Settle(command_id, venue_order_id))

    def close(self) -> None:
        """End the thread, with all its accounts."""
        self._loop.close()

    def _put(self, command: Command) -> bool:

        return self._loop.put(self.commands, command)
