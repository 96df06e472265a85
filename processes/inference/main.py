"""Inference as a child process: one thread, a blocking loop over the feature ring."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from config.loader import ROOT
from models.base import ModelError
from models.drift import ANOTHER
from processes.clock import monotonic_s
from processes.inference.chain import Chain
from processes.inference.choice import chosen
from processes.inference.flight import Flight
from processes.inference.kernels import MOST_ROWS
from processes.inference.places import Place
from processes.inference.roster import Desk, Roster
from processes.model_registry import models_folder
from processes.runtime import Context, run
from processes.sessions import SessionFolder
from schemas.control import Word
from schemas.errors import DataControllerError
from schemas.features import CATALOGUE
from schemas.lineup import LineUp
from schemas.messages import RungChanged
from schemas.metrics import place
from schemas.predictions import NETWORK, SPEAKERS, Rung

_SPENT: Final = place("prediction_latency")
FLIGHT: Final = "inference.flight"
LOOK_S: Final = 1.0
PROVE_S: Final = 5.0


class MemoryCeilingError(DataControllerError):
    """The process has more resident memory than it may."""


class Predictor:
    """Reader of the rows, the chain, who stands in its places, the writer of the predictions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = context.reader("features", limit=MOST_ROWS)
        self._writer = context.writer("predictions")
        self._inbox = context.inbox([self._reader], ["features"])
        settings = context.settings.inference
        data, instruments = context.paths.data, max(len(context.tables.instruments), 1)
        folder = SessionFolder(data, context.session)
        self._flight = Flight(data / "state" / FLIGHT)
        shipped = ROOT / Path(settings.model)
        network, self._fault = _network_of(data, shipped)
        self._why = ""
        self._chain = Chain(
            settings, network, instruments, self._publish, context.clock.now_ns, context.log,
            self._on_rung, keep=lambda lineup: self._keep(folder, lineup),
            on_out=self._on_out, flight=self._flight,
        )  # fmt: skip
        self._roster = Roster(
            self._chain,
            Desk(
                settings=context.settings, data=data, shipped=shipped, folder=folder,
                instruments=instruments, log=context.log, oldest=lambda: self._reader.oldest,
                read=self._read,
            ),
        )  # fmt: skip
        self._chain.generation = context.generation
        self._counted: dict[str, int] = {}
        self._latency = place("recv_to_prediction")
        self._look_s = 0.0
        self._proved_s = 0.0
        self._told = ""
        context.bus.on_command("health", lambda _: self._health())

    def _publish(self, address: int, count: int, cut_ns: int) -> None:
        self._writer.append_at(address, count)
        self._context.metrics.observe(self._latency, self._context.clock.now_ns() - cut_ns)

    def _keep(self, folder: SessionFolder, lineup: LineUp) -> None:
        try:
            folder.keep_lineup(lineup.version, lineup.encode())
        except OSError as error:
            self._context.log.warning("a line-up is not kept", reason=str(error))

    def _on_out(self, place: Place, why: str) -> None:
        self._roster.out(place, why)

    def _on_rung(self, rung: Rung, why: str) -> None:
        context, self._why = self._context, why
        self._tell()
        context.log.info("rung", rung=rung.name.lower(), reason=why)
        now_ns = context.clock.now_ns()
        context.bus.publish(RungChanged(rung=rung, time_ns=now_ns, text=why))

    def _tell(self) -> None:
        """The rung, and who does not speak and why, where status and metrics find it."""
        context, chain = self._context, self._chain
        rung = chain.told_rung
        context.control.set(Word.RUNG, rung)
        context.metrics.set(place("model_rung"), rung)
        first = place("models_standing", SPEAKERS[0])
        standing = {one.standing.place for one in chain.places.held} | chain.speaking
        for number, name in enumerate(SPEAKERS):
            context.metrics.set(first + number, int(name in standing))
        word = rung.name.lower()
        text = "; ".join([f"{word}: {self._why}" if self._why else word, *self._roster.told()])
        if text != self._told:
            self._told = text
            context.say(text)

    def _health(self) -> dict[str, object]:
        """Who can speak, by a real forward pass of each."""
        self._roster.prove()
        self._tell()
        chain = self._chain
        return {
            "rung": chain.told_rung.name.lower(),
            "models": {one.standing.place: one.standing.version for one in chain.places.held},
            "network": chain.manifest.version if chain.manifest is not None else "",
            "faults": self._roster.told(),
        }

    # ---- rows

    def warm(self) -> None:
        """Load the chain; step what went before, silently."""
        retry_s, flight = self._context.settings.inference.retry_s, self._flight
        until_s, died_of = 0.0, ""
        if flight.died_of >= 0:
            until_s = monotonic_s() + retry_s * 2 ** (flight.deaths - 1)
            died_of = SPEAKERS[flight.died_of]
            self._context.log.warning("the process before died of a model", place=died_of)
            if died_of == NETWORK:
                self._chain.shun_mlx(until_s)
        if self._fault:
            self._roster.refuse(NETWORK, self._fault)
        self._chain.load()
        self._chain.compile()
        position = self._reader.committed
        self._take_up(position)
        self._roster.begin(position, without=died_of, until_s=until_s)
        self._reader.seek(position)
        self._reader.acknowledge()
        self._tell()

    def _read(self, after: int, upto: int) -> Iterator[tuple[np.ndarray, int]]:
        """Rows that the ring still has, in blocks with their addresses; then on where it was."""
        reader, position = self._reader, self._reader.position
        reader.seek(after)
        try:
            while reader.position < upto and len(rows := reader.read()):
                if reader.lost_before:
                    raise ModelError("the ring has turned over the rows to catch up with")
                end = int(np.searchsorted(rows["sequence"], np.uint64(upto), side="right"))
                yield rows[:end], reader.block_address
                self._context.service()
        finally:
            reader.seek(position)

    def _take_up(self, position: int) -> None:
        """Make the network's memory of what the ring still has up to a position; go on after it.

        An instrument may have a row a second among thousands of others', so all of it is taken.
        """
        reader, chain = self._reader, self._chain
        chain.forget()
        reader.seek(reader.oldest)
        while reader.position < position and len(rows := reader.read()):
            before = int(np.searchsorted(rows["sequence"], np.uint64(position), side="right"))
            chain.warm(rows[:before], reader.block_address)
            self._context.service()
        reader.seek(position)

    def live(self) -> None:
        """Read, predict, sleep, until told to stop."""
        timeout_ms = self._context.settings.signal.timeout_ms
        while not self._context.stopping:
            self._inbox.wait(timeout_ms)
            self.turn()
            if self._context.service():
                self.look_after()
        self.end()

    def turn(self) -> None:
        """Take what has come, if something has."""
        context, reader, chain = self._context, self._reader, self._chain
        metrics, now_ns = context.metrics, context.clock.now_ns
        if chain.cold:
            self._take_up(reader.position)
        rows = reader.read()
        if reader.lost_before:
            # What comes next is old, and the memory has a hole: on from the newest row.
            context.log.warning("feature rows lost", rows=reader.lost_before)
            self._take_up(reader.committed)
            self._roster.lost(reader.position)
        elif len(rows):
            began_ns = now_ns()
            chain.take(rows, reader.block_address)
            if chain.drift is not None:
                chain.drift.take(len(rows), reader.block_address)
            metrics.observe(_SPENT, now_ns() - began_ns)
            self._proved_s = monotonic_s()

    def end(self) -> None:
        """Count, and keep what was learnt."""
        self._count()
        self._roster.end()
        self._flight.close()

    def look_after(self) -> None:
        """What need not be done every turn."""
        self._chain.retry()
        if self._roster.watch(self._reader.position):
            self._tell()
        self._count()
        self._reader.acknowledge()
        now_s = monotonic_s()
        if now_s >= self._look_s:
            self._look_s = now_s + LOOK_S
            self._tell()
            self._look_at_memory()
        if now_s - self._proved_s > PROVE_S:
            # No row has come for so long: whether it could speak is asked, not assumed.
            self._proved_s = now_s
            self._roster.prove()

    def _look_at_memory(self) -> None:
        """A process that has grown too big ends in order, and a small one takes its place.

        Raises:
            MemoryCeilingError: it has.
        """
        most = self._context.settings.inference.max_memory_mb
        resident = psutil.Process().memory_info().rss // 2**20
        if resident > most:
            self._roster.end()
            raise MemoryCeilingError(
                f"{resident} MB resident, inference.max_memory_mb is {most}: started again"
            )

    def _tell_drift(self) -> None:
        """Carry the index of every column to the counter page, once in a while."""
        drift, metrics = self._chain.drift, self._context.metrics
        if drift is None or not drift.is_due:
            return
        index = drift.report()
        first = place("drift_psi_milli", CATALOGUE[0].name)
        for column, value in enumerate(index.tolist()):
            metrics.set(first + column, round(value * 1000))
        metrics.set(place("drift_columns"), int((index > ANOTHER).sum()))
        metrics.set(place("drift_rows"), drift.rows)

    def _count(self) -> None:
        self._tell_drift()
        chain, roster, metrics = self._chain, self._roster, self._context.metrics
        totals = {
            "predictions": chain.published,
            "prediction_steps": chain.steps,
            "predictions_superseded": chain.superseded,
            "deadline_misses": chain.misses,
            "rung_falls": chain.falls,
            "model_swaps": roster.swaps,
            "model_refusals": roster.refusals,
            "models_left_out": roster.left_out,
            "learner_samples": roster.samples,
            "learner_rows_lost": roster.rows_lost,
        }
        for name, value in totals.items():
            self._add(name, place(name), value)
        first = place("model_misses", SPEAKERS[0])
        for number, value in enumerate(chain.places.misses):
            self._add(f"model_misses {number}", first + number, value)
        first = place("model_spent_us", SPEAKERS[0])
        for one in chain.places.held:
            metrics.set(first + one.number, one.spent_ns // 1000)

    def _add(self, name: str, at: int, value: int) -> None:
        before = self._counted.get(name, 0)
        if value != before:
            self._context.metrics.add(at, value - before)
            self._counted[name] = value


def _network_of(data: Path, shipped: Path) -> tuple[Path, str]:
    """Where the network is: promoted, or shipped; and why not the promoted one, if so."""
    try:
        found = chosen(models_folder(data), NETWORK, shipped)
    except ModelError as error:
        return shipped, str(error)
    return (found.folder if found is not None else shipped), ""


def main(context: Context) -> None:
    """Predict."""
    predictor = Predictor(context)
    predictor.warm()
    context.ready(context.control.row(context.row).text)
    predictor.live()


if __name__ == "__main__":
    run(main)
