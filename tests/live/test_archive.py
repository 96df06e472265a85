"""The demo with its lake in a store: it happens by itself, over a dead server, and is read back."""

import pytest

from processes.files import walk
from tests.helpers import wait_until
from tests.servers import S3_ENVIRONMENT, s3_server

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]


@pytest.fixture
def s3():
    with s3_server() as server:
        yield server


def archive(project):
    return next(one for one in project.status().processes if one.name == "archive")


def in_store(s3) -> int:
    names = [name for _, _, files in walk(s3.folder / "objects") for name in files]
    return sum(name.endswith(".arrow._S3rver_object") for name in names)


def test_the_demo_brings_its_lake_to_a_store_over_an_outage_and_leaves_nothing_behind(project, s3):
    project.environment |= S3_ENVIRONMENT
    project.set(
        lake={"store": s3.uri("demo"), "push_s": 0.3, "backoff_longest_s": 0.5},
        storage={"seal_s": 1.0},
    )
    project.dcctl("start")
    wait_until(lambda: in_store(s3) > 10, 60, what="files come to the store")
    s3.kill()
    wait_until(lambda: "does not answer" in archive(project).detail, 60, what="status says so")
    project.wait_slots("features", 10)
    assert "--local" in project.dcctl("lake", "ls", code=1)
    assert project.json("lake", "ls", "--local")["rows"] > 0
    before, restarts = in_store(s3), archive(project).restarts
    s3.start()
    wait_until(lambda: in_store(s3) > before, 60, what="it goes on")
    assert archive(project).restarts == restarts == 0
    wait_until(lambda: "does not answer" not in archive(project).detail, 60, what="and says so")
    assert project.json("lake", "push")["state"] == "ok"
    project.dcctl("stop")
    project.assert_clean()
    pushed = project.json("lake", "push")
    assert (pushed["pending_files"], pushed["refused"]) == (0, [])
    listed = project.json("lake", "ls")
    assert {one["in"] for one in listed["files"]} == {"both"}
    # Another machine reads the store alone; packing takes the place of what is there.
    rows = "SELECT count(*) AS n FROM books"
    asked = project.json("lake", "query", rows)
    assert project.json("lake", "query", rows, "--lake", s3.uri("demo")) == asked
    project.dcctl("lake", "compact", "--before", "2999-01-01")
    assert project.json("lake", "push")["replaced"] == len(listed["files"])
    assert in_store(s3) == 0
    report = project.json("lake", "verify")
    assert report["ok"]
    assert report["rows"] == listed["rows"]
    # With the machine's own files gone the session is replayed from the store.
    for path in (project.data / "lake").rglob("*.parquet"):
        path.unlink()
    assert project.json("lake", "ls")["rows"] == listed["rows"]
    assert project.json("replay", "last")["identical"]
    for path in [*project.logs.glob("*"), *project.data.rglob("*.json*")]:
        assert S3_ENVIRONMENT["AWS_SECRET_ACCESS_KEY"] not in path.read_text(errors="replace"), path


def test_a_wrong_key_is_said_by_status_and_harms_nothing(project, s3):
    project.environment |= {**S3_ENVIRONMENT, "AWS_ACCESS_KEY_ID": "NOBODY"}
    project.set(lake={"store": s3.uri("demo")}, storage={"seal_s": 1.0})
    project.dcctl("start")
    wait_until(lambda: archive(project).detail, 60, what="status says it")
    assert "does not take the credentials" in archive(project).detail
    assert project.status().state == "running"
    project.wait_slots("features", 10)
    said = project.dcctl("lake", "push", code=1)
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said
    project.dcctl("lake", "ls")
    project.dcctl("stop")
    project.assert_clean()
