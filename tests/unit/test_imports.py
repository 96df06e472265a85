"""What a process need not load, it does not load: its start is nearly all imports."""

import pytest

from tests.helpers import run_python

LEAN = ("collector", "execution", "features", "inference", "storage", "supervisor")
NEVER = ("rich", "pygments", "typer", "nicegui", "pytest")


@pytest.mark.parametrize("process", LEAN)
def test_a_process_loads_nothing_that_draws(process):
    told = run_python(
        "-c",
        f"import sys, processes.{process}.main\n"
        f"print([name for name in {NEVER} if name in sys.modules])",
        deadline_s=120,
    )
    assert told.stdout == "[]\n", told.stderr


def test_rich_is_there_for_whoever_asks_for_it():
    told = run_python("-c", "import processes.logs, rich.text; print(rich.text.Text('seen'))")
    assert told.stdout == "seen\n", told.stderr
