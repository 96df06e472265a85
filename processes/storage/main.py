"""Storage as a child process: a loop over all rings, never on anybody's way.

It sleeps by a timer and not by the doorbell: waking it for every event would cost the others more
than its lateness does.
"""

import os
import shutil
from collections.abc import Sequence
from functools import partial
from typing import Final

from processes.clock import monotonic_s, nap
from processes.runtime import Context, run
from processes.storage.history import History
from processes.storage.lake import salvage
from processes.storage.memory import give_back, use_system_memory
from processes.storage.pause import NO_ROOM, Pause
from processes.storage.pressure import Step
from processes.storage.relief import Relief
from processes.storage.store import Store, TableView
from schemas.messages import StorageStepChanged
from schemas.metrics import place
from schemas.settings import PressureSettings

READ_SLOTS = 8192
NICENESS = 10
"""The ring waits 50 s and more for storage; an event should not wait for storage at all."""


WORDS: Final = {
    Step.FULL: "kept whole again",
    Step.SAMPLED: "sampled",
    Step.TOPS: "best levels only",
}


def outside_load(stores: Sequence[Store], settings: PressureSettings) -> float:
    """The load on every tape that is not its own: journals, and rings of which all is kept."""
    journals = sum(store.journal.bytes for store in stores)
    lags = [store.lag for store in stores if store.relief is None]
    return max(journals / settings.journals_full_bytes, *lags, 0.0)


class Storage:
    """All stores of an instance. What finds no room is tried again, and `status` says so."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings.storage
        self._lake = context.paths.data / "lake"
        self._stores: list[Store] = []
        self._history = History(context) if context.settings.history.enabled else None
        self._counted: dict[str, int] = {}
        self._pause = Pause(context)

    def live(self) -> None:
        """Read, write, count, until told to stop; then seal everything."""
        context = self._context
        if self._history is not None:
            self._history.begin()  # before the stores finish with journals of earlier sessions
        context.say("salvaging what an earlier life left open")
        self._pause.insist(self._salvage)
        for ring in context.registry.ring_names():
            self._pause.insist(partial(self._open, ring))
        self._pause.serving = not context.stopping
        if self._pause.serving:
            context.ready()
        while not context.stopping:
            began_s = monotonic_s()
            self._pause.attempt(self._turn)
            if self._history is not None:
                self._history.tend()
            context.metrics.observe(place("storage_flush"), int((monotonic_s() - began_s) * 1e9))
            context.service()
            nap(self._settings.poll_ms / 1e3)
        if self._history is not None:
            self._pause.attempt(self._take)
            self._history.finish()  # after it the journals go
        self._finish()

    def _take(self) -> None:
        for store in self._stores:
            store.take()

    def _salvage(self) -> None:
        context = self._context
        self._lake.mkdir(parents=True, exist_ok=True)
        for path in salvage(self._lake, context.service):
            context.log.info("file salvaged", file=str(path.relative_to(self._lake)))

    def _open(self, ring: str) -> None:
        """A ring's store, with what its journal holds in the lake."""
        context = self._context
        if not self._stores or self._stores[-1].ring != ring:
            self._stores.append(
                Store(
                    ring,
                    context.reader(ring, limit=READ_SLOTS),
                    context.paths.data / "journal",
                    self._lake,
                    TableView(context.tables),
                    context.session,
                    self._settings,
                    context.service,
                    self._relief(ring),
                )
            )
        self._stores[-1].recover()

    def _relief(self, ring: str) -> Relief | None:
        """What may be left out of a ring: of a tape books, of any other nothing."""
        if not ring.startswith("tape."):
            return None
        settings = self._settings.pressure
        return Relief(settings, self._lake, ring, self._context.session, self._on_step)

    def _on_step(self, ring: str, step: Step, load: float) -> None:
        """Say that another step is in force: to the log, the bus and `dcctl status`."""
        context, name = self._context, step.name.lower()
        told = context.log.info if step == Step.FULL else context.log.warning
        told(f"books of {ring}: {WORDS[step]}", ring=ring, step=name, load=round(load, 3))
        time_ns = context.clock.now_ns()
        context.bus.publish(
            StorageStepChanged(ring=ring, step=name, time_ns=time_ns, text=WORDS[step])
        )
        self._pause.text = self._words()
        context.say(self._pause.text)

    def _words(self) -> str:
        """Which books are not kept whole, for `dcctl status`."""
        lean = [store for store in self._stores if store.relief and store.relief.step]
        return "; ".join(
            f"behind: books of {store.ring} {WORDS[store.relief.step]}"
            for store in lean
            if store.relief is not None
        )

    def _turn(self) -> None:
        load = outside_load(self._stores, self._settings.pressure)
        for store in self._stores:
            if store.relief is not None:
                store.relief.pressure.outside = load
        for store in self._stores:
            store.take()
            if store.flush_due():
                self._context.service()
        self._count()

    def _finish(self) -> None:
        """The end; for what finds no room now there is none later either."""
        context = self._context
        for store in self._stores:
            try:
                store.finish()
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                context.log.error(  # noqa: TRY400  (the reason says it all)
                    "not all is in the lake, since there was no room; what is journalled comes in "
                    "with the next start",
                    ring=store.ring, reason=str(error), not_journalled=store.behind,
                )  # fmt: skip
            context.service()
        self._pause.attempt(self._count)

    def _count(self) -> None:
        stores, metrics = self._stores, self._context.metrics
        journal_bytes = sum(store.journal.bytes for store in stores)
        if journal_bytes > self._settings.journal_max_bytes:
            for store in stores:
                store.seal()
        metrics.set(place("journal_bytes"), journal_bytes)
        metrics.set(place("disk_free_bytes"), shutil.disk_usage(self._context.paths.data).free)
        reliefs = [store.relief for store in stores if store.relief is not None]
        metrics.set(place("storage_step"), max((one.step for one in reliefs), default=0))
        metrics.set(place("storage_owed"), sum(one.owed for one in reliefs))
        totals = {
            "storage_steps": sum(one.pressure.switches for one in reliefs),
            "storage_left_out": sum(one.left_out for one in reliefs),
            "journal_slots": sum(store.slots for store in stores),
            "lake_rows": sum(store.lake.rows for store in stores),
            "lake_files_sealed": sum(store.lake.sealed for store in stores),
            "storage_lost": sum(store.lost for store in stores),
        }
        if totals["lake_files_sealed"] != self._counted.get("lake_files_sealed", 0):
            give_back()
        for name, value in totals.items():
            metrics.add(place(name), value - self._counted.get(name, 0))
            self._counted[name] = value


def main(context: Context) -> None:
    """Store everything."""
    os.nice(NICENESS)
    use_system_memory()
    Storage(context).live()


if __name__ == "__main__":
    run(main)
