"""The REST client: this machine only, one send, the gate last, and what each refusal means."""

import asyncio
from contextlib import contextmanager, nullcontext

import msgspec
import pytest

from schemas.errors import ConfigError
from tests.servers import free_port
from tests.unit.execution.freqtrade.bots import answer, faulty_bot, hang_up
from venues.freqtrade import client as client_module
from venues.freqtrade.client import (
    Access,
    FreqtradeClient,
    GateShutError,
    check_loopback,
)
from venues.freqtrade.refusals import BotError, Call, Verdict, judge, text_of

TRADE = {
    "trade_id": 7, "pair": "ETH/USD", "base_currency": "ETH", "quote_currency": "USD",
    "is_open": True, "is_short": False, "amount": 0.0, "amount_requested": 0.17241379,
    "strategy": "CommandOnly", "open_timestamp": 1795221999984, "has_open_orders": True,
    "enter_tag": "tag", "orders": [],
}  # fmt: skip


def enter(client: FreqtradeClient, sending=nullcontext):
    return client.force_enter("ETH/USD", 2900.0, "limit", 499.999991, "tag", lambda: sending(""))


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.1.5:8080", "https://127.0.0.1:8080", "http://example.com:8080",
        "http://localhost", "http://127.0.0.1", "http://127.0.0.1.nip.io:80",
        "http://user:word@127.0.0.1:8080", "http://127.0.0.1:8080/elsewhere", "http://0.0.0.0:80",
        "ws://127.0.0.1:8080", "http://[::2]:8080", "127.0.0.1:8080", "",
    ],
)  # fmt: skip
def test_only_a_bot_on_this_machine_may_be_driven(url):
    with pytest.raises(ConfigError, match="on this machine") as caught:
        FreqtradeClient(Access(url, "exec", "x", "y"))
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://127.5.0.1:1/", "http://[::1]:80"])
def test_loopback_is_loopback(url):
    assert check_loopback(url) == url.rstrip("/")
    assert check_loopback("http://localhost:8080") == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("call", "status", "body", "verdict"),
    [
        (Call.ENTER, 502, "trader is not running", Verdict.REFUSED),
        (Call.ENTER, 502, "Force_entry not enabled.", Verdict.REFUSED),
        (Call.ENTER, 502, "Can't go short on Spot markets.", Verdict.REFUSED),
        (Call.ENTER, 502, "Symbol does not exist or market is not active.", Verdict.REFUSED),
        (Call.ENTER, 502, "Wrong pair selected. Only pairs with USD.", Verdict.REFUSED),
        (Call.ENTER, 502, "Maximum number of trades is reached.", Verdict.REFUSED),
        (Call.ENTER, 502, "Failed to enter position for ETH/USD.", Verdict.REFUSED),
        (Call.ENTER, 502, "position for ETH/USD already open - id: 1", Verdict.DOUBTFUL),
        (Call.ENTER, 502, "something new", Verdict.DOUBTFUL),
        (Call.EXIT, 502, "trader is not running", Verdict.REFUSED),
        (Call.EXIT, 502, "Remaining amount of 1.2 would be too small.", Verdict.REFUSED),
        (Call.EXIT, 502, "Failed to exit trade.", Verdict.DOUBTFUL),
        (Call.EXIT, 502, "invalid argument", Verdict.DOUBTFUL),
        (Call.CANCEL, 502, "no active trade", Verdict.DOUBTFUL),
        (Call.CANCEL, 502, "Invalid trade_id.", Verdict.DOUBTFUL),
        (Call.CANCEL, 502, "No open order for trade_id.", Verdict.DOUBTFUL),
        (Call.CANCEL, 502, "Order not found.", Verdict.DOUBTFUL),
        (Call.CANCEL, 502, "trader is not running", Verdict.REFUSED),
    ],
)  # fmt: skip
def test_a_bots_no_means_what_its_text_and_call_make_it(call, status, body, verdict):
    wrapped = msgspec.json.encode({"error": f"Error querying /api/v1/x: {body}"})
    error = judge(call, "POST x", status, wrapped)
    assert error.verdict is verdict
    assert body in str(error)
    assert "Error querying" not in str(error)


@pytest.mark.parametrize("call", list(Call))
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (401, Verdict.REFUSED), (404, Verdict.REFUSED), (405, Verdict.REFUSED),
        (422, Verdict.REFUSED), (503, Verdict.REFUSED), (500, Verdict.UNKNOWN),
        (504, Verdict.UNKNOWN), (301, Verdict.UNKNOWN), (204, Verdict.UNKNOWN),
    ],
)  # fmt: skip
def test_a_status_means_the_same_for_every_call(call, status, verdict):
    assert judge(call, "POST x", status, b"Internal Server Error").verdict is verdict


def test_a_text_is_found_in_every_form_and_has_an_end():
    assert text_of(b'{"detail":"Unauthorized"}') == "Unauthorized"
    assert "pair" in text_of(b'{"detail":[{"loc":["body","pair"]}]}')
    assert text_of(b"Internal Server Error") == "Internal Server Error"
    assert len(text_of(b"x" * 10_000)) == 200
    assert text_of(b"\xff\xfe")


def test_a_500_a_cut_and_half_an_answer_leave_the_outcome_open_and_are_sent_once():
    async def inside() -> None:
        async with faulty_bot() as (bot, client):
            for reply in (
                answer(500, b"Internal Server Error"),
                hang_up,
                answer(200, b'{"trade_id":', length=500),
                answer(200, b'{"no":"trade"}'),
            ):
                bot.heard.clear()
                bot.reply = reply
                with pytest.raises(BotError) as caught:
                    await enter(client)
                assert caught.value.verdict is Verdict.UNKNOWN
                assert len(bot.heard) == 1
            for reply in (answer(500, b"Internal Server Error"), hang_up):
                bot.heard.clear()
                bot.reply = reply
                with pytest.raises(BotError):
                    await client.cancel_open_orders(3)
                assert len(bot.heard) == 1

    asyncio.run(inside())


def test_silence_is_a_time_out_and_the_outcome_is_open(monkeypatch):
    monkeypatch.setattr(client_module, "ACT_S", 0.05)

    async def silence(*_: object) -> None:
        pass

    async def inside() -> None:
        async with faulty_bot() as (bot, client):
            bot.reply = silence
            with pytest.raises(BotError, match="no answer in time") as caught:
                await enter(client)
            assert caught.value.verdict is Verdict.UNKNOWN

    asyncio.run(inside())


def test_no_connection_proves_that_nothing_was_sent():
    async def inside() -> None:
        access = Access(f"http://127.0.0.1:{free_port()}", "exec", "x", "y")
        async with FreqtradeClient(access) as client:
            with pytest.raises(BotError) as caught:
                await enter(client)
            assert caught.value.verdict is Verdict.NOT_SENT
            assert not await client.ping()

    asyncio.run(inside())


def test_the_gate_is_asked_when_the_connection_stands_and_a_shut_one_lets_no_byte_through():
    async def inside() -> None:
        async with faulty_bot() as (bot, client):
            asked: list[int] = []

            @contextmanager
            def shut(_):
                asked.append(bot.connections)
                yield "the kill switch is on"

            with pytest.raises(GateShutError, match="kill switch"):
                await enter(client, shut)
            assert asked == [1]
            assert bot.heard == []

    asyncio.run(inside())


def test_the_gate_is_left_when_the_call_is_written_and_not_when_it_is_answered():
    async def inside() -> None:
        async with faulty_bot() as (bot, client):
            under_way: list[bool] = []
            left = asyncio.Event()

            @contextmanager
            def gate(_):
                under_way.append(True)
                yield ""
                under_way.pop()
                left.set()

            async def late(request: bytes, writer: asyncio.StreamWriter) -> None:
                await asyncio.wait_for(left.wait(), 5)
                await answer(200, msgspec.json.encode(TRADE))(request, writer)

            bot.reply = late
            trade = await enter(client, gate)
            assert trade.enter_tag == "tag"
            assert under_way == []

    asyncio.run(inside())


def test_the_gate_is_left_too_when_the_call_fails():
    async def inside() -> None:
        async with faulty_bot() as (bot, client):
            entered: list[str] = []

            @contextmanager
            def gate(_):
                entered.append("in")
                try:
                    yield ""
                finally:
                    entered.append("out")

            bot.reply = hang_up
            with pytest.raises(BotError):
                await enter(client, gate)
            assert entered == ["in", "out"]

    asyncio.run(inside())


def test_a_read_is_tried_once_more_when_the_bot_has_dropped_the_connection():
    async def inside() -> None:
        async with faulty_bot() as (bot, client):
            bot.reply = answer(200, b"[]")
            assert await client.status() == []

            async def drop_once(request: bytes, writer: asyncio.StreamWriter) -> None:
                bot.reply = answer(200, b"[]")
                await hang_up(request, writer)

            bot.reply = drop_once
            assert await client.status() == []
            assert len(bot.heard) == 3
            bot.reply = hang_up
            with pytest.raises(BotError):
                await client.status()

    asyncio.run(inside())


def test_no_secret_is_in_any_error_or_in_what_is_printed():
    async def inside() -> list[str]:
        texts = [repr(Access("http://127.0.0.1:1", "exec", "hidden-word", "hidden-token"))]
        async with faulty_bot() as (bot, client):
            for reply in (hang_up, answer(500, b"no"), answer(401, b"{}"), answer(200, b"?")):
                bot.reply = reply
                for call in (client.status, lambda: enter(client)):
                    with pytest.raises(BotError) as caught:
                        await call()
                    texts.append(f"{caught.value!r} {caught.value.__context__!r}")
        return texts

    assert not [text for text in asyncio.run(inside()) if "hidden" in text]


def test_numbers_come_as_the_decimals_that_were_written():
    async def inside() -> None:
        async with faulty_bot() as (bot, client):
            text = msgspec.json.encode(TRADE).replace(b"0.17241379", b"0.172413790000000001")
            bot.reply = answer(200, text)
            trade = await client.trade(7)
            assert str(trade.amount_requested) == "0.172413790000000001"
            bot.reply = answer(404, b'{"detail":"Trade not found."}')
            assert await client.trade(7) is None

    asyncio.run(inside())


def test_closed_trades_are_paged_until_they_are_old_enough():
    pages: list[bytes] = []

    def row(number: int) -> dict:
        return {**TRADE, "trade_id": number, "close_timestamp": 1000 - number, "is_open": False}

    async def page(request: bytes, writer: asyncio.StreamWriter) -> None:
        query = request.split(b" ")[1]
        pages.append(query)
        offset = int(query.split(b"offset=")[1].split(b"&")[0])
        rows = [row(number) for number in range(offset, min(offset + 50, 130))]
        body = msgspec.json.encode({"trades": rows, "total_trades": 130, "offset": offset})
        await answer(200, body)(request, writer)

    async def inside() -> None:
        async with faulty_bot() as (bot, client):
            bot.reply = page
            assert [one.trade_id for one in await client.closed_since(940)] == list(range(61))
            assert len(pages) == 2
            assert len(await client.closed_since(0)) == 130
            assert all(b"order_by_id=false" in one for one in pages)

    asyncio.run(inside())
