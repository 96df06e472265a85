"""The child itself, and the commands that it types: real ones, on a small lake."""

import contextlib
import json

import msgspec
import psutil
import pytest

from config.loader import load
from models.families import FAMILIES
from models.rules import Rule
from processes.files import write_whole
from processes.model_registry import models_folder, promoted, versions
from processes.retraining.schedule import Last
from schemas.errors import ConfigError
from schemas.training import RetrainingSettings
from tests.helpers import python, wait_until
from tests.instances import bare_instance
from tests.unit.training.lakes import write_rows
from tests.unit.training.markets import knowable

DONE_S = 400
"""It trains at the lowest priority: beside tests that want both processors it takes its time."""
WANTED = {
    "retraining__families": ["ridge"],
    "retraining__horizon_s": 5,
    "retraining__days": 3660,
    "retraining__recorded": True,
    "retraining__retry_s": 0.1,
    "training__baselines": [],
    "training__expiry_days": 36500,
}


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that nobody has waited for yet does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


class Night:
    """A retraining child, for which the hour has struck."""

    def __init__(self, instance):
        self.instance = instance
        self.memory = instance.open()
        self.state = instance.paths.data / "state" / "retraining.json"
        self.state.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.state, msgspec.json.encode(Last(due_ns=0)))
        run = str(instance.paths.run)
        self.child = python("-m", "processes.retraining.main", "--run", run, "--name", "retraining")

    def said(self) -> str:
        return self.memory.control.row(self.memory.control.find("retraining")).text

    def log(self) -> str:
        path = self.instance.paths.logs / "retraining.jsonl"
        return path.read_text() if path.exists() else ""

    def told(self) -> dict[str, str]:
        return msgspec.json.decode(self.state.read_bytes(), type=Last).told

    def wait_done(self) -> None:
        def is_done() -> bool:
            assert self.child.poll() is None, self.log()
            return bool(self.told())

        wait_until(is_done, DONE_S, "the day is done")

    def end(self) -> None:
        self.child.terminate()
        assert self.child.wait(20) == 0, self.child.communicate()
        self.child.communicate()


@pytest.fixture
def night():
    made = []

    def begin(**settings):
        instance = context.enter_context(bare_instance(**WANTED | settings))
        instance.put_in_force()
        write_rows(instance.paths.data, knowable())
        made.append(Night(instance))
        return made[-1]

    with contextlib.ExitStack() as context:
        yield begin
        for one in made:
            if one.child.poll() is None:
                one.child.kill()
                one.child.communicate()


def test_a_better_model_is_promoted_and_the_day_is_over(night):
    mine = night()
    mine.wait_done()
    models = models_folder(mine.instance.paths.data)
    (version,) = versions(models, "ridge")
    assert mine.told() == {"ridge": f"promoted {version}"}
    assert promoted(models, "ridge") == models / "ridge" / version
    wait_until(lambda: "next 2" in mine.said(), 10, "status says when the next one is")
    assert mine.said().startswith(f"ridge: promoted {version}")
    mine.end()


def test_one_that_fails_is_tried_three_times_and_told(night):
    mine = night(training__baselines=["nothing"])
    mine.wait_done()
    assert mine.told()["ridge"].startswith("not trained: training.baselines names nothing")
    outcomes = [line for line in mine.log().splitlines() if '"event": "retrained"' in line]
    assert len(outcomes) == 3
    assert versions(models_folder(mine.instance.paths.data), "ridge") == []
    mine.end()


def test_one_that_is_refused_is_kept_and_told(night):
    mine = night(training__expiry_days=0.001)
    mine.wait_done()
    (version,) = versions(models_folder(mine.instance.paths.data), "ridge")
    assert mine.told()["ridge"].startswith(f"{version} not promoted: ")
    assert promoted(models_folder(mine.instance.paths.data), "ridge") is None
    mine.end()


def test_told_to_stop_it_leaves_no_command_behind_and_the_day_is_not_done(night):
    mine = night()
    parent = psutil.Process(mine.child.pid)
    wait_until(parent.children, 30, "the command runs")
    command = parent.children()
    assert all(one.nice() == 19 for one in command)
    mine.end()
    assert not any(is_alive(one) for one in command)
    assert mine.told() == {}


def test_killed_it_leaves_no_command_behind(night):
    mine = night()
    parent = psutil.Process(mine.child.pid)
    wait_until(parent.children, 30, "the command runs")
    command = parent.children()
    mine.child.kill()
    mine.child.communicate()
    wait_until(lambda: not any(is_alive(one) for one in command), 10, "the command has ended")
    assert mine.told() == {}


def test_one_that_takes_too_long_is_ended(night):
    mine = night(retraining__longest_s=0.05)
    mine.wait_done()
    assert mine.told() == {"ridge": "not trained: took longer than retraining.longest_s"}
    mine.end()


def test_settings_name_what_can_be_trained():
    with pytest.raises(ConfigError, match=r"retraining.horizon_s = 7: no such target"):
        load("demo", changes={"retraining.families": "[gbdt]", "retraining.horizon_s": "7"})
    with pytest.raises(ConfigError, match=r"retraining\.families"):
        load("demo", changes={"retraining.families": "[moon]"})
    with pytest.raises(ConfigError, match=r"retraining\.at"):
        load("demo", changes={"retraining.at": "25:00"})
    fitted = [
        name for name, one in FAMILIES.items() if not issubclass(one, Rule) and name != "base_rate"
    ]
    for name in fitted:
        assert json.dumps(name) in json.dumps(msgspec.json.schema(RetrainingSettings))
