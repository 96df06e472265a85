"""What a person chose on the pages: kept over restarts, for the one trader of an instance.

data/state/console.json, rewritten when something changed; a file that cannot be read is forgotten.
"""

from pathlib import Path
from typing import Final

import msgspec

from processes.files import write_whole

KEYS: Final = {
    "symbol", "connections_tab", "decisions", "theme", "files_channel", "files_symbol",
    "log_process", "log_level", "log_text", "history_venue", "history_channel", "history_symbols",
    "history_format", "history_sort", "history_timeframe", "history_limit", "history_from",
    "history_to", "page",
}  # fmt: skip
VALUE_MAX: Final = 400


class Memory:
    """Choices by name."""

    def __init__(self, data: Path) -> None:
        self._path = data / "state" / "console.json"
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            found = {}
        self._kept = {name: value for name, value in found.items() if name in KEYS}

    def get(self, name: str, default: str = "") -> str:
        """A choice."""
        assert name in KEYS, name
        return self._kept.get(name, default)

    def put(self, name: str, value: str) -> None:
        """Choose."""
        assert name in KEYS, name
        if self._kept.get(name) != value and len(value) <= VALUE_MAX:
            self._kept[name] = value
            write_whole(self._path, msgspec.json.encode(self._kept))
