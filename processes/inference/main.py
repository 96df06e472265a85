"""Inference as a child process: one thread, a blocking loop over the feature ring."""

from pathlib import Path

import numpy as np

from config.loader import ROOT
from models.drift import ANOTHER
from processes.inference.chain import Chain
from processes.inference.kernels import MOST_ROWS
from processes.runtime import Context, run
from schemas.control import Word
from schemas.features import CATALOGUE
from schemas.messages import RungChanged
from schemas.metrics import place
from schemas.predictions import Rung


class Predictor:
    """Reader of the rows, the chain, the writer of the predictions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = context.reader("features", limit=MOST_ROWS)
        self._writer = context.writer("predictions")
        self._inbox = context.inbox([self._reader], ["features"])
        settings = context.settings.inference
        self._chain = Chain(
            settings,
            ROOT / Path(settings.model),
            len(context.tables.instruments),
            self._publish,
            context.clock.now_ns,
            context.log,
            self._on_rung,
        )
        self._chain.generation = context.generation
        self._counted: dict[str, int] = {}
        self._latency = place("recv_to_prediction")

    def _publish(self, address: int, count: int, cut_ns: int) -> None:
        self._writer.append_at(address, count)
        self._context.metrics.observe(self._latency, self._context.clock.now_ns() - cut_ns)

    def _on_rung(self, rung: Rung, why: str) -> None:
        context = self._context
        context.control.set(Word.RUNG, rung)
        context.metrics.set(place("model_rung"), rung)
        context.say(f"{rung.name.lower()}: {why}" if why else rung.name.lower())
        context.log.info("rung", rung=rung.name.lower(), reason=why)
        now_ns = context.clock.now_ns()
        context.bus.publish(RungChanged(rung=rung, time_ns=now_ns, text=why))

    def warm(self) -> None:
        """Load the chain; step what went before, silently."""
        self._chain.load()
        self._chain.compile()
        self._take_up(self._reader.committed)
        self._reader.acknowledge()

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
        context, reader, chain = self._context, self._reader, self._chain
        metrics, now_ns = context.metrics, context.clock.now_ns
        timeout_ms = context.settings.signal.timeout_ms
        spent = place("prediction_latency")
        while not context.stopping:
            self._inbox.wait(timeout_ms)
            if chain.cold:
                self._take_up(reader.position)
            rows = reader.read()
            if reader.lost_before:
                # What comes next is old, and the memory has a hole: on from the newest row.
                context.log.warning("feature rows lost", rows=reader.lost_before)
                self._take_up(reader.committed)
            elif len(rows):
                began_ns = now_ns()
                chain.take(rows, reader.block_address)
                if chain.drift is not None:
                    chain.drift.take(len(rows), reader.block_address)
                metrics.observe(spent, now_ns() - began_ns)
            if context.service():
                chain.retry()
                self._count()
                reader.acknowledge()
        self._count()

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
        chain, metrics = self._chain, self._context.metrics
        totals = {
            "predictions": chain.published,
            "prediction_steps": chain.steps,
            "predictions_superseded": chain.superseded,
            "deadline_misses": chain.misses,
            "rung_falls": chain.falls,
        }
        for name, value in totals.items():
            before = self._counted.get(name, 0)
            if value != before:
                metrics.add(place(name), value - before)
                self._counted[name] = value


def main(context: Context) -> None:
    """Predict."""
    predictor = Predictor(context)
    predictor.warm()
    context.ready(context.control.row(context.row).text)
    predictor.live()


if __name__ == "__main__":
    run(main)
