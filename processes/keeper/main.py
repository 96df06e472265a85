"""The keeper of one bot: starts it, watches it, starts it again, ends it. A child like any other.

The bot is a program of its own with a life of its own: it may end at any time, and all that follows
is that its account is away until it is back. Why there is a process between it and the supervisor:
docs/decisions/0033. Secrets of the account go to the bot by its environment, and stand in no log:
what the bot prints goes through here.
"""

import os
import random
import secrets
import signal
import socket
import subprocess
from pathlib import Path
from threading import Thread
from typing import IO, Final
from urllib.parse import urlsplit

from config.secrets import read_secret
from processes.backoff import Backoff
from processes.clock import monotonic_s, nap
from processes.files import write_whole
from processes.logs import RotatingFile
from processes.places import ROOT
from processes.runtime import Context, run
from schemas.brokers import FreqtradeAccount
from schemas.errors import ConfigError
from shm.identity import identity_of, is_alive, pid_of

PREFIX: Final = "bot."
TURN_S: Final = 0.05
LOOK_S: Final = 1.0
CONNECT_S: Final = 0.2
FIRST_S, LONGEST_S, HEALTHY_S = 2.0, 60.0, 60.0
ALONE_GRACE_S: Final = 3.0
"""Without a supervisor this process itself ends after five seconds."""
HIDDEN: Final = "(secret)"


class Keeper:
    """One bot after another, until told to stop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._name = context.name.removeprefix(PREFIX)
        self._account = self._account_of(context)
        self._file = context.paths.data / "state" / f"{context.name}.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
        self._backoff = Backoff(FIRST_S, LONGEST_S, random.SystemRandom())
        self._next_s = 0.0
        self._began_s = 0.0
        self._parent = os.getppid()

    def _account_of(self, context: Context) -> FreqtradeAccount:
        account = context.settings.execution.accounts.get(self._name)
        if not isinstance(account, FreqtradeAccount):
            raise ConfigError(f"execution.accounts.{self._name} has no bot")
        return account

    def live(self) -> None:
        """Keep the bot alive until told to stop."""
        self._end_older()
        while not self._context.stopping:
            self._context.service()
            if monotonic_s() >= self._next_s:
                self._look()
            nap(TURN_S)
        self._end()

    def _look(self) -> None:
        self._next_s = monotonic_s() + LOOK_S
        if self._process is None:
            self._start()
        elif (code := self._process.poll()) is not None:
            self._on_end(code)
        elif self._listens():
            self._context.ready(f"{self._account.url}, process {self._process.pid}")
            if monotonic_s() - self._began_s > HEALTHY_S:
                self._backoff.succeeded()
        else:
            self._context.not_ready(f"process {self._process.pid} does not listen yet")

    def _listens(self) -> bool:
        parts = urlsplit(self._account.url)
        try:
            where = (parts.hostname or "", parts.port or 80)
            socket.create_connection(where, CONNECT_S).close()
        except OSError:
            return False
        return True

    def _start(self) -> None:
        try:
            environment, hidden = self._environment()
            process = subprocess.Popen(
                [str(Path(word).expanduser()) if word.startswith("~") else word
                 for word in self._account.command],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except (OSError, ConfigError) as error:
            self._wait(f"cannot be started: {error}")
            return
        # So that a next keeper finds what this one may have to leave behind.
        write_whole(self._file, str(identity_of(process.pid)).encode())
        self._process = process
        self._began_s = monotonic_s()
        assert process.stdout is not None
        self._reader = Thread(target=self._copy, args=(process.stdout, hidden), daemon=True)
        self._reader.start()
        self._context.log.info("bot started", bot=process.pid)
        self._context.not_ready(f"process {process.pid} is starting")

    def _environment(self) -> tuple[dict[str, str], list[str]]:
        """What the bot is given, and what of it must not be shown.

        Raises:
            ConfigError: a secret is not where the settings say.
        """
        where = f"execution.accounts.{self._name}"
        password = read_secret(f"{where}.password", self._account.password)
        token = read_secret(f"{where}.ws_token", self._account.ws_token)
        key = secrets.token_urlsafe(32)
        ours = {
            "FREQTRADE__API_SERVER__USERNAME": self._account.username,
            "FREQTRADE__API_SERVER__PASSWORD": password,
            "FREQTRADE__API_SERVER__WS_TOKEN": token,
            "FREQTRADE__API_SERVER__JWT_SECRET_KEY": key,
        }
        # PYTHONPATH would have it import our packages; the thread limits are for our own kernels.
        theirs = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
        return {**theirs, **ours}, [password, token, key]

    def _copy(self, pipe: IO[bytes], hidden: list[str]) -> None:
        """The bot's words to a log of their own, without secrets."""
        settings = self._context.settings.log
        path = self._context.paths.logs / f"{self._context.name}.log"
        path.touch(0o600)
        file = RotatingFile(path, settings.max_bytes, settings.keep)
        for line in pipe:
            text = line.decode(errors="replace")
            for word in filter(None, hidden):
                text = text.replace(word, HIDDEN)
            file.write(text)
        pipe.close()

    def _on_end(self, code: int) -> None:
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        self._forget()
        self._wait(how)

    def _wait(self, how: str) -> None:
        wait_s = 1.0 + self._backoff.next_s()
        self._next_s = monotonic_s() + wait_s
        self._context.log.warning("bot ended", how=how, again_in_s=round(wait_s, 1))
        self._context.not_ready(f"{how}; again in {wait_s:.0f} s: dcctl logs {self._context.name}")

    def _end(self) -> None:
        """In order, then by force; within what the supervisor gives this process."""
        if self._process is None:
            return
        grace_s = ALONE_GRACE_S
        if os.getppid() == self._parent:
            grace_s = max(self._context.settings.supervisor.stop_timeout_s - 2.0, 1.0)
        _end_process(identity_of(self._process.pid), grace_s, self._process)
        self._context.log.info("bot stopped", code=self._process.returncode)
        self._forget()

    def _forget(self) -> None:
        self._process = None
        if self._reader is not None:
            self._reader.join(2.0)
        self._file.unlink(missing_ok=True)

    def _end_older(self) -> None:
        """Two bots of one account would trade against each other: end what a killed keeper left."""
        if not self._file.exists():
            return
        text = self._file.read_text(encoding="ascii", errors="replace")
        if text.isdecimal() and is_alive(int(text)):
            self._context.log.warning("ending the bot of a keeper before", bot=pid_of(int(text)))
            _end_process(int(text), ALONE_GRACE_S)
        self._file.unlink()


def _end_process(
    identity: int, grace_s: float, process: "subprocess.Popen[bytes] | None" = None
) -> None:
    """SIGTERM to a bot, SIGKILL to its whole group when it takes too long."""

    def lives() -> bool:
        return process.poll() is None if process is not None else is_alive(identity)

    deadline_s = monotonic_s() + grace_s
    try:
        os.kill(pid_of(identity), signal.SIGTERM)
        while lives() and monotonic_s() < deadline_s:
            nap(TURN_S)
        os.killpg(pid_of(identity), signal.SIGKILL)  # it leads a group of its own
    except ProcessLookupError:
        pass  # all of it has gone
    if process is not None:
        process.wait()
    while lives():
        nap(TURN_S)


def main(context: Context) -> None:
    """Keep one bot."""
    Keeper(context).live()


if __name__ == "__main__":
    run(main)
