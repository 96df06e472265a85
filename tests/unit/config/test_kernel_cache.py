"""The folder of compiled kernels: one for each state of the source, chosen by many at once."""

import ast
import os
import sys
from pathlib import Path

import pytest

from config.kernel_cache import KEPT, PACKAGES, ROOT, WITHOUT_KERNELS, use_kernel_cache


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


def modules() -> dict[str, Path]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    return {name.removesuffix(".__init__"): path for name, path in zip(names, files, strict=True)}


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found & known.keys()


def test_no_kernel_takes_anything_of_the_rooms_that_are_left_out():
    known = modules()
    todo = [name for name, path in known.items() if "njit" in path.read_text(encoding="utf-8")]
    assert len(todo) > 40
    reached: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += imported(known[name], known)
    rooms = {name.split(".")[1] for name in reached if name.startswith("processes.")}
    assert not rooms & WITHOUT_KERNELS
    assert {path.name for path in (ROOT / "processes").iterdir()} >= WITHOUT_KERNELS


def test_a_room_without_kernels_may_change(tree):
    (tree / "processes" / "console").mkdir(parents=True)
    before = choose(tree)
    (tree / "processes" / "console" / "page.py").write_text("x = 1")
    assert choose(tree) == before
    (tree / "processes" / "features").mkdir()
    (tree / "processes" / "features" / "kernel.py").write_text("x = 1")
    assert choose(tree) != before
