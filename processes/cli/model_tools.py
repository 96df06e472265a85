"""What the models command does."""

from pathlib import Path
from typing import Any

from models.base import Manifest, ModelError
from processes import model_registry
from processes.cli.instance import find_paths
from processes.cli.screen import colour, complain, say, say_json, table
from processes.clock import Clock, measure_offset_ns, utc_text
from processes.model_registry import Pointer
from processes.training import promotion
from processes.training.report import about
from processes.training.result import TrainingReport, read_report
from schemas.errors import OperatorError, UsageError
from schemas.features import FINGERPRINT


def _folder() -> Path:
    return model_registry.models_folder(find_paths().data)


def _now_ns() -> int:
    return Clock(measure_offset_ns()).now_ns()


def list_models(family: str, *, as_json: bool) -> None:
    """Versions of a family, or of all."""
    folder = _folder()
    known = model_registry.families(folder)
    if family and family not in known:
        model_registry.find(folder, family, "last")  # says what there is
    listed = [
        _described(folder, name, version)
        for name in ([family] if family else known)
        for version in model_registry.versions(folder, name)
    ]
    if as_json:
        say_json(listed)
        return
    if not listed:
        say("no model is trained yet; type: dcctl train all")
        return
    rows = [
        [
            one["family"], one["version"], f"{one['horizon_s']:g} s", one["trained_to"],
            _figure(one, "log_loss", ".4f"), _figure(one, "log_loss_less_flat", "+.4f"),
            _figure(one, "auc_direction", ".3f"), _figure(one, "net_bps", "+.2f"), one["state"],
        ]
        for one in listed
    ]  # fmt: skip
    head = ["family", "version", "horizon", "trained to", "log loss", "less flat's", "AUC",
            "net bp", ""]  # fmt: skip
    say(table(head, rows, right=range(4, 8)))


def _figure(one: dict[str, Any], name: str, form: str) -> str:
    return format(one["metrics"][name], form) if name in one["metrics"] else "-"


def _described(folder: Path, family: str, version: str) -> dict[str, Any]:
    told = model_registry.pointer(folder, family)
    try:
        manifest = promotion.read_manifest(folder / family / version)
    except ModelError as error:
        complain(str(error))
        manifest = None
    return {
        "family": family,
        "version": version,
        "state": _state(manifest, told, version),
        "promoted": told is not None and told.version == version,
        "horizon_s": manifest.horizon_s if manifest else 0.0,
        "move_bps": manifest.move_bps if manifest else 0.0,
        "trained_from": utc_text(manifest.trained_from_ns) if manifest else "",
        "trained_to": utc_text(manifest.trained_to_ns) if manifest else "",
        "expires": utc_text(manifest.expires_ns) if manifest and manifest.expires_ns else "",
        "instruments": manifest.instruments if manifest else [],
        "metrics": manifest.metrics if manifest else {},
    }


def _state(manifest: Manifest | None, told: Pointer | None, version: str) -> str:
    words = []
    if told is not None and told.version == version:
        words.append("promoted")
    if manifest is None:
        words.append("damaged")
    elif manifest.features != FINGERPRINT:
        words.append("other rows")
    elif manifest.expires_ns and _now_ns() >= manifest.expires_ns:
        words.append("expired")
    return ", ".join(words)


def show_model(family: str, version: str, *, as_json: bool) -> None:
    """One version."""
    folder = _folder()
    place = model_registry.find(folder, family, version)
    report = read_report(place)
    described = _described(folder, family, place.name)
    history = [
        one for one in model_registry.history(folder, family) if place.name in
        {one.version, one.previous}
    ]  # fmt: skip
    against = promotion.objections(place, _promoted_or_none(folder, family), _now_ns())
    if as_json:
        say_json({**described, "against": against, "promotions": history, "report": report})
        return
    _show(report, described)
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
    folder = _folder()
    place = model_registry.find(folder, family, version)
    if force and not reason.strip():
        raise UsageError('--force needs --reason "why", which is kept in the history')
    against = promotion.objections(place, _promoted_or_none(folder, family), _now_ns())
    if against and not force:
        raise OperatorError(
            f"{family} {place.name} is not promoted: {'; '.join(against)}. Although: dcctl models "
            f'promote {family} {place.name} --force --reason "why"'
        )
    told = model_registry.promote(folder, family, place.name, _now_ns(), reason.strip(), against)
    _say_pointer(family, told, as_json=as_json)


def _promoted_or_none(folder: Path, family: str) -> Path | None:
    """What is promoted, if it is still there: what is gone stands in nobody's way."""
    told = model_registry.pointer(folder, family)
    found = folder / family / told.version if told is not None else None
    return found if found is not None and found.is_dir() else None


def roll_back_model(family: str, reason: str, *, as_json: bool) -> None:
    """Go back."""
    folder = _folder()
    model_registry.find(folder, family, "last")  # says what there is
    told = model_registry.roll_back(folder, family, _now_ns(), reason.strip())
    _say_pointer(family, told, as_json=as_json)


def _say_pointer(family: str, told: Pointer, *, as_json: bool) -> None:
    if as_json:
        say_json(told)
        return
    before = f"; before it {told.previous}" if told.previous else ""
    say(f"{family} {told.version} is promoted since {utc_text(told.since_ns)}{before}")
