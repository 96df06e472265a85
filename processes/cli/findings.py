"""What a check of doctor is given, and what it finds."""

from typing import Literal

import msgspec

from processes.places import Paths
from schemas.settings import Settings


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at."""

    paths: Paths
    settings: Settings
    """In force, or the default profile's while nothing runs."""
    running: bool


class Finding(msgspec.Struct, frozen=True):
    """One check's result. A warning is for a person to judge: it fails nothing."""

    check: str
    level: Literal["well", "warning", "wrong"]
    text: str
    type_this: str = ""


def judged(check: str, is_well: bool, text: str, type_this: str) -> Finding:
    """Well or wrong."""
    return Finding(check, "well" if is_well else "wrong", text, "" if is_well else type_this)


def warned(check: str, is_well: bool, text: str, type_this: str) -> Finding:
    """Well or worth a look."""
    return Finding(check, "well" if is_well else "warning", text, "" if is_well else type_this)
