"""dcctl lake over a store: what is typed, what is said, and the exit codes."""

import json

import pytest

from tests.lakes import Ring


@pytest.fixture
def ring(dcctl, instance):
    (dcctl.folder / "data").mkdir()
    made = Ring(dcctl.folder / "data", instance)
    made.send(200)
    made.store.take()
    made.store.seal()
    made.store.finish()
    yield made
    made.close()


@pytest.fixture
def share(dcctl, monkeypatch):
    folder = dcctl.folder / "nas"
    folder.mkdir()
    monkeypatch.setenv("DC__lake__store", f"file://{folder}")
    return folder


def told(dcctl, *arguments) -> dict:
    assert dcctl(*arguments, "--json") == 0, dcctl.err
    return json.loads(dcctl.out)


def test_push_without_a_store_says_what_to_set(dcctl):
    assert dcctl("lake", "push") == 1
    assert "lake.store is not set" in dcctl.err


def test_a_pushed_lake_is_listed_verified_asked_and_shown_wherever_it_is(dcctl, ring, share):
    assert dcctl("lake", "push") == 0, dcctl.err
    assert "4 files" in dcctl.out
    assert told(dcctl, "lake", "push")["files"] == 0
    listed = told(dcctl, "lake", "ls")["files"]
    assert {one["in"] for one in listed} == {"both"}
    for path in (dcctl.folder / "data" / "lake").rglob("*.arrow"):
        path.unlink()
    for where in ((), ("--lake", f"file://{share}"), ("--lake", str(share))):
        files = told(dcctl, "lake", "ls", *where)["files"]
        assert [one["file"] for one in files] == [one["file"] for one in listed]
        assert told(dcctl, "lake", "verify", *where)["rows"] == 200
        sql = (
            "SELECT count(*) AS n FROM (SELECT tape_seq FROM books "
            "UNION ALL SELECT tape_seq FROM trades)"
        )
        assert told(dcctl, "lake", "query", sql, *where) == [{"n": 200}]
        shown = told(dcctl, "lake", "show", files[0]["file"], "--limit", "1", *where)
        assert len(shown["records"]) == 1
    assert told(dcctl, "lake", "ls", "--local")["files"] == []
    assert dcctl("lake", "show", "not/there.arrow") == 1
    assert "dcctl lake ls lists them" in dcctl.err


def test_a_store_that_is_away_is_said_with_what_can_be_done_without_it(dcctl, ring, share):
    assert dcctl("lake", "push") == 0
    share.rename(dcctl.folder / "away")
    for command in (("ls",), ("verify",), ("query", "SELECT 1"), ("compact",)):
        assert dcctl("lake", *command) == 1
        assert "is it mounted" in dcctl.err
        assert "--local" in dcctl.err
        assert dcctl("lake", *command, "--local") == 0, dcctl.err
    assert dcctl("lake", "push") == 1
    assert "is it mounted" in dcctl.err


def test_a_store_cannot_be_packed_by_its_uri(dcctl, ring, share):
    assert dcctl("lake", "push") == 0
    assert dcctl("lake", "compact", "--lake", f"file://{share}") == 1
    assert "compact the lake that pushes there" in dcctl.err


def test_what_the_store_has_of_others_is_told_and_the_code_is_1(dcctl, ring, share):
    assert dcctl("lake", "push") == 0
    theirs = next(share.rglob("*.arrow"))
    theirs.write_bytes(b"x")
    assert dcctl("lake", "push") == 1
    assert theirs.name in dcctl.err


def test_a_key_in_the_uri_is_refused_and_not_repeated(dcctl, monkeypatch):
    monkeypatch.setenv("DC__lake__store", "s3://key:hidden@bucket/lake")
    assert dcctl("lake", "push") == 78
    assert "lake.store: no key may stand in the URI" in dcctl.err
    assert "hidden" not in dcctl.err
