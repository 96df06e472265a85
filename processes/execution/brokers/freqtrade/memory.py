"""What an account remembers of its orders at a bot, over its own death: a SQLite file.

A row is written and synced before its order is handed over. So an order without a row was never
handed over, and one with a row is asked for and not sent again. It must not be removed while the
bot has trades of ours: without it they are strangers.

Beside the orders stands what a person has found out about them at the venue, written by `dcctl
freqtrade absent` from a process of its own.
"""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from processes.execution.brokers.freqtrade.command import Command
from schemas.errors import OperatorError

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
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS absent"
            " (command_id TEXT PRIMARY KEY, by TEXT NOT NULL) STRICT"
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
    def awaited(self) -> list[Command]:
        """Those of them that the bot may still say something of, and not a person alone."""
        return [command for command in self.pending if not command.checked]

    @property
    def tags(self) -> set[str]:
        """Tags of the trades that orders of ours made."""
        return {command.tag for command in self.commands.values()}

    def found_absent(self, command: Command) -> bool:
        """Whether a person has looked at the venue and found no such order."""
        query = "SELECT 1 FROM absent WHERE command_id = ?"
        return self._db.execute(query, (command.id,)).fetchone() is not None

    def note_absent(self, command_id: str, by: str) -> None:
        """Put down that the venue has no such order.

        Raises:
            OperatorError: nobody has to say so of it.
        """
        command = self.commands.get(command_id)
        if command is None or not command.checked or command.over:
            waiting = ", ".join(one.id for one in self.pending if one.checked) or "none"
            raise OperatorError(f"{command_id} waits for no person; those that do: {waiting}")
        self._db.execute("INSERT OR IGNORE INTO absent VALUES (?, ?)", (command_id, by))

    def close(self) -> None:
        """Close the file."""
        self._db.close()
