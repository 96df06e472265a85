"""A run of tests that prints a planted secret, or leaves one in a file, fails and says where."""

import tempfile
from pathlib import Path

import pytest

from tests.helpers import run_python
from tests.instances import short_folder
from tests.leaks import assert_no_secret
from tests.planted import plant

HOOKS = """from tests.leaks import (
    pytest_runtest_logreport, pytest_sessionfinish, pytest_terminal_summary,
)
"""
TEST = """from tests.planted import plant

def test_it(tmp_path):
    {line}
"""


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("(tmp_path / 'a').write_text('nothing')", 0, "1 passed"),
        ("(tmp_path / 'a.log').write_text(plant('file'))", 1, "a.log: a planted secret, plain"),
        ("print(plant('words').encode().hex())", 1, "test_it, Captured stdout call: a planted"),
    ],
)
def test_what_a_run_leaves_and_says_is_searched(line, code, words):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "conftest.py").write_text(HOOKS)
        (folder / "test_one.py").write_text(TEST.format(line=line))
        done = run_python(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "base"),
            str(folder / "test_one.py"),
        )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert words in done.stdout


def test_a_folder_is_searched_before_it_is_removed():
    with (
        pytest.raises(AssertionError, match=r"log\.jsonl: a planted secret"),
        short_folder() as one,
    ):
        (one / "log.jsonl").write_text(plant("folder"))
    assert not one.exists()
    with tempfile.TemporaryDirectory() as name:
        assert_no_secret(Path(name))
