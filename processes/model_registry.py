"""Trained models below the data folder: where each stands, and which of a family is promoted.

    data/models/<family>/<version>/     manifest.json weights.npz report.json report.html ...
    data/models/<family>/promoted.json  {"version", "previous", "since_ns"}
    data/models/<family>/promotions.jsonl   each promotion and rollback, only ever added to

A version's folder is renamed into its place when all of it is on disk, and never changes again.
Whoever infers asks `promoted`. What is written here survives a crash as the old or the new; a line
of the history is written before the pointer, so that no promotion is without its line. Fails with
OperatorError, and says what to type.
"""

import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import IO, Final, Literal

import msgspec
from msgspec import Struct

from processes.files import sync_folder, write_whole
from processes.locks import hold
from schemas.errors import OperatorError, UsageError

POINTER: Final = "promoted.json"
HISTORY: Final = "promotions.jsonl"
LOCK: Final = ".lock"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Pointer(Struct, frozen=True, kw_only=True):
    """Which version of a family is promoted."""

    version: str
    previous: str = ""
    """What a rollback goes back to; empty = nothing."""
    since_ns: int


class Promotion(Struct, frozen=True, kw_only=True):
    """One line of the history."""

    time_ns: int
    action: Literal["promote", "rollback"]
    version: str
    previous: str
    reason: str = ""
    overruled: list[str] = []
    """What spoke against it, where it was forced."""


def models_folder(data: Path) -> Path:
    """Where trained models are."""
    return data / "models"


def families(folder: Path) -> list[str]:
    """Families of which a version is there."""
    if not folder.is_dir():
        return []
    found = [path.name for path in folder.iterdir() if path.is_dir()]
    return sorted(name for name in found if _NAME.fullmatch(name) and versions(folder, name))


def versions(folder: Path, family: str) -> list[str]:
    """Versions of a family, the oldest first: their names begin with a time."""
    place = folder / family
    if not place.is_dir():
        return []
    return sorted(
        path.name for path in place.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)
    )


def find(folder: Path, family: str, version: str) -> Path:
    """A version's folder, by the first letters of its name, or `promoted` or `last`.

    Raises:
        UsageError: there is none such, or more than one.
    """
    known = versions(folder, family)
    if not known:
        listed = ", ".join(families(folder)) or "none; type: dcctl train all"
        raise UsageError(f"no model of the family {family} is there. Trained are: {listed}")
    if version == "promoted":
        if (found := promoted(folder, family)) is None:
            raise UsageError(f"no {family} is promoted; type: dcctl models list {family}")
        return found
    mine = known[-1:] if version in {"", "last"} else [v for v in known if v.startswith(version)]
    if version in known:
        mine = [version]
    if len(mine) != 1:
        what = "more than one" if mine else "no"
        raise UsageError(f"{what} {family} begins with {version}; there is {', '.join(known[-8:])}")
    return folder / family / mine[0]


def promoted(folder: Path, family: str) -> Path | None:
    """The folder of the promoted version of a family; None if none is.

    Raises:
        OperatorError: the pointer cannot be read, or what it names is not there.
    """
    told = pointer(folder, family)
    if told is None:
        return None
    found = folder / family / told.version
    if not found.is_dir():
        raise OperatorError(
            f"{found} is promoted and not there; type: dcctl models rollback {family}"
        )
    return found


def pointer(folder: Path, family: str) -> Pointer | None:
    """The pointer itself.

    Raises:
        OperatorError: it cannot be read.
    """
    path = folder / family / POINTER
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pointer)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise OperatorError(
            f"{path} cannot be read ({error}); type: rm {path}, then dcctl models promote {family}"
        ) from None


def history(folder: Path, family: str) -> list[Promotion]:
    """Promotions and rollbacks, in order; a line that a crash cut off is none."""
    try:
        lines = (folder / family / HISTORY).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for line in filter(None, lines):
        try:
            found.append(msgspec.json.decode(line, type=Promotion))
        except msgspec.DecodeError:
            continue
    return found


def promote(
    folder: Path, family: str, version: str, now_ns: int, reason: str, overruled: list[str]
) -> Pointer:
    """Point to a version from now on. Whether it should be is the caller's to ask first."""
    with _held(folder, family):
        before = pointer(folder, family)
        previous = before.version if before is not None else ""
        if previous == version:
            raise UsageError(f"{family} {version} is promoted already")
        _note(
            folder,
            family,
            Promotion(
                time_ns=now_ns, action="promote", version=version, previous=previous,
                reason=reason, overruled=overruled,
            ),
        )  # fmt: skip
        return _point(folder, family, Pointer(version=version, previous=previous, since_ns=now_ns))


def roll_back(folder: Path, family: str, now_ns: int, reason: str = "") -> Pointer:
    """Point to what was promoted before what is.

    Raises:
        UsageError: there is nothing to go back to.
    """
    with _held(folder, family):
        before = pointer(folder, family)
        # What was promoted and removed since is passed over.
        stack = [one for one in _stack(folder, family) if (folder / family / one).is_dir()]
        if before is not None and stack and stack[-1] == before.version:
            stack.pop()
        if before is None or not stack:
            raise UsageError(
                f"there is no {family} to go back to; type: dcctl models list {family}"
            )
        back = Pointer(
            version=stack[-1], previous=stack[-2] if len(stack) > 1 else "", since_ns=now_ns
        )
        _note(
            folder,
            family,
            Promotion(
                time_ns=now_ns, action="rollback", version=back.version, previous=before.version,
                reason=reason,
            ),
        )  # fmt: skip
        return _point(folder, family, back)


def _stack(folder: Path, family: str) -> list[str]:
    """Versions that were promoted and not rolled back, the newest last."""
    found: list[str] = []
    for one in history(folder, family):
        if one.action == "promote":
            found.append(one.version)
            continue
        while found and found[-1] != one.version:
            found.pop()
    return found


def _note(folder: Path, family: str, told: Promotion) -> None:
    path = folder / family / HISTORY
    with path.open("ab", buffering=0) as file:
        # A line that a crash cut off is ended first, or it would spoil this one.
        torn = file.tell() and not path.read_bytes().endswith(b"\n")
        file.write(b"\n" * bool(torn) + msgspec.json.encode(told) + b"\n")
        os.fsync(file.fileno())


def _point(folder: Path, family: str, new: Pointer) -> Pointer:
    text = msgspec.json.format(msgspec.json.encode(new), indent=2)
    write_whole(folder / family / POINTER, text + b"\n")
    return new


def _held(folder: Path, family: str) -> IO[str]:
    return hold(
        folder / family / LOCK,
        lambda owner: OperatorError(
            f"another dcctl models changes {family} (process {owner}); type the same again"
        ),
    )


def publish(made: Path, folder: Path, family: str, version: str) -> Path:
    """Move a whole version into its place, every file of it on disk first."""
    for path in made.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(made)
    place = folder / family / version
    place.parent.mkdir(parents=True, exist_ok=True)
    made.rename(place)
    sync_folder(place.parent)
    return place


def prune(folder: Path, family: str, keep: int, used: Collection[str] = ()) -> list[str]:
    """Remove the oldest versions beyond so many; never the promoted one or the one before it.

    Args:
        used: versions that recorded predictions were made by: without them there is no replay.
    """
    told = pointer(folder, family)
    kept = {told.version, told.previous, *used} if told is not None else set(used)
    gone = [one for one in versions(folder, family)[:-keep] if one not in kept]
    for one in gone:
        shutil.rmtree(folder / family / one)
    return gone
