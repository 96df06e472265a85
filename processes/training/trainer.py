"""One training: folds one after another, then all together, and a model with its report.

Each fit's outcome is kept as it is done (work.py), so a training that is broken off goes on where
it was. The same inputs give the same weights and the same report, to the byte. The version's folder
appears whole or not at all.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np

from models import labels
from models.base import Manifest, save_model
from models.families import FAMILIES
from models.family import Weights
from models.labels import SECOND_NS, Paths
from models.samples import OUTPUTS, Samples, Target
from processes import model_registry
from processes.clock import file_stamp, utc_text
from processes.training import leakage
from processes.training.costs import round_trip_bps
from processes.training.dataset import Dataset, Source
from processes.training.evaluation import Forecasts, base_rates, chances_of, evaluate, log_losses
from processes.training.folds import Fold, Plan, walk_forward
from processes.training.leakage import Leakage
from processes.training.report import page
from processes.training.result import REPORT, FoldResult, Importance, TrainingReport, read_report
from processes.training.work import Work, kept, libraries, mark_of
from schemas import features
from schemas.features import CATALOGUE
from schemas.settings import Settings
from schemas.training import TargetSettings

PAGE: Final = "report.html"
OUT_OF_FOLD: Final = "out_of_fold.npz"
"""What the folds' models said of their tests: cut_ns, instrument, label, move_bps, said, flat."""
MADE_BY: Final = "dcctl train"
EXPLAINED: Final = 4000
"""Rows that importances are taken from: the last that were tested on."""
DAY_NS: Final = 86_400 * SECOND_NS

Report = Callable[[str, float], object]
"""Told what is being done, and how much of the training is, 0 to 1."""


@dataclass(frozen=True)
class Desk:
    """What all trainings of one command share."""

    models: Path
    work: Work
    settings: Settings
    source: Source
    dataset: Dataset
    folds: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """What came of a training."""

    folder: Path
    report: TrainingReport
    was_there: bool
    """It had been trained before, of the same inputs."""


def train(desk: Desk, family: str, target: TargetSettings, report: Report) -> Trained:
    """Train one family for one target.

    Raises:
        ModelError: there is too little to learn from.
    """
    return Training(desk, family, target, report).run()


class Fitted(Protocol):
    """What is asked of a model once it was fitted."""

    def predict(self, samples: Samples) -> np.ndarray:
        """What it says of each sample: (n, OUTPUTS) float32."""

    def explain(self, samples: Samples) -> np.ndarray:
        """How much each column has moved each prediction: (n, F)."""

    def weights(self) -> Weights:
        """The numbers learnt."""


class Fits:
    """Fits of one family on the folds of one target, kept in the work folder.

    Args:
        rows_back: earlier rows that a prediction is made of. made_of: versions that it is made of.
    """

    def __init__(
        self,
        desk: Desk,
        family: str,
        target: TargetSettings,
        rows: Samples,
        rows_back: int,
        *made_of: str,
    ) -> None:
        told = desk.settings.training
        horizon_ns = round(target.horizon_s * SECOND_NS)
        self.target = Target(target.horizon_s, target.move_bps)
        self._family = family
        self.mark = mark_of(
            desk.source.mark, family, target, *made_of, told.labels, told.take_bps, told.stop_bps,
            told.gap_s, told.slippage_bps, told.window_s, told.embargo_horizons, desk.folds,
            desk.seed, desk.settings.backtest.fees, desk.settings.execution.paper.fee_bps,
        )  # fmt: skip
        plan = Plan(
            desk.folds, round(told.embargo_horizons * horizon_ns), round(told.window_s * SECOND_NS),
            rows_back,
        )  # fmt: skip
        self.folds = walk_forward(rows, plan)
        self._rows, self._seed = rows, desk.seed
        self._folder = desk.work.run(self.mark)

    def fit(self, samples: Samples, report: Callable[[float], object]) -> Fitted:
        """A model fitted on some of the samples."""
        made = FAMILIES[self._family]()
        made.fit(samples, self.target, seed=self._seed, report=report)
        return made

    def said(self, fold: Fold, report: Callable[[float], object]) -> np.ndarray:
        """(test, OUTPUTS) what a model that has learnt from a fold says of its test."""

        def make() -> dict[str, np.ndarray]:
            model = self.fit(self._rows.take(fold.train), report)
            told = model.predict(self._rows.take(fold.context))
            return {"said": told[fold.test.start - fold.context.start :].astype(np.float32)}

        return kept(self._folder / f"fold-{fold.number}.npz", make)["said"]

    def final(self, report: Callable[[float], object]) -> Fitted:
        """A model that has learnt from everything."""
        found = kept(self._folder / "final.npz", lambda: self.fit(self._rows, report).weights())
        return self.restored(found)

    def restored(self, weights: Weights) -> Fitted:
        """A model with these numbers."""
        return FAMILIES[self._family].restored(weights)

    def shuffled(self, train: Samples, test: Samples) -> np.ndarray:
        """What a model says that was fitted on shuffled labels."""

        def make() -> dict[str, np.ndarray]:
            return {"said": self.fit(train, lambda _: None).predict(test)}

        return kept(self._folder / "shuffled.npz", make)["said"]

    @property
    def folder(self) -> Path:
        """Where they are kept."""
        return self._folder


class Training:
    """One family and target."""

    def __init__(self, desk: Desk, family: str, target: TargetSettings, report: Report) -> None:
        self._desk, self._family, self._report = desk, family, report
        self._target = target
        self._cost = round_trip_bps(
            desk.dataset.samples, desk.source.instruments.values(), desk.settings
        )
        self._rows = self._labelled()
        self._paths = Paths(*(array[desk.dataset.seen] for array in desk.dataset.paths))
        self._fits, self._others = self._prepare()
        known = np.flatnonzero(self._rows.known)
        self._from_ns = int(self._rows.cut_ns[known[0]])
        self._to_ns = int(self._rows.cut_ns[known[-1]])
        self.version = f"{file_stamp(self._to_ns)}-{target.horizon_s:g}s-{self._fits.mark[:6]}"
        self._done, self._steps = 0, desk.folds * (1 + len(self._others)) + 2

    def _prepare(self) -> tuple[Fits, dict[str, Fits]]:
        """The fits of the family, and of those that it is compared with."""
        desk, family, target = self._desk, self._family, self._target
        others = [name for name in desk.settings.training.baselines if name != family]

        def fits(name: str) -> Fits:
            return Fits(desk, name, target, self._rows, FAMILIES[name].rows_back)

        return fits(family), {name: fits(name) for name in others}

    def _labelled(self) -> Samples:
        told, dataset = self._desk.settings.training, self._desk.dataset
        target, paths = Target(self._target.horizon_s, self._target.move_bps), dataset.paths
        if told.labels == "triple_barrier":
            barriers = labels.Barriers(told.take_bps, told.stop_bps)
            cost = np.zeros(len(dataset.seen))
            cost[dataset.seen] = self._cost  # the others have no label
            made = labels.barrier_labels(paths, target, barriers, cost, told.gap_s)
        else:
            made = labels.move_labels(paths, target, told.gap_s)
        return dataset.labelled(made)

    def run(self) -> Trained:
        """All of it; the version's folder if it is there already."""
        place = self._desk.models / self._family / self.version
        if place.exists():
            return Trained(place, read_report(place), was_there=True)
        said = self._walk(self._fits, self._family)
        others = self._said_by_others()
        model = self._fits.final(self._telling(f"{self._family}, all together"))
        self._done += 1
        found = self._check()
        self._done += 1
        told = self._judge(model, said, others, found)
        return Trained(self._save(model, told, said), told, was_there=False)

    def _telling(self, what: str) -> Callable[[float], object]:
        def report(share: float) -> object:
            return self._report(what, (self._done + min(max(share, 0.0), 1.0)) / self._steps)

        report(0.0)
        return report

    def _walk(self, fits: Fits, name: str) -> np.ndarray:
        """(tests, OUTPUTS) of all folds' tests, in order."""
        found = []
        for fold in fits.folds:
            telling = self._telling(f"{name}, fold {fold.number} of {len(fits.folds)}")
            found.append(fits.said(fold, telling))
            self._done += 1
        return np.concatenate(found)

    def _said_by_others(self) -> dict[str, np.ndarray]:
        return {name: self._walk(fits, name) for name, fits in self._others.items()}

    def _check(self) -> Leakage:
        self._telling(f"{self._family}, shuffled labels")
        return leakage.check(
            self._rows, self._paths, self._fits.folds, self._fits.target,
            self._desk.settings.training.gap_s, self._desk.seed, self._fits.shuffled,
        )  # fmt: skip

    # ---- what came of it

    @property
    def _tests(self) -> slice:
        return slice(self._fits.folds[0].test.start, self._fits.folds[-1].test.stop)

    def _flat(self) -> np.ndarray:
        """(tests, CLASSES) the flat baseline's chances: what each fold had learnt from."""
        return np.concatenate(
            [
                np.tile(
                    base_rates(self._rows.label[fold.train]), (fold.test.stop - fold.test.start, 1)
                )
                for fold in self._fits.folds
            ]
        )

    def _judge(
        self, model: Fitted, said: np.ndarray, others: dict[str, np.ndarray], found: Leakage
    ) -> TrainingReport:
        tests = self._rows.take(self._tests)
        known, flat = tests.known, self._flat()
        forecasts = Forecasts(
            tests.take(known), said[known], flat[known], self._cost[self._tests][known]
        )
        desk, target = self._desk, self._target
        scored = evaluate(
            forecasts,
            round(target.horizon_s * SECOND_NS),
            desk.seed,
            desk.dataset.made.instruments,
            {name: its[known] for name, its in others.items()},
        )
        return TrainingReport(
            family=self._family,
            version=self.version,
            made_by=MADE_BY,
            horizon_s=target.horizon_s,
            move_bps=target.move_bps,
            labels=desk.settings.training.labels,
            seed=desk.seed,
            from_ns=self._from_ns,
            to_ns=self._to_ns,
            made=desk.dataset.made,
            known=int(self._rows.known.sum()),
            folds=[self._fold(fold, said, flat) for fold in self._fits.folds],
            evaluation=scored,
            importances=self._importances(model),
            leakage=found,
            libraries=libraries(),
            settings=msgspec.json.decode(msgspec.json.encode(desk.settings.training)),
        )

    def _fold(self, fold: Fold, said: np.ndarray, flat: np.ndarray) -> FoldResult:
        first = self._tests.start
        mine = slice(fold.test.start - first, fold.test.stop - first)
        label = self._rows.label[fold.test].astype(np.intp)
        known = label >= 0
        chances = chances_of(said[mine], flat[mine])
        silent = chances_of(np.full((len(label), OUTPUTS), np.nan), flat[mine])
        return FoldResult(
            number=fold.number,
            learnt=int(self._rows.known[fold.train].sum()),
            purged=fold.test.start - len(fold.train),
            tested=int(known.sum()),
            from_ns=fold.from_ns,
            to_ns=fold.to_ns,
            log_loss=float(log_losses(chances[known], label[known]).mean()),
            log_loss_flat=float(log_losses(silent[known], label[known]).mean()),
        )

    def _importances(self, model: Fitted) -> list[Importance]:
        last = slice(max(self._rows.count - EXPLAINED, 0), None)
        told = np.abs(model.explain(self._rows.take(last)))
        sizes = np.nan_to_num(told).mean(axis=0)
        total = max(float(sizes.sum()), 1e-300)
        order = np.argsort(-sizes, kind="stable")
        return [
            Importance(
                column=CATALOGUE[one].name, mean=float(sizes[one]), share=float(sizes[one]) / total
            )
            for one in order.tolist()
        ]

    # ---- the model's folder

    def _save(self, model: Fitted, told: TrainingReport, said: np.ndarray) -> Path:
        made = self._fits.folder / "model"
        shutil.rmtree(made, ignore_errors=True)
        save_model(made, self._manifest(told), model.weights() | self._bins())
        tests = self._rows.take(self._tests)
        np.savez(
            made / OUT_OF_FOLD, cut_ns=tests.cut_ns, instrument=tests.instrument,
            label=tests.label, move_bps=tests.move_bps, said=said, flat=self._flat(),
        )  # fmt: skip
        (made / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2))
        (made / PAGE).write_text(page(told), encoding="utf-8")
        return model_registry.publish(made, self._desk.models, self._family, self.version)

    def _manifest(self, told: TrainingReport) -> Manifest:
        scored, made = told.evaluation, self._desk.dataset.made
        middle = scored.thresholds[len(scored.thresholds) // 2]
        return Manifest(
            name=self._family,
            family=self._family,
            version=self.version,
            features=features.FINGERPRINT,
            columns=[feature.name for feature in CATALOGUE],
            horizon_s=told.horizon_s,
            move_bps=told.move_bps,
            labels=told.labels,
            trained_on=(
                f"{told.known:,} of {made.rows:,} rows of {', '.join(made.instruments.values())}, "
                f"{utc_text(told.from_ns)} to {utc_text(told.to_ns)}"
            ),
            made_by=MADE_BY,
            metrics={
                "samples": float(scored.samples),
                "log_loss": scored.log_loss.value,
                "log_loss_less_flat": told.flat.difference.value,
                "log_loss_less_flat_high": told.flat.difference.high,
                "brier": scored.brier.value,
                "accuracy": scored.accuracy.value,
                "auc_direction": scored.auc_direction.value,
                "net_bps": middle.net_bps.value,
                "leaks": float(len(told.leakage.findings)),
            },
            libraries=told.libraries,
            weights="",
            trained_from_ns=told.from_ns,
            trained_to_ns=told.to_ns,
            expires_ns=told.to_ns + round(self._desk.settings.training.expiry_days * DAY_NS),
            seed=told.seed,
            instruments=list(made.instruments.values()),
            members=self._members(),
        )

    def _bins(self) -> Weights:
        """What the model is to see a drift of its columns by."""
        return self._desk.dataset.bins

    def _members(self) -> list[str]:
        """Of a blend, whom it is made of."""
        return []
