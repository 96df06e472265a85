"""The folder of compiled kernels: one for each state of the source, chosen by many at once."""

import os
import sys
from pathlib import Path

import pytest

from config.kernel_cache import KEPT, use_kernel_cache


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    (tmp_path / "shm").mkdir()
    yield tmp_path
    os.environ.pop("NUMBA_CACHE_DIR", None)  # set by the code under test, and not undone by it


def choose(tree: Path) -> Path:
    """What a process that was told nothing chooses."""
    os.environ.pop("NUMBA_CACHE_DIR", None)
    found = use_kernel_cache(tree)
    assert os.environ["NUMBA_CACHE_DIR"] == str(found)
    return found


def test_each_state_of_the_source_has_its_own_and_the_oldest_go(tree):
    seen = []
    for number in range(KEPT + 2):
        (tree / "shm" / "ring.py").write_text("#" * number)
        cache = choose(tree)
        os.utime(cache, (number, number))
        seen.append(cache)
    assert len(set(seen)) == KEPT + 2
    assert choose(tree) == seen[-1]
    assert [cache.exists() for cache in seen] == [False] * 2 + [True] * KEPT


def test_two_that_begin_together_take_the_same(tree, monkeypatch):
    first = choose(tree)
    looked = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path != first and looked(path))
    assert choose(tree) == first


def test_a_cache_that_another_takes_away_meanwhile_does_no_harm(tree, monkeypatch):
    gone = tree / ".cache" / "kernels" / "gone"
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([*listed(path), gone]))
    assert choose(tree).exists()


def test_children_take_what_was_chosen(tree, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere")
    assert use_kernel_cache(tree) == Path("/somewhere")


def test_a_tree_that_cannot_be_written_leaves_the_choice_to_numba(tree, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", refuse)
    use_kernel_cache(tree)
    assert "NUMBA_CACHE_DIR" not in os.environ
