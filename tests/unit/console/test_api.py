"""Every call of the API: what it says, what it takes, how it refuses; over a bare instance."""

import json

import pytest

from processes.console.app import guarded, make_calls
from processes.console.hub import Hub
from processes.console.main import Console
from processes.console.view import Decision, View
from processes.latch import read_latch
from processes.runtime import Context
from tests.helpers import ROOT
from tests.instances import bare_instance
from tests.unit.console.asking import ask

ORIGIN = "http://127.0.0.1:9600"


class World:
    def __init__(self, bare, context):
        self.bare = bare
        self.console = Console(context)
        self.hub = Hub({})
        self.app = make_calls(self.console, self.hub)
        self.gate = guarded(self.console, self.app)
        self.token = (bare.paths.data / "state" / "console.token").read_text().strip()

    def get(self, path, **more):
        return ask(self.gate, "GET", path, authorization=f"Bearer {self.token}", **more)

    def post(self, path, told=None, **more):
        body = b"" if told is None else json.dumps(told).encode()
        return ask(self.gate, "POST", path, body=body, authorization=f"Bearer {self.token}", **more)


@pytest.fixture(scope="module")
def made():
    with bare_instance(console__enabled=True, console__port=0, console__burst=500) as bare:
        bare.put_in_force()
        bare.open()
        context = Context(bare.paths.run, "console")
        yield World(bare, context)
        context.close()


@pytest.fixture
def world(made):
    made.console.sampler.view = View()
    return made


def test_every_call_is_in_the_schema_and_on_the_page(world):
    schema = world.get("/openapi.json").json()
    paths = schema["paths"]
    for path in ("/health", "/bot/status", "/logs", "/positions", "/orders", "/fills", "/decisions",
                 "/kill", "/arm", "/reload", "/settings", "/subscribe", "/connect"):  # fmt: skip
        assert path in paths, path
    written = (ROOT / "docs" / "reference" / "openapi.json").read_text(encoding="utf-8")
    assert json.loads(written) == schema, "type: .venv/bin/python scripts/reference"
    page = world.get("/docs").body.decode()
    for path, methods in paths.items():
        assert f"<td>{path}</td>" in page
        for told in methods.values():
            assert told["summary"], path
    assert "http" not in page.replace("http://127.0.0.1:9600", "").replace("https:", "")
    body = paths["/kill"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"level"}


def test_no_call_answers_without_a_token(world):
    for path, methods in world.app.openapi()["paths"].items():
        for method in methods:
            answer = ask(world.gate, method.upper(), path.replace("{what}", "last"), body=b"{}")
            assert answer.status in {401, 429}, (method, path)


def test_health_says_no_while_nobody_answers(world):
    answer = world.get("/health")
    assert answer.status == 503
    assert answer.json()["overall"] == "unhealthy"
    assert answer.json()["components"]["supervisor"] == {"healthy": False}


def test_bot_status_is_short_and_whole(world):
    world.console.sampler.view = View(kill_level="cancel", kill_by="somebody", realized=1.5)
    told = world.get("/bot/status").json()
    assert told["kill_switch"]["level"] == "cancel"
    assert (told["realized_today"], told["mode"]) == (1.5, "paper")


def test_rows_are_limited_and_newest_first(world):
    world.console.sampler.view = View(decisions=[decision(n) for n in (9, 8, 7)])
    assert [one["sequence"] for one in world.get("/decisions?limit=2").json()] == [9, 8]
    assert world.get("/decisions?limit=0").status == 422
    assert world.get("/decisions?limit=121").status == 422


def decision(number):
    return Decision(
        sequence=number, time_ns=number, instrument=0, symbol="s", action="hold", reason="r",
        reason_text="t", strategy="x", rung="mlx", kill_level="none", command_id="",
        latency_us=1.0, numbers={"confidence": 0.5},
    )  # fmt: skip


def test_all_that_is_seen_is_json(world):
    for path, methods in world.app.openapi()["paths"].items():
        if "get" in methods and "{" not in path and path != "/logs":
            answer = world.get(path)
            assert answer.status in {200, 503}, path
            answer.json()


def test_logs_by_process_level_and_text(world):
    log = world.bare.paths.logs / "some.jsonl"
    lines = [
        {"time": f"2026-11-22T00:00:0{n}.000Z", "level": level, "process": "some", "event": event}
        for n, (level, event) in enumerate([("info", "one"), ("error", "Two"), ("debug", "three")])
    ]
    log.write_text("".join(json.dumps(one) + "\n" for one in lines) + '{"torn')
    found = world.get("/logs?process=some").json()
    assert [one["event"] for one in found] == ["one", "Two"]
    assert [one["event"] for one in world.get("/logs?process=some&level=error").json()] == ["Two"]
    assert [one["event"] for one in world.get("/logs?process=some&text=two").json()] == ["Two"]
    assert [one["event"] for one in world.get("/logs?process=some&lines=1").json()] == ["Two"]
    assert world.get("/logs?level=loud").status == 400
    assert world.get("/logs?process=../secret").status == 409


def test_kill_and_arm(world):
    told = world.post("/kill", {"level": "cancel"})
    assert told.status == 200
    assert told.json()["level"] == "cancel"
    assert told.json()["milliseconds"] >= 0
    assert read_latch(world.bare.paths.data).by == "the console, token"
    assert world.post("/arm", {"word": "please"}).status == 400
    assert read_latch(world.bare.paths.data).level
    assert world.post("/arm", {"word": "arm"}).json() == {"level_before": "cancel", "level": "none"}
    assert not read_latch(world.bare.paths.data).level


def test_a_kill_without_a_body_flattens(world):
    assert world.post("/kill").json()["level"] == "flatten"
    world.post("/arm", {"word": "arm"})


@pytest.mark.parametrize(
    ("path", "told", "status"),
    [
        ("/kill", {"level": "everything"}, 400),
        ("/kill", {"level": 7}, 400),
        ("/kill", {"levle": "pause"}, 400),
        ("/arm", {}, 400),
        ("/settings", {"changed": {"execution.live": True}}, 409),
        ("/settings", {"changed": {"console.port": 1}, "trial": True}, 409),
        ("/subscribe", {"venue": "nowhere", "symbol": "x"}, 400),
        ("/connect", {"venue": "bitfinex"}, 503),
        ("/reload", {}, 503),
        ("/restart", {"process": "features"}, 503),
        ("/alerts/ack", {"name": "x"}, 503),
        ("/models/promote", {"family": "nothing"}, 400),
    ],
)
def test_what_cannot_be_is_refused_with_words(world, path, told, status):
    answer = world.post(path, told)
    assert answer.status == status, answer.body
    assert answer.json()["error"]
    assert not (world.bare.paths.data / "state" / "changes.yml").exists()


@pytest.mark.parametrize("body", [b"\xff", b"{", b"[]", b"nul", b'"x"'])
def test_bodies_that_are_no_json_object_are_refused(world, body):
    answer = ask(
        world.gate, "POST", "/arm", body=body, authorization=f"Bearer {world.token}"
    )  # fmt: skip
    assert answer.status == 400


def test_why_says_what_there_is_not(world):
    answer = world.get("/why/last")
    assert answer.status in {400, 409}
    assert answer.json()["error"]


def test_login_by_a_code_by_the_token_and_not_otherwise(world):
    code = world.console.doorman.make_code(4e9)
    answer = ask(world.gate, "GET", f"/login?code={code}")
    assert answer.status == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert ask(world.gate, "GET", f"/login?code={code}").status == 200
    session = cookie.partition(";")[0]
    assert ask(world.gate, "GET", "/bot/status", cookie=session).status == 200
    form = {"origin": ORIGIN, "content_type": "application/x-www-form-urlencoded"}
    wrong = ask(world.gate, "POST", "/login", body=b"token=x", **form)
    assert (wrong.status, "set-cookie" in wrong.headers) == (401, False)
    right = ask(world.gate, "POST", "/login", body=f"token={world.token}".encode(), **form)
    assert (right.status, "set-cookie" in right.headers) == (303, True)
    foreign = {**form, "origin": "http://evil.example"}
    body = f"token={world.token}".encode()
    assert ask(world.gate, "POST", "/login", body=body, **foreign).status == 403


@pytest.mark.parametrize("name", ["../api.py", "..%2fapi.py", "console.py", "", "none.css", "%00"])
def test_nothing_but_our_own_files_is_served(world, name):
    assert world.get(f"/static/{name}").status == 404


def test_our_own_files_are_served(world):
    for name in ("console.css", "console.js", "mark.svg"):
        assert world.get(f"/static/{name}").status == 200
