"""The bridge as a child process: rings to Redis Streams, outside signals to execution.

A reader of the rings like any other: a Redis that is slow, frozen, gone or full makes this process
late, and at worst it loses slots, which it counts and tells its streams. Nobody waits for it. It
sleeps by a timer, as storage does, so that no writer has to wake it.
"""

import os
import random

from processes.bridge.courier import Courier
from processes.bridge.entries import Names
from processes.bridge.events import Events
from processes.bridge.link import FAILURES, Link
from processes.bridge.market import Market
from processes.bridge.outlet import Outlet
from processes.bridge.signals import Signals
from processes.bridge.source import Source
from processes.clock import monotonic_s, nap
from processes.rings import enabled_venues
from processes.runtime import Context, run
from schemas.metrics import place

LAST_S = 2.0
"""At the end, how long what is still in the rings may take."""
ANSWER_S = 1.0
"""How long execution may take to answer."""


class Bridge:
    """All of it, over one Redis."""

    def __init__(self, context: Context) -> None:
        settings = context.settings.bridge
        self._context = context
        self._settings = settings
        self._link = Link(settings, os.environ, random.Random())  # noqa: S311 (jitter)
        self._names = Names(lambda: context.tables)
        self._markets: list[Market] = []
        venues = settings.venues or tuple(enabled_venues(context.settings))
        self._sources = [self._tape(venue) for venue in venues] if settings.channels else []
        self._sources.append(self._decisions())
        self._outlet = Outlet(self._link, self._sources, settings.prefix)
        courier = Courier(context.bus.context, context.paths.run, "execution", ANSWER_S)
        self._signals = (
            Signals(self._link, courier, self._names, settings, context.clock.now_ns)
            if settings.signals.enabled
            else None
        )
        self._counted: dict[str, int] = {}

    def _tape(self, venue: str) -> Source:
        context, settings, ring = self._context, self._settings, f"tape.{venue}"
        market = Market(settings, venue, f"{context.session}/{ring}", self._names)
        self._markets.append(market)
        return Source(
            ring,
            context.session,
            context.reader(ring, limit=settings.batch),
            venue,
            market.streams,
            lambda slots, behind: market.entries(slots, behind=behind),
            settings.conflate_lag,
            context.clock.now_ns,
        )

    def _decisions(self) -> Source:
        context, settings, ring = self._context, self._settings, "decisions"
        reader = context.reader(ring, limit=settings.batch)
        events = Events(settings, f"{context.session}/{ring}", self._names)
        # What orders an earlier life saw sent: their events name nothing but the id.
        goal = reader.position
        reader.seek(min(reader.oldest, goal))
        while reader.position < goal:
            slots = reader.read()
            events.entries(slots[slots["sequence"] <= goal])
        reader.seek(goal)
        return Source(
            ring,
            context.session,
            reader,
            "",
            events.streams,
            lambda slots, _: events.entries(slots),
            settings.conflate_lag,
            context.clock.now_ns,
        )

    def live(self) -> None:
        """Bring and fetch until told to stop; then bring what is left, if that is quick."""
        context = self._context
        context.ready("asking Redis")
        while not context.stopping:
            more = self._turn()
            if context.service():
                self._count()
            if not more:
                nap(self._settings.poll_ms / 1e3)
        until_s = monotonic_s() + LAST_S
        while not self._outlet.idle() and not self._link.trouble and monotonic_s() < until_s:
            self._turn()
            context.service()
        self._end()

    def _turn(self) -> bool:
        try:
            more = self._outlet.turn()
            if self._signals is not None:
                self._signals.turn()
        except FAILURES as error:
            if self._link.failed(error):
                self._context.log.warning("redis is away", reason=self._link.trouble)
            return False
        if self._link.due() and self._outlet.took_ns:
            self._context.metrics.observe(place("bridge_write"), self._outlet.took_ns)
            self._outlet.took_ns = 0
            if self._link.succeeded():
                self._context.log.info("redis is back")
        return more

    def _end(self) -> None:
        try:
            if self._signals is not None:
                self._signals.close()
        except FAILURES as error:
            self._context.log.warning("not all was acknowledged", reason=str(error))
        self._link.close()
        self._count()

    def _count(self) -> None:
        outlet, signals, metrics = self._outlet, self._signals, self._context.metrics
        totals = {
            "bridge_entries": outlet.written,
            "bridge_entries_refused": outlet.refused,
            "bridge_slots_lost": sum(source.lost for source in self._sources),
            "bridge_books_conflated": sum(market.conflated for market in self._markets),
            "bridge_redis_failures": self._link.failures,
            "bridge_signals_taken": signals.taken if signals else 0,
            "bridge_signals_refused": signals.refused if signals else 0,
        }
        for name, value in totals.items():
            metrics.add(place(name), value - self._counted.get(name, 0))
            self._counted[name] = value
        metrics.set(place("bridge_connected"), int(bool(outlet.written) and not self._link.trouble))
        trouble = self._link.trouble or (signals.trouble if signals else "")
        lost = totals["bridge_slots_lost"]
        said = f"redis: {trouble}" if self._link.trouble else trouble
        text = said or f"{outlet.written} entries"
        self._context.say(f"{text}, {lost} slots lost" if lost else text)


def main(context: Context) -> None:
    """Bridge."""
    Bridge(context).live()


if __name__ == "__main__":
    run(main)
