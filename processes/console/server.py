"""The HTTP server: uvicorn with what it has not by itself: an end to requests that never end.

A client that sends its headers a byte a second, or a body that never comes, holds a connection for
as long as it likes (slow loris). Here a request must be whole within `header_s`, a connection that
has not asked anything is closed after as long, and there are only so many connections at all.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

KEEP_ALIVE_S: Final = 20
STOP_S: Final = 2


def guarded(header_s: float, most: int) -> type[H11Protocol]:
    """A protocol with these bounds."""

    class Guarded(H11Protocol):
        """One connection."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            """Begin with the clock running; one too many is closed at once."""
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            """Take bytes; once the request is whole nobody waits for it any more."""
            if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
                self._wait()
            super().data_received(data)
            self._look()

        def handle_events(self) -> None:
            """As before; a request in a pipeline begins to be waited for."""
            super().handle_events()
            self._look()

        def on_response_complete(self) -> None:
            """The next request of this connection may come later, and not in pieces."""
            self._rest()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget it."""
            self._rest()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            """A socket is watched by its own pings."""
            self._rest()
            super().handle_websocket_upgrade(event)

        def _look(self) -> None:
            cycle = self.cycle
            if cycle is not None and not cycle.response_complete and not cycle.more_body:
                self._rest()

        def _wait(self) -> None:
            self._rest()
            self._deadline = self.loop.call_later(header_s, self._too_late)

        def _rest(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _too_late(self) -> None:
            self._deadline = None
            self.transport.abort()

    return Guarded


class Server(uvicorn.Server):
    """Uvicorn inside a child of the supervisor, which has signals of its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def make_server(app: ASGIApp, header_s: float, most: int) -> Server:
    """A server that serves nothing yet."""
    config = uvicorn.Config(
        app,
        http=guarded(header_s, most),
        ws="websockets-sansio",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        ws_max_size=65_536,
        ws_max_queue=8,
        ws_ping_interval=10.0,
        ws_ping_timeout=20.0,
        h11_max_incomplete_event_size=32_768,
        proxy_headers=False,
    )
    return Server(config)
