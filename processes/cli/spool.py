"""What the influx commands do, with an instance that runs or without one.

There is one sender a spool, whoever it is: the process `influx` while it runs, which drain then
asks to hurry; else drain itself, which holds the spool's lock for as long as it sends.
"""

import sys
import threading
from pathlib import Path
from typing import Any, Final

from config.loader import load
from processes.bus import request
from processes.cli.screen import say, say_json, table
from processes.clock import Clock, measure_offset_ns, monotonic_s, nap, utc_text
from processes.influx.client import Writer, ensure_buckets, ping
from processes.influx.dead_letters import DeadLetters, read_letters
from processes.influx.link import LinkState
from processes.influx.sender import Sender
from processes.influx.spool import Spool, hold, lock_owner, look, spool_folder
from processes.operations.figures import size
from processes.operations.instance import find_paths
from processes.places import Paths, is_locked, read_settings
from schemas.errors import OperatorError
from schemas.settings import InfluxSettings

PROCESS: Final = "influx"
LOOK_S: Final = 0.1
REPORT_S: Final = 2.0


def _place(profile: str, config: Path | None) -> tuple[InfluxSettings, Paths, bool]:
    """The settings in force, the folders, and whether the process that sends is running."""
    paths = find_paths()
    if is_locked(paths.run):
        settings = read_settings(paths.run)[0].influx
        return settings, paths, settings.enabled
    return load(profile, file=config).influx, paths, False


def make_buckets(profile: str, config: Path | None, *, as_json: bool) -> None:
    """Make what is missing."""
    settings, _, _ = _place(profile, config)
    buckets = settings.buckets
    wanted = (buckets.fast, buckets.aggregates, buckets.logs)
    found = ensure_buckets(settings, wanted)
    if as_json:
        told = [{"bucket": one.name, "days": one.days, "was": found[one.name]} for one in wanted]
        say_json({"url": settings.url, "org": settings.org, "buckets": told})
        return
    rows = [[one.name, f"{one.days} d", found[one.name]] for one in wanted]
    say(table(["bucket", "kept", "now"], rows, right=(1,)))


def _describe(settings: InfluxSettings, paths: Paths, *, running: bool) -> dict[str, Any]:
    """What waits; from the process that sends if there is one that answers."""
    state = "not running"
    if running:
        try:
            told: dict[str, Any] = request(paths.run, PROCESS, "spool")
        except OperatorError:
            state = "does not answer"  # it is just starting, or cannot: dcctl logs influx
        else:
            return told
    pending = look(spool_folder(settings, paths.data))
    return {
        "state": state, "reason": "", "bytes": pending.bytes,
        "backlog_bytes": pending.backlog_bytes, "segments": pending.segments,
        "oldest_ns": pending.oldest_ns, "counters": {},
    }  # fmt: skip


def show_status(profile: str, config: Path | None, *, as_json: bool) -> None:
    """Server, spool and counters."""
    settings, paths, running = _place(profile, config)
    folder = spool_folder(settings, paths.data)
    told = _describe(settings, paths, running=running)
    version = ping(settings)
    refused = sum(len(one.lines) for letter in read_letters(folder) for one in letter.refused)
    found = {
        "enabled": settings.enabled,
        "url": settings.url,
        "org": settings.org,
        "reachable": bool(version),
        "version": version,
        "sender": told["state"],
        "reason": told["reason"],
        "spool": {
            "folder": str(folder),
            "bytes": told["bytes"],
            "segments": told["segments"],
            "oldest": utc_text(told["oldest_ns"]) if told["oldest_ns"] else "",
            "held_by": lock_owner(folder),
        },
        "refused_lines_kept": refused,
        "counters": told["counters"],
    }
    if as_json:
        say_json(found)
        return
    waiting = f"{size(told['bytes'])} in {told['segments']} segments"
    if told["oldest_ns"]:
        waiting += f", since {utc_text(told['oldest_ns'])}"
    rows = [
        ["server", f"{settings.url}, " + (f"version {version}" if version else "does not answer")],
        ["sender", " ".join(part for part in (told["state"], told["reason"]) if part)],
        ["on disk", waiting if told["bytes"] else "nothing waits"],
        ["refused", f"{refused} lines in {folder / 'refused.jsonl'}" if refused else "none"],
        *[[name.removeprefix("influx_"), str(value)] for name, value in told["counters"].items()],
    ]
    if not settings.enabled:
        rows.append(["setting", "influx.enabled is false"])
    say(table(["what", "is"], rows))


class _Report:
    """Progress on standard error, now and then."""

    def __init__(self) -> None:
        self._next_s = monotonic_s() + REPORT_S

    def __call__(self, told: dict[str, Any]) -> None:
        if monotonic_s() >= self._next_s:
            self._next_s = monotonic_s() + REPORT_S
            sys.stderr.write(f"{size(told['bytes'])} left, {told['state']} {told['reason']}\n")
            sys.stderr.flush()


def drain_spool(profile: str, config: Path | None, *, timeout_s: float, as_json: bool) -> None:
    """Send everything that waits.

    Raises:
        OperatorError: something is left; it says how much and why.
    """
    settings, paths, running = _place(profile, config)
    until_s = monotonic_s() + timeout_s
    before = _describe(settings, paths, running=running)["bytes"]
    drain = _drain_through_process if running else _drain_here
    told = drain(settings, paths, until_s)
    if as_json:
        say_json({"bytes_before": before, "bytes_left": told["bytes"], "state": told["state"],
                  "reason": told["reason"], "by": PROCESS if running else "dcctl"})  # fmt: skip
    elif not told["bytes"]:
        say(f"sent: {size(before)} waited, nothing does now")
    if told["bytes"]:
        raise OperatorError(
            f"{size(told['bytes'])} are left ({told['state']}: {told['reason'] or 'time is over'});"
            " they stay on disk: dcctl influx status"
        )


def _drain_through_process(_: InfluxSettings, paths: Paths, until_s: float) -> dict[str, Any]:
    """Ask the process that sends to hurry, and watch it. What comes meanwhile is sent as well."""
    report = _Report()
    told: dict[str, Any] = request(paths.run, PROCESS, "drain")
    while told["backlog_bytes"] and monotonic_s() < until_s:
        if told["state"] == LinkState.HELD.name.lower():
            break
        report(told)
        nap(LOOK_S)
        told = request(paths.run, PROCESS, "spool")
    return {**told, "bytes": told["backlog_bytes"]}


def _drain_here(settings: InfluxSettings, paths: Paths, until_s: float) -> dict[str, Any]:
    """Be the sender."""
    folder = spool_folder(settings, paths.data)
    report = _Report()
    now_ns = Clock(measure_offset_ns()).now_ns
    writer = Writer(settings)
    with hold(folder):
        spool = Spool(folder, settings.segment_bytes, settings.spool_bytes, now_ns())
        letters = DeadLetters(folder, settings.dead_letters_bytes)
        sender = Sender(spool, letters, writer, settings, now_ns)
        sender.hurry()
        thread = threading.Thread(target=sender.run, daemon=True)
        thread.start()
        try:
            while not spool.is_empty and monotonic_s() < until_s:
                if sender.link.state is LinkState.HELD:
                    break
                report({"bytes": spool.pending.bytes, "state": sender.link.state.name.lower(),
                        "reason": sender.link.reason})  # fmt: skip
                nap(LOOK_S)
        finally:
            sender.stop()
            thread.join()
            writer.close()
            spool.close()
    return {
        "bytes": spool.pending.bytes, "state": sender.link.state.name.lower(),
        "reason": sender.link.reason,
    }  # fmt: skip
