"""train: models of one family or all, out of the lake; how far it is, and what came of it."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from models.base import ModelError
from models.families import FAMILIES
from processes.cli.backtest import choose_settings, read_time
from processes.cli.screen import complain, say, say_json, table
from processes.clock import Clock, measure_offset_ns, monotonic_s
from processes.model_registry import models_folder, prune
from processes.operations.figures import span
from processes.operations.instance import find_paths
from processes.recordings.span import FOREVER, Span
from processes.sessions import versions_used
from processes.training.blending import train_blend
from processes.training.dataset import Selection, Source, collect
from processes.training.trainer import Desk, Trained, train
from processes.training.work import Work, mark_of
from schemas.errors import OperatorError, UsageError
from schemas.predictions import BLEND
from schemas.settings import Settings
from schemas.training import TargetSettings

BAR: Final = 24
DRAW_S: Final = 0.1
LINE_S: Final = 5.0
HOUR_NS: Final = 3_600 * 10**9


class Bar:
    """How far a command is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._drawn_s = 0.0
        self._what = ""
        self._began = (monotonic_s(), 0.0)

    def report(self, what: str, share: float) -> None:
        """So much of something is done."""
        now_s = monotonic_s()
        name = what.partition(",")[0]
        if name != self._what:
            self._what, self._began = name, (now_s, share)
        elif now_s - self._drawn_s < (DRAW_S if self._live else LINE_S):
            return
        if self._quiet:
            return
        self._drawn_s = now_s
        made, took_s = share - self._began[1], now_s - self._began[0]
        left = f", {span(took_s * (1 - share) / made)} left" if made > 0.01 else ""
        bar = f"[{'#' * round(share * BAR)}{'.' * (BAR - round(share * BAR))}] "
        if self._live:
            sys.stderr.write(f"\r\x1b[K{bar}{share:4.0%}  {what}{left}")
            sys.stderr.flush()
        else:
            complain(f"{share:4.0%}  {what}{left}")

    def end(self) -> None:
        """Leave the line."""
        if self._live and not self._quiet:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def run_train(
    profile: str,
    config: Path | None,
    family: str,
    span: tuple[str, str, float],
    asked: tuple[str, str],
    *,
    folds: int,
    seed: int,
    recorded: bool,
    as_json: bool,
) -> None:
    """Train, and print what came of it.

    Args:
        span: --from, --to, --days. asked: --symbols, --horizon.

    Raises:
        OperatorError: of several trainings one failed; the others' models are there.
    """
    symbols, horizon = asked
    settings = choose_settings(profile, config, {})
    names = _families(family, settings)
    targets = _targets(horizon, settings)
    selection = Selection(
        span=_span(*span),
        symbols=tuple(one.strip() for one in symbols.split(",") if one.strip()),
        recorded=recorded,
        max_rows=settings.training.max_rows,
    )
    data = find_paths().data
    source = Source(data, selection)
    bar = Bar(quiet=as_json and not sys.stderr.isatty())
    folder = models_folder(data)
    with Work(folder) as work:
        rows = work.rows(mark_of(source.mark))
        dataset = collect(source, rows, lambda share: bar.report("rows out of the lake", share))
        desk = Desk(folder, work, settings, source, dataset, folds or settings.training.folds, seed)
        made, failed = _all(desk, names, targets, bar)
    bar.end()
    used = versions_used(data)
    for name in names:
        prune(folder, name, settings.training.keep, used.get(name, ()))
    if as_json:
        say_json([_told(one) for one in made])
    elif made:
        show(made)
    if failed:
        told = [f"{', '.join(whose)}: {why}" for why, whose in failed.items()]
        raise OperatorError("; ".join(told))


def _all(
    desk: Desk, names: Sequence[str], targets: Sequence[TargetSettings], bar: Bar
) -> tuple[list[Trained], dict[str, list[str]]]:
    """What was trained; why something was not, and what."""
    made: list[Trained] = []
    failed: dict[str, list[str]] = {}
    for target in targets:
        for name in names:
            what = f"{target.horizon_s:g} s"
            try:
                make = train_blend if name == BLEND else partial(train, family=name)
                made.append(
                    make(
                        desk,
                        target=target,
                        report=lambda told, share, at=what: bar.report(  # type: ignore[misc]
                            f"{at}, {told}", share
                        ),
                    )
                )
            except ModelError as error:
                failed.setdefault(str(error), []).append(f"{name} {what}")
    return made, failed


def _families(text: str, settings: Settings) -> list[str]:
    unknown = [one for one in settings.training.baselines if one not in FAMILIES]
    if unknown:
        raise UsageError(
            f"training.baselines names {', '.join(unknown)}; there is {', '.join(FAMILIES)}"
        )
    if text == "all":
        return [*FAMILIES, BLEND]
    if text not in {*FAMILIES, BLEND}:
        raise UsageError(f"no family {text}: say all, or one of {', '.join([*FAMILIES, BLEND])}")
    return [text]


def _targets(text: str, settings: Settings) -> list[TargetSettings]:
    known = settings.training.targets
    if not text:
        return list(known)
    listed = ", ".join(f"{one.horizon_s:g}" for one in known)
    found = []
    for word in text.split(","):
        mine = [one for one in known if f"{one.horizon_s:g}" == word.strip().removesuffix("s")]
        if not mine:
            raise UsageError(
                f"--horizon {word}: no such target; training.targets has {listed} (seconds)"
            )
        found += mine
    return found


def _span(begin: str, end: str, days: float) -> Span:
    if days:
        if begin or end:
            raise UsageError("--days takes the place of --from and --to: leave them out")
        to_ns = Clock(measure_offset_ns()).now_ns() // HOUR_NS * HOUR_NS
        return Span(from_ns=to_ns - round(days * 24 * HOUR_NS), to_ns=to_ns)
    asked = Span(
        from_ns=read_time("--from", begin) if begin else 0,
        to_ns=read_time("--to", end) if end else FOREVER,
    )
    if asked.from_ns >= asked.to_ns:
        raise UsageError(f"--from {begin} is not before --to {end}")
    return asked


def _told(one: Trained) -> dict[str, object]:
    told = one.report
    return {
        "family": told.family,
        "version": told.version,
        "folder": str(one.folder),
        "was_there": one.was_there,
        "horizon_s": told.horizon_s,
        "samples": told.evaluation.samples,
        "log_loss": told.evaluation.log_loss,
        "less_flat": told.flat.difference,
        "auc_direction": told.evaluation.auc_direction,
        "findings": told.leakage.findings,
        "compared": told.made.compared,
        "difference": told.made.difference,
    }


def show(made: Sequence[Trained]) -> None:
    """The models for a reader."""
    rows = []
    for one in made:
        told, flat = one.report.evaluation, one.report.flat.difference
        verdict = "better" if flat.high < 0 else "worse" if flat.low > 0 else "not told apart"
        rows.append(
            [
                one.report.family, f"{one.report.horizon_s:g} s", f"{told.samples:,}",
                f"{told.log_loss.value:.4f}", f"{flat.value:+.4f}", verdict,
                f"{told.auc_direction.value:.3f}", str(len(one.report.leakage.findings)),
                "there already" if one.was_there else "",
            ]
        )  # fmt: skip
    head = [
        "family",
        "horizon",
        "tested",
        "log loss",
        "less flat's",
        "than flat",
        "AUC",
        "leaks",
        "",
    ]
    say(table(head, rows, right=range(1, 5)))
    for one in made:
        for finding in one.report.leakage.findings:
            complain(f"{one.report.family}: {finding.check}: {finding.text}")
    difference = made[0].report.made.difference
    if difference is not None:
        complain(
            f"rows made again are not those that were recorded: {difference.field} of row "
            f"{difference.sequence} was {difference.recorded}, is {difference.replayed}"
        )
    say()
    for one in made:
        say(f"{one.folder}")
    say("\nreport.html is in each. To use one: dcctl models promote FAMILY VERSION")
