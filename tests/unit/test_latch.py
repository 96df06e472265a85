"""The latch: up is easy, down is only by arming, and no crash or race loses a level."""

import itertools
import random
from pathlib import Path

import pytest

from processes import latch as module
from processes.latch import Latch, latch_path, read_latch, remove_latch, write_latch
from schemas.trading import KillLevel
from tests.helpers import python

LEVELS = [int(level) for level in KillLevel if level]


def pull(data, level, by="a test", since_ns=1) -> None:
    write_latch(data, Latch(level=level, by=by, since_ns=since_ns))


def test_without_a_file_nothing_is_latched(tmp_path):
    assert read_latch(tmp_path) == Latch(level=0, by="", since_ns=0)


@pytest.mark.parametrize("levels", list(itertools.permutations(LEVELS, 2)))
def test_a_level_only_goes_up(tmp_path, levels):
    first, second = levels
    pull(tmp_path, first, "first", 1)
    pull(tmp_path, second, "second", 2)
    highest = max(levels)
    by, since_ns = ("first", 1) if first == highest else ("second", 2)
    assert read_latch(tmp_path) == Latch(level=highest, by=by, since_ns=since_ns)


def test_who_pulled_first_stays_named(tmp_path):
    pull(tmp_path, KillLevel.CANCEL, "first", 1)
    pull(tmp_path, KillLevel.CANCEL, "second", 2)
    assert read_latch(tmp_path).by == "first"


def test_only_arming_takes_it_away(tmp_path):
    remove_latch(tmp_path)  # nothing there: nothing to do
    for level in (2, 4, 1):
        pull(tmp_path, level)
    remove_latch(tmp_path)
    assert read_latch(tmp_path).level == 0
    pull(tmp_path, KillLevel.PAUSE, "again")
    assert read_latch(tmp_path) == Latch(level=1, by="again", since_ns=1)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"nonsense", b"[]", b"null", b"\0" * 40, b"\xff\xfe", b'{"by":"x"}',
        b'{"level":"high","by":"x","since_ns":1}', b'{"level":99,"by":"x","since_ns":1}',
        b'{"level":-1,"by":"x","since_ns":1}', b'{"level":0,"by":"x","since_ns":1}',
    ],
)  # fmt: skip
def test_a_latch_that_cannot_be_read_counts_as_pulled(tmp_path, content, level):
    path = latch_path(tmp_path, level)
    path.parent.mkdir()
    path.write_bytes(content)
    assert read_latch(tmp_path).level == level
    pull(tmp_path, KillLevel.PAUSE)
    assert read_latch(tmp_path).level == level
    pull(tmp_path, KillLevel.SHUTDOWN)
    assert read_latch(tmp_path).level == KillLevel.SHUTDOWN
    remove_latch(tmp_path)
    assert read_latch(tmp_path).level == KillLevel.NONE
    assert list(path.parent.iterdir()) == []


def test_an_unreadable_latch_says_so(tmp_path):
    latch_path(tmp_path, KillLevel.FLATTEN).mkdir(parents=True)
    assert "unreadable" in read_latch(tmp_path).by
    assert read_latch(tmp_path).level == KillLevel.FLATTEN


def test_a_crash_in_the_middle_of_arming_leaves_the_highest(tmp_path, monkeypatch):
    for level in (1, 2, 3):
        pull(tmp_path, level)
    unlink = Path.unlink
    left = iter([True, True])

    def dies(path, **options) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", dies)
    with pytest.raises(KeyboardInterrupt):
        remove_latch(tmp_path)
    assert read_latch(tmp_path).level == KillLevel.FLATTEN


PULLER = """
import random, sys
from pathlib import Path
from processes import latch as module
from processes.latch import Latch, write_latch
from schemas.trading import KillLevel
data, seed, highest = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
sys.stdin.readline()
for turn in range(40):
    level = draw.randint(1, highest)
    write_latch(data / str(turn), Latch(level=level, by=f"{seed} {level}", since_ns=turn))
"""


def test_many_pull_at_once_and_the_highest_stands(tmp_path, seed):
    """Forty latches, pulled by four processes at the same moment at different levels."""
    draw = random.Random(seed)
    seeds = [draw.randrange(2**31) for _ in range(4)]
    children = [
        python("-c", PULLER, str(tmp_path), str(number), str(highest), stdin=-1)
        for number, highest in zip(seeds, (4, 3, 2, 1), strict=True)
    ]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    seen: dict[int, int] = {}
    while any(child.poll() is None for child in children):
        for turn in range(40):
            level = read_latch(tmp_path / str(turn)).level
            assert level >= seen.get(turn, 0), "a reader saw it fall"
            seen[turn] = level
    for child in children:
        _, err = child.communicate()
        assert child.returncode == 0, err
    draws = [random.Random(number) for number in seeds]
    for turn in range(40):
        highest = max(one.randint(1, top) for one, top in zip(draws, (4, 3, 2, 1), strict=True))
        found = read_latch(tmp_path / str(turn))
        assert found.level == highest
        assert found.by.endswith(f" {highest}")


def test_a_slow_puller_cannot_lower_what_another_raised(tmp_path, monkeypatch):
    """It has looked, is held up, and writes its lower level after the higher one stands."""
    whole = module.write_whole

    def held_up(path, content) -> None:
        monkeypatch.setattr(module, "write_whole", whole)
        pull(tmp_path, KillLevel.FLATTEN, "the quick one")
        whole(path, content)

    monkeypatch.setattr(module, "write_whole", held_up)
    pull(tmp_path, KillLevel.PAUSE, "the slow one")
    assert read_latch(tmp_path) == Latch(level=KillLevel.FLATTEN, by="the quick one", since_ns=1)
