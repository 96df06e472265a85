"""The workflow, the hooks and the task file are valid and name what is there."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import ROOT
from tests.unit.docs.typed import fault, typed

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
HOOKS = ROOT / ".pre-commit-config.yaml"
MAKEFILE = ROOT / "Makefile"
SCRIPT = re.compile(r"(?<![\w.])\./[\w./-]+")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@(v\d+|[0-9a-f]{40})")


TARGETS = re.findall(r"(?m)^([a-z]+): ##", MAKEFILE.read_text(encoding="utf-8"))


def workflow() -> dict[str, Any]:
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def check(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            sys.executable, "-m", "check_jsonschema",
            "--builtin-schema", "vendor.github-workflows", str(path),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def missing(text: str) -> list[str]:
    """Scripts that a text runs and that are not there, or cannot be run."""
    paths = [ROOT / name for name in SCRIPT.findall(text)]
    return [str(path) for path in paths if not (path.is_file() and os.access(path, os.X_OK))]


def test_the_workflow_is_one(tmp_path):
    done = check(WORKFLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "ci.yml"
    broken.write_text(WORKFLOW.read_text(encoding="utf-8").replace("runs-on", "runs-of"))
    assert check(broken).returncode == 1


def test_it_runs_linux_and_macos_and_may_only_read():
    told = workflow()
    systems = told["jobs"]["as-a-user"]["strategy"]["matrix"]["system"]
    assert {name.split("-")[0] for name in systems} == {"ubuntu", "macos"}
    assert told["permissions"] == {"contents": "read"}
    assert all(0 < job["timeout-minutes"] <= 120 for job in told["jobs"].values())
    assert "secrets." not in WORKFLOW.read_text(encoding="utf-8")


def test_every_action_is_pinned():
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert [name for name in used if not PINNED.fullmatch(name)] == []
    image = workflow()["jobs"]["whole"]["container"]["image"]
    assert re.fullmatch(r"python:3\.\d+-[a-z]+", image)


def test_what_the_workflow_runs_is_there():
    ran = "\n".join(step.get("run", "") for step in steps())
    assert {"./.ci/run", "./.ci/demo", "./scripts/test", "./scripts/site"} <= set(
        SCRIPT.findall(ran)
    )
    assert missing(ran) == []
    assert missing("./.ci/nothing") != []


def test_the_demo_of_the_workflow_types_what_the_documents_type():
    text = (ROOT / ".ci" / "demo").read_text(encoding="utf-8")
    assert missing(text) == []
    block = list(typed(f"```\n{text}```\n"))
    assert len(block) == text.count("./scripts/dcctl")
    assert {said.words: fault(said) for said in block if fault(said)} == {}
    pages = [ROOT / "README.md", ROOT / "docs" / "get-started.md"]
    told = {said.words for page in pages for said in typed(page.read_text(encoding="utf-8"))}
    assert {said.words for said in block} <= told


def test_both_jobs_prove_it_with_the_readmes_own_command():
    assert './scripts/test "$@"' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "./scripts/test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_hooks_look_as_the_suite_looks():
    suite = (ROOT / "scripts" / "test").read_text(encoding="utf-8").splitlines()
    hooks = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = {hook["id"]: hook["entry"] for hook in hooks}
    for name in ("ruff", "ruff-format", "mypy"):
        assert any(line.split(" || ")[0] == entries[name] for line in suite), name


def test_the_hooks_are_valid_and_name_what_the_lock_installs():
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", str(HOOKS)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for repository in yaml.safe_load(HOOKS.read_text(encoding="utf-8"))["repos"]:
        assert repository["repo"] == "local"  # nothing is fetched, versions are the lock's
        for hook in repository["hooks"]:
            tool, *words = hook["entry"].removeprefix(".venv/bin/").split()
            assert tool == "python" or re.search(rf"(?m)^{tool}==", lock), tool
            assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_task_runs_what_is_there(target):
    done = subprocess.run(
        ["make", "--dry-run", "-C", str(ROOT), target],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert missing(done.stdout) == []
    assert len(done.stdout.strip().splitlines()) <= 3, "a task only calls scripts/"


def test_tasks_are_listed():
    done = subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert re.search(r"(?m)^test +style, types, every test$", done.stdout)
