"""The model chain: MLX, the same network in numpy, no network at all; and back.

Every feature row is in the network's memory of its instrument; of several rows that wait, only the
newest is published, and only those are computed that an output can still depend on. A rung falls at
once when it raises, and after so many deadlines missed in a row; the rung above is tried again
after a while by a real forward pass. The rule strategies need no rung, nor do the models beside the
network (`places.py`): the line-up of all that spoke is what a prediction names as its version.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from models.base import Manifest, ModelError
from models.drift import SEEN_EDGES, SEEN_SHARES
from models.family import Weights
from models.tcn import BATCHES, MlxStepper, NumpyStepper, Stepper
from processes.clock import monotonic_s
from processes.inference import kernels
from processes.inference.choice import opened
from processes.inference.drift import Drift
from processes.inference.flight import Flight
from processes.inference.kernels import MOST_ROWS
from processes.inference.memory import Batch, Memory
from processes.inference.places import Place, Places
from processes.inference.threads import patient
from processes.logs import Log
from schemas import features
from schemas.lineup import LineUp, Standing
from schemas.predictions import MODELS, NETWORK, RULE, Device, PredictionFlag, Rung
from schemas.settings import InferenceSettings

TRIAL_ROUNDS: Final = 200
_MLX_NAMES: Final = {Device.MLX_CPU: "cpu", Device.MLX_GPU: "gpu"}
_LATE: Final = int(PredictionFlag.LATE)
# Kernels are given plain integers: an IntEnum costs numba 30 µs to recognise.

_NETWORK: Final = MODELS.index(NETWORK)
_RULE_STANDING: Final = Standing(place=RULE, family=RULE)

Keep = Callable[[LineUp], object]
"""Takes a line-up that predictions are about to name."""
Publish = Callable[[int, int, int], None]
"""Takes predictions: the address where they stand, how many, and the time of their cut."""


class Chain:
    """All models over all instruments.

    Args:
        folder: of the network's model. instruments: how many there are.
        publish: takes finished predictions. on_rung: told of every fall and rise.
        keep: takes every line-up before the first prediction that names it, to keep it.
        on_out: told of every model beside the network that is left out. flight: who computes.
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
        *,
        keep: Keep = lambda *_: None,
        on_out: Callable[[Place, str], None] = lambda *_: None,
        flight: Flight | None = None,
    ) -> None:
        self.rung = Rung.POSITIONS_ONLY
        self.cold = True
        """The memory is not what this rung would have made of the rows before: `forget`, and `warm`
        it with them. Then a prediction depends on the newest rows and its rung alone, whatever was
        restarted or fell before it."""
        self.manifest: Manifest | None = None
        self.drift: Drift | None = None
        """Of the network, or of the first beside it, that brought the bins of its training."""
        self.generation = 0
        self.published = 0
        self.steps = 0
        self.superseded = 0
        self.misses = 0
        self.falls = 0
        self._device = Device.NONE
        self._settings = settings
        self._deadline_ns = settings.deadline_ms * 1e6
        self._folder = folder
        self._instruments = max(instruments, 1)
        self._publish = publish
        self._now_ns = now_ns
        self._log = log
        self._on_rung = on_rung
        self._weights: dict[str, np.ndarray] = {}
        self._stepper: Stepper | None = None
        self._binned_by = ""
        self._missed_in_a_row = 0
        self._retry_s = 0.0
        self._shy_s = 0.0
        self._is_asked = settings.enabled and NETWORK in settings.families
        self._batch_rows = 0
        self._keep = keep
        self._flight = flight or Flight(None)
        families = settings.families
        self._is_rule_asked = RULE in families
        self._standing: Standing | None = None
        self._versions: dict[tuple[Standing, ...], int] = {}
        self._newest: tuple[tuple[Standing, ...], bool, int] = ((), False, -1)
        self.places = Places(
            self._instruments, self._deadline_ns / len(families), settings.misses_to_fall, now_ns,
            log, self._flight, on_out,
        )  # fmt: skip
        self._memory = Memory(self.places, self._instruments, {})

    # ---- rungs

    def load(self) -> None:
        """Load the network and take the best rung that works."""
        if not self._settings.enabled:
            self._set_rung(Rung.POSITIONS_ONLY, "inference.enabled is false")
            return
        if NETWORK not in self._settings.families:
            self._set_rung(Rung.POSITIONS_ONLY, f"inference.families has no {NETWORK}")
            return
        try:
            found = opened(self._folder, NETWORK)
        except ModelError as error:
            self._set_rung(Rung.POSITIONS_ONLY, str(error))
            return
        self.open(found.manifest, found.weights)
        self.climb()

    def open(self, manifest: Manifest, weights: dict[str, np.ndarray]) -> None:
        """Take a network that was looked at, on no rung yet."""
        self.manifest, self._weights = manifest, weights
        self._standing = Standing(
            place=NETWORK, family=manifest.family, version=manifest.version,
            fingerprint=manifest.fingerprint,
        )  # fmt: skip
        self._newest = ((), False, -1)
        self._stepper = None
        self._memory = Memory(self.places, self._instruments, weights)
        self.drift, self._binned_by = None, ""
        self.take_bins(NETWORK, weights)

    def take_bins(self, family: str, weights: Weights) -> None:
        """Tell the drift against a training, if no other's is told: the network's before all.

        Raises:
            ModelError: the bins have another shape.
        """
        others = self._binned_by not in {"", family} or (
            family != NETWORK and self.manifest is not None
        )
        if others or SEEN_EDGES not in weights or SEEN_SHARES not in weights:
            return
        used = weights["scale"] > 0 if family == NETWORK else np.ones(features.WIDTH, bool)
        self.drift = Drift(weights[SEEN_EDGES], weights[SEEN_SHARES], used)
        self._binned_by = family

    def climb(self) -> None:
        """Try the rungs from the best down; each by a real forward pass."""
        if self._settings.device != "numpy" and monotonic_s() >= self._shy_s:
            self._flight.enter(_NETWORK)
            try:
                with patient():
                    self._stepper, self._device = self._make_mlx()
            except Exception as error:  # noqa: BLE001  (whatever MLX raises: the next rung)
                self._log.warning("MLX cannot be used", reason=repr(error))
            else:
                self._flight.leave()
                self._set_rung(Rung.MLX, "")
                return
            self._flight.leave()
        why = "" if self._settings.device == "numpy" else "MLX cannot be used"
        self.use(Rung.CPU, Device.NUMPY, why)

    def use(self, rung: Rung, device: Device, why: str = "") -> None:
        """Take this rung on this device.

        Raises:
            Exception: whatever MLX raises where it has no such device.
        """
        self._device = device
        if device == Device.NUMPY:
            self._stepper = NumpyStepper(self._weights)
        elif device != Device.NONE:
            self._stepper = MlxStepper(self._weights, _MLX_NAMES[device])
        self._set_rung(rung, why)

    def mute(self, rung: Rung, device: Device) -> None:
        """Be on a rung with no word of the network: what a drain is in which it failed."""
        self.rung, self._device, self._stepper = rung, device, None
        self.cold = True

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
        device = Device.MLX_GPU if wanted == _MLX_NAMES[Device.MLX_GPU] else Device.MLX_CPU
        return MlxStepper(self._weights, wanted), device

    def _measure(self, stepper: Stepper) -> float:
        batch = self._memory.batches[0]
        began_s = monotonic_s()
        for _ in range(TRIAL_ROUNDS):
            batch.step(stepper)
        return monotonic_s() - began_s

    def _set_rung(self, rung: Rung, why: str) -> None:
        if rung > self.rung:
            self.falls += 1
        if rung != Rung.MLX:
            self._retry_s = monotonic_s() + self._settings.retry_s
        self.rung = rung
        self.cold = True
        if rung == Rung.POSITIONS_ONLY:
            self._stepper, self._device = None, Device.NONE
        self._missed_in_a_row = 0
        self._on_rung(rung, why)

    def fall(self, why: str) -> None:
        """Go down one rung."""
        if self.rung == Rung.MLX:
            self.use(Rung.CPU, Device.NUMPY, why)
        elif self.rung == Rung.CPU:
            self._set_rung(Rung.POSITIONS_ONLY, why)

    def retry(self) -> None:
        """Once in a while, try to climb back."""
        wanted = Rung.CPU if self._settings.device == "numpy" else Rung.MLX
        if not self._is_asked or self.rung == wanted or monotonic_s() < self._retry_s:
            return
        if self.rung == Rung.CPU and monotonic_s() < self._shy_s:
            return
        self._retry_s = monotonic_s() + self._settings.retry_s
        if self.manifest is None:
            self.load()
        else:
            self.climb()

    def shun_mlx(self, until_s: float) -> None:
        """Do not try MLX before a time of the monotonic clock: the process has died of it."""
        self._shy_s = until_s

    def prove(self) -> None:
        """A real forward pass of the network, which touches no memory; it falls if that raises."""
        if self._stepper is None:
            return
        self._flight.enter(_NETWORK)
        try:
            self._memory.batches[0].step(self._stepper)
        except Exception as error:  # noqa: BLE001  (a rung that raises is a rung that falls)
            self._log.exception("the network failed")
            self.fall(repr(error))
        self._flight.leave()

    # ---- rows

    def compile(self) -> None:
        """Run every compiled part once, so that the first real row is as quick as the others."""
        rows = np.zeros(1, features.SLOT)
        if self.drift is not None:
            self.drift.take(0, int(rows.ctypes.data))
        publish, self._publish = self._publish, lambda *_: None
        address = int(rows.ctypes.data)
        self.take(rows, address)
        self.places.compile(self._memory.table, address)
        self._publish = publish
        self.published = self.steps = self.superseded = self.misses = 0
        self._missed_in_a_row = 0
        self._memory.forget()

    def forget(self) -> None:
        """Begin the memory anew."""
        self._memory.forget()
        self.cold = False

    def warm(self, rows: np.ndarray, address: int) -> None:
        """Step rows that were predicted already, or are too old to be."""
        if kernels.arrange(self._memory.table, address, len(rows)):
            self._step(address, len(rows))

    def follow(self, rows: np.ndarray, address: int) -> None:
        """As `warm`, of rows that no model has seen: those beside the network too, and learn."""
        self.warm(rows, address)
        self.places.follow(self._memory.table, address, len(rows))
        self.places.learn(rows)

    def catch_up(self, place: Place, rows: np.ndarray, address: int) -> None:
        """Let a model that does not stand yet follow rows, and learn from them.

        Raises:
            ModelError: it cannot.
        """
        kernels.arrange(self._memory.table, address, len(rows))
        self.places.catch_up(place, self._memory.table, address, len(rows))
        if place.learner is not None:
            place.learner.take(rows)

    def take(self, rows: np.ndarray, address: int) -> None:
        """Take all rows in, publish the newest of each instrument.

        Args:
            rows: feature slots in order, at most MOST_ROWS. address: where they stand.
        """
        began_ns = self._now_ns()
        memory, count = self._memory, len(rows)
        assert count <= MOST_ROWS
        good = kernels.arrange(memory.table, address, count)
        if not good:
            self.places.learn(rows)
            return
        network = self._step(address, count)
        spent_ns = self._now_ns() - began_ns
        places, learner = self.places, self.places.learner
        places.step(memory.table, address, count)
        now_ns = self._now_ns()
        has_rule = self._has_rule
        made = kernels.write_predictions(
            memory.table, address, count, network, has_rule, self._version(network),
            learner.state if learner is not None and places.learner is learner else 0,
            int(self.told_rung), int(self._device), self._batch_rows if network else 0,
            self.generation, now_ns, _LATE if now_ns - began_ns > self._deadline_ns else 0,
        )  # fmt: skip
        before = places.standings
        places.blend(memory.out[:made])
        if places.standings is not before:
            memory.out["model_version"][:made] = self._version(network)
        self._publish(memory.out_address, made, int(rows["cut_ns"][-1]))
        self.published += made
        self.superseded += good - made
        self._judge(late=spent_ns > self._deadline_ns)
        places.learn(rows)

    @property
    def told_rung(self) -> Rung:
        """The rung that predictions tell: with a fitted model beside it, no network is no end."""
        return Rung.CPU if self.rung == Rung.POSITIONS_ONLY and self.places.speaks else self.rung

    @property
    def speaking(self) -> set[str]:
        """The places of the network and the textbook's rule, if they speak."""
        network = {NETWORK} if self._stepper is not None else set()
        return network | ({RULE} if self._has_rule else set())

    @property
    def _has_rule(self) -> bool:
        """Whether the rule of the textbook speaks: no version of it stands in its place."""
        return self._is_rule_asked and self.places.get(RULE) is None

    def _version(self, network: bool) -> int:
        """Fingerprint of the line-up that speaks now, which is kept before it is told."""
        standings, with_network, version = self._newest
        if standings is self.places.standings and with_network == network and version >= 0:
            return version
        spoken = [self._standing] if network and self._standing is not None else []
        spoken += [_RULE_STANDING] if self._has_rule else []
        lineup = LineUp(standings=(*spoken, *self.places.standings))
        if lineup.standings not in self._versions:
            self._keep(lineup)
            self._versions[lineup.standings] = lineup.version
        version = self._versions[lineup.standings]
        self._newest = (self.places.standings, network, version)
        return version

    def _step(self, address: int, count: int) -> bool:
        """Step the rows that were arranged, if there is a network; whether it has spoken."""
        stepper = self._stepper
        if stepper is None:
            return False
        before, after = kernels.advance(self._memory.table, address, count)
        listed = before + after
        # Few instruments always go in small batches: how rows were grouped changes no bit then.
        small = 2 * self._instruments <= BATCHES[0] or listed <= BATCHES[0]
        batch = self._memory.batches[0 if small else -1]
        self._flight.enter(_NETWORK)
        try:
            self._step_listed(stepper, batch, 0, before)
            self._step_listed(stepper, batch, before, listed)
        except Exception as error:  # noqa: BLE001  (a rung that raises is a rung that falls)
            self._flight.leave()
            self._log.exception("the network failed")
            self.fall(repr(error))
            return False
        self._flight.leave()
        self._batch_rows = batch.rows
        self.steps += listed
        return True

    def _step_listed(self, stepper: Stepper, batch: Batch, begin: int, end: int) -> None:
        table = self._memory.table
        while begin < end:
            last = min(begin + batch.rows, end)
            kernels.gather(
                table, begin, last, batch.rows, batch.inputs_at, batch.first_at, batch.second_at
            )
            batch.step(stepper)
            kernels.absorb(table, begin, last, batch.rows, batch.hidden_at, batch.deeper_at)
            begin = last

    def _judge(self, *, late: bool) -> None:
        if not late:
            self._missed_in_a_row = 0
            return
        self.misses += 1
        self._missed_in_a_row += 1
        if self._missed_in_a_row >= self._settings.misses_to_fall:
            self.fall(f"{self._missed_in_a_row} deadlines missed in a row")
