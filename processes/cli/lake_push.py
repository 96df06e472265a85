"""What `dcctl lake push` does: ask the instance that runs, or make one pass itself."""

import sys
from pathlib import Path
from typing import Any

import msgspec

from config.loader import load
from processes.bus import request
from processes.cli.screen import say, say_json
from processes.clock import Clock, measure_offset_ns, monotonic_s
from processes.lake.push import Push, Pushed
from processes.lake_stores import Store
from processes.operations.figures import size
from processes.operations.instance import find_paths
from processes.places import is_locked, read_settings
from schemas.errors import LakeError, OperatorError
from schemas.stores import parse_store

PROCESS = "archive"
REPORT_S = 2.0


def push_lake(profile: str, config: Path | None, *, as_json: bool) -> None:
    """Push, and print what was pushed.

    Raises:
        OperatorError: no store is set, or it does not answer. LakeError: the store has something
            else under a name of ours.
    """
    paths = find_paths()
    running = is_locked(paths.run)
    settings = read_settings(paths.run)[0] if running else load(profile, file=config)
    lake = settings.lake
    if not lake.store:
        raise OperatorError(
            "lake.store is not set: write it into config/config.yml, like lake: {store: "
            "s3://bucket/folder}, or name it: DC__lake__store=file:///mnt/nas/lake dcctl lake push"
        )
    if running:
        _show_asked(request(paths.run, PROCESS, "push"), as_json=as_json)
        return
    store = Store(parse_store("lake.store", lake.store))
    push = Push(paths.data, store, lake.store, lake.keep_local_days)
    try:
        done = push.run(Clock(measure_offset_ns()), _Progress(quiet=as_json))
    finally:
        push.close()
    if as_json:
        say_json({"store": store.uri.text, **msgspec.to_builtins(done)})
    else:
        say(f"{done.files:,} files, {size(done.bytes)} brought to {store.uri.text}")
        if done.replaced:
            say(f"{done.replaced:,} Arrow files removed there, since they are packed")
        if done.removed:
            say(f"{done.removed:,} files, {size(done.removed_bytes)} removed here")
    if done.refused:
        raise LakeError("\n".join(done.refused))


def _show_asked(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(told)
    else:
        say(
            f"the instance runs and pushes now: {told['pending_files']:,} files, "
            f"{size(told['pending_bytes'])} to go; dcctl status shows how it goes"
        )
    if told["state"] != "ok":
        raise OperatorError(told["reason"])


class _Progress:
    """A line now and then, on a terminal's error stream."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._said_s = monotonic_s()

    def __call__(self, done: Pushed) -> bool:
        if not self._quiet and monotonic_s() - self._said_s > REPORT_S:
            self._said_s = monotonic_s()
            left = f"{done.pending_files:,} files, {size(done.pending_bytes)}"
            sys.stderr.write(f"{left} to go\n")
        return True
