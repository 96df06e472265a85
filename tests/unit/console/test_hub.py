"""Live panels: drawn once for all, the newest state only, and nothing that grows."""

import asyncio
import json

import msgspec
import pytest

from processes.console import hub as hub_module
from processes.console.hub import Hub, Watch
from processes.console.view import View


class Socket:
    """A browser's end: what it says is put in, what it is sent is read out."""

    def __init__(self):
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.sent: asyncio.Queue[str] = asyncio.Queue()
        self.closed: list[int] = []

    async def accept(self):
        pass

    async def receive_text(self):
        return await self.said.get()

    async def send_text(self, text):
        await self.sent.put(text)

    async def close(self, code, reason=""):
        self.closed.append(code)

    async def say(self, **told):
        await self.said.put(json.dumps(told))

    async def hear(self):
        return json.loads(await asyncio.wait_for(self.sent.get(), 5))


class World:
    def __init__(self):
        self.drawn: list[str] = []
        self.hub = Hub({"a": self._draw, "b": lambda view, _: f"b{view.session % 2}"})
        self.looked = 0

    def _draw(self, view, choice):
        self.drawn.append(choice)
        if choice == "broken":
            raise ValueError("no such thing")
        return f"a{view.session}{choice}"

    async def look(self, session=None):
        self.looked += 1
        await self.hub.publish(
            View(session=self.looked if session is None else session), self.looked
        )

    async def browser(self):
        socket = Socket()
        return socket, asyncio.create_task(self.hub.serve(socket))


def run(story):
    async def told():
        world = World()
        tasks = []
        try:
            await story(world, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(told())


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_panel_is_drawn_once_for_all_browsers():
    async def story(world, tasks):
        sockets = []
        for _ in range(5):
            socket, task = await world.browser()
            tasks.append(task)
            sockets.append(socket)
            await socket.say(watch=["a"])
        await settle()
        await world.look()
        assert [(await one.hear())["panels"] for one in sockets] == [{"a": "a1"}] * 5
        assert world.drawn == [""]
        assert world.hub.open == 5

    run(story)


def test_a_slow_browser_has_one_message_and_then_the_newest():
    async def story(world, tasks):
        socket, task = await world.browser()
        tasks.append(task)
        await socket.say(watch=["a"])
        await settle()
        for _ in range(50):
            await world.look()
            await settle()
        assert socket.sent.qsize() == 1
        assert (await socket.hear())["panels"] == {"a": "a1"}
        await socket.say(drawn=1)
        assert (await socket.hear())["panels"] == {"a": "a50"}
        assert world.hub.sent == 2
        assert len(world.drawn) == 2

    run(story)


def test_what_has_not_changed_is_not_sent():
    async def story(world, tasks):
        socket, task = await world.browser()
        tasks.append(task)
        await socket.say(watch=["a", "b"])
        await settle()
        await world.look(session=2)
        assert set((await socket.hear())["panels"]) == {"a", "b"}
        await socket.say(drawn=1)
        await settle()
        await world.look(session=2)
        await settle()
        assert socket.sent.empty()
        await world.look(session=4)
        assert set((await socket.hear())["panels"]) == {"a"}

    run(story)


def test_what_nobody_looks_at_is_not_drawn():
    async def story(world, tasks):
        socket, task = await world.browser()
        tasks.append(task)
        await world.look()
        assert world.drawn == []
        await socket.say(watch=["a:x"])
        await settle()
        await world.look()
        await socket.hear()
        await socket.say(watch=["b"])
        await settle()
        await world.look()
        await socket.hear()
        assert world.drawn == ["x"]
        assert list(world.hub._drawn) == ["b"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert world.hub.open == 0
        assert world.hub._drawn == {}

    run(story)


def test_a_panel_that_fails_takes_no_other_with_it():
    async def story(world, tasks):
        socket, task = await world.browser()
        tasks.append(task)
        await socket.say(watch=["a:broken", "b"])
        await settle()
        await world.look()
        told = (await socket.hear())["panels"]
        assert told["b"] == "b1"
        assert "cannot be drawn" in told["a:broken"]
        assert "no such thing" in world.hub.faults["a"]

    run(story)


@pytest.mark.parametrize("text", ["", "[]", '{"watch": 1}', '{"other": 1}', "x" * 10])
def test_a_browser_that_talks_nonsense_is_cut_off(text):
    async def story(world, tasks):
        socket, task = await world.browser()
        tasks.append(task)
        await socket.said.put(text)
        await asyncio.wait_for(task, 5)
        assert socket.closed == [1008]

    run(story)


def test_browsers_and_panels_are_bounded(monkeypatch):
    monkeypatch.setattr(hub_module, "BROWSERS_MAX", 1)

    async def story(world, tasks):
        first, task = await world.browser()
        tasks.append(task)
        await first.say(watch=[f"a:{n}" for n in range(200)] + ["unknown", "a:" + "x" * 9999])
        await settle()
        await world.look()
        assert len((await first.hear())["panels"]) == hub_module.PANELS_MAX
        second, other = await world.browser()
        await asyncio.wait_for(other, 5)
        assert second.closed == [1013]

    run(story)


def test_watch_is_what_the_page_says():
    assert msgspec.json.decode(b'{"drawn": 3}', type=Watch) == Watch(drawn=3)
