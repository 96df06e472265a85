"""doctor: what is wrong with this machine or folder, and what to type.

Runs every check of `machine_checks`, `instance_checks` and `outside_checks`, shows what they found,
and mends what can be mended without a decision: what the dead have left, and permissions.
"""

from collections.abc import Callable
from typing import Final

from config.loader import load
from processes.cli import instance_checks, machine_checks, outside_checks
from processes.cli.findings import Finding, Look
from processes.cli.screen import colour, say, say_json
from processes.operations.instance import find_paths
from processes.places import is_locked, read_settings
from schemas.errors import ConfigError, OperatorError
from schemas.settings import Settings

CHECKS: Final[tuple[Callable[[Look], Finding], ...]] = (
    *machine_checks.CHECKS,
    *instance_checks.CHECKS,
    *outside_checks.CHECKS,
)
MARKS: Final = {
    "well": ("well ", "green"), "warning": ("look ", "yellow"), "wrong": ("WRONG", "red"),
}  # fmt: skip


def examine(*, fix: bool, as_json: bool) -> None:
    """Run all checks; fail if one found something wrong. A warning is no failure.

    Raises:
        OperatorError: something is wrong.
    """
    look = look_around()
    findings = [check(look) for check in CHECKS]
    if fix:
        findings = [_mended(look, finding) for finding in findings]
    if as_json:
        say_json(findings)
    else:
        for finding in findings:
            word, tint = MARKS[finding.level]
            say(f"{colour(word, tint)}  {finding.check:<12} {finding.text}")
            if finding.level != "well":
                say(f"       {'':<12} → {finding.type_this}")
    wrong = sum(finding.level == "wrong" for finding in findings)
    if wrong:
        raise OperatorError(f"{wrong} of {len(findings)} checks found something wrong")


def look_around() -> Look:
    """The instance of this folder: the settings in force, or those of the default profile."""
    paths = find_paths()
    running = is_locked(paths.run)
    try:
        settings = read_settings(paths.run)[0] if running else load()
    except (ConfigError, OSError):
        settings = Settings()  # the check of settings says what is wrong with them
    return Look(paths=paths, settings=settings, running=running)


def _mended(look: Look, finding: Finding) -> Finding:
    mend = instance_checks.MENDS.get(finding.check)
    if finding.level == "well" or mend is None:
        return finding
    return Finding(finding.check, "well", f"mended: {mend(look)}")
