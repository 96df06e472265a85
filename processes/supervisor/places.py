"""Folders of an instance, its lock, and the tables of instruments and streams."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import msgspec

from processes.files import write_whole
from processes.rings import enabled_venues
from processes.runtime import Paths
from schemas.errors import OperatorError
from schemas.instruments import Channel, Instrument, Stream, Tables
from schemas.settings import Settings
from shm.doorbell import SOCKET_PATH_BYTES_MAX
from venues.bitfinex.subscriptions import wanted_streams

LONGEST_SOCKET = "/collector.bitfinex.bell"


def resolve(settings: Settings, root: Path) -> Paths:
    """The instance's folders as absolute paths; made if they are not there.

    The run folder is `run` in the project, or a folder of the user's below the system's temporary
    one where that path is too long for sockets.
    """
    wanted = settings.paths
    run = root / (wanted.run or "run")
    if len(str(run).encode()) + len(LONGEST_SOCKET) > SOCKET_PATH_BYTES_MAX and not wanted.run:
        mark = hashlib.blake2b(str(root).encode(), digest_size=4).hexdigest()
        run = Path(tempfile.gettempdir()) / f"dc-{os.getuid()}-{mark}"
    paths = Paths(run=run, data=root / wanted.data, logs=root / wanted.logs)
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    if run.stat().st_uid != os.getuid():
        raise OperatorError(f"{run} belongs to somebody else; set paths.run to a folder of yours")
    run.chmod(0o700)
    for folder in (paths.data / "state", paths.logs):
        folder.mkdir(parents=True, exist_ok=True)
    return paths


def lock(run: Path) -> IO[str]:
    """Hold the instance's lock for as long as the file is open.

    Raises:
        OperatorError: another supervisor holds it.
    """
    file = (run / "lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise OperatorError(
            f"Data Controller runs here already (process {owner}); dcctl status, or dcctl stop"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def is_locked(run: Path) -> bool:
    """Whether a supervisor lives there."""
    try:
        with (run / "lock").open("r", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def tables_path(data: Path) -> Path:
    """Where the tables live."""
    return data / "state" / "instruments.json"


class Allotment:
    """The append-only tables: a place, once given, is for ever."""

    def __init__(self, tables: Tables | None = None) -> None:
        self.tables = tables or Tables()

    @classmethod
    def load(cls, data: Path) -> "Allotment":
        """From the file, or empty."""
        path = tables_path(data)
        if not path.exists():
            return cls()
        return cls(msgspec.json.decode(path.read_bytes(), type=Tables))

    def save(self, data: Path) -> None:
        """To the file, whole or not at all."""
        write_whole(
            tables_path(data), msgspec.json.format(msgspec.json.encode(self.tables), indent=1)
        )

    def place(
        self, venue: str, symbol: str, pair: str, channel: Channel, parameters: dict[str, Any]
    ) -> tuple[Instrument, Stream]:
        """The places of an instrument and a stream, new ones behind the last."""
        return self._instrument(venue, symbol, pair), self._stream(channel, parameters)

    def _instrument(self, venue: str, symbol: str, pair: str) -> Instrument:
        table = self.tables.instruments
        for item in table:
            if (item.venue, item.symbol) == (venue, symbol):
                return item
        table.append(Instrument(index=len(table), venue=venue, symbol=symbol, pair=pair))
        return table[-1]

    def _stream(self, channel: Channel, parameters: dict[str, Any]) -> Stream:
        table = self.tables.streams
        wanted = Stream(index=0, channel=channel, **parameters)
        for item in table:
            if msgspec.structs.replace(item, index=0) == wanted:
                return item
        table.append(msgspec.structs.replace(wanted, index=len(table)))
        return table[-1]

    def place_all(self, settings: Settings) -> None:
        """Give every stream of the settings its place."""
        for venue in enabled_venues(settings):
            for symbol, pair, channel, parameters, _ in _wanted(venue, settings):
                self.place(venue, symbol, pair, channel, parameters)


def _wanted(
    venue: str, settings: Settings
) -> Iterable[tuple[str, str, Channel, dict[str, Any], bool]]:
    assert venue == "bitfinex"
    assert settings.venues.bitfinex is not None
    return wanted_streams(settings.venues.bitfinex)
