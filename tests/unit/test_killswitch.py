"""Pulling and releasing: latch first, then the word; who does not obey is dead before we answer."""

import signal

import pytest

from processes import killswitch
from processes.killswitch import pull, release
from processes.latch import Latch, read_latch, write_latch
from processes.places import Paths, read_registry
from schemas.control import Word
from schemas.trading import KillLevel
from shm.control import ControlBlock
from shm.errors import SharedMemoryError
from shm.identity import identity_of, is_alive
from shm.segment import Segment
from tests.helpers import python, wait_until
from tests.instances import bare_instance

CHILD = """
import signal, sys, time
from shm.control import ControlBlock
from shm.segment import Segment
from schemas.control import Word
control = ControlBlock(Segment.attach(sys.argv[1]))
control.take_row(control.find("execution"))
print("ready", flush=True)
while True:
    level = control.get(Word.KILL_LEVEL)
    if sys.argv[2] == "obeys":
        control.set(Word.KILL_ACKNOWLEDGED, level)
    elif sys.argv[2] == "lags" and level:
        control.set(Word.KILL_ACKNOWLEDGED, level - 1)
    time.sleep(0.001)
"""


@pytest.fixture
def instance():
    with bare_instance() as made:
        made.open()
        yield made


@pytest.fixture
def execution(instance):
    """Something that holds execution's row, and obeys or does not."""
    children = []

    def start(how: str):
        name = instance.memory.registry.find("control").name
        child = python("-c", CHILD, name, how)
        assert child.stdout.readline() == "ready\n", child.communicate()
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def word(instance, index: Word) -> int:
    return instance.memory.control.get(index)


def test_without_an_instance_it_is_latched(tmp_path):
    told = pull(
        None, Paths(run=tmp_path, data=tmp_path, logs=tmp_path), KillLevel.FLATTEN, "a test", 5
    )
    assert (told.level, told.running, told.acknowledged, told.killed) == (
        "flatten", False, False, False,
    )  # fmt: skip
    assert read_latch(tmp_path) == Latch(level=3, by="a test", since_ns=5)
    assert release(None, tmp_path) == KillLevel.FLATTEN
    assert release(None, tmp_path) == KillLevel.NONE


def test_with_memory_and_nobody_in_it(instance):
    registry = read_registry(instance.paths.run)
    told = pull(registry, instance.paths, KillLevel.CANCEL, "a test", 5)
    assert not told.running
    assert word(instance, Word.KILL_LEVEL) == KillLevel.CANCEL
    assert word(instance, Word.KILL_SINCE_NS) == 5


def test_a_registry_without_memory_is_no_hindrance(instance):
    """The supervisor is just going: the names are there, the segments are not."""
    registry = read_registry(instance.paths.run)
    instance.memory.remove(instance.paths.run)
    instance.memory = None
    with pytest.raises(SharedMemoryError):
        Segment.attach(registry.find("control").name)
    told = pull(registry, instance.paths, KillLevel.FLATTEN, "a test", 5)
    assert not told.running
    assert read_latch(instance.paths.data).level == KillLevel.FLATTEN
    assert release(registry, instance.paths.data) == KillLevel.FLATTEN


def test_who_obeys_lives(instance, execution):
    child = execution("obeys")
    registry = read_registry(instance.paths.run)
    told = pull(registry, instance.paths, KillLevel.FLATTEN, "a test", 5)
    assert (told.acknowledged, told.killed, told.running) == (True, False, True)
    assert child.poll() is None
    assert release(registry, instance.paths.data) == KillLevel.FLATTEN
    assert word(instance, Word.KILL_LEVEL) == KillLevel.NONE
    assert word(instance, Word.KILL_SINCE_NS) == 0
    assert read_latch(instance.paths.data).level == KillLevel.NONE


@pytest.mark.parametrize("how", ["hangs", "lags"])
def test_who_does_not_obey_is_dead_when_the_answer_comes(instance, execution, how):
    child = execution(how)
    owner = identity_of(child.pid)
    registry = read_registry(instance.paths.run)
    told = pull(registry, instance.paths, KillLevel.FLATTEN, "a test", 5)
    assert (told.acknowledged, told.killed, told.running) == (False, True, True)
    assert not is_alive(owner)
    assert child.wait() == -9
    assert word(instance, Word.KILL_LEVEL) == KillLevel.FLATTEN


def test_a_stopped_execution_is_killed_too(instance, execution):
    child = execution("obeys")
    child.send_signal(signal.SIGSTOP)
    registry = read_registry(instance.paths.run)
    told = pull(registry, instance.paths, KillLevel.PAUSE, "a test", 5)
    assert told.killed
    assert child.wait() == -9


def test_a_lower_pull_changes_nothing_and_wants_the_higher_level_obeyed(instance, execution):
    data = instance.paths.data
    registry = read_registry(instance.paths.run)
    pull(registry, instance.paths, KillLevel.FLATTEN, "first", 5)
    child = execution("obeys")
    told = pull(registry, instance.paths, KillLevel.PAUSE, "second", 9)
    assert (told.level, told.acknowledged) == ("flatten", True)
    assert word(instance, Word.KILL_LEVEL) == KillLevel.FLATTEN
    assert word(instance, Word.KILL_SINCE_NS) == 5
    assert read_latch(data).by == "first"
    assert child.poll() is None


def test_a_latch_found_on_disk_is_the_level_to_obey(instance, execution):
    """Latched by somebody who could not reach the word: the next pull raises it as high."""
    execution("obeys")
    write_latch(instance.paths.data, Latch(level=KillLevel.SHUTDOWN, by="before", since_ns=1))
    registry = read_registry(instance.paths.run)
    told = pull(registry, instance.paths, KillLevel.PAUSE, "a test", 5)
    assert told.level == "shutdown"
    assert word(instance, Word.KILL_LEVEL) == KillLevel.SHUTDOWN


def test_the_latch_is_on_disk_before_the_word_rises(instance, monkeypatch):
    """A crash in between must leave what the next start finds, not what it cannot see."""
    seen = []
    raise_to = ControlBlock.raise_to

    def looking(self, index, value):
        seen.append(read_latch(instance.paths.data).level)
        return raise_to(self, index, value)

    monkeypatch.setattr(ControlBlock, "raise_to", looking)
    pull(read_registry(instance.paths.run), instance.paths, KillLevel.CANCEL, "a test", 5)
    assert seen == [KillLevel.CANCEL]


def test_arming_opens_the_word_after_the_latch(instance, monkeypatch):
    """The other way around: with the word open and the latch there, a restart would pull again."""
    pull(read_registry(instance.paths.run), instance.paths, KillLevel.CANCEL, "a test", 5)
    seen = []
    monkeypatch.setattr(
        killswitch, "remove_latch", lambda _: seen.append(word(instance, Word.KILL_LEVEL))
    )
    release(read_registry(instance.paths.run), instance.paths.data)
    assert seen == [KillLevel.CANCEL]
    assert word(instance, Word.KILL_LEVEL) == KillLevel.NONE


PULLER = """
import sys
from pathlib import Path
from processes.killswitch import pull
from processes.places import Paths, read_registry
from schemas.trading import KillLevel
run, data, level = Path(sys.argv[1]), Path(sys.argv[2]), KillLevel(int(sys.argv[3]))
paths = Paths(run=run, data=data, logs=data)
sys.stdin.readline()
for turn in range(20):
    pull(read_registry(run), paths, level, f"level {level}", turn + 1)
"""


def test_many_pull_at_once(instance, execution):
    """Whatever order they come in, word and latch end at the highest and are never seen to fall."""
    execution("obeys")
    run, data = instance.paths.run, instance.paths.data
    children = [
        python("-c", PULLER, str(run), str(data), str(int(level)), stdin=-1)
        for level in KillLevel
        if level
    ]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    seen = []

    def done() -> bool:
        seen.append((word(instance, Word.KILL_LEVEL), read_latch(data).level))
        return all(child.poll() is not None for child in children)

    wait_until(done, 60, "all have pulled")
    for child in children:
        _, err = child.communicate()
        assert child.returncode == 0, err
    words, latches = zip(*seen, strict=True)
    assert list(words) == sorted(words)
    assert list(latches) == sorted(latches)
    assert word(instance, Word.KILL_LEVEL) == read_latch(data).level == KillLevel.SHUTDOWN
    assert read_latch(data).by == "level 4"
