"""The HTTP client against a real server: what is repeated, what is waited for, what is an error."""

import asyncio
from email.utils import formatdate
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import (
    AnswerError,
    MaintenanceError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
    VenueError,
)
from schemas.rest import BitfinexRates, BitfinexRestSettings, GmoRestSettings, KrakenRestSettings
from tests.rest_servers import FakeBitfinex, cut, hang_up, slow, status
from venues.bitfinex import rest as bitfinex
from venues.bitfinex.rest import BitfinexRest
from venues.gmo import rest as gmo
from venues.kraken import rest as kraken
from venues.pace import Pace
from venues.rest import Answer, Request, RestClient, Sending, Tools, retry_after_s

NOW_NS = 1_700_000_000 * 10**9


class World:
    """A clock that sleeping moves on, and a record of every sleep."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ns += round(seconds * 1e9)
        await asyncio.sleep(0)

    def tools(self) -> Tools:
        return Tools(utc_ns=lambda: self.now_ns, uniform=lambda: 1.0, sleep=self.sleep)


@pytest.fixture
def server():
    fake = FakeBitfinex()
    with fake.running():
        yield fake


@pytest.fixture
def world():
    return World()


def ask(server, world, folder: Path, work=None, **changes):
    """Run something against the server over a client; conf of the currency names by default."""
    settings = BitfinexRestSettings(
        url=server.url,
        rates=BitfinexRates(conf=6000, calc=6000, trades=6000),
        share_of_rate=1.0,
    )
    settings = msgspec.structs.replace(settings, **changes)

    async def run():
        pace = Pace(folder, "bitfinex", utc_ns=lambda: world.now_ns, sleep=world.sleep)
        async with RestClient(settings, pace, world.tools()) as client:
            rest = BitfinexRest(client)
            return await (work(rest) if work else rest.conf("pub:map:currency:sym"))

    return asyncio.run(run())


NAMES = [[["IOT", "IOTA"], ["UST", "USDt"], ["BTCF0", "BTC"]]]


def test_a_good_answer_needs_one_request(server, world, tmp_path):
    assert ask(server, world, tmp_path) == NAMES
    assert len(server.seen) == 1
    assert server.seen[0].path == "/v2/conf/pub:map:currency:sym"


@pytest.mark.parametrize("fault", [status(500), status(502, b"<html>"), cut, hang_up])
def test_trouble_that_passes_is_tried_again_with_growing_waits(server, world, tmp_path, fault):
    server.faults.extend([fault] * 4)
    assert ask(server, world, tmp_path) == NAMES
    assert len(server.seen) == 5
    # with chance at its most, each wait is the bound itself: 0.5, 1, 2, 4
    assert [round(s, 3) for s in world.slept if s >= 0.4] == [0.5, 1, 2, 4]


def test_after_five_retries_it_is_an_error(server, world, tmp_path):
    server.faults.extend([status(502)] * 20)
    with pytest.raises(UnavailableError, match="HTTP 502"):
        ask(server, world, tmp_path)
    assert len(server.seen) == 6


def test_a_client_that_was_closed_says_so(server, world, tmp_path):
    async def closed(rest):
        await rest.client.__aexit__(None, None, None)
        return await rest.conf("pub:map:currency:sym")

    with pytest.raises(UnavailableError, match="closed"):
        ask(server, world, tmp_path, closed, retries=1)
    assert not server.seen


def test_a_silent_venue_is_not_waited_for(server, world, tmp_path):
    server.faults.extend([slow(5)] * 2)
    with pytest.raises(UnavailableError, match="in time"):
        ask(server, world, tmp_path, read_timeout_s=0.05, retries=1)
    assert len(server.seen) == 2


def test_nobody_there_is_an_error_of_its_own(server, world, tmp_path):
    with pytest.raises(UnavailableError, match="GET /v2/conf"):
        ask(server, world, tmp_path, url="http://127.0.0.1:9", retries=1)


def test_what_changes_something_is_sent_once(server, world, tmp_path):
    server.faults.append(status(502))
    order = Request(endpoint="conf", path="/v2/x", method="POST", body=b"{}", harmless=False)
    with pytest.raises(UnavailableError):
        ask(server, world, tmp_path, lambda rest: rest.client.call(order, bitfinex.read))
    assert len(server.seen) == 1


def test_the_calculations_are_posts_that_may_be_repeated(server, world, tmp_path):
    server.faults.extend([status(502), status(200, [24187.614862350845, 1.123])])
    found = ask(server, world, tmp_path, lambda rest: rest.foreign_exchange_rate("BTC", "USD"))
    assert str(found) == "24187.614862350845"
    assert [seen.method for seen in server.seen] == ["POST", "POST"]
    assert server.seen[1].body == b'{"ccy1":"BTC","ccy2":"USD"}'


def test_a_refusal_is_not_repeated(server, world, tmp_path):
    with pytest.raises(RefusedError, match="10020: symbol: invalid") as caught:
        ask(server, world, tmp_path, lambda rest: rest.trades("tNOPE"))
    assert caught.value.code == "10020"
    assert len(server.seen) == 1


def test_an_unknown_path_is_a_page_of_html_and_a_refusal(server, world, tmp_path):
    with pytest.raises(RefusedError, match="404"):
        ask(server, world, tmp_path, lambda rest: rest.platform_status(), rates=BitfinexRates())
    assert len(server.seen) == 1


# ---- being told to wait


@pytest.mark.parametrize("header", ["7", formatdate(1_700_000_007, usegmt=True)])
def test_the_venues_wish_to_be_left_alone_is_obeyed(server, world, tmp_path, header):
    server.faults.append(status(429, b"", Retry_After=header))
    assert ask(server, world, tmp_path) == NAMES
    waited = (world.now_ns - NOW_NS) / 1e9
    assert 7 <= waited < 8


def test_the_wish_holds_for_every_endpoint_and_process(server, world, tmp_path):
    server.faults.append(status(429, b"", Retry_After="30"))
    with pytest.raises(RateLimitedError):
        ask(server, world, tmp_path, retries=0)
    before = world.now_ns
    with pytest.raises(RefusedError):  # another client, another endpoint, the same folder
        ask(server, world, tmp_path, lambda rest: rest.trades("tNOPE"))
    assert (world.now_ns - before) / 1e9 >= 29


def test_a_breach_that_says_no_time_means_the_venues_minute(server, world, tmp_path):
    server.faults.append(status(429, {"error": "ERR_RATE_LIMIT"}))
    assert ask(server, world, tmp_path) == NAMES
    assert 60 <= (world.now_ns - NOW_NS) / 1e9 < 62


def test_the_breach_in_a_body_without_the_status(server, world, tmp_path):
    server.faults.append(status(500, {"error": "ERR_RATE_LIMIT"}))
    assert ask(server, world, tmp_path) == NAMES
    assert (world.now_ns - NOW_NS) / 1e9 >= 60


def test_a_wish_for_an_hour_is_an_error_at_once(server, world, tmp_path):
    server.faults.append(status(429, b"", Retry_After="3600"))
    with pytest.raises(RateLimitedError, match="3600 s without requests"):
        ask(server, world, tmp_path)
    assert len(server.seen) == 1
    assert (world.now_ns - NOW_NS) / 1e9 < 1


def test_503_with_a_time_is_waited_for(server, world, tmp_path):
    server.faults.append(status(503, b"", Retry_After="9"))
    assert ask(server, world, tmp_path) == NAMES
    assert (world.now_ns - NOW_NS) / 1e9 >= 9


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0), ("", 0), ("120", 120), (" 3 ", 3), ("soon", 0), ("-5", 0), ("9" * 30, 999999999),
        (formatdate(1_700_000_060, usegmt=True), 60), (formatdate(1_600_000_000, usegmt=True), 0),
        ("Tue, 14 Nov 2023 22:13:30 -0000", 10),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms(header, seconds):
    assert retry_after_s(header, NOW_NS) == pytest.approx(seconds)


# ---- answers that are none


def test_an_answer_that_is_too_long_is_cut_off(server, world, tmp_path):
    server.faults.append(status(200, b"[" + b"1," * 100_000 + b"1]"))
    with pytest.raises(AnswerError, match="longer than 2048 bytes"):
        ask(server, world, tmp_path, answer_bytes_max=2048)
    assert len(server.seen) == 1


@pytest.mark.parametrize("body", [b"{", b"nothing", b"\xff\xfe", b"[" * 5000, b"[1e999999999999]"])
def test_what_is_not_json_is_said_so(server, world, tmp_path, body):
    server.faults.append(status(200, body))
    with pytest.raises(AnswerError):
        ask(server, world, tmp_path, lambda rest: rest.last_stat("x"), rates=BitfinexRates())
    assert len(server.seen) == 1


def test_redirections_are_not_followed(server, world, tmp_path):
    server.faults.append(status(302, b"", Location=server.url))
    with pytest.raises(AnswerError, match="302"):
        ask(server, world, tmp_path)
    assert len(server.seen) == 1


BITFINEX_ERRORS = [
    (500, b'["error",10020,"symbol: invalid"]', RefusedError, "10020"),
    (200, b'["error",10001,"Invalid pair"]', RefusedError, "10001"),
    (500, b'["error",11010,"ratelimit: error"]', RateLimitedError, "11010"),
    (429, b'{"error":"ERR_RATE_LIMIT"}', RateLimitedError, "ERR_RATE_LIMIT"),
    (503, b'["error",20060,"maintenance"]', MaintenanceError, "20060"),
    (404, b"<!DOCTYPE html><html></html>", RefusedError, ""),
    (502, b"<html>cloudflare</html>", UnavailableError, ""),
    (500, b"", UnavailableError, ""),
]
KRAKEN_ERRORS = [
    (200, b'{"error":["EQuery:Unknown asset pair"]}', RefusedError, "EQuery:Unknown asset pair"),
    (200, b'{"error":["EAPI:Rate limit exceeded"]}', RateLimitedError, "EAPI:Rate limit exceeded"),
    (200, b'{"error":["EGeneral:Temporary lockout"]}', RateLimitedError, None),
    (200, b'{"error":["EService:Unavailable"]}', UnavailableError, "EService:Unavailable"),
    (200, b'{"error":["EService:Market in maintenance"]}', MaintenanceError, None),
    (200, b'{"error":["EAPI:Invalid nonce"]}', UnavailableError, "EAPI:Invalid nonce"),
    (200, b'{"error":[]}', AnswerError, ""),
    (520, b"<html>", UnavailableError, ""),
]
GMO_ERRORS = [
    (
        200,
        b'{"status":5,"messages":[{"message_code":"ERR-5201","message_string":"MAINTENANCE."}]}',
        MaintenanceError,
        "ERR-5201",
    ),
    (200, b'{"status":1,"messages":[{"message_code":"ERR-5003"}]}', RateLimitedError, "ERR-5003"),
    (200, b'{"status":1,"messages":[{"message_code":"ERR-626"}]}', UnavailableError, "ERR-626"),
    (404, b'{"status":1,"messages":[{"message_code":"ERR-5207"}]}', RefusedError, "ERR-5207"),
    (200, b'{"status":1,"messages":[]}', RefusedError, ""),
    (200, b'{"data":[]}', AnswerError, ""),
    (503, b"maintenance", UnavailableError, ""),
]


@pytest.mark.parametrize(
    ("read", "code", "body", "kind", "said"),
    [(bitfinex.read, *row) for row in BITFINEX_ERRORS]
    + [(kraken.read, *row) for row in KRAKEN_ERRORS]
    + [(gmo.read, *row) for row in GMO_ERRORS],
)
def test_each_venues_errors_are_typed(read, code, body, kind, said):
    with pytest.raises(VenueError) as caught:
        read(Answer(code, body, "GET /x"))
    assert type(caught.value) is kind
    assert said is None or caught.value.code == said
    assert "GET /x" in str(caught.value)


def test_a_warning_of_kraken_is_no_error():
    body = b'{"error":["WGeneral:Deprecated"],"result":{"a":1}}'
    assert kraken.read(Answer(200, body, "GET /x")) == {"a": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["error", "result", "status", "messages", "data", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([200, 302, 404, 500]), st.booleans())
def test_no_answer_at_all_is_more_than_a_venue_error(value, code, garbled):
    body = msgspec.json.encode(value)
    answer = Answer(code, body[:-1] if garbled else body, "GET /x")
    for read in (bitfinex.read, kraken.read, gmo.read):
        try:
            read(answer)
        except VenueError:
            continue
        assert code == 200


def test_the_defaults_are_four_fifths_of_the_venues_rates(tmp_path):
    world = World()
    for settings, endpoint, seconds in (
        (BitfinexRestSettings(), "trades", 60 / (15 * 0.8)),
        (BitfinexRestSettings(), "candles", 60 / (30 * 0.8)),
        (KrakenRestSettings(), "public", 60 / (60 * 0.8)),
        (GmoRestSettings(), "private", 60 / (1200 * 0.8)),
    ):
        pace = Pace(tmp_path, "x", utc_ns=lambda: world.now_ns, sleep=world.sleep)
        client = RestClient(settings, pace, world.tools())
        assert client.interval_s(endpoint) == pytest.approx(seconds)


class Way:
    """Notes how far a request's body came."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.sending = Sending(
            begun=lambda: self.steps.append("begun"), written=lambda: self.steps.append("written")
        )


def post(server, world, folder, way, **changes):
    request = Request(
        endpoint="calc", path="/v2/none", method="POST", body=b"{}", harmless=False,
        sending=way.sending,
    )  # fmt: skip
    return ask(
        server, world, folder, lambda rest: rest.client.call(request, lambda answer: answer),
        **changes,
    )  # fmt: skip


def test_a_body_tells_when_it_begins_to_leave_and_when_it_has_left(server, world, tmp_path):
    way = Way()

    async def answer(request):
        assert await request.read() == b"{}"
        async with asyncio.timeout(10.0):
            while "written" not in way.steps:  # noqa: ASYNC110 (told in another thread)
                await asyncio.sleep(0.005)
        way.steps.append("answered")
        return web.Response()

    server.faults.append(answer)
    post(server, world, tmp_path, way)
    assert way.steps == ["begun", "written", "answered"]


def test_a_body_whose_answer_is_lost_has_begun(server, world, tmp_path):
    way = Way()
    server.faults.append(hang_up)
    with pytest.raises(UnavailableError):
        post(server, world, tmp_path, way)
    assert way.steps[0] == "begun"


def test_a_body_that_finds_no_connection_never_begins(server, world, tmp_path):
    way = Way()
    with pytest.raises(UnavailableError):
        post(server, world, tmp_path, way, url="http://127.0.0.1:1")
    assert way.steps == []
