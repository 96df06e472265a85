"""What the README and the first steps tell to type does what they say, over one demo.

Every command of theirs is run, or stands below with the reason why it cannot be here: a new one
that does not work offline fails this test.
"""

import os
import signal
import subprocess
import sys
import threading

import pytest

from processes.execution.reading import LedgerView
from schemas.settings import LedgerSettings
from tests.helpers import ROOT, wait_until
from tests.live.conftest import Project
from tests.unit.docs.typed import spelt, typed

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

PAGES = ("README.md", "docs/get-started.md")
NOT_HERE = {
    "start --profile bitfinex-paper": "needs Bitfinex",
    "instruments --search BTC": "needs the three venues",
    "history download bitfinex candles tBTCUSD --from 2026-11-01": "needs Bitfinex",
    "train all": "needs days of data; tests/unit/training has it",
    "arm --live": "wants a phrase typed by a person; tests/live/test_kill_levels.py",
    "kill": "asks; `kill --yes` is run",
    "install": "would be a service of who runs the tests; tests/unit/cli/test_service.py",
    "console": "may open a browser; `console --no-browser` is run",
    "--help": "run by tests/unit/cli",
}
"""Commands that cannot be run here, with the reason."""
ENDLESS = {"top", "tap decisions", "tap tape.bitfinex", "logs -f"}
"""Those that go on until they are interrupted."""
FIRST, SWITCH, LAST = "start", ("kill --yes", "arm --yes"), "stop"
AFTERWARDS = {
    "lake verify", 'lake query "SELECT count(*) FROM trades"', "replay last --verify",
    "backtest --session last --report report.html",
}  # fmt: skip
"""Those that a page tells to type when the demo has ended."""
SAYS = {
    "start": "profile demo",
    "tap decisions -n 5": "reason",
    "why last": "decision",
    "stop": "no process, no shared memory, no socket is left",
    "replay last --verify": "identical",
    "config --profile bitfinex-paper": "wss://api-pub.bitfinex.com/ws/2",
}
"""Words of the answer, where a page says what one sees."""


def told() -> list[str]:
    """Every command of the pages, once, in order."""
    found = [
        said.words for page in PAGES for said in typed((ROOT / page).read_text(encoding="utf-8"))
    ]
    return list(dict.fromkeys(found))


def run(project: Project, command: str, code: int = 0) -> str:
    """Type it in a folder of the test's own."""
    done = subprocess.run(
        [sys.executable, "-m", "processes.cli", *spelt(command)],
        env=project.environment, cwd=project.folder, text=True, capture_output=True, timeout=200,
        check=False,
    )  # fmt: skip
    project.said += [done.stdout, done.stderr]
    said = done.stdout + done.stderr
    assert done.returncode == code, (command, done.returncode, said, project.troubles())
    assert SAYS.get(command, "") in said.lower() or SAYS[command] in said, (command, said)
    return said


def watch(project: Project, command: str) -> None:
    """Type it, see something come, and interrupt it; that is no fault."""
    child = subprocess.Popen(
        [sys.executable, "-m", "processes.cli", *spelt(command)],
        env=project.environment, cwd=project.folder, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        fuse = threading.Timer(60, child.kill)
        fuse.start()
        first = os.read(child.stdout.fileno(), 1 << 16)
        fuse.cancel()
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert len(first) > 20, (command, errors)
    assert child.returncode in {0, 130}, (command, child.returncode, errors)
    assert b"Traceback" not in errors
    project.said += [(first + rest).decode(errors="replace"), errors.decode(errors="replace")]


def has_order(project: Project) -> bool:
    """Whether the ledger has one."""
    there = (project.data / "ledger.sqlite").exists()
    return there and bool(LedgerView(LedgerSettings(), project.data).orders(limit=1))


def test_every_command_is_run_or_has_its_reason():
    known = {*NOT_HERE, *ENDLESS, *AFTERWARDS, *SWITCH, FIRST, LAST, *SAYS}
    assert known <= set(told()), f"no page has {known - set(told())}"


def test_the_first_steps_go_as_the_pages_say(project):
    project.set(console__enabled=True, console__port=0)
    while_it_runs = [
        command
        for command in told()
        if command not in {*NOT_HERE, *AFTERWARDS, *SWITCH, FIRST, LAST}
    ]
    assert {"status", "positions", "logs -n 20", "console --no-browser"} <= set(while_it_runs)
    run(project, FIRST)
    # `why last` speaks of an order; the rest is looked at meanwhile.
    for command in sorted(while_it_runs, key=lambda command: command == "why last"):
        if command == "why last":
            wait_until(lambda: has_order(project), 90, "a first order")
        (watch if command in ENDLESS else run)(project, command)
    for command in (*SWITCH, LAST):
        run(project, command)
    project.assert_clean()
    for command in sorted(AFTERWARDS):
        run(project, command)
    assert (project.folder / "report.html").stat().st_size > 1000
