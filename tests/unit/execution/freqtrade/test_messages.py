"""The message socket: proved before it counts, one kind at a time, back again after every end."""

import asyncio
import random

import msgspec
import pytest
from aiohttp import WSMsgType, web

from processes.execution.brokers.freqtrade import messages
from processes.execution.brokers.freqtrade.messages import (
    TOPICS,
    Closed,
    EntryCancel,
    ExitFill,
    MessageSocket,
    Status,
    Whitelist,
    read_message,
)
from schemas.errors import ConfigError
from venues.freqtrade.client import Access

ENTRY = {
    "type": "entry_cancel", "trade_id": 1, "enter_tag": "cmd-1", "pair": "ETH/USD", "amount": 0.0,
    "reason": "user requested order cancel, fully cancelled", "open_date": "2026-11-21 00:46:39",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"type":"status","status":"paused"}', Status("paused")),
        ('{"type":"whitelist","data":["ETH/USD"]}', Whitelist(["ETH/USD"])),
        (
            msgspec.json.encode(ENTRY).decode(),
            EntryCancel(1, "ETH/USD", "cmd-1", ENTRY["reason"]),
        ),
        (
            '{"type":"exit_fill","trade_id":2,"pair":"BTC/USD","is_final_exit":true,"profit":-1.0}',
            ExitFill(2, "BTC/USD", None, is_final_exit=True),
        ),
        ('{"type":"new_candle","data":[]}', None),
        ('{"type":"entry","trade_id":"one"}', None),
        ("no JSON", None),
        ("", None),
    ],
)
def test_messages_are_typed_and_unknown_ones_are_none(text, found):
    assert read_message(text) == found


class Venue:
    """The bot's end: what it heard, and how it behaves."""

    def __init__(self) -> None:
        self.heard: list[dict] = []
        self.queries: list[str] = []
        self.after: list[str] = []
        self.mute = False
        self.code = 1012
        self.sockets = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(request.query["token"])
        if request.query["token"] != "good token&":
            return web.Response(status=403)
        self.sockets += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            assert message.type == WSMsgType.TEXT
            self.heard.append(msgspec.json.decode(message.data))
            if self.heard[-1]["type"] == "whitelist" and not self.mute:
                for text in self.after:
                    await socket.send_str(text)
                await socket.send_str('{"type":"whitelist","data":[]}')
                if self.code:
                    await socket.close(code=self.code)
        return socket


class Listener:
    """What the socket under test has told."""

    def __init__(self, url: str, token: str = "good token&") -> None:
        self.opened = 0
        self.messages: list[object] = []
        self.closed: list[Closed] = []
        self.changed = asyncio.Event()
        access = Access(url, "exec", "hidden-word", token)
        self.socket = MessageSocket(
            access, self.on_open, self.on_message, self.on_closed, random.Random(1)
        )

    async def on_open(self) -> None:
        self.opened += 1
        self.changed.set()

    def on_message(self, message: object) -> None:
        self.messages.append(message)
        self.changed.set()

    def on_closed(self, closed: Closed) -> None:
        self.closed.append(closed)
        self.changed.set()

    async def until(self, condition) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


async def with_venue(scene) -> None:
    venue = Venue()
    application = web.Application()
    application.router.add_get("/api/v1/message/ws", venue.serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        await scene(venue, f"http://127.0.0.1:{port}")
    finally:
        await runner.cleanup()


def play(scene) -> None:
    asyncio.run(with_venue(scene))


async def running(listener: Listener, condition) -> None:
    task = asyncio.create_task(listener.socket.run())
    try:
        await listener.until(condition)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_link_counts_when_the_question_behind_the_subscription_is_answered():
    async def scene(venue: Venue, url: str) -> None:
        venue.code = 0
        venue.after = ['{"type":"status","status":"running"}', '{"type":"novelty"}']
        listener = Listener(url)
        await running(listener, lambda: listener.opened)
        assert venue.heard == [
            {"type": "subscribe", "data": list(TOPICS)},
            {"type": "whitelist", "data": None},
        ]
        assert listener.messages == [Status("running"), Whitelist([])]
        assert listener.socket.unread == 1
        assert venue.queries == ["good token&"]

    play(scene)


def test_a_link_that_is_not_proved_is_given_up_and_made_again(monkeypatch):
    monkeypatch.setattr(messages, "CONFIRM_S", 0.1)

    async def scene(venue: Venue, url: str) -> None:
        venue.mute = True
        listener = Listener(url)
        await running(listener, lambda: len(listener.closed) >= 2)
        assert listener.opened == 0
        assert venue.sockets >= 2
        assert "did not answer" in listener.closed[0].text

    play(scene)


@pytest.mark.parametrize(("code", "restarting"), [(1012, True), (1000, False), (1011, False)])
def test_after_every_end_there_is_a_new_link(code, restarting):
    async def scene(venue: Venue, url: str) -> None:
        venue.code = code
        listener = Listener(url)
        await running(listener, lambda: listener.opened >= 3)
        assert listener.closed[0].restarting is restarting
        assert listener.closed[0].code == code

    play(scene)


def test_a_wrong_token_is_said_and_shown_nowhere():
    async def scene(_: Venue, url: str) -> None:
        listener = Listener(url, "hidden-token")
        await running(listener, lambda: listener.closed)
        assert listener.opened == 0
        assert "ws_token" in listener.closed[0].text
        assert "hidden" not in str(listener.closed)

    play(scene)


def test_a_bot_that_is_not_there_is_asked_again():
    async def scene(_: Venue, url: str) -> None:
        listener = Listener("http://127.0.0.1:1")
        await running(listener, lambda: len(listener.closed) >= 2)
        assert listener.closed[0].code == 0

    play(scene)


def test_only_this_machine():
    with pytest.raises(ConfigError, match="on this machine"):
        MessageSocket(
            Access("http://10.0.0.1:80", "a", "b", "c"), None, None, None, random.Random(1)
        )
