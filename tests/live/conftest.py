"""A whole instance in a folder of its own, driven by dcctl as a user would, and a clean end."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from processes.bus import request
from processes.places import is_locked
from schemas.errors import OperatorError
from schemas.messages import Status
from shm.segment import instance_id
from tests.helpers import ROOT, wait_until
from tests.leaks import assert_no_secret
from tests.planted import Search


class Project:
    """dcctl in a folder of its own. `settings` are environment overrides of the profile."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.run, self.data, self.logs = folder / "run", folder / "data", folder / "logs"
        self.said: list[str] = []
        """All that commands have printed."""
        self.secret_files: list[Path] = []
        """Of the test's own, that secrets are read from."""
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DC__http__port": "0",
            "DC__console__enabled": "false",
            "DC__paths__run": str(self.run),
            "DC__paths__data": str(self.data),
            "DC__paths__logs": str(self.logs),
            "DC__rest__rates": str(self.folder / "rates"),
        }
        self.set(**settings)

    def set(self, **settings: object) -> None:
        """Settings such as `simulator__seed=3`, for commands from now on."""
        for key, value in settings.items():
            self.environment[f"DC__{key}"] = json.dumps(value)

    def dcctl(self, *arguments: str, code: int = 0, deadline_s: float = 320) -> str:
        """Run a command to its end; its standard output."""
        done = self.try_dcctl(*arguments, deadline_s=deadline_s)
        if done.returncode != code:
            print(done.stdout, done.stderr, self.troubles(), sep="\n")
        assert done.returncode == code, (arguments, done.returncode)
        return done.stdout if code == 0 else done.stderr

    def try_dcctl(
        self, *arguments: str, deadline_s: float = 320
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, whatever comes of it."""
        done = subprocess.run(
            [sys.executable, "-m", "processes.cli", *arguments],
            env=self.environment,
            cwd=ROOT,
            text=True,
            capture_output=True,
            timeout=deadline_s,
            check=False,
        )
        self.said += [done.stdout, done.stderr]
        return done

    def troubles(self) -> str:
        """What the logs and the processes' standard errors say of faults."""
        lines = []
        for path in sorted(self.logs.glob("*")):
            text = path.read_text(errors="replace").splitlines()
            wanted = text if path.suffix == ".err" else [
                line for line in text if '"level": "info"' not in line
            ]  # fmt: skip
            lines += [f"{path.name}: {line}" for line in wanted[-12:]]
        return "\n".join(lines)

    def json(self, *arguments: str, code: int = 0):
        return json.loads(self.dcctl(*arguments, "--json", code=code))

    def status(self) -> Status:
        """What dcctl status asks for, without the start of a process."""
        return msgspec.convert(request(self.run, "supervisor", "status", timeout_s=20), Status)

    def pid(self, name: str) -> int:
        return next(p.pid for p in self.status().processes if p.name == name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Signal a child; its pid."""
        pid = self.supervisor_pid() if name == "supervisor" else self.pid(name)
        os.kill(pid, number)
        return pid

    def supervisor_pid(self) -> int:
        return int((self.run / "lock").read_text())

    def ring(self, name: str):
        return next(ring for ring in self.status().rings if ring.name == name)

    def wait_running(self, deadline_s: float = 60) -> None:
        def running() -> bool:
            with contextlib.suppress(OperatorError):  # its sockets are not there yet
                return self.status().state == "running"
            return False

        wait_until(running, deadline_s, "running again")

    def wait_slots(self, ring: str, more: int, deadline_s: float = 60) -> None:
        goal = self.ring(ring).committed + more
        wait_until(lambda: self.ring(ring).committed >= goal, deadline_s, f"{more} in {ring}")

    def wait_back(self, name: str, old_pid: int, deadline_s: float = 60) -> None:
        def back() -> bool:
            mine = next(p for p in self.status().processes if p.name == name)
            return mine.state == "ready" and mine.pid not in {0, old_pid}

        wait_until(back, deadline_s, f"{name} is back")

    def children(self) -> list[psutil.Process]:
        """Every process whose command line names this instance's run folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.run) in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def assert_clean(self) -> None:
        """No process, no segment, no socket."""
        wait_until(lambda: not is_locked(self.run), 30, "the supervisor ends")
        wait_until(lambda: not self.children(), 15, f"processes left: {self.children()}")
        shm = Path("/dev/shm")
        if shm.is_dir():
            assert not list(shm.glob(f"dc.{instance_id(str(self.run))}.*"))
        if self.run.exists():
            left = {path.name for path in self.run.iterdir()} - {"lock"}
            assert not left, left

    def end(self) -> None:
        """Whatever state it is in, end it and leave nothing."""
        if self.run.exists():
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [sys.executable, "-m", "processes.cli", "stop"],
                    env=self.environment, cwd=ROOT, capture_output=True, timeout=90, check=False,
                )  # fmt: skip
        for process in self.children():
            with contextlib.suppress(psutil.Error):
                process.kill()


@pytest.fixture
def project() -> Iterator[Project]:
    """A project; after the test nothing of it is left anywhere."""
    # Not tmp_path: socket paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="dct-"))
    made = Project(folder)
    yield made
    made.end()
    made.assert_clean()
    for path in made.secret_files:
        path.unlink()
    assert_no_secret(folder)
    assert Search().in_text("what commands said", "\n".join(made.said)) == []
    shutil.rmtree(folder, ignore_errors=True)
