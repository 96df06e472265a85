"""Recorded feature rows through the line-up of models, drained as they were drained.

A prediction says where its drain began, on which rung and device it was made, and by which line-up:
the session keeps what each was. Models that came begin where theirs began: after that row, with
what was learnt by then. Rows between drains went into the memories in silence, as after a restart.
"""

import ctypes
from collections.abc import Iterator
from typing import Final

import numpy as np

from config.loader import ROOT
from models.base import ModelError
from models.families import FAMILIES
from models.family import Model, OnlineModel
from models.tcn import DEPTH, HIDDEN_DEPTH
from processes.inference.chain import Chain
from processes.inference.choice import Candidate, is_rule, version
from processes.inference.kernels import MOST_ROWS
from processes.inference.learner import Learner, read_kept
from processes.inference.places import Place, textbook
from processes.logs import Log
from processes.model_registry import models_folder
from processes.recordings.comparison import UNLIKE, Comparison
from processes.recordings.recording import Recording, Window
from schemas import predictions
from schemas.errors import OperatorError
from schemas.lineup import LineUp, Standing
from schemas.predictions import NETWORK, RULE, Device, Rung

RESULTS: Final = UNLIKE | {"flags"}
"""LATE is about the clock."""
REMEMBERED: Final = DEPTH + HIDDEN_DEPTH
"""The network's word depends on no more rows of its instrument."""
_LOW: Final = (1 << 32) - 1
_MISSED: Final = "the lake misses feature rows"


class PredictionReplay:
    """The chain, moved on from drain to drain.

    Args:
        rows: the feature rows of the recording, in blocks.
    """

    def __init__(self, recording: Recording, rows: Iterator[np.ndarray], log: Log) -> None:
        self.comparison = Comparison("predictions", predictions.SLOT, RESULTS)
        self.made = 0
        self._recording = recording
        # A model that comes begins with what the ring held then, which goes far back.
        self._rows = Window(rows, 2 * recording.settings.rings.features)
        self._published = np.zeros(0, predictions.SLOT)
        self._position = 0
        """The last row that the memories have."""
        self._rung: tuple[int, int, int] | None = None
        self._seen = np.full(max(len(recording.tables.instruments), 1), REMEMBERED)
        """Rows of each instrument since one was missing."""
        self._lineups: dict[int, LineUp | str] = {}
        settings = recording.settings.inference
        self._shipped = ROOT / settings.model
        self._models = models_folder(recording.data)
        self._chain = Chain(
            settings, self._shipped, len(self._seen), self._publish, lambda: 0, log,
            lambda *_: None,
        )  # fmt: skip

    def _publish(self, address: int, count: int, _: int) -> None:
        self._published = np.zeros(count, predictions.SLOT)
        ctypes.memmove(self._published.ctypes.data, address, self._published.nbytes)

    def take(self, block: np.ndarray) -> None:
        """Make recorded predictions of whole drains again, and compare them."""
        ends = np.flatnonzero(block["made_ns"][1:] != block["made_ns"][:-1]) + 1
        begin = 0
        for end in [*ends.tolist(), len(block)]:
            self._take_drain(np.ascontiguousarray(block[begin:end]))
            begin = end

    def _take_drain(self, recorded: np.ndarray) -> None:
        head = recorded[0]
        last = int(recorded["feature_sequence"].max())
        first = last - ((last - int(head["drain_first"])) & _LOW)
        lineup = self._lineup(int(head["model_version"]))
        if isinstance(lineup, str):
            why, rows = lineup, None
        else:
            why = self._take_lineup(lineup, first - 1) or self._take_rung(head, lineup, first - 1)
            rows = None if why else self._rows.between(first - 1, last)
            why = why or self._note(recorded, rows, last - first + 1)
        if why:
            ends = int(head["sequence"]), int(recorded["sequence"][-1])
            self.comparison.leave_out(*ends, why)
        elif rows is not None:
            self._position = last
            self._compare(recorded, np.ascontiguousarray(rows), int(head["config_generation"]))

    def _note(self, recorded: np.ndarray, rows: np.ndarray | None, wanted: int) -> str:
        """Keep count of missing rows; why the drain cannot be compared, if so."""
        if rows is None or len(rows) < wanted:
            self._seen[:] = 0
            return _MISSED
        if self._seen.min() < REMEMBERED:
            mine = rows["instrument"][rows["instrument"] < len(self._seen)]
            self._seen += np.bincount(mine, minlength=len(self._seen))
            if (self._seen[recorded["instrument"]] < REMEMBERED).any():
                return _MISSED
        return ""

    def _compare(self, recorded: np.ndarray, rows: np.ndarray, generation: int) -> None:
        self._chain.generation = generation
        self._published = np.zeros(0, predictions.SLOT)
        self._chain.take(rows, int(rows.ctypes.data))
        made = self._published
        self.made += len(made)
        if len(made) != len(recorded):
            told = f"{len(recorded)} predictions of a drain, and {len(made)} were made"
            self.comparison.missing(int(recorded["sequence"][0]), told)
            return
        self.comparison.add(recorded, made)

    # ---- who speaks

    def _lineup(self, number: int) -> LineUp | str:
        """The line-up that predictions name; or why there is none."""
        if number not in self._lineups:
            try:
                self._lineups[number] = self._recording.folder.lineup(number)
            except OperatorError as error:
                self._lineups[number] = f"made by a line-up that is not kept: {error}"
        return self._lineups[number]

    def _take_lineup(self, lineup: LineUp, position: int) -> str:
        """Who stood stands, with the memory it had after a row; why not, if so."""
        places = self._chain.places
        wanted = {
            one.place: one
            for one in lineup.standings
            if one.place != NETWORK and (one.family != RULE or one.version)
        }
        for place in places.held:
            if wanted.get(place.standing.place) != place.standing:
                places.take_out(place.standing.place)
        if position > self._position:
            if self._follow(self._position, position) < position - self._position:
                self._spoil()
            self._position = position
        for name, standing in wanted.items():
            if places.get(name) is None:
                try:
                    places.put(self._made(standing, position))
                except (ModelError, OperatorError) as error:
                    return str(error)
        return ""

    def _made(self, standing: Standing, position: int) -> Place:
        """A model as it stood after a row.

        Raises:
            ModelError, OperatorError: it cannot be had.
        """
        instruments, learner = len(self._seen), None
        if is_rule(standing.family) and not standing.version:
            return textbook(standing.family, instruments)
        found = self._version(standing)
        model = found.model
        if standing.learns:
            model, learner = self._learner(standing, found)
        place = Place(standing, model, instruments, found.manifest.members, learner)
        if place.remembers or learner is not None:
            count = 0
            for rows in self._blocks(standing.after, position):
                self._chain.catch_up(place, rows, int(rows.ctypes.data))
                count += len(rows)
            if count < position - standing.after:
                raise ModelError(_MISSED)
        return place

    def _learner(self, standing: Standing, found: Candidate) -> tuple[Model, Learner]:
        model, kept = found.model, None
        if standing.learner:
            kept = read_kept(self._recording.folder.learner(standing.learner))
            model = FAMILIES[standing.family].restored(kept.arrays)
        assert isinstance(model, OnlineModel)
        learner = Learner(
            model, found.manifest, self._recording.session, instruments=len(self._seen),
            gap_s=standing.gap_s, waiting=standing.waiting, after=standing.after,
        )  # fmt: skip
        if kept is not None:
            learner.go_on(kept)
        return model, learner

    def _version(self, standing: Standing) -> Candidate:
        return version(
            self._models, standing.family, standing.version, standing.fingerprint, self._shipped
        )

    def _take_rung(self, head: np.void, lineup: LineUp, position: int) -> str:
        """Be on the rung that a drain was made on, with the memory that it had; why not, if so."""
        network, device = lineup.of(NETWORK), Device(int(head["device"]))
        rung = Rung(int(head["rung"])) if device != Device.NONE else Rung.POSITIONS_ONLY
        if network is None:
            # None stood, or it raised in the middle of this drain; after it, all is made again.
            self._chain.mute(rung, device)
            self._rung = None
            return ""
        wanted = int(rung), int(device), network.fingerprint
        if wanted == self._rung:
            return ""
        manifest = self._chain.manifest
        try:
            if manifest is None or manifest.fingerprint != network.fingerprint:
                found = self._version(network)
                self._chain.open(found.manifest, found.weights)
            self._chain.use(rung, device)
        except ModelError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  (whatever MLX raises without its device)
            return f"made on {device.name}, which is not here: {error}"
        self._rung = wanted
        self._chain.forget()
        for rows in self._blocks(0, position):
            self._chain.warm(rows, int(rows.ctypes.data))
        return ""

    def _spoil(self) -> None:
        """Rows are missing: who remembers them begins anew where he began, if that can be had."""
        for place in self._chain.places.held:
            if place.remembers or place.learner is not None:
                self._chain.places.take_out(place.standing.place)

    # ---- rows

    def _follow(self, after: int, last: int) -> int:
        """Rows that nobody was asked about; how many there are."""
        count = 0
        for rows in self._blocks(after, last):
            self._chain.follow(rows, int(rows.ctypes.data))
            count += len(rows)
        return count

    def _blocks(self, after: int, last: int) -> Iterator[np.ndarray]:
        rows = self._rows.between(after, last) if last > after else None
        for at in range(0, len(rows) if rows is not None else 0, MOST_ROWS):
            assert rows is not None
            yield np.ascontiguousarray(rows[at : at + MOST_ROWS])
