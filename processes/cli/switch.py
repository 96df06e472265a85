"""kill and arm."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import typer

from processes.bus import request
from processes.cli.screen import colour, say, say_json
from processes.clock import Clock, measure_offset_ns, monotonic_s
from processes.latch import Latch, read_latch, write_latch
from processes.operations.instance import find_paths
from processes.operations.switch import SUPERVISOR_S, pull_switch, release_switch
from processes.places import Paths
from schemas.errors import OperatorError, UsageError
from schemas.trading import KillLevel

_LEVELS = [level.name.lower() for level in KillLevel if level]


def kill(level: str, *, drill: bool, yes: bool, as_json: bool) -> None:
    """Pull the switch from this very process, whether or not anybody else can hear."""
    if level not in _LEVELS:
        raise UsageError(f"no level {level}; there are {', '.join(_LEVELS)}")
    wanted = KillLevel[level.upper()]
    if drill:
        _drill(wanted, as_json=as_json)
        return
    if not yes:
        typer.confirm(f"Pull the kill switch, level {level}?", abort=True)
    result = pull_switch(find_paths(), wanted, "dcctl kill")
    if as_json:
        say_json(msgspec.to_builtins(result))
        return
    if result.acknowledged:
        say(colour(f"kill switch {result.level}: obeyed after {result.milliseconds:.1f} ms", "red"))
    elif result.running:
        say(colour(f"kill switch {result.level}: execution did not answer and was killed", "red"))
    else:
        say(f"latched at {result.level}; execution was not running, nothing will be sent")
    if result.killer:
        say("the killer ends what stands at the venues: dcctl logs killer")
    say("dcctl arm releases it")


def _drill(level: KillLevel, *, as_json: bool) -> None:
    """Everything but the send, timed: the latch's way to disk, execution's answer, the venues."""
    from processes.killswitch import is_at_a_venue, start_killer

    paths = find_paths()
    told: dict[str, Any] = {"level": level.name.lower()}
    began_s = monotonic_s()
    with TemporaryDirectory(dir=paths.data / "state", prefix="drill-") as folder:
        write_latch(Path(folder), Latch(level=level, by="a drill", since_ns=0))
        told["latch_ms"] = _since_ms(began_s)
    began_s = monotonic_s()
    try:
        answer = request(paths.run, "execution", "drill", {}, timeout_s=SUPERVISOR_S)
        told["execution"] = {"answered_ms": _since_ms(began_s), **answer}
    except OperatorError as error:
        told["execution"] = {"error": str(error)}
    if is_at_a_venue(paths.data):
        killer = start_killer(paths, level, drill=True)
        began_s = monotonic_s()
        out, _ = killer.communicate()
        told["killer"] = {"took_ms": _since_ms(began_s), "accounts": _last_json(out)}
    if as_json:
        say_json(told)
        return
    say(f"a drill, level {told['level']}: nothing was latched, cancelled or sent")
    say(f"latch on disk: {told['latch_ms']:.1f} ms")
    _say_execution(told["execution"])
    for line in _killer_lines(told.get("killer")):
        say(line)


def _since_ms(began_s: float) -> float:
    return round((monotonic_s() - began_s) * 1e3, 2)


def _last_json(out: str) -> Any:
    lines = out.strip().splitlines()
    try:
        return msgspec.json.decode(lines[-1])
    except (IndexError, msgspec.DecodeError):
        return {"error": out.strip()[-500:] or "the killer said nothing"}


def _say_execution(told: dict[str, Any]) -> None:
    if "error" in told:
        say(f"execution: {told['error']}")
        return
    counts = f"{len(told['orders'])} open orders, {len(told['positions'])} positions"
    busy = "" if told["idle"] else ", a send is under way"
    say(f"execution answered after {told['answered_ms']:.1f} ms: {counts}{busy}")


def _killer_lines(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return ["no account is at a venue: nothing for the killer to do"]
    accounts = told["accounts"]
    if isinstance(accounts, dict):
        return [f"the killer: {accounts['error']}"]
    lines = [f"the killer, {told['took_ms']:.0f} ms:"]
    for one in accounts:
        if one["connected_ms"] is None:
            lines.append(f"  {one['account']}: not reached: {'; '.join(one['texts'])}")
            continue
        left = ", ".join(f"{symbol} {held}" for symbol, held in one["left"].items()) or "nothing"
        lines.append(
            f"  {one['account']}: connected after {one['connected_ms']:.0f} ms, would cancel "
            f"{one['open_orders']} orders and close {left}"
        )
    return lines


def arm(*, live: bool, paper: bool, yes: bool, as_json: bool) -> None:
    """Open the switch; or say where orders may go."""
    if live and paper:
        raise UsageError("either --live or --paper")
    paths = find_paths()
    if live or paper:
        _arm_accounts(paths, live=live, as_json=as_json)
        return
    latch = read_latch(paths.data)
    if latch.level and not yes:
        typer.confirm(
            f"Release the kill switch ({KillLevel(latch.level).name.lower()})?", abort=True
        )
    before = release_switch(paths)
    if as_json:
        say_json({"level_before": before.name.lower(), "level": "none"})
    elif before:
        say(f"armed: was at {before.name.lower()}, orders may be sent again")
    else:
        say("it was not pulled")


def _arm_accounts(paths: Paths, *, live: bool, as_json: bool) -> None:
    """`--live` is typed by a person at a terminal, and by nobody else."""
    from processes.live import PHRASE, arm_live, disarm_live, real_accounts
    from processes.sessions import latest_settings

    settings = latest_settings(paths.data)
    names = real_accounts(settings)
    if live:
        if not settings.execution.live:
            raise OperatorError(
                "execution.live is false: set it to true in config/config.yml, dcctl reload, and "
                "arm then"
            )
        if not names:
            raise OperatorError("execution.accounts has no account with money behind it")
        if not sys.stdin.isatty():
            raise OperatorError("dcctl arm --live wants a person at a terminal")
        say(f"Orders of {', '.join(names)} will go to their venues, with money.")
        if typer.prompt(f"Type {PHRASE!r}") != PHRASE:
            raise OperatorError("not armed: that was something else")
        arm_live(paths.data, settings, Clock(measure_offset_ns()).now_ns())
    else:
        names = names if disarm_live(paths.data) else []
    if as_json:
        say_json({"live": live, "accounts": names})
    else:
        say(f"{'armed' if live else 'on paper'}: {', '.join(names) or 'nothing'}")
        say("in force when execution is started anew: dcctl restart execution")
