"""Every command that a page or the API may give: done as dcctl does it, and written down.

Each goes the way of the dcctl command of its name, through the same functions. Before it is done
the console's log says who wants what, and afterwards what came of it; storage takes the console's
log into the audit table, as it does the supervisor's. Commands are done one at a time, in a thread,
so that none can hold the pages up; the kill switch waits for no other.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from processes import model_registry
from processes.bus import request
from processes.changes import read_changes
from processes.console.jobs import Jobs
from processes.logs import Log
from processes.operations.instance import SUPERVISOR
from processes.operations.models import promote, roll_back
from processes.operations.steering import (
    RELOAD_S,
    Proposal,
    change,
    propose,
    settings_in_force,
    switch_connection,
    symbols_with,
)
from processes.operations.switch import pull_switch, release_switch
from processes.places import ROOT, Paths
from schemas.errors import DataControllerError, OperatorError, UsageError
from schemas.settings import Settings
from schemas.trading import KillLevel
from shm.errors import SharedMemoryError

ARM_WORD: Final = "arm"
LEVELS: Final = tuple(level.name.lower() for level in KillLevel if level)


class Desk:
    """Gives commands.

    Args:
        after: called when something was done, to look anew.
    """

    def __init__(self, paths: Paths, log: Log, after: Callable[[], None]) -> None:
        self._paths = paths
        self._log = log
        self._after = after
        self._turn = asyncio.Lock()
        self.jobs = Jobs(paths)

    async def _do(self, name: str, who: str, act: Callable[[], Any], **what: Any) -> Any:
        """Do one, and write down that and how.

        Raises:
            DataControllerError: it was refused.
        """
        self._log.info("command", name=name, by=who, **what)
        try:
            result = await asyncio.to_thread(act)
        except (DataControllerError, SharedMemoryError) as error:
            self._log.warning("command refused", name=name, by=who, reason=str(error))
            raise
        self._log.info("command done", name=name, by=who, result=_brief(result))
        self._after()
        return result

    async def _in_turn(self, name: str, who: str, act: Callable[[], Any], **what: Any) -> Any:
        async with self._turn:
            return await self._do(name, who, act, **what)

    # ---- the switch

    async def kill(self, who: str, level: str = "flatten") -> Any:
        """Pull the kill switch; what came of it, with the time it took."""
        if level not in LEVELS:
            raise UsageError(f"no level {level}; there are {', '.join(LEVELS)}")

        def act() -> Any:
            wanted = KillLevel[level.upper()]
            return msgspec.to_builtins(pull_switch(self._paths, wanted, f"the console, {who}"))

        return await self._do("kill", who, act, level=level)

    async def arm(self, who: str, word: str) -> Any:
        """Release the kill switch, for who has typed the word. Money is armed by dcctl alone."""
        if word.strip().lower() != ARM_WORD:
            raise UsageError(f"type {ARM_WORD!r} to release the switch; nothing was done")

        def act() -> Any:
            before = release_switch(self._paths)
            return {"level_before": before.name.lower(), "level": "none"}

        return await self._in_turn("arm", who, act)

    # ---- processes and connections

    async def restart(self, who: str, process: str) -> Any:
        """Restart a process; the supervisor says yes before it is done."""
        return await self._in_turn(
            "restart", who, lambda: self._ask(SUPERVISOR, "restart", {"processes": [process]}),
            process=process,
        )  # fmt: skip

    async def connection(self, who: str, what: str, venue: str, connection: int) -> Any:
        """Connect or disconnect one connection of a venue, or all (-1)."""
        return await self._in_turn(
            what, who, lambda: switch_connection(self._paths, what, venue, connection),
            venue=venue, connection=connection,
        )  # fmt: skip

    async def acknowledge(self, who: str, name: str) -> Any:
        """Say that an alert is known."""
        return await self._in_turn(
            "ack", who, lambda: self._ask("alerts", "ack", {"name": name}), alert=name
        )

    def _ask(self, process: str, name: str, arguments: dict[str, Any] | None = None) -> Any:
        return request(self._paths.run, process, name, arguments, timeout_s=RELOAD_S)

    # ---- settings

    def changes(self) -> dict[str, Any]:
        """What was changed here and lasts."""
        return read_changes(self._paths.data)

    def settings(self) -> Settings:
        """Those in force."""
        return settings_in_force(self._paths)

    def proposal(self, changed: dict[str, Any], dropped: list[str]) -> Proposal:
        """What a change would come to; nothing is done."""
        return propose(self._paths, changed, dropped)

    async def change(self, who: str, changed: dict[str, Any], dropped: list[str]) -> Any:
        """Keep a change and have it taken; if it is refused, all is as before."""
        return await self._in_turn(
            "settings", who, lambda: change(self._paths, changed, dropped),
            changed=changed, dropped=dropped,
        )  # fmt: skip

    async def reload(self, who: str) -> Any:
        """Take the settings anew, as `dcctl reload`."""
        return await self._in_turn("reload", who, lambda: self._ask(SUPERVISOR, "reload"))

    async def subscribe(self, who: str, venue: str, symbol: str, *, wanted: bool) -> Any:
        """Have a symbol among those of a venue, or not; its collector starts anew."""
        changed = symbols_with(self._paths, venue, symbol, wanted=wanted)
        return await self.change(who, changed, [])

    # ---- models

    async def promote(self, who: str, family: str, version: str, reason: str) -> Any:
        """Put a version to work, unless something speaks against it."""
        folder = model_registry.models_folder(self._paths.data)
        return await self._in_turn(
            "promote", who,
            lambda: msgspec.to_builtins(promote(folder, family, version, reason, force=False)),
            family=family, version=version,
        )  # fmt: skip

    async def roll_back(self, who: str, family: str, reason: str) -> Any:
        """Back to the version before."""
        folder = model_registry.models_folder(self._paths.data)
        return await self._in_turn(
            "rollback", who, lambda: msgspec.to_builtins(roll_back(folder, family, reason)),
            family=family,
        )  # fmt: skip

    # ---- downloads

    async def download(self, who: str, words: list[str]) -> Any:
        """Begin a download, as `dcctl history download` with these words."""
        return await self._in_turn("download", who, lambda: self.jobs.begin(words), words=words)

    async def cancel(self, who: str, job: str) -> Any:
        """End a download in order; what it has stays and can be resumed."""
        return await self._in_turn("cancel", who, lambda: self.jobs.cancel(job), job=job)

    async def resume(self, who: str, job: str) -> Any:
        """Go on with a download."""
        return await self._in_turn("resume", who, lambda: self.jobs.resume(job), job=job)

    # ---- looking at files

    async def verify(self, who: str) -> Any:
        """Prove the lake, as `dcctl lake verify`, in a process of its own at a low priority."""

        def act() -> Any:
            done = subprocess.run(
                [sys.executable, "-m", "processes.cli", "lake", "verify", "--json"],
                cwd=ROOT, env=self.jobs.environment, capture_output=True, check=False, timeout=600,
            )  # fmt: skip
            with suppress(msgspec.DecodeError):
                return msgspec.json.decode(done.stdout)
            raise OperatorError(done.stderr.decode(errors="replace").strip()[-500:])

        return await self._do("verify", who, act)


def _brief(result: Any) -> str:
    return msgspec.json.encode(result).decode()[:400]
