"""What is kept of each session beside the lake, so that it can be read and replayed years later.

    data/sessions/<session>/config-<generation>.json        settings, one file a generation
                            instruments-<generation>.json   the tables behind the tape's indices
                            machine.json                    what computed it
                            execution-<fingerprint>.json    what execution began a life with
                            lineup-<fingerprint>.json       models behind predictions that say so
                            learner-<mark>.npz              what an online model had learnt then

A session is a generation of the rings; it outlives a supervisor that is killed, so generations of
settings go on from the last one that is kept here. Files are written whole; the oldest sessions go.
"""

import hashlib
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from processes.files import write_whole
from processes.places import Resolved
from schemas.errors import ConfigError, OperatorError
from schemas.instruments import Tables
from schemas.lineup import LineUp
from schemas.settings import Settings

Form = TypeVar("Form")
KEPT: Final = 200
PACKAGES: Final = ("numpy", "numba", "llvmlite", "mlx", "msgspec", "pyarrow")
"""Whose versions may change a bit of a result."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a session was computed by."""

    system: str
    processor: str
    python: str
    packages: dict[str, str]

    def differences(self, other: "Made") -> list[str]:
        """How another one differs from this, in words."""
        said = [
            f"{name} {here} was {there}"
            for name in ("system", "processor", "python")
            if (here := getattr(other, name)) != (there := getattr(self, name))
        ]
        names = sorted(self.packages.keys() | other.packages.keys())
        return said + [
            f"{name} {other.packages.get(name, 'none')} was {self.packages.get(name, 'none')}"
            for name in names
            if other.packages.get(name) != self.packages.get(name)
        ]


def this_machine() -> Made:
    """What computes here."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return Made(
        system=platform.system(),
        processor=platform.machine(),
        python=platform.python_version(),
        packages=packages,
    )


class SessionFolder:
    """One session's folder.

    Raises:
        OperatorError: from all that reads, if a file is not there or cannot be read.
    """

    def __init__(self, data: Path, session: int) -> None:
        self.session = session
        self._sessions = data / "sessions"
        self.path = self._sessions / str(session)

    # ---- for who makes it

    def generation_for(self, settings: Settings) -> int:
        """The number of these settings: the last one kept if they are the same, else the next."""
        last = max(self.generations(), default=0)
        try:
            return last if last and self.settings(last) == settings else last + 1
        except OperatorError:
            return last + 1  # kept by another version of the program

    def keep(self, resolved: Resolved, tables: Tables) -> None:
        """Keep settings and tables in force, and what computes here."""
        number = resolved.generation
        for name, content in (
            (f"config-{number}.json", resolved),
            (f"instruments-{number}.json", tables),
            ("machine.json", this_machine()),
        ):
            write_whole(self.path / name, msgspec.json.format(msgspec.json.encode(content)))
        for old in sorted(self._sessions.iterdir())[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def keep_state(self, content: bytes) -> str:
        """Keep what execution begins with; its fingerprint."""
        mark = hashlib.blake2b(content, digest_size=16).hexdigest()
        self._keep(self._state(mark), content)
        return mark

    def keep_lineup(self, version: int, content: bytes) -> None:
        """Keep the line-up that predictions are made by, before the first of them."""
        self._keep(self._lineup(version), content)

    def keep_learner(self, mark: str, content: bytes) -> None:
        """Keep what an online model goes on learning from."""
        self._keep(self._learner(mark), content)

    def _keep(self, path: Path, content: bytes) -> None:
        if not path.exists():
            write_whole(path, content)

    # ---- for who reads it

    def generations(self) -> list[int]:
        """Numbers of the settings that were in force, in order."""
        found = self.path.glob("config-*.json")
        return sorted(int(path.stem.rpartition("-")[2]) for path in found)

    def settings(self, generation: int) -> Settings:
        """The settings of a generation."""
        return self._read(f"config-{generation}.json", Resolved).settings

    def tables(self, generation: int) -> Tables:
        """The tables as they were then."""
        return self._read(f"instruments-{generation}.json", Tables)

    def made(self) -> Made:
        """What computed the session."""
        return self._read("machine.json", Made)

    def state(self, mark: str) -> bytes:
        """What execution began a life with."""
        return self._content(self._state(mark))

    def lineup(self, version: int) -> LineUp:
        """The models behind predictions of this version."""
        return self._read(self._lineup(version).name, LineUp)

    def lineups(self) -> list[LineUp]:
        """All that were in force; one that cannot be read is none."""
        found = []
        for path in sorted(self.path.glob("lineup-*.json")):
            try:
                found.append(self._read(path.name, LineUp))
            except OperatorError:
                continue
        return found

    def learner(self, mark: str) -> bytes:
        """What an online model went on learning from."""
        return self._content(self._learner(mark))

    def _content(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise OperatorError(f"session {self.session} cannot be read: {error}") from None

    def _lineup(self, version: int) -> Path:
        return self.path / f"lineup-{version:016x}.json"

    def _learner(self, mark: str) -> Path:
        return self.path / f"learner-{mark}.npz"

    def _state(self, mark: str) -> Path:
        return self.path / f"execution-{mark}.json"

    def _read(self, name: str, form: type[Form]) -> Form:
        path = self.path / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=form)
        except OSError as error:
            raise OperatorError(f"session {self.session} cannot be read: {error}") from None
        except msgspec.DecodeError as error:
            raise OperatorError(f"{path} cannot be read: {error}") from None


def sessions_of(data: Path) -> list[int]:
    """Sessions that are kept, in order."""
    folder = data / "sessions"
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def latest_settings(data: Path) -> Settings:
    """Those that were in force last, with or without an instance that runs.

    Raises:
        OperatorError: none are kept, or they cannot be read.
    """
    sessions = sessions_of(data)
    if not sessions:
        raise OperatorError(f"nothing has run with {data} yet")
    folder = SessionFolder(data, sessions[-1])
    return folder.settings(max(folder.generations(), default=0))


def refuse_mixed(data: Path, settings: Settings) -> None:
    """A made-up market and a real one never stand in one lake and one ledger.

    Raises:
        ConfigError: the last session kept in `data` was of the other kind.
    """
    try:
        old = latest_settings(data)
    except OperatorError:
        return  # none, or of a version whose settings cannot be read any more
    was, would_be = old.venues.is_made_up(), settings.venues.is_made_up()
    if was != would_be:
        kind = {True: "a made-up market", False: "a real market"}
        raise ConfigError(
            f"paths.data = {data}: it holds {kind[was]} (profile {old.profile}), and profile "
            f"{settings.profile} is {kind[would_be]}; they must not mix. Type: mv {data} "
            f"{data}-{old.profile}; or set paths.data to another folder"
        )


def versions_used(data: Path) -> dict[str, set[str]]:
    """Versions of each family that spoke in a session that is kept."""
    found: dict[str, set[str]] = {}
    for session in sessions_of(data):
        for lineup in SessionFolder(data, session).lineups():
            for one in lineup.standings:
                found.setdefault(one.family, set()).add(one.version)
    return found
