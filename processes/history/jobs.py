"""Jobs on disk: what was asked for, how far it is, who works on it, who wants it to end.

    data/history/<id>/job.json        written before anything is asked of the venue
                      progress.json   replaced whole after each page
                      rows.part       the unfinished file; bytes behind `progress.bytes` do not
                      count lock            held by the process that works on it
                      cancel          there if somebody wants it to end

May fail with OperatorError. Never asks a venue anything.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from processes.clock import nap
from processes.files import sync_folder, write_whole
from schemas.errors import OperatorError
from schemas.history import Job, Progress

JOB, PROGRESS, PART, LOCK, CANCEL = "job.json", "progress.json", "rows.part", "lock", "cancel"
T = TypeVar("T")
LOOKS: Final = 5


def new_id() -> str:
    """Six hex digits."""
    return secrets.token_hex(3)


class JobStore:
    """All jobs of an instance."""

    def __init__(self, data: Path) -> None:
        self.folder = data / "history"

    def record(self, job: Job) -> None:
        """Write a job down; from here on it can be resumed.

        Raises:
            OperatorError: the id is taken.
        """
        folder = self.folder / job.id
        beside = self.folder / f".{job.id}.{os.getpid()}"
        beside.mkdir(parents=True)
        write_whole(beside / JOB, msgspec.json.encode(job))
        write_whole(beside / PROGRESS, msgspec.json.encode(Progress()))
        if folder.exists():
            raise OperatorError(f"there is a job {job.id} already; type the command again")
        beside.rename(folder)
        sync_folder(self.folder)

    def ids(self) -> list[str]:
        """All jobs, by name."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if path.name[:1] != ".")

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        return sorted((self.job(name) for name in self.ids()), key=lambda job: job.created_ns)

    def job(self, name: str) -> Job:
        """A job as it was asked for.

        Raises:
            OperatorError: there is none of that name.
        """
        if name not in self.ids():
            raise OperatorError(f"no job {name}; dcctl history jobs lists them")
        return _decode(self.folder / name / JOB, Job)

    def progress(self, name: str) -> Progress:
        """How far a job is."""
        return _decode(self.folder / name / PROGRESS, Progress)

    def commit(self, name: str, progress: Progress) -> None:
        """Note how far a job is; the rows that it speaks of must be synced before."""
        write_whole(self.folder / name / PROGRESS, msgspec.json.encode(progress))

    def part(self, name: str) -> Path:
        """The unfinished file."""
        return self.folder / name / PART

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Hold a job, so that nobody else works on it; earlier wishes to cancel it are void.

        Raises:
            OperatorError: another process holds it.
        """
        with (self.folder / name / LOCK).open("a", encoding="ascii") as file:
            for _ in range(LOOKS):  # who only looks holds it for an instant
                with suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                nap(0.01)
            else:
                raise OperatorError(
                    f"another process works on job {name}; dcctl history cancel {name} ends it"
                )
            (self.folder / name / CANCEL).unlink(missing_ok=True)
            yield

    def is_running(self, name: str) -> bool:
        """Whether a process works on it."""
        try:
            with (self.folder / name / LOCK).open("r", encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def ask_to_cancel(self, name: str) -> None:
        """Wish that a job ends; who works on it looks several times a second."""
        (self.folder / name / CANCEL).touch()

    def is_cancelled(self, name: str) -> bool:
        """Whether somebody wishes that it ends."""
        return (self.folder / name / CANCEL).exists()

    def note_cancelled(self, name: str) -> None:
        """Note the end of a job that nobody works on; what is done stays done."""
        with self.working(name):
            progress = self.progress(name)
            if progress.state != "done":
                self.commit(name, msgspec.structs.replace(progress, state="cancelled"))


def _decode(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise OperatorError(
            f"{path} cannot be read ({error}); remove it and download anew: rm -r {path.parent}"
        ) from None
