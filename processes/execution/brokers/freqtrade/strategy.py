"""The strategy of a bot changed: its settings file, a reload, and the proof that it obeys.

A bot that is told to load a strategy which it does not have ends itself, so it is looked for first.
The file is replaced whole, with the mode that it has (it may hold passwords); when the bot does not
come back with the new strategy, the old file is put back. What it never does: touch the strategy's
own file, or start a bot that has ended.
"""

import ast
import asyncio
import json
import stat
from pathlib import Path
from typing import Any, Final

from processes.files import write_whole
from schemas.errors import OperatorError
from venues.freqtrade.answers import ShowConfig
from venues.freqtrade.client import FreqtradeClient
from venues.freqtrade.refusals import BotError

BACK_S: Final = 60.0
"""Longest wait for a bot that reloads: half a second where nothing is wrong."""
LOOK_S: Final = 0.1


def read_config(path: Path) -> dict[str, Any]:
    """A bot's settings.

    Raises:
        OperatorError: they cannot be read, or are not plain JSON, which alone can be written back.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise OperatorError(
            f"{path} is not plain JSON ({error}): take comments and last commas out of it, since "
            "they would be lost"
        ) from None
    if not isinstance(found, dict):
        raise OperatorError(f"{path} must hold keys and values")
    return found


def strategies_folder(config: dict[str, Any], told: str) -> Path:
    """Where a bot's strategies are.

    Args:
        told: as the account's settings have it.

    Raises:
        OperatorError: nobody says where, or there is no such folder.
    """
    place = told or config.get("strategy_path", "")
    if not place and config.get("user_data_dir"):
        place = str(Path(config["user_data_dir"]) / "strategies")
    if not place:
        raise OperatorError(
            "where the bot's strategies are is not known, and one that it does not have would end "
            "it: name the folder in `strategies` of the account"
        )
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise OperatorError(f"{folder}, where the bot's strategies should be, is no folder")
    return folder


def strategies_in(folder: Path) -> dict[str, Path]:
    """Names of the classes in a folder's files, and the file of each; other files are passed by."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.bases:
                found.setdefault(node.name, path)
    return found


class SettingsFile:
    """A bot's settings file, to be written and put back.

    Args:
        strategies: the folder of its strategies as the account has it, or nothing.

    Raises:
        OperatorError: it cannot be read or is not plain JSON.
    """

    def __init__(self, path: Path, strategies: str) -> None:
        self._path = path
        self.config = read_config(path)
        self._old = path.read_bytes()
        self._mode = stat.S_IMODE(path.stat().st_mode)
        self._strategies = strategies

    def check(self, name: str) -> None:
        """See that the bot has such a strategy.

        Raises:
            OperatorError: it has not, or nobody says where they are.
        """
        known = strategies_in(strategies_folder(self.config, self._strategies))
        if name not in known:
            names = ", ".join(known) or "none"
            raise OperatorError(f"the bot has no strategy {name}; there are: {names}")

    def name(self, strategy: str) -> None:
        """Put a strategy into it."""
        content = json.dumps({**self.config, "strategy": strategy}, indent=2).encode()
        write_whole(self._path, content, self._mode)

    def put_back(self) -> None:
        """Make it what it was."""
        write_whole(self._path, self._old, self._mode)


async def change_strategy(
    client: FreqtradeClient, file: SettingsFile, name: str
) -> tuple[ShowConfig, ShowConfig]:
    """Have a bot use another strategy; what it was and is.

    Raises:
        OperatorError: it was not changed; the text says why, and what the bot does now.
        BotError: the bot did not answer before anything was changed.
    """
    file.check(name)
    before, started_ts = await client.show_config(), (await client.health()).bot_startup_ts
    file.name(name)
    try:
        await client.reload_config()
        after = await _back(client, name, started_ts)
    except (BotError, TimeoutError):
        file.put_back()
        raise OperatorError(
            f"the bot did not come back with {name} within {BACK_S:.0f} s; its settings are as "
            "before: look at its log, and start it again if it has ended"
        ) from None
    if after is None:
        file.put_back()
        raise OperatorError(
            f"the bot goes on with {before.strategy}: it was started with --strategy, which goes "
            "before its settings; start it without, and with `strategy` in its settings"
        )
    return before, after


async def _back(client: FreqtradeClient, name: str, started_ts: int | None) -> ShowConfig | None:
    """Wait for a bot that reloads; None if it is back as it was.

    Raises:
        TimeoutError: it does not come back.
    """
    async with asyncio.timeout(BACK_S):
        while True:
            try:
                health, config = await client.health(), await client.show_config()
            except BotError:
                pass  # it is between two lives
            else:
                begun = health.last_process_ts is not None
                if begun and health.bot_startup_ts != started_ts:
                    return config if config.strategy == name else None
            await asyncio.sleep(LOOK_S)
