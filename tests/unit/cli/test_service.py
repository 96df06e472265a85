"""install and uninstall: both managers' files and calls, on whichever machine this runs."""

import os
import plistlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from processes.cli import service as command
from processes.operations import services
from processes.operations.services import Launchd, Machine, Systemd, Wanted, service_of
from processes.places import lock, lock_owner
from schemas.errors import ConfigError, OperatorError
from tests.helpers import ROOT
from tests.instances import short_folder
from tests.managers import FakeManager

KEYS = {
    "Label": str, "ProgramArguments": list, "WorkingDirectory": str, "RunAtLoad": bool,
    "KeepAlive": dict, "ThrottleInterval": int, "ExitTimeOut": int, "ProcessType": str,
    "LegacyTimers": bool, "EnvironmentVariables": dict, "SoftResourceLimits": dict, "Umask": int,
    "StandardOutPath": str, "StandardErrorPath": str,
}  # fmt: skip
"""Of launchd.plist(5): launchd passes over a key that it does not know, and says nothing."""
RUNNING = (0, "gui/501/x = {\n\tstate = running\n\tpid = 4711\n}")
GONE = (113, "Could not find service")
DONE = (0, "")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    made = FakeManager(tmp_path / "bin")
    monkeypatch.setenv("PATH", made.path)
    return made


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home of somebody"


@pytest.fixture
def mac(home):
    return Machine(platform="darwin", home=home, uid=501, config_home=home / ".config")


@pytest.fixture
def linux(home):
    return Machine(platform="linux", home=home, uid=1000, config_home=home / ".config")


@pytest.fixture
def folder(monkeypatch):
    with short_folder() as made:
        for name in ("run", "data", "logs"):
            monkeypatch.setenv(f"DC__paths__{name}", str(made / name))
        yield made


def wanted(folder: Path) -> Wanted:
    return Wanted(root=ROOT, logs=folder / "logs", profile="demo", config=folder / "my own.yml")


# ---- the files


def test_the_property_list_has_what_launchd_knows_and_absolute_paths(mac, tmp_path):
    service = Launchd(mac, ROOT)
    content = service.file(wanted(tmp_path))
    job = plistlib.loads(content)
    assert plistlib.dumps(job, sort_keys=False) == content
    assert {key: type(value) for key, value in job.items()} == KEYS
    assert re.fullmatch(r"data-controller\.[0-9a-f]{6}", job["Label"])
    assert service.path == mac.home / "Library/LaunchAgents" / f"{job['Label']}.plist"
    for key in ("WorkingDirectory", "StandardOutPath", "StandardErrorPath"):
        assert Path(job[key]).is_absolute()
    program, *arguments = job["ProgramArguments"]
    assert os.access(program, os.X_OK)
    assert arguments == [
        "-m", "processes.cli", "start", "--foreground", "--profile", "demo",
        "--config", str(tmp_path / "my own.yml"),
    ]  # fmt: skip
    assert job["KeepAlive"] == {"SuccessfulExit": False}
    assert job["EnvironmentVariables"]["DC_SERVICE"] == "launchd"
    assert job["EnvironmentVariables"]["PYTHONPATH"] == str(ROOT)
    assert all(isinstance(value, str) for value in job["EnvironmentVariables"].values())
    assert job["ExitTimeOut"] < 60
    assert "~" not in content.decode()


def test_systemd_takes_the_unit_without_a_word(linux, tmp_path):
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    strange = tmp_path / 'a folder with 100% "quotes" and $money'
    strange.mkdir()
    service = Systemd(linux, ROOT)
    unit = tmp_path / service.name
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}

    def said() -> str:
        done = subprocess.run(
            [verify, "verify", "--user", str(unit)], env=environment, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    for folder in (tmp_path, strange):
        content = service.file(wanted(folder))
        unit.write_bytes(content)
        assert said() == ""
    assert b'100%% \\"quotes\\" and $$money' in content
    unit.write_bytes(content.replace(b"KillMode=mixed", b"KilMode=mixed"))
    assert "KilMode" in said(), "the check must be able to fail: its exit code is 0 either way"


def test_another_copy_of_the_project_has_another_name(mac, linux, tmp_path):
    for machine in (mac, linux):
        here, there = service_of(machine, ROOT), service_of(machine, tmp_path)
        assert here.name != there.name
        assert here.path != there.path
    with pytest.raises(OperatorError, match="win32 are not known"):
        service_of(Machine(platform="win32", home=tmp_path, uid=1, config_home=tmp_path), ROOT)


# ---- launchd


def test_launchd_takes_a_new_service(fake, mac, tmp_path):
    fake.table(print=[GONE], enable=[DONE], bootstrap=[DONE])
    service = Launchd(mac, ROOT)
    assert service.install(wanted(tmp_path))
    assert fake.verbs() == ["print", "enable", "bootstrap"]
    assert fake.calls()[-1] == ["launchctl", "bootstrap", "gui/501", str(service.path)]
    assert service.path.stat().st_mode & 0o777 == 0o644


def test_launchd_is_given_an_old_one_back_before_it_takes_the_new(fake, mac, tmp_path):
    """bootout returns too early: `print` must have failed before bootstrap is tried."""
    service = Launchd(mac, ROOT)
    service.path.parent.mkdir(parents=True)
    service.path.write_bytes(b"an older one")
    fake.table(print=[RUNNING, RUNNING, RUNNING, GONE], bootout=[(36, "in progress")],
               enable=[DONE], bootstrap=[DONE])  # fmt: skip
    assert service.install(wanted(tmp_path))
    assert fake.verbs() == ["print", "bootout", "print", "enable", "bootstrap"]
    assert [call[1] for call in fake.calls()].count("print") == 4


def test_what_is_installed_and_runs_is_left_alone(fake, mac, tmp_path):
    fake.table(print=[GONE, RUNNING], enable=[DONE], bootstrap=[DONE])
    service = Launchd(mac, ROOT)
    assert service.install(wanted(tmp_path))
    before = fake.calls()
    assert not service.install(wanted(tmp_path))
    assert service.pid() == 4711
    assert [call[1] for call in fake.calls()[len(before) :]] == ["print", "print"]


def test_a_refusal_of_launchd_is_told_with_what_to_type(fake, mac, tmp_path):
    fake.table(print=[GONE], enable=[DONE],
               bootstrap=[(5, "Bootstrap failed: 5: Input/output error")])  # fmt: skip
    with pytest.raises(OperatorError, match=r"5: Input/output error; look at it with: launchctl"):
        Launchd(mac, ROOT).install(wanted(tmp_path))


def test_a_job_that_launchd_does_not_let_go(fake, mac, tmp_path, monkeypatch):
    monkeypatch.setattr(services, "GONE_S", 0.0)
    service = Launchd(mac, ROOT)
    service.path.parent.mkdir(parents=True)
    service.path.write_bytes(b"an older one")
    fake.table(print=[RUNNING], bootout=[DONE])
    with pytest.raises(OperatorError, match=r"does not let .* go; type: launchctl bootout gui/501"):
        service.uninstall()
    assert service.path.exists()


def test_launchd_lets_go_and_data_stays(fake, mac, tmp_path):
    fake.table(print=[GONE, RUNNING, GONE], enable=[DONE], bootstrap=[DONE], bootout=[DONE])
    service = Launchd(mac, ROOT)
    (tmp_path / "data").mkdir()
    service.install(wanted(tmp_path))
    assert service.uninstall()
    assert not service.path.exists()
    assert (tmp_path / "data").is_dir()
    assert not service.uninstall()


# ---- systemd


def test_systemd_takes_lets_go_and_is_not_waited_for(fake, linux, tmp_path):
    answers = {"daemon_reload": [DONE], "reset_failed": [(1, "not loaded")], "enable": [DONE],
               "start": [DONE], "show": [(0, "4712")], "disable": [DONE]}  # fmt: skip
    fake.table(**answers)
    service = Systemd(linux, ROOT)
    assert service.install(wanted(tmp_path))
    assert fake.verbs() == ["daemon-reload", "reset-failed", "enable", "start"]
    assert ["systemctl", "--user", "start", "--no-block", service.name] in fake.calls()
    assert not service.install(wanted(tmp_path)), "it is there, and runs"
    assert service.pid() == 4712
    fake.table(**answers)
    assert service.install(Wanted(root=ROOT, logs=tmp_path, profile="bitfinex-paper"))
    assert fake.verbs() == ["disable", "daemon-reload", "reset-failed", "enable", "start"]
    fake.table(**answers)
    assert service.uninstall()
    assert fake.verbs() == ["disable", "daemon-reload"]
    assert not service.path.exists()


def test_a_user_without_a_manager_is_told_what_to_do(fake, linux, tmp_path):
    fake.table(daemon_reload=[(1, "Failed to connect to bus: No medium found")])
    with pytest.raises(OperatorError, match=r"No medium found; .*loginctl enable-linger"):
        Systemd(linux, ROOT).install(wanted(tmp_path))


def test_a_machine_without_systemctl(linux, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperatorError, match="this machine has no systemctl"):
        Systemd(linux, ROOT).install(wanted(tmp_path))


# ---- the commands


def test_a_dry_run_prints_the_file_and_does_nothing(fake, mac, linux, folder, home, capsys):
    for machine, word in ((mac, "<key>ProgramArguments</key>"), (linux, "Type=notify")):
        command.install("", None, dry_run=True, machine=machine)
        out = capsys.readouterr().out
        assert out.startswith(f"# {service_of(machine, ROOT).path}\n")
        assert word in out
    assert not home.exists()
    assert fake.calls() == []


def test_an_instance_that_the_service_did_not_start_is_not_taken_from_anybody(
    fake, linux, folder, home
):
    (folder / "run").mkdir()
    held = lock(folder / "run")
    assert lock_owner(folder / "run") == os.getpid()
    fake.table(show=[(0, "0")])
    with pytest.raises(OperatorError, match="dcctl stop, then dcctl install"):
        command.install("", None, dry_run=False, machine=linux)
    assert not home.exists()
    held.close()


def test_its_own_instance_is_no_obstacle(fake, linux, folder, capsys):
    (folder / "run").mkdir()
    held = lock(folder / "run")
    fake.table(show=[(0, str(os.getpid()))], daemon_reload=[DONE], reset_failed=[DONE],
               enable=[DONE], start=[DONE])  # fmt: skip
    command.install("", None, dry_run=False, machine=linux)
    told = capsys.readouterr()
    assert "loginctl enable-linger" in told.out
    assert "DC__paths__run" in told.err, "variables of a shell are not the service's"
    command.install("", None, dry_run=False, machine=linux)
    assert "installed already, and runs" in capsys.readouterr().out
    held.close()


def test_bad_settings_install_nothing(fake, linux, folder, home, monkeypatch):
    monkeypatch.setenv("DC__http__port", "70000")
    with pytest.raises(ConfigError, match=r"http\.port"):
        command.install("", None, dry_run=False, machine=linux)
    assert not home.exists()
    assert fake.calls() == []


def test_uninstall_says_what_there_was(fake, linux, capsys):
    command.uninstall(machine=linux)
    assert capsys.readouterr().out == "no service is installed\n"


def test_status_says_whether_there_is_one(fake, home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert command.service_line() == "service: none; dcctl install makes one"
    service = service_of(services.this_machine(), ROOT)
    service.path.parent.mkdir(parents=True)
    service.path.write_text("there")
    assert command.service_line() == f"service: {service.name}"
    assert fake.calls() == []
