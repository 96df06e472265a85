"""The collector as a child process: settings to sessions, sessions to the tape."""

import asyncio
import random
from typing import Any

import msgspec
import uvloop

from processes.backoff import Backoff, ConnectLimit
from processes.collector.backfill import Backfill, Limits
from processes.collector.instruments import InstrumentWatch
from processes.collector.recorder import Recorder
from processes.collector.session import Session, Timeouts, place_anew
from processes.collector.tape import Tape
from processes.places import rates_folder
from processes.runtime import Context, run
from processes.wake import WakeWatch
from schemas.errors import ConfigError, OperatorError
from schemas.feeds import SIMULATOR, FeedSettings
from schemas.instruments import Stream
from schemas.messages import FeedChanged
from schemas.metrics import place
from schemas.rest import RestSections
from venues.access import make_client, trades_source
from venues.pace import Pace
from venues.registry import open_venue, wanted_streams
from venues.rest import RestClient, Tools
from venues.wire import Subscription, Venue

RECALL_SLOTS = 1 << 19


class Collector:
    """All sessions of one venue, and what they tell the rest of the instance."""

    def __init__(self, context: Context, venue: Venue, settings: FeedSettings) -> None:
        self._context = context
        self._venue = venue
        self._settings = settings
        self._writer = context.writer(f"tape.{venue.name}")
        self._tape = Tape(self._writer, context.metrics, context.clock.now_ns)
        self._epoch = (self._writer.ring.epoch & 0xFFFF) << 16
        self._limit = ConnectLimit(settings.connects_per_minute)
        self._pace = Pace(
            rates_folder(context.settings.rest),
            venue.name,
            utc_ns=context.clock.now_ns,
            sleep=asyncio.sleep,
        )
        self._sessions: list[Session] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._counted: dict[str, int] = {}
        self._recorder: Recorder | None = None
        self._disk_error = ""
        self._wake = WakeWatch()
        if settings.record_frames:
            folder = context.paths.data / "frames" / venue.name
            self._recorder = Recorder(
                folder, settings.frames_file_bytes, settings.frames_keep_bytes
            )
        self._instruments = InstrumentWatch(
            venue.name, context.paths.data, settings.symbols, context.log
        )
        self._client = self._make_client()
        self._backfill = self._make_backfill()
        wanted = self._wanted()
        venue.recover(self._writer.ring.recent(RECALL_SLOTS), wanted)
        for part in venue.plan(wanted):
            self._open_session(part)
        for name in ("connections", "connect", "disconnect"):
            context.bus.on_command(name, getattr(self, f"_on_{name}"))

    def _on_connections(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "venue": self._venue.name,
            "now_ns": self._context.clock.now_ns(),
            "stale_s": self._settings.stale_s,
            "limit": getattr(self._settings, "subscriptions_per_connection", 0),
            "flags": [name for name, is_on in _flags(self._settings).items() if is_on],
            "connections": [session.describe() for session in self._sessions],
        }

    def _on_connect(self, arguments: dict[str, Any]) -> dict[str, Any]:
        for session in self._named(arguments):
            session.connect()
        return {}

    def _on_disconnect(self, arguments: dict[str, Any]) -> dict[str, Any]:
        for session in self._named(arguments):
            session.disconnect()
        return {}

    def _named(self, arguments: dict[str, Any]) -> list[Session]:
        """The session of a number, or all."""
        number = int(arguments.get("connection", -1))
        if number >= len(self._sessions):
            raise OperatorError(
                f"{self._venue.name} has no connection {number}; there are {len(self._sessions)}"
            )
        return self._sessions if number < 0 else [self._sessions[number]]

    def _make_client(self) -> RestClient:
        """REST of the venue; of the simulator where the sockets are."""
        sections, name = self._context.settings.rest, self._venue.name
        if self._settings.url == SIMULATOR:
            sections = _at_simulator(sections, name, self._context.settings.simulator.port)
        tools = Tools(utc_ns=self._context.clock.now_ns, uniform=random.SystemRandom().random)
        return make_client(name, sections, rates_folder(sections), tools)

    def _make_backfill(self) -> Backfill | None:
        """Who fills holes in trades; None if it is switched off, or the venue gives no ids."""
        settings = self._settings
        fetch = trades_source(self._venue.name, self._client)
        if fetch is None or not settings.backfill:
            return None
        return Backfill(
            self._venue.markets,
            fetch,
            self._tape,
            limits=Limits(
                longest_s=settings.backfill_longest_s,
                timeout_s=settings.backfill_timeout_s,
                pages=settings.backfill_pages,
            ),
            now_ns=self._context.clock.now_ns,
            log=self._context.log,
        )

    def _wanted(self) -> list[Subscription]:
        tables = self._context.tables
        instruments = {
            item.symbol: item for item in tables.instruments if item.venue == self._venue.name
        }
        streams = {_stream_key(item): item for item in tables.streams}
        found = []
        for symbol, _, channel, parameters, primary in wanted_streams(
            self._venue.name, self._settings
        ):
            key = _stream_key(Stream(index=0, channel=channel, **parameters))
            if symbol not in instruments or key not in streams:
                raise ConfigError(f"{symbol} {channel} has no place in the tables")
            found.append(
                Subscription(instrument=instruments[symbol], stream=streams[key], primary=primary)
            )
        return found

    def _open_session(self, wanted: list[Subscription]) -> Session:
        settings = self._settings
        session = Session(
            self._venue,
            wanted,
            self._tape,
            number=len(self._sessions),
            timeouts=Timeouts(
                subscribe_s=settings.subscribe_timeout_s,
                silence_s=settings.silence_s,
                stale_s=settings.stale_s,
                ping_s=settings.ping_s,
                subscribe_tries=settings.subscribe_tries,
                refused_retry_s=settings.refused_retry_s,
            ),
            backoff=Backoff(
                settings.backoff_first_s, settings.backoff_longest_s, random.SystemRandom()
            ),
            limit=self._limit,
            pace=self._pace,
            next_epoch=self._next_epoch,
            now_ns=self._context.clock.now_ns,
            log=self._context.log,
            on_full=self._move,
            on_change=self._tell,
            on_instruments=self._instruments.take,
            recorder=self._recorder,
        )
        self._sessions.append(session)
        return session

    def _next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def _move(self, subscription: Subscription) -> None:
        """The venue wants a subscription on another connection."""
        if not place_anew(subscription, self._sessions):
            session = self._open_session([subscription])
            self._tasks.append(asyncio.create_task(session.run()))

    def _tell(self) -> None:
        live, refused, wanted = self._counts()
        text = f"{live} of {wanted} subscriptions"
        text += f" on {len(self._sessions)} connections" if len(self._sessions) > 1 else ""
        text += f", {refused} refused" if refused else ""
        trouble = next((s.text for s in self._sessions if s.text), "")
        if live + refused == wanted and live and all(s.has_data for s in self._sessions):
            self._context.ready(text)
        else:
            self._context.not_ready(f"{text}; {trouble}" if trouble else text)
        what = FeedChanged(
            venue=self._venue.name, what=text, time_ns=self._context.clock.now_ns(), text=trouble
        )
        self._context.bus.publish(what)

    def _counts(self) -> tuple[int, int, int]:
        live, refused, wanted = zip(*(s.desk.counts() for s in self._sessions), strict=True)
        return sum(live), sum(refused), sum(wanted)

    async def live(self) -> None:
        """Run all sessions until told to stop; a session that fails ends the process."""
        try:
            async with self._client:
                await self._live()
        finally:
            if self._recorder is not None:
                self._recorder.close()
            self._count()

    async def _live(self) -> None:
        self._tasks += [asyncio.create_task(session.run()) for session in self._sessions]
        if self._backfill is not None:
            self._tasks.append(asyncio.create_task(self._backfill.run()))
        while not self._context.stopping:
            self._context.service()
            self._count()
            self._watch_disk()
            self._watch_sleep()
            await asyncio.sleep(0.05)
            for task in self._tasks:
                if task.done():
                    task.result()
        for session in self._sessions:
            session.stop()
        await asyncio.sleep(0)  # the sockets' last words
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _watch_sleep(self) -> None:
        """After sleep no socket is what it seems; the books come anew with the connections."""
        asleep_s = self._wake.look().asleep_s
        if asleep_s:
            for session in self._sessions:
                session.renew(f"the machine was asleep for {asleep_s:.0f} s")

    def _watch_disk(self) -> None:
        """Hand recorded frames over, and say once what the disk has against them."""
        if self._recorder is None:
            return
        self._recorder.service()
        if self._recorder.error != self._disk_error:
            self._disk_error = self._recorder.error
            if self._disk_error:
                self._context.log.error("frames are not kept", reason=self._disk_error)
            else:
                self._context.log.info("frames are kept again")

    def _count(self) -> None:
        """Carry what the sessions counted to the counter page."""
        sessions, metrics = self._sessions, self._context.metrics
        totals: dict[str, int] = {
            "sequence_gaps": sum(s.gaps for s in sessions),
            "resyncs": sum(s.resyncs for s in sessions),
            "reconnects": sum(max(s.connections - 1, 0) for s in sessions),
            "ingest_bytes": sum(s.bytes for s in sessions),
            "instrument_changes": self._instruments.changes,
        }
        if self._backfill is not None:
            totals["trades_backfilled"] = self._backfill.trades
            totals["holes_unfilled"] = self._backfill.unfilled + self._backfill.holes.dropped
            metrics.set(place("holes_open"), len(self._backfill.holes.waiting))
        if self._recorder is not None:
            totals["frames_recorded"] = self._recorder.recorded
            totals["frames_unrecorded"] = self._recorder.lost
            totals["recorded_bytes"] = self._recorder.written
        for session in sessions:
            for name, value in session.codec.tally().items():
                totals[name] = totals.get(name, 0) + value
        for name, value in totals.items():
            before = self._counted.get(name, 0)
            if value != before:
                metric, _, channel = name.partition(" ")
                metrics.add(place(metric, channel), value - before)
                self._counted[name] = value
        live, _, wanted = self._counts()
        metrics.set(place("subscriptions"), live)
        metrics.set(place("subscriptions_wanted"), wanted)


def _flags(settings: FeedSettings) -> dict[str, bool]:
    """The flags of a connection, at the venue that has some."""
    flags = getattr(settings, "flags", None)
    return {} if flags is None else msgspec.structs.asdict(flags)


def _stream_key(stream: Stream) -> tuple[object, ...]:
    return (
        stream.channel, stream.precision, stream.frequency, stream.length, stream.timeframe,
        stream.variant,
    )  # fmt: skip


def _at_simulator(sections: RestSections, venue: str, port: int) -> RestSections:
    """The sections with a venue's address at the simulator."""
    section = msgspec.structs.replace(
        getattr(sections, venue), url=f"http://127.0.0.1:{port}/{venue}"
    )
    return msgspec.structs.replace(sections, **{venue: section})


SIMULATOR_PATHS = {"bitfinex": "/ws/2", "kraken": "/kraken/v2", "gmo": "/gmo/ws/public/v1"}


def main(context: Context) -> None:
    """Collect from the venue in this process's name, `collector.<venue>`."""
    name = context.name.partition(".")[2]
    settings = context.settings.venues.enabled()[name]
    url = settings.url
    if url == SIMULATOR:
        url = f"ws://127.0.0.1:{context.settings.simulator.port}{SIMULATOR_PATHS[name]}"
    uvloop.run(Collector(context, open_venue(name, settings, url), settings).live())


if __name__ == "__main__":
    run(main)
