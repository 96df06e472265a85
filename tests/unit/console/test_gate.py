"""The gate: who is let in, and each way of being turned away."""

import pytest

from processes.console.gate import COOKIE, NOBODY_BURST, Bucket, Gate
from processes.console.secrets import Doorman
from tests.unit.console.asking import ask, open_socket

TOKEN = "t" * 43
NOW_S = 1_800_000_000.0
OURS = "http://127.0.0.1:9600"


class World:
    """A gate before an application that says what it was asked."""

    def __init__(self, **more):
        self.doorman = Doorman(TOKEN, 1.0)
        self.turned_away: list[str] = []
        self.seen: list[str] = []
        self.bodies: list[bytes] = []
        options = {"body_bytes": 1000, "per_s": 0.001, "burst": 5, **more}
        self.gate = Gate(
            self._app, doorman=self.doorman, hosts=frozenset({"127.0.0.1", "box.lan"}),
            now_s=lambda: NOW_S, count=self.turned_away.append, **options,
        )  # fmt: skip

    async def _app(self, scope, receive, send):
        self.seen.append(scope["caller"])
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})

    def ask(self, method="GET", path="/status", **more):
        return ask(self.gate, method, path, **more)

    def cookie(self):
        return f"{COOKIE}={self.doorman.open_session(NOW_S)}"


@pytest.fixture
def world():
    return World()


def test_the_token_opens_and_nothing_like_it(world):
    assert world.ask(authorization=f"Bearer {TOKEN}").status == 200
    assert world.seen == ["token"]
    for wrong in (
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
    ):
        answer = world.ask(authorization=wrong)
        assert answer.status == 401, wrong
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["connection"] == "close"
    assert world.seen == ["token"]
    assert set(world.turned_away) == {"token"}


def test_a_page_without_a_session_shows_how_to_come_in(world):
    answer = world.ask(path="/view/market", accept="text/html,*/*")
    assert (answer.status, answer.headers["location"]) == (303, "/login")
    assert world.ask(path="/login").status == 200
    assert world.ask(path="/static/console.js").status == 401


def test_a_session_opens_until_it_ends_and_cannot_be_made(world):
    assert world.ask(cookie=world.cookie()).status == 200
    assert world.seen[0].startswith("browser ")
    old = world.doorman.open_session(NOW_S - 2 * 86_400)
    other = Doorman("u" * 43, 1.0).open_session(NOW_S)
    longer = f"9{world.doorman.open_session(NOW_S)}"
    for text in (old, other, longer, "", "..", "x", "1.a.b", 'nan."; x'):
        assert world.ask(cookie=f"{COOKIE}={text}").status == 401, text


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "[", "localhost:x@"]
)
def test_a_name_that_is_not_ours_is_turned_away_with_a_token_too(world, host):
    answer = world.ask(host=host, authorization=f"Bearer {TOKEN}")
    assert answer.status == 421
    assert world.turned_away == ["host"]


def test_names_of_ours_with_any_port(world):
    for host in ("127.0.0.1", "127.0.0.1:1", "BOX.lan:80"):
        assert world.ask(host=host, authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9601", "https://x"]
)
def test_another_page_changes_nothing_with_our_cookie(world, method, origin):
    answer = world.ask(method, "/kill", cookie=world.cookie(), origin=origin)
    assert answer.status == 403
    assert world.seen == []


def test_a_browser_that_hides_where_it_comes_from_changes_nothing(world):
    assert world.ask("POST", "/kill", cookie=world.cookie()).status == 403
    foreign = {"cookie": world.cookie(), "sec_fetch_site": "cross-site"}
    assert world.ask("POST", "/kill", **foreign).status == 403
    assert world.ask("POST", "/kill", cookie=world.cookie(), origin=OURS).status == 200
    assert world.ask("POST", "/kill", authorization=f"Bearer {TOKEN}").status == 200


def test_sockets_are_opened_by_our_pages_alone(world):
    ours = {"cookie": world.cookie(), "origin": OURS}
    assert open_socket(world.gate, **ours)[0]["type"] == "websocket.accept"
    for wrong in (
        {"cookie": world.cookie()},
        {"origin": OURS},
        {"cookie": world.cookie(), "origin": "http://evil.example"},
        {**ours, "host": "evil.example"},
    ):
        said = open_socket(world.gate, **wrong)
        assert [one["type"] for one in said] == ["websocket.close"], wrong


def test_bodies_end_at_the_limit_whatever_they_say_of_themselves(world):
    told = {"authorization": f"Bearer {TOKEN}"}
    assert world.ask("POST", body=b"x" * 1000, content_length="1000", **told).status == 200
    assert world.ask("POST", body=b"", content_length="1001", **told).status == 413
    assert world.ask("POST", body=b"", content_length="-1", **told).status == 413
    assert world.ask("POST", body=b"", content_length="1e3", **told).status == 413
    assert world.ask("POST", body=[b"x" * 600, b"x" * 600], **told).status == 0
    assert world.bodies == [b"x" * 1000]


def test_haste_is_slowed_and_never_for_the_kill_switch(world):
    told = {"authorization": f"Bearer {TOKEN}"}
    assert [world.ask(**told).status for _ in range(7)] == [200] * 5 + [429] * 2
    assert world.ask(**told).headers["retry-after"] == "1"
    assert world.ask("POST", "/kill", **told).status == 200
    # A browser has a bucket of its own.
    assert world.ask(cookie=world.cookie()).status == 200


def test_who_is_nobody_cannot_use_up_what_others_have(world):
    statuses = [world.ask().status for _ in range(NOBODY_BURST + 5)]
    assert statuses[:NOBODY_BURST] == [401] * NOBODY_BURST
    assert 429 in statuses[NOBODY_BURST:]
    assert world.ask(path="/login").status == 200
    assert world.ask(authorization=f"Bearer {TOKEN}").status == 200


def test_callers_are_bounded():
    world = World()
    for number in range(600):
        session = f"{int(NOW_S) + 99}.{number:08x}"
        cookie = f"{COOKIE}={session}.{world.doorman._sign(session)}"
        assert world.ask(cookie=cookie).status == 200
    assert len(world.gate._buckets) <= 256


def test_answers_say_what_a_browser_may_do_with_them(world):
    for answer in (world.ask(authorization=f"Bearer {TOKEN}"), world.ask()):
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_bucket_fills_again_and_not_beyond_its_size():
    bucket = Bucket(8.0, 2.0)  # an eighth of a second is exact
    now_s = bucket._at_s = 1000.0
    assert [bucket.take(now_s) for _ in range(3)] == [True, True, False]
    assert bucket.take(now_s + 0.125)
    assert not bucket.take(now_s + 0.125)
    assert [bucket.take(now_s + 100.0) for _ in range(3)] == [True, True, False]
