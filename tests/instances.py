"""An instance's folders and shared memory without its processes, for tests of one part of it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from config.loader import load
from processes.files import write_whole
from processes.places import CONFIG, ROOT, Paths, Resolved, resolve
from processes.supervisor.main import child_specs
from processes.supervisor.memory import Memory, open_memory
from processes.supervisor.tables import Allotment
from schemas.settings import Settings
from tests.helpers import QuietLog
from tests.leaks import assert_no_secret

SMALL = {"tape": 1024, "features": 256, "predictions": 256, "decisions": 256}


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder that is gone afterwards. Not pytest's: paths of sockets must be short."""
    folder = Path(tempfile.mkdtemp(prefix="dcu-"))
    try:
        yield folder
        assert_no_secret(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Bare:
    """Folders, settings in force, and memory once `open` was called."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.log = QuietLog()
        self.memory: Memory | None = None
        self.settings = self.load(**settings)
        self.paths: Paths = resolve(self.settings, ROOT)
        self.names = ["supervisor", *(spec.name for spec in child_specs(self.settings))]

    def load(self, **settings: Any) -> Settings:
        """The demo's settings with small rings, and these changed."""
        wanted = {
            "http__port": 0,
            "simulator__port": 1,
            "console__enabled": False,
            **{f"paths__{name}": str(self.folder / name) for name in ("run", "data", "logs")},
            **{f"rings__{name}": slots for name, slots in SMALL.items()},
            **settings,
        }
        environment = {f"DC__{k}": msgspec.json.encode(v).decode() for k, v in wanted.items()}
        return load("demo", environment=environment)

    def put_in_force(self) -> None:
        """What the supervisor writes before it starts anybody."""
        folders = {name: str(path) for name, path in msgspec.structs.asdict(self.paths).items()}
        resolved = Resolved(generation=1, folders=folders, settings=self.settings)
        write_whole(self.paths.run / CONFIG, msgspec.json.encode(resolved))
        allotment = Allotment.load(self.paths.data)
        allotment.place_all(self.settings, self.paths.data)
        allotment.save(self.paths.data)

    def open(self, **settings: Any) -> Memory:
        """What a supervisor does at its start; again for a supervisor's next life."""
        wanted = self.load(**settings) if settings else self.settings
        self.memory = open_memory(wanted, self.paths.run, self.paths.data, self.names, self.log)
        return self.memory

    def said(self, event: str) -> list[dict[str, Any]]:
        """What was logged under this event."""
        return [more for _, found, more in self.log.lines if found == event]


@contextmanager
def bare_instance(**settings: Any) -> Iterator[Bare]:
    """An instance in a folder of its own; nothing of it is left after."""
    with short_folder() as folder:
        made = Bare(folder, **settings)
        try:
            yield made
        finally:
            if made.memory is not None:
                made.memory.remove(made.paths.run)
