"""What an account remembers of its orders at a bot, over its own death: a SQLite file.

A row is written and synced before its order is handed over. So an order without a row was never
handed over, and one with a row is asked for and not sent again. It must not be removed while the
bot has trades of ours: without it they are strangers.
"""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from processes.execution.brokers.freqtrade.command import Command

KEPT: Final = 5000
"""Orders that are remembered, beside those of open trades."""


class Memory:
    """All orders of an account, by command id, oldest first."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS commands (number INTEGER PRIMARY KEY,"
            " command_id TEXT UNIQUE NOT NULL, body BLOB NOT NULL) STRICT"
        )
        rows = self._db.execute("SELECT body FROM commands ORDER BY number").fetchall()
        found = [msgspec.json.decode(body, type=Command) for (body,) in rows]
        self.commands: dict[str, Command] = {command.id: command for command in found}

    def save(self, command: Command) -> None:
        """Put an order down as it is now; returns when it is on disk."""
        self._db.execute(
            "INSERT INTO commands (command_id, body) VALUES (?, ?)"
            " ON CONFLICT (command_id) DO UPDATE SET body = excluded.body",
            (command.id, msgspec.json.encode(command)),
        )
        self.commands[command.id] = command

    def remove(self, command: Command) -> None:
        """Forget an order that provably was not handed over."""
        self._db.execute("DELETE FROM commands WHERE command_id = ?", (command.id,))
        self.commands.pop(command.id, None)

    def forget(self, open_tags: set[str]) -> None:
        """Let old orders go when there are too many, but none of an open trade."""
        if len(self.commands) <= 2 * KEPT:
            return
        old = list(self.commands.values())[:-KEPT]
        self._db.execute("BEGIN IMMEDIATE")
        for command in old:
            if command.over and command.tag not in open_tags:
                self.remove(command)
        self._db.execute("COMMIT")

    @property
    def pending(self) -> list[Command]:
        """Orders of which something is still expected."""
        return [command for command in self.commands.values() if not command.over]

    @property
    def tags(self) -> set[str]:
        """Tags of the trades that orders of ours made."""
        return {command.tag for command in self.commands.values()}

    def close(self) -> None:
        """Close the file."""
        self._db.close()
