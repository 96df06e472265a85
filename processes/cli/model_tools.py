"""What the models command does."""

from pathlib import Path
from typing import Any

from processes import model_registry
from processes.cli.screen import colour, complain, say, say_json, table
from processes.clock import utc_text
from processes.model_registry import Pointer
from processes.operations.instance import find_paths
from processes.operations.models import (
    advice,
    described,
    listed,
    now_ns,
    promote,
    promoted_or_none,
    roll_back,
)
from processes.training import promotion
from processes.training.report import about
from processes.training.result import TrainingReport, read_report


def _folder() -> Path:
    return model_registry.models_folder(find_paths().data)


def list_models(family: str, *, as_json: bool) -> None:
    """Versions of a family, or of all."""
    folder = _folder()
    found = listed(folder, family)
    for one in found:
        if one["damage"]:
            complain(one["damage"])
    if as_json:
        say_json(found)
        return
    if not found:
        say("no model is trained yet; type: dcctl train all")
        return
    rows = [
        [
            one["family"], one["version"], f"{one['horizon_s']:g} s", one["trained_to"],
            _figure(one, "log_loss", ".4f"), _figure(one, "log_loss_less_flat", "+.4f"),
            _figure(one, "auc_direction", ".3f"), _figure(one, "net_bps", "+.2f"), one["state"],
        ]
        for one in found
    ]  # fmt: skip
    head = ["family", "version", "horizon", "trained to", "log loss", "less flat's", "AUC",
            "net bp", ""]  # fmt: skip
    say(table(head, rows, right=range(4, 8)))


def _figure(one: dict[str, Any], name: str, form: str) -> str:
    return format(one["metrics"][name], form) if name in one["metrics"] else "-"


def show_model(family: str, version: str, *, as_json: bool) -> None:
    """One version."""
    folder = _folder()
    place = model_registry.find(folder, family, version)
    report = read_report(place)
    told = described(folder, family, place.name)
    history = [
        one for one in model_registry.history(folder, family) if place.name in
        {one.version, one.previous}
    ]  # fmt: skip
    against = promotion.objections(place, promoted_or_none(folder, family), now_ns())
    if as_json:
        say_json({**told, "against": against, "promotions": history, "report": report})
        return
    _show(report, told)
    for text in against:
        say(colour(f"against it: {text}", "yellow"))
    for one in history:
        forced = f", forced over: {'; '.join(one.overruled)}" if one.overruled else ""
        why = f" ({one.reason})" if one.reason else ""
        say(f"{utc_text(one.time_ns)}  {one.action} to {one.version}{why}{forced}")
    say(f"\n{place / 'report.html'}")


def _show(report: TrainingReport, described: dict[str, Any]) -> None:
    told = report.evaluation
    rows = [
        ["family, version", f"{report.family} {report.version}"],
        ["state", described["state"] or "trained"],
        ["predicts", f"{report.labels} over {report.horizon_s:g} s from {report.move_bps:g} bp"],
        ["trained", f"{described['trained_from']} to {described['trained_to']}"],
        ["expires", described["expires"] or "never"],
        ["instruments", ", ".join(described["instruments"])],
        ["tested", f"{told.samples:,} samples, {len(report.folds)} folds"],
        ["log loss", about(told.log_loss, 4)],
        *[[f"less {one.name}'s", about(one.difference, 4)] for one in told.versus],
        ["AUC of up against down", f"{told.auc_direction.value:.3f}"],
        ["Brier", f"{told.brier.value:.4f}"],
        ["told right", f"{told.accuracy.value:.1%}"],
        ["findings of the checks", str(len(report.leakage.findings))],
        ["moved most by", ", ".join(one.column for one in report.importances[:5])],
    ]  # fmt: skip
    say(table(["what", ""], rows))


def compare_models(first: str, second: str, *, as_json: bool) -> None:
    """Two versions beside each other."""
    folder = _folder()
    places = [_place(folder, text) for text in (first, second)]
    told = promotion.beside(*places)
    reports = [read_report(place) for place in places]
    if as_json:
        say_json({"first": reports[0].version, "second": reports[1].version, **told._asdict()})
        return
    names = [f"{one.family} {one.version}" for one in reports]
    rows = [
        ["log loss on shared tests", f"{told.first:.4f}", f"{told.second:.4f}"],
        *[
            [what, *[format(pick(one), form) for one in reports]]
            for what, form, pick in (
                ("log loss on its own", ".4f", lambda one: one.evaluation.log_loss.value),
                ("AUC of up against down", ".3f", lambda one: one.evaluation.auc_direction.value),
                ("Brier", ".4f", lambda one: one.evaluation.brier.value),
                ("told right", ".1%", lambda one: one.evaluation.accuracy.value),
                ("findings of the checks", "d", lambda one: len(one.leakage.findings)),
            )
        ],
    ]
    say(table(["", *names], rows, right=[1, 2]))
    gap = told.difference
    better = names[0] if gap.high < 0 else names[1] if gap.low > 0 else "neither"
    say(
        f"\n{told.shared:,} shared tests; the first's log loss less the second's "
        f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}): {better} is better"
    )


def _place(folder: Path, text: str) -> Path:
    family, _, version = text.partition("/")
    return model_registry.find(folder, family, version)


def promote_model(family: str, version: str, *, force: bool, reason: str, as_json: bool) -> None:
    """Promote, or say why not.

    Raises:
        OperatorError: something speaks against it. UsageError: forced without a reason.
    """
    told = promote(_folder(), family, version, reason, force=force)
    _say_pointer(family, told, as_json=as_json)
    if not as_json and (todo := advice(family)):
        say(todo)


def roll_back_model(family: str, reason: str, *, as_json: bool) -> None:
    """Go back."""
    told = roll_back(_folder(), family, reason)
    _say_pointer(family, told, as_json=as_json)


def _say_pointer(family: str, told: Pointer, *, as_json: bool) -> None:
    if as_json:
        say_json(told)
        return
    before = f"; before it {told.previous}" if told.previous else ""
    say(f"{family} {told.version} is promoted since {utc_text(told.since_ns)}{before}")
