"""Retraining as a child process: once a day it types `dcctl train` and `dcctl models promote`.

What it starts are the commands a person would type, one at a time, at the lowest priority, with
the settings in force; so a model made at night is judged, refused and promoted as one made by
hand, and inference takes it over as it takes over any. A training that fails or is refused costs
nothing: what is promoted stays. A command lives no longer than this process, however that ends; the
next life begins the day again, and what was trained already is found by `dcctl train`.
"""

import os
import subprocess
import sys
import tempfile
from typing import IO, Final

import msgspec

from processes.clock import monotonic_s, nap, utc_text
from processes.files import write_whole
from processes.places import ROOT
from processes.retraining.schedule import Schedule
from processes.runtime import Context, run
from schemas.metrics import place

NICENESS: Final = 19
POLL_S: Final = 0.05
TRIES: Final = 3
SAID_BYTES: Final = 2_000


class Command:
    """One dcctl at work, with its output in files: a full pipe would stop it."""

    def __init__(self, words: list[str], environment: dict[str, str], longest_s: float) -> None:
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `end`)
        self._err: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._end_s = monotonic_s() + longest_s
        self._late = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "processes.retraining.command", *words],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,  # closes with this process, however that ends
            stdout=self._out,
            stderr=self._err,
        )

    def is_over(self) -> bool:
        """Whether it has ended; one that takes too long is ended."""
        if self._process.poll() is None and monotonic_s() > self._end_s:
            self._late = True
            self._process.kill()
            self._process.wait()
        return self._process.returncode is not None

    def result(self) -> tuple[bytes, str]:
        """Standard output, and why it failed; empty if it did not."""
        self._out.seek(0)
        self._err.seek(0)
        told = self._err.read()[-SAID_BYTES:].decode(errors="replace").strip()
        if self._late:
            why = "took longer than retraining.longest_s"
        elif self._process.returncode:
            why = told.splitlines()[-1] if told else f"exit code {self._process.returncode}"
        else:
            why = ""
        return self._out.read(), why

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._out.close()
        self._err.close()


class Retraining:
    """The schedule, and the day's commands."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings.retraining
        state = context.paths.data / "state"
        self._handed = state / "retraining.yml"
        self._schedule = Schedule(
            state / "retraining.json", self._settings.at, context.clock.now_ns()
        )
        self._environment = {
            **os.environ,
            "DC__paths__run": str(context.paths.run),
            "DC__paths__data": str(context.paths.data),
            "DC__paths__logs": str(context.paths.logs),
        }

    def live(self) -> None:
        """Wait for the hour, train, wait for the next."""
        context = self._context
        context.ready()
        self._tell()
        while not context.stopping:
            if due_ns := self._schedule.due(context.clock.now_ns()):
                self._train(due_ns)
            context.service()
            nap(POLL_S)

    def _train(self, due_ns: int) -> None:
        told: dict[str, str] = {name: self._one(name) for name in self._settings.families}
        if not self._context.stopping:  # else the day is not done: the next life begins it again
            self._schedule.done(told, due_ns)
            self._tell()

    def _one(self, family: str) -> str:
        """Train one family, if need be more than once; what came of it, in words."""
        outcome = ""
        for _ in range(TRIES):
            if outcome:
                self._wait(self._settings.retry_s)
            if self._context.stopping:
                break
            outcome, is_made = self._once(family)
            self._context.log.info("retrained", family=family, outcome=outcome)
            if is_made:
                break
        return outcome

    def _once(self, family: str) -> tuple[str, bool]:
        """Train and promote; what came of it, and whether there is a model."""
        settings, metrics = self._settings, self._context.metrics
        self._context.say(f"training {family}")
        self._hand_over()
        out, why = self._dcctl(
            "train", family, "--days", f"{settings.days:g}",
            "--horizon", f"{settings.horizon_s:g}", "--json",
            "--profile", self._context.settings.profile, "--config", str(self._handed),
            *["--recorded"][: settings.recorded],
        )  # fmt: skip
        if why:
            metrics.add(place("retrainings_failed"), 1)
            return f"not trained: {why}", False
        metrics.add(place("retrainings"), 1)
        version: str = msgspec.json.decode(out)[0]["version"]
        if not settings.promote:
            return f"trained {version}", True
        _, why = self._dcctl("models", "promote", family, version, "--reason", "retraining")
        if why:
            metrics.add(place("retrainings_refused"), 1)
            return f"{version} not promoted: {why}", True
        return f"promoted {version}", True

    def _hand_over(self) -> None:
        """Write what a training asks for of the settings in force; no secret is among it."""
        settings = self._context.settings
        handed = {
            "training": settings.training,
            "backtest": {"fees": settings.backtest.fees},
            "execution": {"paper": settings.execution.paper},
        }
        write_whole(self._handed, msgspec.yaml.encode(msgspec.to_builtins(handed)))

    def _dcctl(self, *words: str) -> tuple[bytes, str]:
        command = Command(list(words), self._environment, self._settings.longest_s)
        try:
            while not command.is_over():
                if self._context.stopping:
                    return b"", "told to stop"
                self._context.service()
                nap(POLL_S)
            return command.result()
        finally:
            command.end()

    def _wait(self, seconds: float) -> None:
        end_s = monotonic_s() + seconds
        while not self._context.stopping and monotonic_s() < end_s:
            self._context.service()
            nap(POLL_S)

    def _tell(self) -> None:
        """The last outcomes and the next hour, for `dcctl status`."""
        last = self._schedule.last
        told = [f"{family}: {text}" for family, text in (last.told if last else {}).items()]
        self._context.say("; ".join([*told, f"next {utc_text(self._schedule.next_ns())[:16]}"]))


def main(context: Context) -> None:
    """Train again by itself."""
    os.nice(NICENESS)
    Retraining(context).live()


if __name__ == "__main__":
    run(main)
