"""The model chain: MLX, the same network in numpy, no network at all; and back.

Every feature row steps the network's memory of its instrument; of several rows that wait, only the
newest is published. A rung falls at once when it raises, and after so many deadlines missed in a
row; the rung above is tried again after a while by a real forward pass. The rule strategies need no
rung.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from models.base import Manifest, ModelError, load_manifest, load_weights
from models.rules import moving_average_cross
from models.tcn import BATCHES, HIDDEN_TAPS, INPUT_TAPS, OUTPUTS, MlxStepper, NumpyStepper, Stepper
from processes.clock import monotonic_s
from processes.inference import kernels
from processes.logs import Log
from schemas import features, predictions
from schemas.features import CATALOGUE
from schemas.predictions import Device, PredictionFlag, Rung
from schemas.settings import InferenceSettings

MOST_ROWS: Final = 4096
TRIAL_ROUNDS: Final = 200

Publish = Callable[[np.ndarray, int], None]


class Chain:
    """All models over all instruments.

    Args:
        folder: of the network's model. instruments: how many there are.
        publish: takes finished predictions. on_rung: told of every fall and rise.
    """

    def __init__(
        self,
        settings: InferenceSettings,
        folder: Path,
        instruments: int,
        publish: Publish,
        now_ns: Callable[[], int],
        log: Log,
        on_rung: Callable[[Rung, str], None],
    ) -> None:
        self.rung = Rung.POSITIONS_ONLY
        self.manifest: Manifest | None = None
        self.generation = 0
        self.steps = 0
        self.superseded = 0
        self.misses = 0
        self.falls = 0
        self._device = Device.NONE
        self._settings = settings
        self._folder = folder
        self._instruments = max(instruments, 1)
        self._publish = publish
        self._now_ns = now_ns
        self._log = log
        self._on_rung = on_rung
        self._weights: dict[str, np.ndarray] = {}
        self._stepper: Stepper | None = None
        self._missed_in_a_row = 0
        self._retry_s = 0.0
        self._batch_rows = 0
        self._rounds = np.zeros(MOST_ROWS, np.int64)
        self._newest = np.zeros(self._instruments, np.int64)
        self._out = np.zeros(self._instruments, predictions.SLOT)
        self._network = np.zeros((self._instruments, OUTPUTS), np.float32)

    # ---- rungs

    def load(self) -> None:
        """Load the network and take the best rung that works."""
        if not self._settings.enabled:
            self._set_rung(Rung.POSITIONS_ONLY, "inference.enabled is false")
            return
        try:
            self.manifest = load_manifest(self._folder, features.FINGERPRINT)
            self._weights = load_weights(self._folder)
        except ModelError as error:
            self._set_rung(Rung.POSITIONS_ONLY, str(error))
            return
        self._make_memory()
        self._climb()

    def _make_memory(self) -> None:
        hidden = self._weights["B"].shape[1]
        columns = len(CATALOGUE)
        self._inputs_kept = np.zeros((self._instruments, INPUT_TAPS, columns), np.float32)
        self._hidden_kept = np.zeros((self._instruments, HIDDEN_TAPS, hidden), np.float32)
        self._batches = {
            rows: (
                np.zeros((rows, 3 * columns), np.float32),
                np.zeros((rows, 2 * hidden), np.float32),
            )
            for rows in BATCHES
        }

    def _climb(self) -> None:
        """Try the rungs from the best down; each by a real forward pass."""
        if self._settings.device != "numpy":
            try:
                self._stepper, self._device = self._make_mlx()
            except Exception as error:  # noqa: BLE001  (whatever MLX raises: the next rung)
                self._log.warning("MLX cannot be used", reason=repr(error))
            else:
                self._set_rung(Rung.MLX, "")
                return
        self._stepper, self._device = NumpyStepper(self._weights), Device.NUMPY
        self._set_rung(Rung.CPU, "" if self._settings.device == "numpy" else "MLX cannot be used")

    def _make_mlx(self) -> tuple[Stepper, Device]:
        """On the device the settings name; `auto` measures both where there are two."""
        import mlx.core as mx  # noqa: PLC0415

        wanted = self._settings.device
        if wanted == "auto":
            cpu = MlxStepper(self._weights, "cpu")
            if not mx.metal.is_available():
                return cpu, Device.MLX_CPU
            gpu = MlxStepper(self._weights, "gpu")
            on_gpu = self._measure(gpu) < self._measure(cpu)
            self._log.info("device measured", chosen="gpu" if on_gpu else "cpu")
            wanted = "gpu" if on_gpu else "cpu"
        device = Device.MLX_GPU if wanted == "gpu" else Device.MLX_CPU
        return MlxStepper(self._weights, wanted), device

    def _measure(self, stepper: Stepper) -> float:
        inputs, taps = self._batches[BATCHES[0]]
        began_s = monotonic_s()
        for _ in range(TRIAL_ROUNDS):
            stepper(inputs, taps)
        return monotonic_s() - began_s

    def _set_rung(self, rung: Rung, why: str) -> None:
        if rung > self.rung:
            self.falls += 1
        if rung != Rung.MLX:
            self._retry_s = monotonic_s() + self._settings.retry_s
        self.rung = rung
        if rung == Rung.POSITIONS_ONLY:
            self._stepper, self._device = None, Device.NONE
        self._missed_in_a_row = 0
        self._on_rung(rung, why)

    def fall(self, why: str) -> None:
        """Go down one rung."""
        if self.rung == Rung.MLX:
            self._stepper, self._device = NumpyStepper(self._weights), Device.NUMPY
            self._set_rung(Rung.CPU, why)
        elif self.rung == Rung.CPU:
            self._set_rung(Rung.POSITIONS_ONLY, why)

    def retry(self) -> None:
        """Once in a while, try to climb back."""
        wanted = Rung.CPU if self._settings.device == "numpy" else Rung.MLX
        if not self._settings.enabled or self.rung == wanted or monotonic_s() < self._retry_s:
            return
        self._retry_s = monotonic_s() + self._settings.retry_s
        if self.manifest is None:
            self.load()
        else:
            self._climb()

    # ---- rows

    def warm(self, rows: np.ndarray) -> None:
        """Step rows that were predicted already, or are too old to be."""
        if self._stepper is not None and len(rows):
            rounds = self._arrange(rows)
            for number in range(rounds):
                self._step_round(rows, np.flatnonzero(self._rounds[: len(rows)] == number))

    def take(self, rows: np.ndarray, address: int) -> None:
        """Step all rows, publish the newest of each instrument.

        Args:
            rows: feature slots in order, at most MOST_ROWS. address: where they stand.
        """
        began_ns = self._now_ns()
        rounds = self._arrange(rows)
        if rounds == 0:
            return
        chosen = self._newest[self._newest >= 0]
        places = np.full(self._instruments, -1, np.int64)
        places[rows["instrument"][chosen]] = np.arange(len(chosen))
        if self._stepper is not None:
            self._step_all(rows, rounds, chosen, places)
        self.superseded += int(np.count_nonzero(self._rounds[: len(rows)] >= 0)) - len(chosen)
        self._finish(rows, address, chosen, began_ns)

    def _arrange(self, rows: np.ndarray) -> int:
        assert len(rows) <= MOST_ROWS
        return kernels.arrange(
            rows.ctypes.data, len(rows), self._instruments, self._rounds, self._newest
        )

    def _step_all(
        self, rows: np.ndarray, rounds: int, chosen: np.ndarray, places: np.ndarray
    ) -> None:
        try:
            for number in range(rounds):
                members = (
                    chosen if rounds == 1 else np.flatnonzero(self._rounds[: len(rows)] == number)
                )
                outputs = self._step_round(rows, members)
                self._network[places[rows["instrument"][members]]] = outputs
        except Exception as error:  # noqa: BLE001  (a rung that raises is a rung that falls)
            self._log.exception("the network failed")
            self.fall(repr(error))
            # The next rung must not go on from half a step: its memory begins anew.
            self._make_memory()

    def _step_round(self, rows: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Step rows of distinct instruments; outputs by place in `members`."""
        assert self._stepper is not None
        address = rows.ctypes.data
        columns = len(CATALOGUE)
        mean, scale = self._weights["mean"][:columns], self._weights["scale"][:columns]
        outputs = np.empty((len(members), OUTPUTS), np.float32)
        done = 0
        while done < len(members):
            size = next((b for b in BATCHES if b >= len(members) - done), BATCHES[-1])
            part = members[done : done + size]
            inputs, taps = self._batches[size]
            kernels.gather(
                address, len(rows), part, len(part), mean, scale, self._inputs_kept,
                self._hidden_kept, inputs, taps,
            )  # fmt: skip
            hidden, raw = self._stepper(inputs, taps)
            outputs[done : done + len(part)] = raw[: len(part)]
            kernels.keep(
                address, len(rows), part, len(part), inputs, hidden, self._inputs_kept,
                self._hidden_kept,
            )  # fmt: skip
            self._batch_rows = size
            done += len(part)
        self.steps += len(members)
        return outputs

    def _finish(self, rows: np.ndarray, address: int, chosen: np.ndarray, began_ns: int) -> None:
        count = len(chosen)
        rule = moving_average_cross(rows["values"][chosen])
        out = self._out[:count]
        kernels.write_predictions(
            address, len(rows), chosen, count, self._network, self._stepper is not None, rule,
            self._out.ctypes.data,
        )  # fmt: skip
        network = self._stepper is not None
        out["model_version"] = self.manifest.fingerprint if network and self.manifest else 0
        out["rung"], out["device"] = self.rung, self._device
        out["batch_rows"] = self._batch_rows if network else 0
        out["config_generation"] = self.generation
        now_ns = self._now_ns()
        late = now_ns - began_ns > self._settings.deadline_ms * 1e6
        out["flags"] = PredictionFlag.LATE if late else 0
        out["made_ns"] = now_ns
        self._publish(self._out, count)
        self._judge(late=late)

    def _judge(self, *, late: bool) -> None:
        if not late:
            self._missed_in_a_row = 0
            return
        self.misses += 1
        self._missed_in_a_row += 1
        if self._missed_in_a_row >= self._settings.misses_to_fall:
            self.fall(f"{self._missed_in_a_row} deadlines missed in a row")

    def obey(self, settings: InferenceSettings) -> None:
        """Take settings that need no new model."""
        self._settings = settings
