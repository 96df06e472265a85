"""What the whole suite has printed and left on disk is searched for the secrets that its tests
plant.

Every planted secret bears one mark (`tests/planted.py`). Hooks of pytest, taken up by conftest:
what a test has printed is looked at when it is over, pytest's folders when all are. Folders that
are removed before that (instances, whole projects) are looked at by who removes them.
"""

from pathlib import Path

import pytest

from tests.planted import Search

_found: list[str] = []


def assert_no_secret(folder: Path) -> None:
    """Before a folder of an instance is removed.

    Raises:
        AssertionError: a planted secret stands somewhere in it.
    """
    found = Search().in_folder(folder)
    assert not found, "\n".join(found)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a test has printed."""
    for name, text in report.sections:
        _found.extend(Search().in_text(f"{report.nodeid}, {name}", text))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What the suite has left; workers' folders are below the controller's."""
    if hasattr(session.config, "workerinput"):
        return
    base = session.config._tmp_path_factory._basetemp
    if base is not None:
        _found.extend(Search().in_folder(base))
    if _found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where secrets were found."""
    if _found:
        terminalreporter.section("planted secrets were found", red=True)
        for line in _found:
            terminalreporter.line(line)
