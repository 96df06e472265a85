"""Storage as a child process: a loop over all rings, never on anybody's way.

It sleeps by a timer and not by the doorbell: waking it for every event would cost the others more
than its lateness does.
"""

import os
import shutil

from processes.clock import monotonic_s, nap
from processes.runtime import Context, run
from processes.storage.history import History
from processes.storage.lake import salvage
from processes.storage.memory import give_back, use_system_memory
from processes.storage.store import Store, TableView
from schemas.metrics import place

READ_SLOTS = 8192
NICENESS = 10
"""The ring waits 50 s and more for storage; an event should not wait for storage at all."""


class Storage:
    """All stores of an instance."""

    def __init__(self, context: Context) -> None:
        self._context = context
        settings = context.settings.storage
        self._history = History(context) if context.settings.history.enabled else None
        if self._history is not None:
            self._history.begin()  # before the stores finish with journals of earlier sessions
        lake = context.paths.data / "lake"
        lake.mkdir(parents=True, exist_ok=True)
        for path in salvage(lake, context.service):
            context.log.info("file salvaged", file=str(path.relative_to(lake)))
        tables = TableView(context.tables)
        self._stores = [
            Store(
                ring,
                context.reader(ring, limit=READ_SLOTS),
                context.paths.data / "journal",
                lake,
                tables,
                context.session,
                settings,
                context.service,
            )
            for ring in context.registry.ring_names()
        ]
        self._counted: dict[str, int] = {}
        self._settings = settings

    def live(self) -> None:
        """Read, write, count, until told to stop; then seal everything."""
        context = self._context
        context.ready()
        while not context.stopping:
            began_s = monotonic_s()
            for store in self._stores:
                store.take()
                if store.flush_due():
                    context.service()
            self._count()
            if self._history is not None:
                self._history.tend()
            context.metrics.observe(place("storage_flush"), int((monotonic_s() - began_s) * 1e9))
            context.service()
            nap(self._settings.poll_ms / 1e3)
        if self._history is not None:
            for store in self._stores:
                store.take()
            self._history.finish()  # after it the journals go
        for store in self._stores:
            store.finish()
            context.service()
        self._count()

    def _count(self) -> None:
        stores, metrics = self._stores, self._context.metrics
        journal_bytes = sum(store.journal.bytes for store in stores)
        if journal_bytes > self._settings.journal_max_bytes:
            for store in stores:
                store.seal()
        metrics.set(place("journal_bytes"), journal_bytes)
        metrics.set(place("disk_free_bytes"), shutil.disk_usage(self._context.paths.data).free)
        totals = {
            "journal_slots": sum(store.slots for store in stores),
            "lake_rows": sum(store.lake.rows for store in stores),
            "lake_files_sealed": sum(store.lake.sealed for store in stores),
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
