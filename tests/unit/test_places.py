"""Folders of an instance: made, ours alone, held by one, and short enough for sockets."""

import os

import pytest

from config.loader import load
from processes import places
from processes.places import LONGEST_SOCKET, is_locked, lock, read_settings, resolve
from schemas.errors import ConfigError, NotRunningError, OperatorError
from shm.sockets import SOCKET_PATH_BYTES_MAX
from tests.helpers import python
from tests.instances import bare_instance, short_folder


@pytest.fixture
def folder():
    with short_folder() as made:
        yield made


def settings(**folders):
    return load("demo", environment={f"DC__paths__{k}": str(v) for k, v in folders.items()})


def test_relative_folders_are_below_the_project(folder):
    paths = resolve(settings(data="d", logs="l", run="r"), folder)
    assert (paths.data, paths.logs, paths.run) == (folder / "d", folder / "l", folder / "r")
    assert (paths.data / "state").is_dir()
    assert paths.logs.is_dir()
    assert paths.run.stat().st_mode & 0o777 == 0o700


def test_the_run_folder_is_ours_alone(folder):
    (folder / "r").mkdir(mode=0o755)
    assert resolve(settings(run="r"), folder).run.stat().st_mode & 0o777 == 0o700


def test_a_run_folder_of_somebody_else_is_refused(folder, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345678)
    with pytest.raises(OperatorError, match=r"somebody else.*paths\.run"):
        resolve(settings(run="r"), folder)


def test_a_deep_project_gets_a_short_run_folder_of_its_own(folder, monkeypatch):
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(folder))
    runs = []
    for name in ("a", "b"):
        deep = folder / "made" / (name * SOCKET_PATH_BYTES_MAX)
        deep.mkdir(parents=True)
        run = resolve(settings(), deep).run
        assert run.parent == folder
        assert len(str(run)) + len(LONGEST_SOCKET) <= SOCKET_PATH_BYTES_MAX
        assert resolve(settings(), deep).run == run
        runs.append(run)
    assert runs[0] != runs[1]


@pytest.mark.parametrize("name", ["data", "logs", "run"])
def test_a_folder_that_cannot_be_one_is_named(folder, name):
    (folder / "file").touch()
    for value in ("file", "file/below"):
        with pytest.raises(ConfigError, match=rf"paths\.{name}: .*file"):
            resolve(settings(**{name: value}), folder)


def test_one_holds_the_lock_and_says_who_it_is(folder):
    assert not is_locked(folder)
    held = lock(folder)
    assert is_locked(folder)
    assert (folder / "lock").read_text() == str(os.getpid())
    with pytest.raises(OperatorError, match=str(os.getpid())):
        lock(folder)
    assert is_locked(folder)
    held.close()
    assert not is_locked(folder)
    lock(folder).close()


def test_a_dead_holder_holds_nothing(folder):
    code = (
        "import sys, time; from pathlib import Path; from processes.places import lock; "
        "held = lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    child = python("-c", code, str(folder))
    assert child.stdout.readline() == "held\n"
    assert is_locked(folder)
    assert (folder / "lock").read_text() == str(child.pid)
    child.kill()
    child.communicate()
    assert not is_locked(folder)
    lock(folder).close()


def test_settings_in_force_come_back_as_they_were():
    with bare_instance(risk__max_daily_loss="7.5") as instance:
        instance.put_in_force()
        found, paths, generation = read_settings(instance.paths.run)
        assert found == instance.settings
        assert paths == instance.paths
        assert generation == 1


def test_without_an_instance_there_is_no_registry(folder):
    with pytest.raises(NotRunningError, match="dcctl start"):
        places.read_registry(folder)
