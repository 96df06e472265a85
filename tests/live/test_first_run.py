"""From an empty machine to a decision on the screen, by the steps of docs/get-started.md: counted.

A clone, a home and a package cache of nobody; the steps are read from the page and typed as they
stand there. The live feed of the second half is a simulated Bitfinex beside the instance, named by
its address as the venue's own is. It wants a package index, and prints what it took:
./scripts/test --long -s tests/live/test_first_run.py
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.exchange import standing_exchange
from tests.helpers import ROOT, wait_until

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(3600)]
KEPT = ("PATH", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy")
SYMBOLS = ("tBTCUSD", "tETHUSD")
AFTER_DEMO = ("./scripts/dcctl stop",)
"""What the page tells to type between its two halves, beside the numbered steps."""


class Step(NamedTuple):
    """A numbered step of the page: its number and what it has one type."""

    number: int
    commands: list[str]


def steps() -> list[Step]:
    """Those of the page, each with the commands of its block."""
    text = (ROOT / "docs" / "get-started.md").read_text(encoding="utf-8")
    found = []
    for part in re.split(r"^\*\*Step (?=\d+\.)", text, flags=re.MULTILINE)[1:]:
        block = re.search(r"^```\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
        assert block, part
        found.append(Step(int(part.partition(".")[0]), block[1].strip().splitlines()))
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    return found


class Newcomer:
    """Somebody who types what the page says, in a clone of their own."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        home = folder / "home"
        home.mkdir()
        self.environment = {
            "HOME": str(home),
            **{
                name: value
                for name, value in os.environ.items()
                if name in KEPT or name.startswith(("PIP_", "UV_"))
            },
        }
        self.said: list[str] = []
        subprocess.run(["git", "clone", "-q", str(ROOT), str(self.project)], check=True)

    def types(self, command: str) -> str:
        """One line of the page; what it says."""
        started = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.project, env=self.environment, text=True,
            capture_output=True, timeout=1800, check=False,
        )  # fmt: skip
        self.said.append(f"{time.monotonic() - started:7.1f} s  {command}")
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def has_an_order(self) -> bool:
        """`why last` has nothing to say before the first one."""
        done = subprocess.run(
            ["./scripts/dcctl", "orders", "--json"], cwd=self.project, env=self.environment,
            capture_output=True, check=True,
        )  # fmt: skip
        return bool(json.loads(done.stdout))


def test_minutes_and_steps_to_a_decision(capsys):
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git tree")
    page = steps()
    market = {"symbols": SYMBOLS, "events_per_s": 60.0}
    # Not a folder that is searched for secrets: the clone has the program that plants them.
    folder = Path(tempfile.mkdtemp(prefix="dcu-"))
    with standing_exchange(**market) as venue:
        venue.exchange.frozen = False
        newcomer = Newcomer(folder)
        try:
            began = time.monotonic()
            seen_s: dict[str, float] = {}
            for step in page[:5]:
                for command in step.commands:
                    if "why last" in command:
                        wait_until(newcomer.has_an_order, 180, "a first order")
                    said = newcomer.types(command)
                    if "tap decisions" in command:
                        assert "reason" in said
                        seen_s["demo"] = time.monotonic() - began
                        demo_steps = step.number
            for command in AFTER_DEMO:
                newcomer.types(command)
            feed = f"ws://127.0.0.1:{venue.port}/ws/2"
            newcomer.environment["DC__venues__bitfinex__url"] = feed
            again = time.monotonic()
            for step in page[5:]:
                for command in step.commands:
                    newcomer.types(command)
            newcomer.types("./scripts/dcctl tap decisions -m kind=decision -n 1")
            seen_s["live feed"] = time.monotonic() - again
            newcomer.types("./scripts/dcctl stop")
            assert (newcomer.project / "data-demo").is_dir()
        finally:
            subprocess.run(
                ["./scripts/dcctl", "stop"], cwd=newcomer.project, env=newcomer.environment,
                capture_output=True, check=False,
            )  # fmt: skip
            shutil.rmtree(folder)
            with capsys.disabled():
                print("\n" + "\n".join(newcomer.said))
    with capsys.disabled():
        print(
            f"to a decision of the demo: {demo_steps} steps, {seen_s['demo'] / 60:.1f} minutes; "
            f"on to one of the live feed: {len(page) - 5} more steps, "
            f"{seen_s['live feed'] / 60:.1f} minutes"
        )
