"""The image and the server's compose file: read by real linters, and by rules of our own."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.loader import load, profiles
from processes.rings import ring_specs
from schemas.settings import ConsoleSettings
from tests.helpers import ROOT
from tests.unit.deploy.test_compose import check_schema

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"


def server() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "server.yaml").read_text(encoding="utf-8"))
    return found


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, its text) of the Dockerfile, joined lines as one."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    words = [line.strip().partition(" ") for line in lines if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in words]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(at for at, (word, _) in enumerate(found) if word == "FROM") :]


def said(word: str) -> str:
    """What the last stage says last by an instruction."""
    return [text for name, text in last_stage() if name == word][-1]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in said("ENV").split())


def test_hadolint_has_nothing_to_say(tmp_path):
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed")

    def told(path) -> str:
        done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert told(DOCKERFILE) == ""
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text().replace("python:3.11.14-slim-bookworm", "python:latest"))
    assert "DL3007" in told(bad)


def test_one_exact_python_in_all_stages_and_a_user_who_is_nobody():
    images = {text.split()[0] for word, text in instructions() if word == "FROM"}
    assert len(images) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm", images.pop())
    assert said("USER") == "10001:10001"
    assert json.loads(said("ENTRYPOINT")) == ["python", "-m", "processes.cli"]


def test_packages_come_by_hash_and_no_tool_that_builds_stays():
    first = " ".join(text for word, text in instructions() if word == "RUN")
    for word in ("--require-hashes", "--only-binary :all:", "/^# ---- DEVELOPERS/,$d"):
        assert word in first
    last = " ".join(text for word, text in last_stage() if word == "RUN")
    assert not re.search(r"\bpip\b|gcc|g\+\+|build-essential|curl|wget|git\b", last)
    assert re.findall(r"--no-install-recommends (\S+)", last) == ["libgomp1"]


def test_the_build_is_given_what_is_imported_and_no_secret():
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert rules[1] == "*"
    given = {rule[1:] for rule in rules if rule.startswith("!")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - given == {"benchmarks", "tests"}
    assert all((ROOT / name).exists() for name in given)
    kept = subprocess.run(
        ["git", "check-ignore", "deploy/x.env", "deploy/x.token", "deploy/backup/x"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if kept.returncode == 128:
        pytest.skip("not a git tree")
    patterns = {rule for rule in rules if rule.startswith("deploy/")}
    assert patterns == {"deploy/*.env", "deploy/*.token", "deploy/backup"}
    assert len(kept.stdout.split()) == 3


def test_bench_is_the_only_command_that_needs_what_the_image_has_not():
    """benchmarks/ is not in the image: nothing but `bench` may import it."""
    users = {
        path.name
        for path in (ROOT / "processes").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmarks")
    }
    assert users == {"bench.py"}


def test_the_compose_schema_takes_it():
    done = check_schema(DEPLOY / "server.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ours_are_read_only_and_may_do_nothing():
    services = server()["services"]
    for name in ("pipeline", "console"):
        one = services[name]
        assert one["read_only"] is True
        assert one["init"] is True
        assert one["cap_drop"] == ["ALL"]
        assert "cap_add" not in one
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert [mount.split(":")[0] for mount in one["tmpfs"]] == ["/tmp"]
        assert "privileged" not in one
        config = next(mount for mount in one["volumes"] if mount.startswith("../config"))
        assert config.endswith(":ro")


def test_the_console_shares_what_it_reads():
    services, told = server()["services"], environment()
    pipeline, console = services["pipeline"], services["console"]
    assert pipeline["ipc"] == "shareable"
    assert console["ipc"] == console["pid"] == "service:pipeline"
    assert console["volumes"] == pipeline["volumes"]
    targets = [mount.split(":")[1] for mount in pipeline["volumes"]]
    assert {told[f"DC__paths__{name}"] for name in ("run", "data", "logs")} <= set(targets)
    assert "/app/.cache" in targets
    assert pipeline["environment"]["DC__console__outside"] == "true"
    assert "ports" not in pipeline
    assert console["ports"] == [f"127.0.0.1:{ConsoleSettings().port}:{ConsoleSettings().port}"]


def test_every_image_is_one_exact_version_and_databases_are_not_started_unasked():
    services = server()["services"]
    for name, one in services.items():
        assert re.fullmatch(r"[a-z-]+:\d+\.\d+(\.\d+)?", one["image"]), name
        assert one["restart"] == "unless-stopped"
        assert "healthcheck" in one or name == "pipeline", "the image has its own"
        for port in one.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    assert services["postgres"]["profiles"] == ["postgres"]
    assert services["redis"]["profiles"] == ["redis"]
    assert server()["networks"]["stores"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert services[name]["networks"] == ["stores"]


def test_shared_memory_and_the_stop_have_room():
    pipeline = server()["services"]["pipeline"]
    assert pipeline["shm_size"] == "1gb"
    for profile in profiles():
        needed = sum(spec.slot_bytes * spec.capacity for spec in ring_specs(load(profile)))
        assert needed * 1.2 < 1e9, profile
    grace_s = int(pipeline["stop_grace_period"].removesuffix("s"))
    assert grace_s > load().supervisor.stop_timeout_s * 5
