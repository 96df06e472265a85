"""Recorded feature rows through the model chain, drained as they were drained.

A prediction says where its drain began, on which rung and device it was made, and whether the
network spoke. Rows between drains went into the memory in silence, as after a restart.
"""

import ctypes
from collections.abc import Iterator
from typing import Final

import numpy as np

from config.loader import ROOT
from models.base import Manifest, ModelError, load_manifest, load_weights
from models.tcn import DEPTH, HIDDEN_DEPTH
from processes.inference.chain import Chain
from processes.inference.kernels import MOST_ROWS
from processes.logs import Log
from processes.recordings.comparison import UNLIKE, Comparison
from processes.recordings.recording import Recording, Window
from schemas import features, predictions
from schemas.predictions import Device, Rung

RESULTS: Final = UNLIKE | {"flags"}
"""LATE is about the clock."""
REMEMBERED: Final = DEPTH + HIDDEN_DEPTH
"""A prediction depends on no more rows of its instrument."""
_LOW: Final = (1 << 32) - 1


class PredictionReplay:
    """The chain, moved on from drain to drain.

    Args:
        rows: the feature rows of the recording, in blocks.
    """

    def __init__(self, recording: Recording, rows: Iterator[np.ndarray], log: Log) -> None:
        self.comparison = Comparison("predictions", predictions.SLOT, RESULTS)
        self.made = 0
        self._rows = Window(rows, recording.settings.rings.features)
        self._published = np.zeros(0, predictions.SLOT)
        self._position = 0
        """The last row that the memory has."""
        self._rung: tuple[int, int] | None = None
        self._seen = np.full(max(len(recording.tables.instruments), 1), REMEMBERED)
        """Rows of each instrument since one was missing."""
        self._network: Manifest | None = None
        self._missing = ""
        settings = recording.settings.inference
        folder = ROOT / settings.model
        self._chain = Chain(
            settings, folder, len(self._seen), self._publish, lambda: 0, log, lambda *_: None
        )
        try:
            self._network = load_manifest(folder, features.FINGERPRINT)
            self._chain.open(self._network, load_weights(folder))
        except ModelError as error:
            self._missing = str(error)

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
        why = self._obstacle(int(head["model_version"])) or self._take_rung(head, first - 1)
        if not why:
            self._warm(self._position, first - 1)
            rows = self._rows.between(first - 1, last)
            self._position = last
            why = self._note(recorded, rows, last - first + 1)
        if why:
            ends = int(head["sequence"]), int(recorded["sequence"][-1])
            self.comparison.leave_out(*ends, why)
        elif rows is not None:
            self._compare(recorded, np.ascontiguousarray(rows), int(head["config_generation"]))

    def _note(self, recorded: np.ndarray, rows: np.ndarray | None, wanted: int) -> str:
        """Keep count of missing rows; why the drain cannot be compared, if so."""
        if rows is None or len(rows) < wanted:
            self._seen[:] = 0
            return "the lake misses feature rows"
        if self._seen.min() < REMEMBERED:
            mine = rows["instrument"][rows["instrument"] < len(self._seen)]
            self._seen += np.bincount(mine, minlength=len(self._seen))
            if (self._seen[recorded["instrument"]] < REMEMBERED).any():
                return "the lake misses feature rows"
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

    def _take_rung(self, head: np.void, position: int) -> str:
        """Be on the rung that a drain was made on, with the memory that it had; why not, if so."""
        rung = int(head["rung"]), int(head["device"])
        if rung != self._rung:
            try:
                self._chain.use(Rung(rung[0]), Device(rung[1]))
            except Exception as error:  # noqa: BLE001  (whatever MLX raises without its device)
                return f"made on {Device(rung[1]).name}, which is not here: {error}"
            self._rung = rung
            self._chain.forget()
            self._warm(0, position)
            self._position = max(self._position, position)
        if rung[0] != Rung.POSITIONS_ONLY and not int(head["model_version"]):
            # The network raised in the middle of this drain; after it, all is made again.
            self._chain.mute()
            self._rung = None
        return ""

    def _warm(self, after: int, last: int) -> None:
        rows = self._rows.between(after, last)
        for at in range(0, len(rows) if rows is not None else 0, MOST_ROWS):
            assert rows is not None
            some = np.ascontiguousarray(rows[at : at + MOST_ROWS])
            self._chain.warm(some, int(some.ctypes.data))

    def _obstacle(self, version: int) -> str:
        """Why a network cannot speak here, if so."""
        if version and self._network is None:
            return f"the network cannot be loaded: {self._missing}"
        if version and self._network is not None and version != self._network.fingerprint:
            return f"made by network {version:x}, which is not there any more"
        return ""
