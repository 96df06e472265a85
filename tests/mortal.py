"""Lives of execution that end at a chosen step by SIGKILL: real processes, forked from one that has
imported and compiled everything.

    python -m tests.mortal          one JSON line in, one out; ends with its standard input

A life is the real `Execution` with the real brokers over real shared memory and sockets. Its steps
are counted where something begins or ends that a crash could cut in two: journal, ledger, standing
file, hand-over, gate, the venue's calls, events on their way back. Production code knows nothing of
it: the methods are wrapped in the child alone.
"""

import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes.clock import Clock
from processes.execution import main as module
from processes.execution.brokers import network, paper
from processes.execution.gate import SendGate
from processes.execution.journal import InputJournal
from processes.execution.ledger import Ledger
from processes.execution.machine import Machine
from processes.execution.main import Execution
from processes.runtime import Context
from shm.identity import own_identity
from tests.instances import bare_instance
from venues.tradings import TRADINGS

AROUND: tuple[tuple[Any, str], ...] = (
    (InputJournal, "message"), (InputJournal, "event"),
    (Ledger, "record_intent"), (Ledger, "record_event"), (module, "write_standing"),
    (network.NetworkBroker, "submit"), (network.NetworkBroker, "cancel"),
    (network.NetworkBroker, "reconcile"), (network.BrokerLoop, "emit"), (SendGate, "refusal"),
    (SendGate, "end"), (paper.PaperBroker, "submit"), (paper.PaperBroker, "cancel"),
    (paper.PaperBroker, "reconcile"), (paper.Memory, "add_order"), (paper.Memory, "add_event"),
)  # fmt: skip
CALLS = ("place", "cancel", "cancel_all", "look", "holdings", "margin_positions")


class Reaper:
    """Counts steps, writes each one down, and kills its own process at the chosen one."""

    def __init__(self, path: Path, at: int, *, from_birth: bool) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lock = threading.Lock()
        self._at = at
        self._count = 0
        self.counting = from_birth

    def step(self, name: str) -> None:
        """One step; two threads take them."""
        if not self.counting:
            return
        with self._lock:
            self._count += 1
            os.write(self._file, f"{name}\n".encode())
            if self._count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, holder: Any, name: str) -> None:
        """A step before each call of a function and one after it."""
        real: Callable[..., Any] = getattr(holder, name)
        before, after = f"before {name}", f"after {name}"

        def told(*arguments: Any, **options: Any) -> Any:
            self.step(before)
            result = real(*arguments, **options)
            self.step(after)
            return result

        async def awaited(*arguments: Any, **options: Any) -> Any:
            self.step(before)
            result = await real(*arguments, **options)
            self.step(after)
            return result

        setattr(holder, name, awaited if inspect.iscoroutinefunction(real) else told)

    def around_write(self, holder: Any) -> None:
        """Steps around an order's way, and one between its write and its answer."""
        real = holder.place

        async def placed(trading: Any, order: Any, written: Callable[[], None]) -> str:
            def noted() -> None:
                self.step("before written")
                written()
                self.step("after written")

            self.step("before place")
            number: str = await real(trading, order, noted)
            self.step("after place")
            return number

        holder.place = placed

    def from_decision(self) -> None:
        """Begin to count when the machine has made its first order."""
        real = Machine._intent

        def decided(*arguments: Any, **options: Any) -> Any:
            intent = real(*arguments, **options)
            self.counting = True
            self.step("decided")
            return intent

        Machine._intent = decided  # type: ignore[method-assign]

    def watch_all(self) -> None:
        """Wrap everything."""
        for holder, name in AROUND:
            self.around(holder, name)
        for trading in TRADINGS.values():
            self.around_write(trading)
            for name in CALLS[1:]:
                self.around(trading, name)
        self.from_decision()


def live(told: dict[str, Any]) -> None:
    """One life of execution, in its own process, until it is killed or told to stop."""
    own_identity.cache_clear()
    os.environ |= told["environment"]
    reaper = Reaper(Path(told["steps"]), told["at"], from_birth=told["from_birth"])
    reaper.watch_all()
    context = Context(Path(told["run"]), "execution")
    # So much later, what can be known after a while is known at once.
    context.clock = Clock(context.clock.offset_ns + int(told["ahead_s"] * 1e9))
    signal.signal(signal.SIGTERM, lambda *_: context.stop())
    sys.setswitchinterval(module.GIL_SWITCH_S)
    execution = Execution(context)
    execution.begin()
    execution.live()
    context.close()


def warm_up() -> None:
    """Compile what every life needs; what is compiled is the children's too."""
    with bare_instance() as instance:
        instance.put_in_force()
        instance.open()
        context = Context(instance.paths.run, "execution")
        execution = Execution(context)
        execution._journal.compile()
        execution._screen.compile()
        execution._look_at_switch()
        execution._ledger.close()
        for broker in execution._brokers.values():
            broker.close()
        context.close()


def born(told: dict[str, Any]) -> int:
    """Fork a life."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        errors = os.open(told["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        live(told)
        code = 0
    except BaseException:  # noqa: BLE001 (said in its file, for the parent to read)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def main() -> None:
    """Serve births and deaths."""
    warm_up()
    children: set[int] = set()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        told = json.loads(line)
        if "run" in told:
            children.add(pid := born(told))
            answer: dict[str, Any] = {"pid": pid}
        else:
            pid, status = os.waitpid(told["pid"], 0 if told["wait"] else os.WNOHANG)
            answer = {"ended": bool(pid), "signal": 0, "code": 0}
            if pid:
                children.discard(pid)
                answer["signal"] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                answer["code"] = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
