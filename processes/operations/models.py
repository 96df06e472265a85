"""Trained models as a person sees them, and which of them is at work."""

from pathlib import Path
from typing import Any

from models.base import Manifest, ModelError
from processes import model_registry
from processes.clock import Clock, measure_offset_ns, utc_text
from processes.model_registry import Pointer
from processes.operations.instance import find_paths
from processes.places import is_locked, read_settings
from processes.training import promotion
from schemas.errors import OperatorError, UsageError
from schemas.features import FINGERPRINT
from schemas.predictions import BLEND, PLACE_OF


def now_ns() -> int:
    """Nanoseconds UTC."""
    return Clock(measure_offset_ns()).now_ns()


def listed(folder: Path, family: str = "") -> list[dict[str, Any]]:
    """Versions of a family, or of all.

    Raises:
        OperatorError: there is no such family.
    """
    known = model_registry.families(folder)
    if family and family not in known:
        model_registry.find(folder, family, "last")  # says what there is
    return [
        described(folder, name, version)
        for name in ([family] if family else known)
        for version in model_registry.versions(folder, name)
    ]


def described(folder: Path, family: str, version: str) -> dict[str, Any]:
    """A version with what it was trained on and how good it is; a damaged one says so."""
    told = model_registry.pointer(folder, family)
    damage = ""
    try:
        manifest: Manifest | None = promotion.read_manifest(folder / family / version)
    except ModelError as error:
        manifest, damage = None, str(error)
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
        "damage": damage,
    }


def _state(manifest: Manifest | None, told: Pointer | None, version: str) -> str:
    words = []
    if told is not None and told.version == version:
        words.append("promoted")
    if manifest is None:
        words.append("damaged")
    elif manifest.features != FINGERPRINT:
        words.append("other rows")
    elif manifest.expires_ns and now_ns() >= manifest.expires_ns:
        words.append("expired")
    return ", ".join(words)


def promoted_or_none(folder: Path, family: str) -> Path | None:
    """What is promoted, if it is still there: what is gone stands in nobody's way."""
    told = model_registry.pointer(folder, family)
    found = folder / family / told.version if told is not None else None
    return found if found is not None and found.is_dir() else None


def promote(folder: Path, family: str, version: str, reason: str, *, force: bool) -> Pointer:
    """Put a version to work.

    Raises:
        OperatorError: something speaks against it. UsageError: forced without a reason.
    """
    place = model_registry.find(folder, family, version)
    if force and not reason.strip():
        raise UsageError('--force needs --reason "why", which is kept in the history')
    against = promotion.objections(place, promoted_or_none(folder, family), now_ns())
    if against and not force:
        raise OperatorError(
            f"{family} {place.name} is not promoted: {'; '.join(against)}. Although: dcctl models "
            f'promote {family} {place.name} --force --reason "why"'
        )
    return model_registry.promote(folder, family, place.name, now_ns(), reason.strip(), against)


def roll_back(folder: Path, family: str, reason: str) -> Pointer:
    """Go back to what was at work before."""
    model_registry.find(folder, family, "last")  # says what there is
    return model_registry.roll_back(folder, family, now_ns(), reason.strip())


def advice(family: str) -> str:
    """What to type so that a promoted family speaks; empty if it does by itself."""
    families = _families()
    if family == BLEND or family in families:
        return ""
    if family not in PLACE_OF:
        return f"it does not speak: {family} is there to be beaten, and has no place in the line-up"
    kept = [one for one in families if PLACE_OF[one] != PLACE_OF[family]]
    return (
        f"it does not speak yet: inference.families has no {family}. Write into "
        f"config/config.yml\n  inference: {{families: [{', '.join([*kept, family])}]}}\nand type: "
        "dcctl reload"
    )


def _families() -> tuple[str, ...]:
    """Who stands in the line-up: of what runs, or of the settings."""
    if is_locked(run := find_paths().run):
        return read_settings(run)[0].inference.families
    from config.loader import load  # noqa: PLC0415 (what runs needs none)

    return load().inference.families
