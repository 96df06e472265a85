"""Live panels: each is drawn once for all browsers, and a slow browser costs nothing.

A panel is a piece of HTML made of a view. A browser says which panels its page has; it is sent
those that have changed, as one message, and not again before it has said that it has drawn them. So
at most one message is on its way to each, whatever its line is like, and what it draws next is the
newest there is: no queue can grow. Panels that nobody looks at are not drawn.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from processes.console.view import View

Panel = Callable[[View, str], str]
"""Draws a view; the second argument is what the page chose, a symbol for instance."""
PANELS_MAX: Final = 24
BROWSERS_MAX: Final = 100
CHOICE_MAX: Final = 120


class Watch(msgspec.Struct, forbid_unknown_fields=True):
    """What a browser says: which panels it has, as name or name:choice, or that it has drawn."""

    watch: list[str] = []
    drawn: int = 0


class Drawn(msgspec.Struct):
    """A panel as it was drawn last."""

    looked: int
    """The look it was drawn of."""
    changed: int
    """The look at which it last became another."""
    html: str


class Hub:
    """All browsers."""

    def __init__(self, panels: Mapping[str, Panel]) -> None:
        self._panels = panels
        self._drawn: dict[str, Drawn] = {}
        self._wanted: Counter[str] = Counter()
        self._tick = asyncio.Condition()
        self._view = View()
        self._looked = 0
        self.faults: dict[str, str] = {}
        """Panels that could not be drawn, and why."""
        self.open = 0
        """Browsers that are connected."""
        self.sent = 0

    async def publish(self, view: View, version: int) -> None:
        """A new view is there."""
        self._view, self._looked = view, version
        async with self._tick:
            self._tick.notify_all()

    def draw(self, key: str) -> Drawn:
        """A panel of the newest view, drawn at most once a look."""
        found = self._drawn.get(key)
        if found is not None and found.looked == self._looked:
            return found
        name, _, choice = key.partition(":")
        try:
            html = self._panels[name](self._view, choice)
            self.faults.pop(name, None)
        except Exception as error:  # noqa: BLE001  (one picture must not take the page with it)
            self.faults[name] = repr(error)
            html = '<p class="none">this cannot be drawn now; see the console\'s log</p>'
        changed = self._looked if found is None or found.html != html else found.changed
        self._drawn[key] = Drawn(self._looked, changed, html)
        return self._drawn[key]

    async def serve(self, socket: WebSocket) -> None:
        """One browser, from its first word to its end."""
        if self.open >= BROWSERS_MAX:
            await socket.close(1013, "too many browsers")
            return
        await socket.accept()
        self.open += 1
        browser = _Browser(self, socket)
        try:
            await browser.live()
        finally:
            self.open -= 1
            self._leave(browser.keys)

    def enter(self, keys: list[str]) -> list[str]:
        """Which of the panels that a browser names there are; they are drawn from now on."""
        known = [
            key
            for key in dict.fromkeys(keys[:PANELS_MAX])
            if key.partition(":")[0] in self._panels and len(key) <= CHOICE_MAX
        ]
        self._wanted.update(known)
        return known

    def _leave(self, keys: list[str]) -> None:
        self._wanted.subtract(keys)
        for key in keys:
            if self._wanted[key] <= 0:
                del self._wanted[key]
                self._drawn.pop(key, None)

    def change(self, old: list[str], new: list[str]) -> list[str]:
        """A browser looks at something else."""
        found = self.enter(new)
        self._leave(old)
        return found

    async def next(self, seen: int) -> int:
        """The number of a look that is newer."""
        async with self._tick:
            await self._tick.wait_for(lambda: self._looked > seen)
            return self._looked


class _Browser:
    """One connection: what it looks at, and what it has been sent."""

    def __init__(self, hub: Hub, socket: WebSocket) -> None:
        self.keys: list[str] = []
        self._hub = hub
        self._socket = socket
        self._free = asyncio.Event()
        self._fresh: dict[str, int] = {}

    async def live(self) -> None:
        """Hear and tell until one of both ends."""
        hearing = asyncio.create_task(self._hear())
        telling = asyncio.create_task(self._tell())
        try:
            await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (hearing, telling):
                task.cancel()
            await asyncio.gather(hearing, telling, return_exceptions=True)

    async def _hear(self) -> None:
        while True:
            try:
                text = await self._socket.receive_text()
                said = msgspec.json.decode(text, type=Watch)
            except (WebSocketDisconnect, KeyError):
                return
            except msgspec.DecodeError:
                await self._socket.close(1008, "not understood")
                return
            if said.watch:
                self.keys = self._hub.change(self.keys, said.watch)
                self._fresh = {}
            self._free.set()

    async def _tell(self) -> None:
        looked = 0
        while True:
            await self._free.wait()
            looked = await self._hub.next(looked)
            changed: dict[str, Any] = {}
            for key in self.keys:
                drawn = self._hub.draw(key)
                if drawn.changed > self._fresh.get(key, -1):
                    changed[key] = drawn.html
                    self._fresh[key] = drawn.changed
            if changed:
                self._free.clear()
                self._hub.sent += 1
                body = msgspec.json.encode({"look": looked, "panels": changed})
                await self._socket.send_text(body.decode())
