"""Read-only private calls: signed as the venue checks it, anew for each attempt, and read
exactly."""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from schemas.errors import AnswerError, RefusedError
from schemas.rest import BitfinexRestSettings, GmoRestSettings, KrakenRestSettings
from tests.rest_servers import RestServer, status
from venues.bitfinex.private_rest import BitfinexPrivateRest
from venues.gmo.private_rest import GmoPrivateRest
from venues.kraken.private_rest import KrakenPrivateRest
from venues.pace import Pace
from venues.rest import RestClient, Tools

KEY, SECRET = "made-up-key", base64.b64encode(b"made-up-secret").decode()


class Checking(RestServer):
    """Answers only what is signed as the venue's page says; nonces must rise."""

    def __init__(self) -> None:
        super().__init__()
        self.body = b""
        self.nonces: list[int] = []

    def answer(self, seen):
        text = seen.body.decode()
        if seen.path.startswith("/v2/auth/"):
            nonce = seen.headers["bfx-nonce"]
            said, name, key, digest = (
                f"/api{seen.path}{nonce}{text}",
                "bfx-signature",
                SECRET,
                "sha384",
            )
            assert seen.headers["bfx-apikey"] == KEY
            wanted = hmac.new(key.encode(), said.encode(), digest).hexdigest()
            refusal = b'["error",10100,"apikey: digest invalid"]'
        elif seen.path.startswith("/0/private/"):
            nonce, name = parse_qs(text)["nonce"][0], "API-Sign"
            inner = seen.path.encode() + hashlib.sha256((nonce + text).encode()).digest()
            mac = hmac.new(base64.b64decode(SECRET), inner, "sha512")
            wanted = base64.b64encode(mac.digest()).decode()
            refusal = b'{"error":["EAPI:Invalid signature"]}'
        else:
            nonce, name = seen.headers["API-TIMESTAMP"], "API-SIGN"
            said = f"{nonce}{seen.method}{seen.path.removeprefix('/private')}"
            wanted = hmac.new(SECRET.encode(), said.encode(), "sha256").hexdigest()
            refusal = b'{"status":1,"messages":[{"message_code":"ERR-5010"}]}'
        self.nonces.append(int(nonce))
        return (200, self.body) if seen.headers[name] == wanted else (500, refusal)


@pytest.fixture
def server():
    with Checking().running() as running:
        yield running


def ask(server, folder, venue: str, body: Any, work, secret: str = SECRET) -> Any:
    server.body = body if isinstance(body, bytes) else body.encode()
    clock = itertools.count(1_700_000_000 * 10**9, 10**9)
    nonces = itertools.count(1_700_000_000_000_000)

    async def nothing(_: float) -> None:
        await asyncio.sleep(0)

    async def run():
        settings: Any = {
            "bitfinex": BitfinexRestSettings(url="http://127.0.0.1:9", private_url=server.url),
            "kraken": KrakenRestSettings(url=server.url),
            "gmo": GmoRestSettings(url=server.url),
        }[venue]
        pace = Pace(folder, venue, utc_ns=lambda: next(clock), sleep=nothing)
        tools = Tools(utc_ns=lambda: next(clock), uniform=lambda: 0.0, sleep=nothing)
        async with RestClient(settings, pace, tools) as client:
            if venue == "gmo":
                return await work(GmoPrivateRest(client, KEY, secret))
            kind = BitfinexPrivateRest if venue == "bitfinex" else KrakenPrivateRest
            return await work(kind(client, KEY, secret, lambda: next(nonces)))

    return asyncio.run(run())


def values(record: Any) -> list[Any]:
    return [getattr(record, name) for name in record.__struct_fields__]


CASES = [
    ("bitfinex", b"[]", lambda r: r.wallets()),
    ("kraken", b'{"error":[],"result":{}}', lambda r: r.balances()),
    ("gmo", b'{"status":0,"data":[]}', lambda r: r.assets()),
]


@pytest.mark.parametrize(("venue", "body", "call"), CASES)
def test_each_attempt_is_signed_anew(server, tmp_path, venue, body, call):
    server.faults.extend([status(502)] * 2)
    assert ask(server, tmp_path, venue, body, call) == []
    asked = len(server.seen)
    assert asked == 3
    assert len(server.nonces) == 1  # the faults answered for the other two
    sent = [
        seen.headers.get("bfx-nonce") or seen.headers.get("API-TIMESTAMP") or seen.body.decode()
        for seen in server.seen
    ]
    assert sent == sorted(set(sent)), "a nonce twice, or one that fell"


@pytest.mark.parametrize(("venue", "body", "call"), CASES)
def test_a_wrong_secret_is_refused_and_not_shown(server, tmp_path, venue, body, call):
    wrong = base64.b64encode(b"another").decode()
    with pytest.raises(RefusedError) as caught:
        ask(server, tmp_path, venue, body, call, secret=wrong)
    assert wrong not in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(server.seen) == 1


def test_gmo_private_samples_field_by_field(server, recordings, tmp_path):
    text = (recordings / "gmo" / "rest_private_assets.json").read_text(encoding="utf-8")
    found = ask(server, tmp_path, "gmo", f'{{"status":0,"data":{text}}}', lambda r: r.assets())
    assert server.seen[-1].path.endswith("private/v1/account/assets")
    sample = json.loads(text)
    assert len(found) == len(sample) > 10
    for asset, row in zip(found, sample, strict=True):
        assert list(map(str, values(asset))) == [
            row["symbol"], row["amount"], row["available"], row["conversionRate"]]  # fmt: skip
    text = (recordings / "gmo" / "rest_private_margin.json").read_text(encoding="utf-8")
    margin = ask(server, tmp_path, "gmo", f'{{"status":0,"data":{text}}}', lambda r: r.margin())
    row = json.loads(text)
    assert [str(margin.actual_profit_loss), str(margin.available_amount), str(margin.margin),
            str(margin.profit_loss)] == [row["actualProfitLoss"], row["availableAmount"],
                                         row["margin"], row["profitLoss"]]  # fmt: skip
    assert row["marginRate"] is None
    assert margin.margin_ratio is None


def test_gmo_orders(server, tmp_path):
    order = {
        "rootOrderId": 123456789, "orderId": 123456789, "symbol": "BTC", "side": "BUY",
        "orderType": "NORMAL", "executionType": "LIMIT", "settleType": "OPEN", "size": "1",
        "executedSize": "0.1", "price": "840000", "losscutPrice": "0", "status": "ORDERED",
        "timeInForce": "FAS", "timestamp": "2019-03-19T01:07:24.217Z",
    }  # fmt: skip
    body = json.dumps({"status": 0, "data": {"pagination": {}, "list": [order]}})
    found = ask(server, tmp_path, "gmo", body, lambda r: r.open_orders("BTC"))[0]
    assert server.seen[-1].params == {"symbol": "BTC", "page": "1", "count": "100"}
    assert (found.order_id, found.price, found.mts) == (123456789, 840000, 1_552_957_644_217)
    assert (
        ask(server, tmp_path, "gmo", '{"status":0,"data":{}}', lambda r: r.open_orders("X")) == []
    )
    assert ask(server, tmp_path, "gmo", body, lambda r: r.orders([1, 2]))[0] == found
    assert server.seen[-1].params == {"orderId": "1,2"}
    trade = {
        "executionId": 92123912, "orderId": 223456789, "symbol": "BTC", "side": "BUY",
        "settleType": "OPEN", "size": "0.7361", "price": "877404", "lossGain": "0", "fee": "-323",
        "timestamp": "2019-03-19T02:15:06.081Z",
    }  # fmt: skip
    body = json.dumps({"status": 0, "data": {"list": [trade]}})
    found = ask(server, tmp_path, "gmo", body, lambda r: r.latest_executions("BTC"))[0]
    assert (found.fee, found.position_id, found.size) == (-323, None, Decimal("0.7361"))


def test_bitfinex_account(server, tmp_path):
    body = (
        '[["exchange","UST",19788.6529257,0,19788.6529257,null,null],["margin","BTC",1e-8,0,null]]'
    )
    found = ask(server, tmp_path, "bitfinex", body, lambda r: r.wallets())
    assert values(found[0])[:3] == ["exchange", "UST", Decimal("19788.6529257")]
    assert values(found[1])[2:] == [Decimal("1e-8"), 0, None]
    row: list[Any] = [None] * 32
    row[:6] = [33950998275, None, 1573476747887, "tETHUSD", 1573476748000, 1573476748001]
    row[6:9] = [-0.5, -0.7, "EXCHANGE LIMIT"]
    row[12], row[13], row[16], row[17] = 4096, "PARTIALLY FILLED @ 220.5(-0.2)", 220.5, 220.5
    body = msgspec.json.encode([row])
    found = ask(server, tmp_path, "bitfinex", body, lambda r: r.open_orders())[0]
    assert server.seen[-1].path == "/v2/auth/r/orders"
    assert server.seen[-1].body == b"{}"
    assert (found.order_id, found.client_order_id) == ("33950998275", "1573476747887")
    assert (found.side, found.quantity, found.filled_quantity) == ("sell", "0.7", "0.2")
    assert (found.post_only, found.status, found.limit_price) == (True, "partially_filled", "220.5")
    assert (found.created_ns, found.time_ns) == (1573476748000 * 10**6, 1573476748001 * 10**6)
    call = ask(server, tmp_path, "bitfinex", body, lambda r: r.closed_orders(start_ms=1, limit=25))
    assert call[0].status == "canceled", "what is over goes on no more"
    assert server.seen[-1].path == "/v2/auth/r/orders/hist"
    assert json.loads(server.seen[-1].body) == {"start": 1, "limit": 25}
    body = (
        '[[399251013,"tETHUSD",1573485113958,33963608932,-0.26913,187.40,"EXCHANGE LIMIT",187.4,1,'
        '-0.000526,"ETH",88]]'
    )
    fill = ask(server, tmp_path, "bitfinex", body, lambda r: r.fills(end_ms=7))[0]
    assert server.seen[-1].path == "/v2/auth/r/trades/hist"
    assert (fill.fill_id, fill.order_id, fill.price) == ("399251013", "33963608932", "187.40")
    assert (fill.fees[0].asset, fill.fees[0].amount, fill.liquidity) == ("ETH", "0.000526", "maker")
    for nonsense in ('[[1.5,"tETHUSD"]]', "[7]", '[["x"]]'):
        with pytest.raises(AnswerError):
            ask(server, tmp_path, "bitfinex", nonsense, lambda r: r.fills())


def test_a_nonce_that_comes_too_late_at_bitfinex_passes(server, tmp_path):
    server.faults.append(status(500, b'["error",10114,"nonce: small"]'))
    assert ask(server, tmp_path, "bitfinex", b"[]", lambda r: r.wallets()) == []
    assert len(server.seen) == 2


def test_kraken_account(server, tmp_path):
    held = {"XXBT": {"balance": "1.0110000000", "hold_trade": "0.5"},
            "ZUSD": {"balance": "171288.6158"}}  # fmt: skip
    body = json.dumps({"error": [], "result": held})
    found = ask(server, tmp_path, "kraken", body, lambda r: r.balances())
    assert [str(v) for v in values(found[0])] == ["XXBT", "1.0110000000", "0.5"]
    assert found[1].hold == 0
    order = {
        "refid": None, "userref": 5, "cl_ord_id": "mine", "status": "closed",
        "opentm": 1688666559.8974, "starttm": 0, "expiretm": 0, "closetm": 1688666560.5,
        "reason": None,
        "descr": {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "30010.0",
                  "price2": "0", "leverage": "none", "order": "", "close": ""},
        "vol": "1.25000000", "vol_exec": "0.37500000", "cost": "11253.7", "fee": "0.00000",
        "price": "30010.0", "stopprice": "0.0", "limitprice": "0.0", "misc": "", "oflags": "fciq",
    }  # fmt: skip
    body = json.dumps(
        {"error": [], "result": {"closed": {"OQCLML-BW3P3-BUCMWZ": order}, "count": 7}}
    )
    page = ask(server, tmp_path, "kraken", body, lambda r: r.closed_orders(start_s=3, offset=50))
    assert page.count == 7
    assert str(page.orders[0].volume) == "1.25000000"
    assert page.orders[0].opened_ns == 1_688_666_559_897_400_000
    assert page.orders[0].closed_ns == 1_688_666_560_500_000_000
    sent = parse_qs(server.seen[-1].body.decode())
    assert (sent["start"], sent["ofs"]) == (["3"], ["50"])
    body = json.dumps({"error": [], "result": {"open": {"O1": {**order, "closetm": None}}}})
    found = ask(server, tmp_path, "kraken", body, lambda r: r.open_orders())
    assert (found[0].id, found[0].closed_ns, found[0].user_reference) == ("O1", None, 5)
