"""kill and arm."""

import msgspec
import typer

from processes.bus import request
from processes.cli.instance import SUPERVISOR, find_paths
from processes.cli.screen import colour, say, say_json
from processes.clock import Clock, measure_offset_ns
from processes.latch import Latch, Pulled, read_latch, write_latch
from processes.places import Paths, read_registry
from schemas.errors import OperatorError, UsageError
from schemas.registry import Registry
from schemas.trading import KillLevel

SUPERVISOR_S = 1.5
"""Longer than the supervisor gives execution to obey."""
_LEVELS = [level.name.lower() for level in KillLevel if level]


def _registry() -> Registry | None:
    """What runs here; a registry that cannot be read must not stop a kill."""
    try:
        return read_registry(find_paths().run)
    except OperatorError:
        return None


def _pull(paths: Paths, level: KillLevel, now_ns: int) -> Pulled:
    """Through the supervisor, which has the memory at hand; by ourselves if it does not answer."""
    arguments = {"level": level.name, "by": "dcctl kill"}
    try:
        answer = request(paths.run, SUPERVISOR, "kill", arguments, timeout_s=SUPERVISOR_S)
        return msgspec.convert(answer, Pulled)
    except OperatorError:
        from processes.killswitch import pull

        return pull(_registry(), paths.data, level, "dcctl kill", now_ns)


def kill(level: str, *, yes: bool, as_json: bool) -> None:
    """Pull the switch from this very process, whether or not anybody else can hear."""
    if level not in _LEVELS:
        raise UsageError(f"no level {level}; there are {', '.join(_LEVELS)}")
    if not yes:
        typer.confirm(f"Pull the kill switch, level {level}?", abort=True)
    paths = find_paths()
    wanted = KillLevel[level.upper()]
    now_ns = Clock(measure_offset_ns()).now_ns()
    # On disk before anything else: whatever happens from here on, nothing new will be sent for
    # long.
    write_latch(paths.data, Latch(level=wanted, by="dcctl kill", since_ns=now_ns))
    result = _pull(paths, wanted, now_ns)
    if as_json:
        say_json(msgspec.to_builtins(result))
        return
    if not result.running:
        say(f"latched at {result.level}; nothing was running, nothing will be sent")
    elif result.acknowledged:
        say(colour(f"kill switch {result.level}: obeyed after {result.milliseconds:.1f} ms", "red"))
    else:
        say(colour(f"kill switch {result.level}: execution did not answer and was killed", "red"))
    say("dcctl arm releases it")


def arm(*, yes: bool, as_json: bool) -> None:
    """Open the switch."""
    paths = find_paths()
    latch = read_latch(paths.data)
    if latch.level and not yes:
        typer.confirm(
            f"Release the kill switch ({KillLevel(latch.level).name.lower()})?", abort=True
        )
    from processes.killswitch import release

    before = release(_registry(), paths.data)
    if as_json:
        say_json({"level_before": before.name.lower(), "level": "none"})
    elif before:
        say(f"armed: was at {before.name.lower()}, orders may be sent again")
    else:
        say("it was not pulled")
