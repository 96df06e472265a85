"""The supervisor as a service of the user's machine: a launchd agent or a systemd user unit.

Owns one file below the user's home and what the manager knows under one name, which is made of the
project's folder, so that two copies of the project do not meet. It never touches data, and never
starts an instance itself. All of the machine stands in `Machine`, so that one kind of machine can
prove the files and the calls of the other. Facts about the managers are those of launchd.plist(5),
launchctl(1), systemd.service(5) and systemctl(1).
"""

import hashlib
import os
import plistlib
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from processes.clock import monotonic_s, nap
from processes.files import write_whole
from schemas.errors import OperatorError

POLL_S: Final = 0.1
GONE_S: Final = 75.0
"""launchd's longest exit time-out in a login session is 60 s."""
STOP_S: Final = 45
NOT_LOADED: Final = 113
PATHS: Final = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class Told(msgspec.Struct, frozen=True):
    """What a command of the machine has answered."""

    code: int
    text: str


Runner = Callable[[Sequence[str]], Told]


def run_command(arguments: Sequence[str]) -> Told:
    """Run a command of the machine to its end.

    Raises:
        OperatorError: there is no such command, or it does not end.
    """
    try:
        done = subprocess.run(
            list(arguments), capture_output=True, text=True, timeout=90, check=False
        )
    except FileNotFoundError:
        raise OperatorError(
            f"this machine has no {arguments[0]}: keep `dcctl start --foreground` running by what "
            "it has, or see docs/server.md"
        ) from None
    except subprocess.TimeoutExpired:
        raise OperatorError(f"{' '.join(arguments)} does not end; try it by hand") from None
    return Told(done.returncode, (done.stdout + done.stderr).strip())


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What of a machine matters here."""

    platform: str
    home: Path
    uid: int
    config_home: Path
    run: Runner = run_command


def this_machine() -> Machine:
    """The one this runs on."""
    home = Path.home()
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return Machine(platform=sys.platform, home=home, uid=os.getuid(), config_home=config_home)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the service shall run."""

    root: Path
    logs: Path
    profile: str
    config: Path | None = None
    python: Path = Path(sys.executable)

    def command(self) -> list[str]:
        """The supervisor in the foreground."""
        words = [str(self.python), "-m", "processes.cli", "start", "--foreground"]
        words += ["--profile", self.profile]
        return [*words, "--config", str(self.config)] if self.config is not None else words

    def environment(self, manager: str) -> dict[str, str]:
        """Its variables. Our logs are files that rotate, so standard output gets no copy."""
        return {
            "PYTHONPATH": str(self.root),
            "PYTHONUNBUFFERED": "1",
            "DC_SERVICE": manager,
            "DC_LOG_STDOUT": "0",
        }


class Service(ABC):
    """One project's service on one machine."""

    manager: ClassVar[str]

    def __init__(self, machine: Machine, root: Path) -> None:
        self._machine = machine
        self._mark = hashlib.blake2b(str(root).encode(), digest_size=3).hexdigest()

    @property
    @abstractmethod
    def name(self) -> str:
        """What the manager calls it."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """Its file."""

    @abstractmethod
    def file(self, wanted: Wanted) -> bytes:
        """The file's content."""

    @abstractmethod
    def pid(self) -> int:
        """The supervisor that the manager has started, 0 without one."""

    @abstractmethod
    def _load(self) -> None:
        """Have the manager take the file and start it."""

    @abstractmethod
    def _unload(self) -> None:
        """Have the manager end it, in order, and forget it."""

    def is_installed(self) -> bool:
        """Whether its file is there."""
        return self.path.exists()

    def install(self, wanted: Wanted) -> bool:
        """Put it there and start it; False if it is just so there and runs.

        Raises:
            OperatorError: the manager does not take it.
        """
        content = self.file(wanted)
        is_same = self.is_installed() and self.path.read_bytes() == content
        if is_same and self.pid():
            return False
        self._unload()
        write_whole(self.path, content, mode=0o644)
        self._load()
        return True

    def uninstall(self) -> bool:
        """End it and remove its file; False if there was none.

        Raises:
            OperatorError: the manager does not let it go.
        """
        if not self.is_installed():
            return False
        self._unload()
        self.path.unlink()
        self._forget()
        return True

    @abstractmethod
    def _forget(self) -> None:
        """Have the manager know that the file has gone."""

    def _must(self, *arguments: str, hint: str) -> str:
        told = self._machine.run(arguments)
        if told.code:
            said = told.text.splitlines()[-1] if told.text else f"exit code {told.code}"
            raise OperatorError(f"{' '.join(arguments)}: {said}; {hint}")
        return told.text


class Launchd(Service):
    """A LaunchAgent: it runs from login to logout."""

    manager = "launchd"

    @property
    def name(self) -> str:
        """Its label."""
        return f"data-controller.{self._mark}"

    @property
    def path(self) -> Path:
        """Its property list."""
        return self._machine.home / "Library" / "LaunchAgents" / f"{self.name}.plist"

    @property
    def _target(self) -> str:
        return f"{self._domain}/{self.name}"

    @property
    def _domain(self) -> str:
        return f"gui/{self._machine.uid}"

    def file(self, wanted: Wanted) -> bytes:
        """The property list."""
        job: dict[str, Any] = {
            "Label": self.name,
            "ProgramArguments": wanted.command(),
            "WorkingDirectory": str(wanted.root),
            "RunAtLoad": True,
            # Not after an exit with 0: a wanted stop, or settings that no restart cures.
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ExitTimeOut": STOP_S,
            # Without these two launchd throttles processor and disk, and moves timers.
            "ProcessType": "Interactive",
            "LegacyTimers": True,
            "EnvironmentVariables": {
                "PATH": PATHS, "LANG": "en_US.UTF-8", **wanted.environment(self.manager),
            },
            "SoftResourceLimits": {"NumberOfFiles": 8192},
            "Umask": 0o077,
            # Only early crashes come here: launchd never reopens them, and nobody rotates them.
            "StandardOutPath": str(wanted.logs / "launchd.out"),
            "StandardErrorPath": str(wanted.logs / "launchd.err"),
        }  # fmt: skip
        return plistlib.dumps(job, sort_keys=False)

    def pid(self) -> int:
        """As `launchctl print` has it."""
        told = self._machine.run(("launchctl", "print", self._target))
        lines = [line.split("=") for line in told.text.splitlines()] if not told.code else []
        found = [parts[1].strip() for parts in lines if parts[0].strip() == "pid"]
        return int(found[0]) if found else 0

    def _load(self) -> None:
        hint = f"look at it with: launchctl print {self._target}"
        self._must("launchctl", "enable", self._target, hint=hint)
        self._must("launchctl", "bootstrap", self._domain, str(self.path), hint=hint)

    def _forget(self) -> None:
        """It reads files only when it is told to."""

    def _unload(self) -> None:
        """`bootout` returns before the job is gone; a bootstrap before that fails with 5."""
        if self._machine.run(("launchctl", "print", self._target)).code:
            return
        self._machine.run(("launchctl", "bootout", self._target))
        deadline_s = monotonic_s() + GONE_S
        while self._machine.run(("launchctl", "print", self._target)).code != NOT_LOADED:
            if monotonic_s() > deadline_s:
                raise OperatorError(
                    f"launchd does not let {self.name} go; type: launchctl bootout {self._target}"
                )
            nap(POLL_S)


class Systemd(Service):
    """A user unit: it runs from login to logout, or always once the user lingers."""

    manager = "systemd"

    @property
    def name(self) -> str:
        """Its unit."""
        return f"data-controller-{self._mark}.service"

    @property
    def path(self) -> Path:
        """Its unit file."""
        return self._machine.config_home / "systemd" / "user" / self.name

    def file(self, wanted: Wanted) -> bytes:
        """The unit."""
        command = " ".join(_quoted(word.replace("$", "$$")) for word in wanted.command())
        variables = wanted.environment(self.manager).items()
        environment = "\n".join(f"Environment={_quoted(f'{k}={v}')}" for k, v in variables)
        folder = str(wanted.root).replace("%", "%%")
        return f"""\
[Unit]
Description=Data Controller
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
WorkingDirectory={folder}
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
TimeoutStartSec=90
TimeoutStopSec={STOP_S}
WatchdogSec=15
Restart=on-failure
RestartSec=10
RestartPreventExitStatus=78
LimitNOFILE=65536
UMask=0077
{environment}

[Install]
WantedBy=default.target
""".encode()

    def pid(self) -> int:
        """As `systemctl show` has it."""
        told = self._machine.run(
            ("systemctl", "--user", "show", "--property=MainPID", "--value", self.name)
        )
        return int(told.text) if not told.code and told.text.isdecimal() else 0

    def _load(self) -> None:
        self._reload()
        hint = f"look at it with: systemctl --user status {self.name}"
        # A unit that gave up counts its starts; and `start` would wait until all is ready.
        self._machine.run(("systemctl", "--user", "reset-failed", self.name))
        self._must("systemctl", "--user", "enable", self.name, hint=hint)
        self._must("systemctl", "--user", "start", "--no-block", self.name, hint=hint)

    def _unload(self) -> None:
        if self.is_installed():
            hint = f"try it by hand: systemctl --user stop {self.name}"
            self._must("systemctl", "--user", "disable", "--now", self.name, hint=hint)

    def _forget(self) -> None:
        self._reload()

    def _reload(self) -> None:
        hint = (
            "a user's services need a login of that user: log in directly and not by su or sudo, "
            "or type: sudo loginctl enable-linger $USER"
        )
        self._must("systemctl", "--user", "daemon-reload", hint=hint)


def _quoted(word: str) -> str:
    """As a unit file wants a word: specifiers doubled, in quotes where needed."""
    plain = word.replace("%", "%%")
    if not any(letter in plain for letter in " \t\"'\\;"):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def service_of(machine: Machine, root: Path) -> Service:
    """The project's service on a machine.

    Raises:
        OperatorError: neither manager is there.
    """
    if machine.platform == "darwin":
        return Launchd(machine, root)
    if machine.platform.startswith("linux"):
        return Systemd(machine, root)
    raise OperatorError(f"services of {machine.platform} are not known: dcctl start --foreground")
