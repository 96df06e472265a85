"""A real bash completes dcctl by TAB; each shell is answered; nothing is prepared for it."""

import os
import shutil
import subprocess
import sys

import pytest

from processes.cli.completion import ASKING, RECIPES
from tests.helpers import ROOT, run_python

SHELLS = tuple(RECIPES)


@pytest.fixture
def bash(tmp_path):
    """Press TAB behind words, in a bash that has sourced the script; what it offers."""
    path = shutil.which("bash")
    assert path
    program = tmp_path / "dcctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m processes.cli "$@"\n')
    program.chmod(0o755)
    script = run_python("-m", "processes.cli", "completion", "bash").stdout
    place = str(ROOT / "scripts" / "dcctl")
    assert place in script
    (tmp_path / "script").write_text(script.replace(place, str(program)))

    def press(*words: str) -> list[str]:
        listed = " ".join(f"'{word}'" for word in words)
        told = (
            f"source '{tmp_path}/script'; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; "
            f'"$(complete -p dcctl | sed "s/.*-F \\([^ ]*\\).*/\\1/")" dcctl; '
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            [path, "--norc", "-c", told], env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
            text=True, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.split()

    return press


def test_bash_completes_commands(bash):
    assert bash("dcctl", "st") == ["start", "stop", "status"]
    assert bash("dcctl", "lake", "ver") == ["verify"]


def test_bash_completes_options(bash):
    assert bash("dcctl", "kill", "--l") == ["--level"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_answered(monkeypatch, shell):
    monkeypatch.setenv(ASKING, f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "dcctl sta")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    done = run_python("-m", "processes.cli")
    assert "start" in done.stdout
    assert "status" in done.stdout
    assert "stop" not in done.stdout.replace("stop when", "")
    assert done.stderr == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_this_program_and_says_where_it_goes(shell):
    done = run_python("-m", "processes.cli", "completion", shell)
    assert done.returncode == 0
    first, *rest = done.stdout.splitlines()
    assert first.startswith("# ")
    assert f"completion {shell}" in first
    assert str(ROOT / "scripts" / "dcctl") in "\n".join(rest)
    assert ASKING in done.stdout


def test_a_shell_that_is_not_known_is_refused():
    done = run_python("-m", "processes.cli", "completion", "tcsh")
    assert done.returncode == 2
    assert "bash, zsh, fish" in done.stderr


def test_the_program_asks_by_the_same_name_as_the_scripts():
    assert ASKING in (ROOT / "scripts" / "dcctl").read_text(encoding="utf-8")
    assert ASKING in (ROOT / "processes" / "cli" / "__main__.py").read_text(encoding="utf-8")


def test_pressing_tab_installs_nothing(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("dcctl", "environment"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    done = subprocess.run(
        [str(tmp_path / "scripts" / "dcctl")], env={**os.environ, ASKING: "complete_bash"},
        text=True, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} == {"scripts"}


def test_a_command_does_not_pay_for_it():
    done = run_python("-X", "importtime", "-m", "processes.cli", "version")
    assert done.returncode == 0
    assert "processes.cli.completion" not in done.stderr
