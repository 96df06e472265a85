"""Feature rows and predictions made anew of recorded tapes, under any settings.

Rows are cut by the live cutter under a clock that is the tape's receive time: a boundary when an
event at or after it has come or its grace has passed, a trigger (if the settings want it) at the
first event that is due. Predictions come of the live chain, on one rung for the whole run. What
comes before the span goes in without a word, so that windows and memories begin full.
"""

import contextlib
import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from config.loader import ROOT
from models.base import ModelError
from models.family import OnlineModel
from models.maturing import room_for
from models.tcn import DEPTH, HIDDEN_DEPTH
from processes.execution.strategies.registry import REGISTRY
from processes.features.cutter import SILENCE_GRACE_NS, Cutter
from processes.inference.chain import Chain
from processes.inference.choice import Candidate, chosen, is_rule, place_of
from processes.inference.kernels import MOST_ROWS
from processes.inference.learner import Learner
from processes.inference.places import Place, textbook
from processes.logs import Log
from processes.recordings.span import FOREVER
from processes.replay.backtest.stretches import Piece
from schemas import features, predictions, tape
from schemas.errors import OperatorError
from schemas.features import CutReason
from schemas.instruments import Instrument
from schemas.lineup import Standing
from schemas.predictions import BLEND, NETWORK, RULE, SPEAKERS, Device, Rung
from schemas.settings import Settings

REMEMBERED: Final = DEPTH + HIDDEN_DEPTH
"""A prediction depends on no more rows of its instrument."""
_TRIGGER: Final = int(CutReason.TRIGGER)

Decide = Callable[[int, int, int], None]
"""Takes predictions: the address where they stand, how many, and the time they are there."""


class Predictor:
    """The line-up, with the network on a rung that does not change.

    Args:
        models: where trained ones are: the promoted version of each family speaks, and an online
            one begins as it was trained and learns on its way.
    """

    def __init__(self, settings: Settings, instruments: int, models: Path) -> None:
        self.made = 0
        self.rows_back = REMEMBERED
        """Rows of an instrument that a prediction is made of."""
        self._made = np.zeros(max(instruments, 1), predictions.SLOT)
        self._count = 0
        self.device = Device.NONE
        told = settings.inference
        # Nobody reads a log of it: what fails ends the run, and says so itself.
        log: Log = structlog.wrap_logger(structlog.ReturnLogger())
        self._why = ""
        self._shipped = ROOT / Path(told.model)
        self._chain = Chain(
            told, self._shipped, instruments, self._publish, lambda: 0, log, self._on_rung,
            on_out=self._on_out,
        )  # fmt: skip
        self._chain.generation = 1
        for rule in told.families:
            if is_rule(rule) and rule != RULE:
                self._chain.places.put(textbook(rule, instruments))
        if told.enabled:
            for family in (*told.families, BLEND):
                self._stand(settings, models, family)
        self.rung = self._chain.rung
        self._chain.forget()

    def _stand(self, settings: Settings, models: Path, family: str) -> None:
        """Let the promoted version of a family speak.

        Raises:
            OperatorError: there is none that is sound, and the strategy reads it.
        """
        found, why = None, f"none is promoted; type: dcctl models promote {family}"
        try:
            found = chosen(models, family, self._shipped)
        except ModelError as error:
            why = str(error)
        if found is None and is_rule(family):
            return
        if found is None:
            name = settings.strategy.name
            if SPEAKERS[REGISTRY[name].model] == place_of(family) and family != BLEND:
                raise OperatorError(f"strategy.name = {name} needs the {family}: {why}")
        elif family == NETWORK:
            self._chain.open(found.manifest, found.weights)
            self._use(settings.inference.device)
        else:
            self._chain.places.put(self._place(settings, found))

    def _place(self, settings: Settings, found: Candidate) -> Place:
        manifest, model, instruments = found.manifest, found.model, len(self._made)
        standing = Standing(
            place=found.place, family=found.family, version=manifest.version,
            fingerprint=manifest.fingerprint,
        )  # fmt: skip
        learner = None
        if isinstance(model, OnlineModel) and settings.inference.learn:
            waiting = room_for(instruments, manifest.horizon_s, settings.features.cut_interval_s)
            with contextlib.suppress(ModelError):  # of other labels: it speaks as it is
                learner = Learner(
                    model, manifest, 0, instruments=instruments, gap_s=settings.training.gap_s,
                    waiting=waiting, after=0,
                )  # fmt: skip
        place = Place(standing, model, instruments, manifest.members, learner)
        self.rows_back = max(self.rows_back, place.rows_back + 1)
        return place

    def _on_out(self, place: Place, why: str) -> None:
        raise OperatorError(f"{place.standing.family} failed: {why}")

    def _use(self, wanted: str) -> None:
        """A rung: of `auto` the processor, which is there on every machine that has MLX at all."""
        devices = {"numpy": Device.NUMPY, "gpu": Device.MLX_GPU}
        device = devices.get(wanted, Device.MLX_CPU)
        try:
            self._chain.use(Rung.CPU if device == Device.NUMPY else Rung.MLX, device)
        except Exception as error:  # noqa: BLE001  (whatever MLX raises without its device)
            if wanted != "auto":
                raise OperatorError(
                    f"inference.device = {wanted} cannot be used here: {error}; "
                    "type: --set inference.device=numpy"
                ) from None
            device = Device.NUMPY
            self._chain.use(Rung.CPU, device)
        self.device = device

    def _on_rung(self, _: Rung, why: str) -> None:
        self._why = why

    def _publish(self, address: int, count: int, _: int) -> None:
        mine = self._made[:count]
        ctypes.memmove(mine.ctypes.data, address, mine.nbytes)
        # As their ring would number them.
        mine["sequence"] = np.arange(self.made + 1, self.made + count + 1)
        self.made += count
        self._count = count

    def warm(self, rows: np.ndarray, address: int) -> None:
        """Rows from before the span."""
        self._chain.follow(rows, address)

    def take(self, rows: np.ndarray, address: int) -> tuple[int, int]:
        """Predictions about the rows of a cut: their address, and how many.

        Raises:
            OperatorError: the network failed.
        """
        self._count = 0
        self._chain.take(rows, address)
        if self._chain.rung != self.rung:
            raise OperatorError(
                f"the network failed on {self.device.name}: {self._why}; "
                "type: --set inference.device=numpy"
            )
        return int(self._made.ctypes.data), self._count


class Rows:
    """The cutter and the chain behind it, fed with stretches of the tapes.

    Args:
        instruments: in the order of the table. first_ns: where the span begins.
        decide: takes predictions as they are made.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        tapes: int,
        settings: Settings,
        first_ns: int,
        predictor: Predictor,
        decide: Decide,
    ) -> None:
        self.events = 0
        self.made = 0
        self._settings = settings.features
        self._first_ns = first_ns
        self._begin_ns = first_ns - int(
            predictor.rows_back * settings.features.cut_interval_s * 1e9
        )
        """Rows are cut from here on."""
        self._is_cutting = False
        self._predictor = predictor
        self._decide = decide
        self._now_ns = 0
        self._pieces: Sequence[Piece] = ()
        self._triggered_ns = 0
        self._rows = np.zeros(max(len(instruments), 1), features.SLOT)
        self._address = int(self._rows.ctypes.data)
        self._cutter = Cutter(instruments, tapes, self._settings, self._emit, lambda: self._now_ns)
        self._cutter.stamp(1)

    def take(self, pieces: Sequence[Piece]) -> None:
        """Take a stretch: make all rows that are due in it, and decide about them."""
        if not self._is_cutting:
            pieces = self._take_before(pieces)
        self._pieces = pieces
        ends = [int(piece.times[-1]) for piece in pieces if len(piece.times)]
        if not ends:
            return
        self.events += sum(len(piece.times) for piece in pieces)
        if self._settings.trigger:
            self._take_triggered(max(ends))
        else:
            self._take_upto([len(piece.times) for piece in pieces], [0] * len(pieces), max(ends))

    def _take_before(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """What came before the first cut goes in silently; the rest."""
        left = []
        for number, piece in enumerate(pieces):
            end = piece.before(self._begin_ns)
            if end:
                self._cutter.warm(number, piece.slots[:end], piece.address)
                self._cutter.place(number, int(piece.slots["sequence"][end - 1]))
                self.events += end
            left.append(piece.part(end, len(piece.times)))
        firsts = [int(piece.times[0]) for piece in left if len(piece.times)]
        if firsts:
            self._is_cutting = True
            # A tape that begins within the span is cut from its first event on, as live.
            self._cutter.begin(max(self._begin_ns, min(firsts)) - 1)
        return left

    def _take_upto(self, ends: list[int], at: list[int], now_ns: int) -> None:
        """One turn of the builder: slots of every tape, then the cuts that are due."""
        self._now_ns = now_ns
        for number, piece in enumerate(self._pieces):
            begin, end = at[number], ends[number]
            if end > begin:
                address = piece.address + begin * tape.SLOT_BYTES
                self._cutter.take(number, piece.slots[begin:end], address)
        self._cutter.turn(early=True)

    def _take_triggered(self, last_ns: int) -> None:
        """A turn at each event at which the trigger may cut; those between change nothing."""
        at = [0] * len(self._pieces)
        now_ns = -1
        while now_ns < last_ns:
            due_ns = max(self._triggered_ns + self._settings.trigger_interval_us * 1000, now_ns + 1)
            now_ns = min(self._next_event(due_ns), last_ns)
            ends = [piece.upto(now_ns) for piece in self._pieces]
            self._take_upto(ends, at, now_ns)
            at = ends

    def _next_event(self, time_ns: int) -> int:
        """When the first event at or after a time came; FOREVER if none has yet."""
        found = FOREVER
        for piece in self._pieces:
            place = piece.before(time_ns)
            if place < len(piece.times):
                found = min(found, int(piece.times[place]))
        return found

    def _emit(self, address: int, count: int, cut_ns: int) -> None:
        ctypes.memmove(self._address, address, count * features.SLOT_BYTES)
        rows = self._rows[:count]
        if int(rows["reason"][0]) == _TRIGGER:
            time_ns = self._triggered_ns = self._now_ns
        else:
            time_ns = min(self._next_event(cut_ns), cut_ns + SILENCE_GRACE_NS)
        rows["sequence"] = np.arange(self.made + 1, self.made + count + 1)
        self.made += count
        for at in range(0, count, MOST_ROWS):
            some, place = rows[at : at + MOST_ROWS], self._address + at * features.SLOT_BYTES
            if cut_ns < self._first_ns:
                self._predictor.warm(some, place)
                continue
            found, made = self._predictor.take(some, place)
            if made:
                self._decide(found, made, time_ns)
