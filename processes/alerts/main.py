"""Alerts as a child process: looks at what is there, and tells people what is wrong.

It reads no ring and nobody waits for it: a status of the supervisor every `check_s`, counter pages,
facts of the bus. What there is to tell stands in `book.py`, who tells it in `channels.py`. What was
told is kept in data/state/alerts.json before anything else is told, so a restart tells nothing
twice. The log has every alert too, whatever the channels do.

When the supervisor dies this process has a few seconds to live, and says so to every channel.
"""

import os
import socket
from pathlib import Path
from typing import Any, Final

import msgspec

from processes.alerts.book import Book, Item, Kind, Memory
from processes.alerts.channels import Channel, Heartbeat
from processes.alerts.finders import CHANNEL_FAILURES, find_all
from processes.alerts.sight import Watch
from processes.bus import request, subscribe
from processes.clock import Clock, measure_offset_ns, monotonic_s, nap, utc_text
from processes.files import write_whole
from processes.runtime import Context, run
from schemas.alert_rules import BY_NAME
from schemas.control import Word
from schemas.errors import OperatorError
from schemas.messages import Status, decode_fact
from schemas.metrics import place
from shm.control import ROWS
from shm.identity import is_alive

NICENESS: Final = 10
POLL_S: Final = 0.05
STATUS_S: Final = 1.0
LAST_WORDS_S: Final = 4.0
"""Less than an orphan has to live."""
FACTS_MAX: Final = 1000
"""Taken from the bus in one turn."""
STATE: Final = "alerts.json"


def now_ns() -> int:
    """The system's clock: the session's stands still while a machine sleeps, quiet hours do not."""
    return Clock(measure_offset_ns()).now_ns()


def read_memory(path: Path) -> Memory:
    """What an earlier life has kept; nothing of a file that is broken or of another version."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except (FileNotFoundError, msgspec.DecodeError):
        return Memory()


class Alerts:
    """The rules, the book, the channels."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings.alerts
        self._path = context.paths.data / "state" / STATE
        memory = read_memory(self._path)
        memory.alerts = {n: one for n, one in memory.alerts.items() if one.rule in BY_NAME}
        memory.over = [one for one in memory.over if one.rule in BY_NAME]
        self._book = Book(self._settings, memory, now_ns())
        label = self._settings.label or f"{context.settings.profile} on {socket.gethostname()}"
        self._channels = {
            name: Channel(name, self._settings, label) for name in self._settings.channels
        }
        self._heartbeat = Heartbeat(self._settings.heartbeat, context.log)
        self._watch = Watch(context.settings, context.paths.data)
        self._pages = context.counter_pages()
        rows = [context.control.row(index).name for index in range(ROWS)]
        self._rows = {name: index for index, name in enumerate(rows) if name}
        self._facts = subscribe(context.bus.context, context.paths.run, list(self._rows))
        self._parent = os.getppid()
        self._status: Status | None = None
        self._next_s = 0.0
        self._counted: dict[str, int] = {}
        for name in ("list", "ack", "test", "tested"):
            context.bus.on_command(name, getattr(self, f"_on_{name}"))

    def live(self) -> None:
        """Look and tell until told to stop."""
        context = self._context
        context.ready()
        while not context.stopping:
            self._hear()
            if monotonic_s() >= self._next_s:
                self._next_s = monotonic_s() + self._settings.check_s
                self._look()
            self._tell()
            self._heartbeat.turn(self._is_well)
            context.service()
            nap(POLL_S)
        if os.getppid() != self._parent:
            self._say_last_words()
        self.close()

    def close(self) -> None:
        """End every courier; what it had is owed still."""
        for channel in self._channels.values():
            channel.end()
        self._heartbeat.end()
        self._facts.close(0)

    # ---- looking

    def _hear(self) -> None:
        for _ in range(FACTS_MAX):
            if not self._facts.poll(0):
                break
            self._watch.hear(decode_fact(self._facts.recv_multipart()[-1]), now_ns())

    def _look(self, *, is_orphan: bool = False) -> None:
        """Take the rules through the moment. While everything stops on purpose nobody looks."""
        context = self._context
        if context.control.get(Word.DRAINING):
            self._status = None
            return
        self._status = None if is_orphan else self._ask()
        at_ns = now_ns()
        states = self._book.memory.channels
        failing = {n: s.reason for n, s in states.items() if s.failures >= CHANNEL_FAILURES}
        sight = self._watch.look(self._status, self._values(), failing, at_ns, is_orphan=is_orphan)
        changed = self._book.observe(find_all(sight), at_ns)
        for item in changed:
            self._log(item)
        if changed:
            self._save()
        self._count()

    def _ask(self) -> Status | None:
        run_folder = self._context.paths.run
        try:
            told = request(run_folder, "supervisor", "status", timeout_s=STATUS_S)
        except OperatorError:
            return None
        return msgspec.convert(told, Status)

    def _values(self) -> dict[str, list[int]]:
        return {
            name: self._pages.values(index)
            for name, index in self._rows.items()
            if index < self._pages.pages and is_alive(self._pages.owner(index))
        }

    def _log(self, item: Item) -> None:
        alert, log = item.alert, self._context.log
        say = log.info if item.kind is Kind.END or alert.severity == "info" else log.warning
        what = "alert is over" if item.kind is Kind.END else "alert"
        say(what, name=alert.name, severity=alert.severity, text=alert.text)

    def _is_well(self) -> bool:
        """Whether somebody outside should hear that all is well."""
        alerts = self._book.memory.alerts.values()
        is_running = self._status is not None and self._status.state == "running"
        return is_running and not any(one.severity == "critical" for one in alerts)

    # ---- telling

    def _tell(self) -> None:
        at_ns = now_ns()
        for channel in self._channels.values():
            outcome = channel.turn(self._book, at_ns)
            if outcome is not None:
                self._save()
                if outcome.reason:
                    self._context.log.warning(
                        "not told", channel=channel.name, reason=outcome.reason
                    )

    def _say_last_words(self) -> None:
        """The supervisor is dead, and so is everything soon."""
        until_s = monotonic_s() + LAST_WORDS_S
        self._look(is_orphan=True)
        at_ns = now_ns()
        self._tell()
        while monotonic_s() < until_s and any(
            one.is_busy or self._book.next_message(one.name, at_ns)
            for one in self._channels.values()
        ):
            nap(POLL_S)
            self._tell()

    def _save(self) -> None:
        try:
            write_whole(self._path, msgspec.json.encode(self._book.memory))
        except OSError as error:  # a full disk must not keep anybody from being told of it
            self._context.log.warning("what was told is not kept", reason=str(error))

    def _count(self) -> None:
        context, book = self._context, self._book
        lasting = list(book.memory.alerts.values())
        critical = sum(one.severity == "critical" for one in lasting)
        owed = sum(book.held(now_ns()).values())
        for name, value in (
            ("alerts_active", len(lasting)), ("alerts_critical", critical), ("alerts_owed", owed),
        ):  # fmt: skip
            context.metrics.set(place(name), value)
        for name, value in (
            ("alerts_told", sum(one.told for one in self._channels.values())),
            ("alerts_failed", sum(one.failed for one in self._channels.values())),
            ("alerts_dropped", book.dropped),
            ("heartbeats", self._heartbeat.taken),
            ("heartbeats_failed", self._heartbeat.failed),
        ):
            context.metrics.add(place(name), value - self._counted.get(name, 0))
            self._counted[name] = value
        failing = [f"{n}: {s.reason}" for n, s in book.memory.channels.items() if s.failures]
        heartbeat = [f"heartbeat: {self._heartbeat.reason}"] if self._heartbeat.reason else []
        words = [f"{len(lasting)} alerts, {critical} critical"] if lasting else []
        context.say("; ".join(words + failing + heartbeat))

    # ---- commands

    def _on_list(self, _: dict[str, Any]) -> dict[str, Any]:
        book = self._book
        held = book.held(now_ns())
        return {
            "alerts": [
                {
                    "name": one.name,
                    "severity": one.severity,
                    "means": BY_NAME[one.rule].means,
                    "text": one.text,
                    "todo": BY_NAME[one.rule].todo.replace("{subject}", one.subject),
                    "since": utc_text(one.begin_ns),
                    "acknowledged": utc_text(one.ack_ns) if one.ack_ns else "",
                    "told": sorted(one.told),
                }
                for one in book.memory.alerts.values()
            ],
            "channels": [
                {
                    "name": name,
                    "owed": held[name],
                    "last_hour": len(state.sent_ns),
                    "failures": state.failures,
                    "reason": state.reason,
                }
                for name, state in book.memory.channels.items()
            ],
            "heartbeat": {
                "taken": self._heartbeat.taken,
                "failed": self._heartbeat.failed,
                "reason": self._heartbeat.reason,
            },
        }

    def _on_ack(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name = str(arguments["name"])
        if not self._book.ack(name, now_ns()):
            lasting = ", ".join(sorted(self._book.memory.alerts)) or "none at all"
            raise OperatorError(f"no alert {name} lasts; there are: {lasting}")
        self._save()
        self._context.log.info("alert acknowledged", name=name)
        return {"name": name}

    def _on_test(self, arguments: dict[str, Any]) -> list[str]:
        wanted = str(arguments.get("channel", ""))
        if wanted and wanted not in self._channels:
            raise OperatorError(f"no channel {wanted}; there are: {', '.join(self._channels)}")
        names = [wanted] if wanted else list(self._channels)
        for name in names:
            self._channels[name].test()
        return names

    def _on_tested(self, _: dict[str, Any]) -> dict[str, str | None]:
        """What came of each channel's test: empty = it was taken; None = not yet known."""
        return {
            name: None if one.tested is None else one.tested.reason
            for name, one in self._channels.items()
        }


def main(context: Context) -> None:
    """Tell people what is wrong."""
    os.nice(NICENESS)
    Alerts(context).live()


if __name__ == "__main__":
    run(main)
