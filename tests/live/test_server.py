"""The image's own start command, as a user who owns nothing, over a tree that cannot be written.

There is no container engine here. A mount namespace makes the project's folder read-only for real;
user, groups and capabilities are taken away as the compose file takes them; the commands are those
that stand in the Dockerfile and in server.yaml. What it does not prove: that the image builds.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from processes.places import is_locked
from shm.segment import instance_id
from tests.helpers import ROOT, wait_until
from tests.instances import short_folder
from tests.unit.deploy.test_server import environment, said, server

pytestmark = [pytest.mark.live, pytest.mark.timeout(560)]
NOBODY = 65534
INSIDE = """\
set -e
mount --bind "$TREE" "$TREE"
mount -o remount,bind,ro "$TREE"
mount --bind "$CACHE" "$TREE/.cache"
if touch "$TREE/x" 2>/dev/null; then echo "the tree can be written" >&2; exit 99; fi
cd "$TREE"
unset TREE CACHE
exec setpriv --reuid={nobody} --regid={nobody} --clear-groups --no-new-privs \\
    --bounding-set=-all "$@"
"""


def interpreter() -> str:
    """A Python like ours that an ordinary user may start."""
    wanted = f"python3.{sys.version_info.minor}"
    for path in (
        os.path.realpath(sys.executable),
        f"/usr/bin/{wanted}",
        f"/usr/local/bin/{wanted}",
    ):
        # By a shell: what setpriv itself starts still has root's right to enter any folder.
        done = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "sh", "-c", "exec $0 -c ''", path],
            capture_output=True, check=False,
        )  # fmt: skip
        if not done.returncode:
            return path
    pytest.skip(f"no {wanted} that an ordinary user may start")


def make_environment(folder: Path, python: str) -> None:
    """What `python -m venv` makes, with the packages that are installed here."""
    (folder / "pyvenv.cfg").write_text(f"home = {Path(python).parent}\n")
    (folder / "bin" / "python").symlink_to(python)
    packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(sysconfig.get_path("purelib"))


class Container:
    """What stands for one: its folders, and programs started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run, self.data, self.logs = folder / "run", folder / "data", folder / "logs"
        cache, programs = folder / "cache", folder / "venv" / "bin"
        for path in (self.run, self.data, self.logs, cache, programs, folder / "tmp"):
            path.mkdir(parents=True)
        make_environment(folder / "venv", interpreter())
        if (
            ROOT / ".cache" / "kernels"
        ).is_dir():  # as the volume has them from the second start on
            shutil.copytree(ROOT / ".cache" / "kernels", cache / "kernels")
        (ROOT / ".cache").mkdir(exist_ok=True)
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        places = {
            "/app": ROOT, "/data": self.data, "/logs": self.logs, "/run/dc": self.run,
            "/tmp": folder / "tmp",
        }  # fmt: skip
        told = environment()
        self.environment = {
            **{name: str(places.get(value, value)) for name, value in told.items()},
            "DC__rest__rates": str(self.data / "rates"),
            "PATH": f"{programs}:/usr/bin:/bin",
            "DC__http__port": "0",
            "DC__console__port": "0",
            "DC__console__outside": server()["services"]["pipeline"]["environment"][
                "DC__console__outside"
            ],
            "TREE": str(ROOT),
            "CACHE": str(cache),
        }

    def start(self, words: list[str], name: str) -> "subprocess.Popen[bytes]":
        """A program inside; its output goes to a file of that name."""
        script = INSIDE.format(nobody=NOBODY)
        with (self.folder / f"{name}.out").open("wb") as out:
            return subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script, "inside", *words],
                env=self.environment, stdout=out, stderr=out, cwd=ROOT,
            )  # fmt: skip

    def ask(self, words: list[str]) -> "tuple[int, str]":
        """A program inside, to its end."""
        process = self.start(words, "asked")
        code = process.wait(60)
        return code, (self.folder / "asked.out").read_text()

    def told(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text(errors="replace")[-3000:]


@pytest.fixture
def container() -> Iterator[Container]:
    if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        pytest.skip("only root of a Linux can mount a tree read-only and become nobody")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    with short_folder() as folder:
        made = Container(folder)
        yield made
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(made.run) in " ".join(process.cmdline()):
                    process.kill()


def well(address: str, token: str) -> bool:
    asked = urllib.request.Request(f"{address}/bot/status")
    asked.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return bool(json.loads(answer.read())["state"] == "running")
    except urllib.error.URLError:
        return False  # it has said where it will listen


def test_the_image_starts_serves_and_stops_without_a_right_to_write(container):
    start = [*json.loads(said("ENTRYPOINT")), *json.loads(said("CMD"))]
    health = json.loads(said("HEALTHCHECK").partition("CMD ")[2])
    pipeline = container.start(start, "pipeline")
    console = container.start(server()["services"]["console"]["entrypoint"], "console")
    try:

        def running() -> bool:
            assert pipeline.poll() is None, container.told("pipeline")
            code, text = container.ask(health)
            return not code and json.loads(text)["state"] == "running"

        wait_until(running, 500, "the demo")
        _, text = container.ask(["python", "-m", "processes.cli", "status", "--json"])
        found = {one["name"] for one in json.loads(text)["processes"]}
        assert "console" not in found, "it is not the supervisor's"
        told: dict[str, str] = {}

        def served() -> bool:
            assert console.poll() is None, container.told("console")
            code, text = container.ask(["python", "-m", "processes.cli", "console", "--json"])
            told.update(json.loads(text) if not code else {})
            return not code

        wait_until(served, 120, "the console")
        token = Path(told["token_file"]).read_text().strip()
        wait_until(lambda: well(told["address"], token), 30, "the page's word")
        pipeline.send_signal(signal.SIGTERM)
        assert pipeline.wait(60) == 0, container.told("pipeline")
        assert console.poll() is None, "it waits for the next instance"
        assert not is_locked(container.run)
    finally:
        for process in (pipeline, console):
            process.terminate()
            process.wait(60)
    assert console.returncode == 0, container.told("console")
    left = {path.name for path in container.run.iterdir()}
    assert left <= {"lock"}, left
    assert not list(Path("/dev/shm").glob(f"dc.{instance_id(str(container.run))}.*"))
    assert not (ROOT / "run" / "lock").exists() or not is_locked(ROOT / "run")
