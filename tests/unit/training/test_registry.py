"""Promotions: a pointer that is the old or the new, and a history that only grows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes import model_registry
from processes.model_registry import find, history, pointer, promote, promoted, prune, roll_back
from processes.sessions import SessionFolder, versions_used
from schemas.errors import OperatorError, UsageError
from schemas.lineup import LineUp, Standing


def folder_of(tmp_path, *versions):
    for version in versions:
        (tmp_path / "ridge" / version).mkdir(parents=True)
    return tmp_path


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["a1", "b2", "c3", "back"]), max_size=14))
def test_rollback_undoes_promotions_one_by_one(tmp_path_factory, steps):
    folder = folder_of(tmp_path_factory.mktemp("m"), "a1", "b2", "c3")
    stack: list[str] = []
    lines = 0
    for now, step in enumerate(steps, start=1):
        if step == "back":
            if len(stack) < 2:
                with pytest.raises(UsageError):
                    roll_back(folder, "ridge", now)
                continue
            stack.pop()
            roll_back(folder, "ridge", now)
        elif stack and stack[-1] == step:
            with pytest.raises(UsageError, match="already"):
                promote(folder, "ridge", step, now, "", [])
            continue
        else:
            stack.append(step)
            promote(folder, "ridge", step, now, "", [])
        lines += 1
        told = pointer(folder, "ridge")
        assert (told.version, told.since_ns) == (stack[-1], now)
        assert told.previous == (stack[-2] if len(stack) > 1 else "")
        assert promoted(folder, "ridge") == folder / "ridge" / stack[-1]
        assert len(history(folder, "ridge")) == lines


def test_nothing_is_promoted_until_something_is(tmp_path):
    assert promoted(tmp_path, "ridge") is None
    assert model_registry.families(tmp_path) == []
    with pytest.raises(UsageError, match="dcctl train all"):
        find(tmp_path, "ridge", "last")


def test_a_version_is_found_by_its_first_letters(tmp_path):
    folder = folder_of(tmp_path, "20260101", "20260102", "20270101")
    assert find(folder, "ridge", "last").name == "20270101"
    assert find(folder, "ridge", "20270").name == "20270101"
    assert find(folder, "ridge", "20260101").name == "20260101"
    for text in ("2026", "19"):
        with pytest.raises(UsageError, match="begins with"):
            find(folder, "ridge", text)
    with pytest.raises(UsageError, match="no ridge is promoted"):
        find(folder, "ridge", "promoted")
    promote(folder, "ridge", "20260102", 1, "", [])
    assert find(folder, "ridge", "promoted").name == "20260102"


def test_a_line_that_a_crash_cut_off_spoils_no_other(tmp_path):
    folder = folder_of(tmp_path, "a", "b")
    promote(folder, "ridge", "a", 1, "first", [])
    path = folder / "ridge" / model_registry.HISTORY
    path.write_bytes(path.read_bytes() + b'{"time_ns":2,"acti')
    promote(folder, "ridge", "b", 3, "second", ["it was old"])
    told = history(folder, "ridge")
    assert [(one.reason, one.overruled) for one in told] == [
        ("first", []), ("second", ["it was old"]),
    ]  # fmt: skip
    assert roll_back(folder, "ridge", 4).version == "a"


def test_a_promoted_version_that_is_gone_says_what_to_type(tmp_path):
    folder = folder_of(tmp_path, "a", "b")
    promote(folder, "ridge", "a", 1, "", [])
    promote(folder, "ridge", "b", 2, "", [])
    (folder / "ridge" / "b").rmdir()
    with pytest.raises(OperatorError, match="dcctl models rollback ridge"):
        promoted(folder, "ridge")
    assert roll_back(folder, "ridge", 3).version == "a"


def test_a_pointer_that_cannot_be_read_says_what_to_type(tmp_path):
    folder = folder_of(tmp_path, "a")
    (folder / "ridge" / model_registry.POINTER).write_text("{")
    with pytest.raises(OperatorError, match="rm "):
        promoted(folder, "ridge")


def test_what_is_promoted_is_never_pruned(tmp_path):
    folder = folder_of(tmp_path, *"abcdefgh")
    promote(folder, "ridge", "a", 1, "", [])
    promote(folder, "ridge", "b", 2, "", [])
    assert prune(folder, "ridge", 3, {"d"}) == ["c", "e"]  # by d predictions were made
    assert prune(folder, "ridge", 3) == ["d"]
    assert model_registry.versions(folder, "ridge") == ["a", "b", "f", "g", "h"]


def test_versions_that_spoke_in_a_session_are_known(tmp_path):
    for session, version in ((1, "a"), (2, "b")):
        standing = Standing(place="linear", family="sgd", version=version)
        lineup = LineUp(standings=(standing,))
        SessionFolder(tmp_path, session).keep_lineup(lineup.version, lineup.encode())
    (tmp_path / "sessions" / "2" / "lineup-00.json").write_text("{")
    assert versions_used(tmp_path) == {"sgd": {"a", "b"}}


def test_a_version_appears_whole(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    (made / "weights.npz").write_bytes(b"1")
    place = model_registry.publish(made, tmp_path / "models", "ridge", "v1")
    assert not made.exists()
    assert (place / "weights.npz").read_bytes() == b"1"
    assert model_registry.families(tmp_path / "models") == ["ridge"]
