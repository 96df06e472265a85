"""What doctor finds: each fault made for real, found, told with what to type, and mended."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from processes.cli import doctor, instance_checks, machine_checks, outside_checks
from processes.cli.findings import Finding, Look
from processes.clock import Clock, measure_offset_ns
from processes.operations import services
from processes.supervisor import main as supervisor
from shm.control import CONTROL_BYTES, ControlBlock, format_control
from shm.segment import Segment
from tests.instances import bare_instance
from tests.managers import FakeManager

BOT = {
    "broker": "freqtrade", "username": "exec", "password": "${NO_WORD}", "ws_token": "${NO_WORD}",
}  # fmt: skip


@pytest.fixture
def instance():
    with bare_instance() as made:
        yield made


@pytest.fixture
def look(instance):
    return Look(paths=instance.paths, settings=instance.settings, running=False)


def with_settings(instance, **settings) -> Look:
    return Look(paths=instance.paths, settings=instance.load(**settings), running=False)


def assert_found(finding: Finding, level: str, *words: str) -> None:
    assert finding.level == level, finding
    for word in words:
        assert word in finding.text + finding.type_this, finding
    assert bool(finding.type_this) == (level != "well"), finding


def dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# ---- the whole


def test_a_sound_folder_is_well_and_offline_nothing_fails(dcctl, monkeypatch):
    def offline(*_):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(outside_checks.socket, "create_connection", offline)
    monkeypatch.setenv("DC__console__port", "0")
    assert dcctl("doctor", "--json") == 0
    found = {one["check"]: one for one in json.loads(dcctl.out)}
    assert len(found) == len(doctor.CHECKS)
    assert found["venues"]["level"] == "well"
    monkeypatch.setenv("DC__venues__kraken", '{"enabled": true, "symbols": ["BTC/USD"]}')
    assert dcctl("doctor") == 0, "a warning fails nothing"
    assert re.search(r"look +venues +kraken does not answer \(Network is unreachable\)", dcctl.out)


def test_what_is_wrong_fails_and_says_what_to_type(dcctl):
    run = dcctl.folder / "run"
    assert dcctl("doctor") == 0
    (run / "storage.ctl").touch()
    assert dcctl("doctor") == 1
    assert re.search(r"WRONG +leftovers +storage\.ctl\n +→ .*dcctl doctor --fix", dcctl.out)
    assert "1 of" in dcctl.err
    assert dcctl("doctor", "--fix") == 0
    assert "mended: removed 1 things" in dcctl.out
    assert not (run / "storage.ctl").exists()


def test_settings_that_cannot_be_read_stop_no_other_check(dcctl, monkeypatch):
    monkeypatch.setenv("DC__http__port", "70000")
    assert dcctl("doctor", "--json") == 1
    found = {one["check"]: one for one in json.loads(dcctl.out)}
    assert found["settings"]["level"] == "wrong"
    assert "http.port" in found["settings"]["text"]
    assert len(found) == len(doctor.CHECKS)


# ---- the machine


def test_an_old_python(look, monkeypatch):
    monkeypatch.setattr(machine_checks.sys, "version_info", (3, 10))
    assert_found(machine_checks.check_python(look), "wrong", "install Python 3.11")


def test_packages_that_are_not_the_locks(look, monkeypatch):
    assert_found(machine_checks.check_packages(look), "well", "requirements.lock")
    real = machine_checks.importlib.metadata.version

    def version(name: str) -> str:
        if name == "msgspec":
            raise machine_checks.importlib.metadata.PackageNotFoundError(name)
        return "0.0.1" if name == "numpy" else real(name)

    monkeypatch.setattr(machine_checks.importlib.metadata, "version", version)
    finding = machine_checks.check_packages(look)
    assert_found(finding, "warning", "msgspec is absent", "numpy is 0.0.1, not ==", "rm -r .venv")


def test_too_little_memory_and_disk(look, instance, monkeypatch):
    assert_found(machine_checks.check_memory(look), "well", "MB")
    usage = machine_checks.shutil.disk_usage(instance.folder)
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda _: usage._replace(free=1))
    assert_found(machine_checks.check_disk(look), "wrong", "paths.data")
    if machine_checks.SHARED_MEMORY.is_dir():
        assert_found(machine_checks.check_memory(look), "wrong", "larger /dev/shm", "rings.*")


def test_open_files_are_raised_by_us_and_the_hard_limit_is_what_counts(look):
    resource = machine_checks.resource
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    program = (
        "import resource\nfrom processes.cli.machine_checks import check_files\n"
        "from processes.supervisor.main import allow_files\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))\nallow_files()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], check_files(None).level)\n"
    )

    def told(hard: int) -> str:
        words = [sys.executable, "-c", program.format(hard=hard)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    hard = before[1] if before[1] > 0 else 1 << 20
    assert told(hard) == f"{min(supervisor.FILES, hard)} well"
    assert told(512) == "512 wrong"
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_a_session_whose_clock_stood_still(instance):
    instance.open()
    look = Look(paths=instance.paths, settings=instance.settings, running=True)
    assert_found(machine_checks.check_clock(look), "well", "0.0 s")
    path = instance.paths.run / "registry.json"
    told = json.loads(path.read_text())
    told["clock_offset_ns"] -= 3_600_000_000_000
    path.write_text(json.dumps(told))
    finding = machine_checks.check_clock(look)
    assert_found(finding, "wrong", "3600.0 s behind UTC", "dcctl stop, then dcctl start")
    assert_found(machine_checks.check_clock(msgspec.structs.replace(look, running=False)), "well")


def test_kernels_that_cannot_be_kept(look, monkeypatch):
    monkeypatch.setattr(machine_checks.os, "access", lambda *_: False)
    assert_found(machine_checks.check_kernels(look), "wrong", "writable")


def test_the_service(look, tmp_path, monkeypatch):
    fake = FakeManager(tmp_path / "bin")
    monkeypatch.setenv("PATH", fake.path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert_found(machine_checks.check_service(look), "well", "dcctl install")
    service = services.service_of(services.this_machine(), machine_checks.ROOT)
    service.path.parent.mkdir(parents=True)
    service.path.touch()
    for pid, words in (("77", "runs as process 77"), ("0", "does not run")):
        fake.table(show=[(0, pid)], print=[(0, f"pid = {pid}")])
        assert_found(machine_checks.check_service(look), "well", service.name, words)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert_found(machine_checks.check_service(look), "warning", "this machine has no")


# ---- the folder


def test_a_run_folder_that_others_may_enter(look):
    look.paths.run.chmod(0o755)
    finding = instance_checks.check_folder(look)
    assert_found(finding, "wrong", "mode 755", "chmod 700")
    assert doctor._mended(look, finding).level == "well"
    assert stat.S_IMODE(look.paths.run.stat().st_mode) == 0o700


def test_secrets_that_others_may_read(instance):
    token = instance.paths.data / "state" / "console.token"
    named = instance.folder / "bot.word"
    for path in (token, named):
        path.write_text("x")
        path.chmod(0o600)
    account = {**BOT, "url": "http://127.0.0.1:1", "password": f"file:{named}"}
    look = with_settings(instance, execution__accounts={"bot": account})
    assert_found(instance_checks.check_secrets(look), "well")
    named.chmod(0o640)
    token.chmod(0o604)
    finding = instance_checks.check_secrets(look)
    assert_found(finding, "wrong", str(named), str(token), "chmod 600")
    assert doctor._mended(look, finding).level == "well"
    assert_found(instance_checks.check_secrets(look), "well")


def test_ports_that_are_taken(instance):
    with listening() as port:
        look = with_settings(instance, http__port=port, console__enabled=True, console__port=port)
        finding = instance_checks.check_ports(look)
        assert_found(
            finding, "wrong", f"http.port = {port}, console.port = {port}", "set http.port"
        )
        running = msgspec.structs.replace(look, running=True)
        assert_found(instance_checks.check_ports(running), "well", "in use by us")
    assert_found(instance_checks.check_ports(look), "well")


def test_a_ledger_that_does_not_answer(instance):
    look = with_settings(instance, ledger__url="postgresql://nobody@127.0.0.1:1/none")
    assert_found(instance_checks.check_ledger(look), "wrong", "start the server")


def test_half_written_files_of_the_dead_and_not_of_the_living(look):
    state = look.paths.data / "state"
    dead, living = state / f".x.json.{dead_pid()}", state / f".y.json.{os.getpid()}"
    for path in (dead, living, state / ".hidden", state / "z.json.5"):
        path.touch()
    finding = instance_checks.check_half_files(look)
    assert_found(finding, "warning", "1 half-written", str(dead), "--fix")
    assert doctor._mended(look, finding).text == "mended: removed 1 half-written files"
    assert not dead.exists()
    assert living.exists()
    assert_found(instance_checks.check_half_files(look), "well")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="segments cannot be listed here")
def test_segments_of_a_dead_instance_elsewhere_are_told_and_left(look, instance):
    name = "dc.fedcba.control"
    segment = Segment.create(name, CONTROL_BYTES)
    try:
        format_control(segment, 1)
        control = ControlBlock(segment)
        control.set(instance_checks.Word.SUPERVISOR_PID, os.getpid())
        assert "fedcba" not in instance_checks.check_strangers(look).text
        control.set(instance_checks.Word.SUPERVISOR_PID, dead_pid())
        finding = instance_checks.check_strangers(look)
        assert_found(finding, "warning", "fedcba", "dcctl stop in their folders")
        assert doctor._mended(look, finding) == finding
    finally:
        segment.close()
        Segment.unlink(name)


# ---- what is not ours


def test_venues_and_bots_that_answer_or_not(instance):
    with listening() as port:
        kraken = {"enabled": True, "url": f"ws://127.0.0.1:{port}", "symbols": ["BTC/USD"]}
        bot = {**BOT, "url": f"http://127.0.0.1:{port}"}
        look = with_settings(instance, venues__kraken=kraken, execution__accounts={"bot": bot})
        assert_found(outside_checks.check_venues(look), "well", "kraken can be reached")
        assert_found(outside_checks.check_bots(look), "well", "bot: reachable")
    assert_found(outside_checks.check_venues(look), "warning", "kraken does not answer", "offline")
    assert_found(outside_checks.check_bots(look), "warning", "the bot of bot does not answer")


def test_a_clock_that_is_not_the_venues(instance):
    class Handler(BaseHTTPRequestHandler):
        ahead_s = 0.0

        def do_HEAD(self) -> None:
            now_s = Clock(measure_offset_ns()).now_ns() / 1e9
            self.send_response_only(404)
            self.send_header("Date", formatdate(now_s + self.ahead_s, usegmt=True))
            self.end_headers()

        def log_message(self, *_) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"ws://127.0.0.1:{server.server_port}"
        look = with_settings(
            instance, venues__kraken={"enabled": True, "url": url, "symbols": ["BTC/USD"]}
        )
        assert_found(outside_checks.check_skew(look), "well", "as kraken has it")
        Handler.ahead_s = 60.0
        assert_found(outside_checks.check_skew(look), "warning", "s behind kraken", "network time")
        server.shutdown()
        thread.join()
    assert_found(outside_checks.check_skew(look), "well", "no venue was asked")
