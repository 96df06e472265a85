"""One application of everything: the gate, login, the API, live panels, NiceGUI's pages."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI, Request, WebSocket
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from processes.console import pages
from processes.console.api import docs_page, make_router
from processes.console.gate import COOKIE, Gate
from processes.console.hub import Hub, Panel
from processes.console.panels import connections, disk, market, overview, trading
from processes.console.slow import Slow

if TYPE_CHECKING:
    from processes.console.main import Console

STATIC: Final = Path(__file__).parent / "static"
KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
CACHE: Final = {"Cache-Control": "no-cache"}
LOGIN: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Data Controller</title>
<link rel="stylesheet" href="/static/console.css"></head><body class="plain"><main class="login">
<img src="/static/mark.svg" alt="" width="48" height="48"><h1>Data Controller</h1><p>%s</p>
<pre>./scripts/dcctl console</pre>
<form method="post" action="/login"><label for="token">or its token</label>
<input id="token" name="token" type="password" autocomplete="off" autofocus>
<button type="submit">Come in</button></form></main></body></html>"""


def make_panels(console: "Console") -> dict[str, Panel]:
    """Every panel by its name."""
    stored = disk.Disk(console.context.paths, console.desk)
    pool = console.pool
    return {
        **{name: getattr(overview, name) for name in (
            "head", "switch", "pipeline", "hops", "attention", "profit", "rings", "processes",
            "own",
        )},
        **{name: getattr(market, name) for name in (
            "symbols", "top", "ladder", "depth", "trades", "bars", "candles", "forecasts",
            "predictions",
        )},
        "features": market.FeatureCells(),
        **{name: getattr(trading, name) for name in (
            "positions", "orders", "fills", "decisions", "reasons", "limits", "days", "held",
        )},
        "equity": overview.equity,
        "feeds": connections.feeds,
        "streams": connections.streams,
        "drift": lambda view, _: disk.drift(view.drift),
        "logs": Slow(pool, stored.logs),
        "files": Slow(pool, stored.files, 5.0),
        "file": Slow(pool, stored.file, 60.0),
        "jobs": Slow(pool, stored.jobs, 0.5),
        "models": Slow(pool, stored.models, 2.0),
        "settings": Slow(pool, stored.settings, 1.0),
    }  # fmt: skip


def make_app(console: "Console", hub: Hub) -> Gate:
    """Calls and pages behind the gate."""
    app = make_calls(console, hub)
    pages.add(app, console)
    return guarded(console, app)


def guarded(console: "Console", app: FastAPI) -> Gate:
    """An application behind its gate."""
    settings = console.context.settings.console
    return Gate(
        app,
        doorman=console.doorman,
        hosts=console.hosts(),
        now_s=time.time,
        body_bytes=settings.body_bytes,
        per_s=settings.requests_per_s,
        burst=settings.burst,
        count=console.count,
    )


def make_calls(console: "Console", hub: Hub) -> FastAPI:
    """All but NiceGUI's pages."""
    settings, context = console.context.settings.console, console.context
    app = FastAPI(
        title="Data Controller", version="1", docs_url=None, redoc_url=None,
        description='See, stop and steer one instance. Errors are {"error": words}.',
    )  # fmt: skip
    app.include_router(make_router(console.sampler, console.desk, context.paths))

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        path = STATIC / name
        if path.parent != STATIC or path.suffix not in KINDS or not path.is_file():
            return Response(status_code=404)
        return FileResponse(path, media_type=KINDS[path.suffix], headers=CACHE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return docs_page(app)

    @app.get("/", include_in_schema=False)
    async def home() -> Response:
        return RedirectResponse(f"/view/{pages.first_page(console.memory)}", 303)

    def open_session() -> Response:
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE, console.doorman.open_session(time.time()), httponly=True, samesite="strict",
            max_age=int(settings.session_days * 86_400), path="/",
        )  # fmt: skip
        return response

    @app.get("/login", include_in_schema=False)
    async def login(code: str = "") -> Response:
        if console.doorman.take_code(code, time.time()):
            context.log.info("logged in", how="code")
            return open_session()
        text = "That address was good once, and for a minute. " if code else ""
        return HTMLResponse(LOGIN % f"{text}Type this where it runs; it opens this page:")

    @app.post("/login", include_in_schema=False)
    async def login_by_token(request: Request) -> Response:
        body = (await request.body()).decode("ascii", "replace")
        token = body.partition("token=")[2].strip()
        if console.doorman.knows_token(token):
            context.log.info("logged in", how="token")
            return open_session()
        context.log.warning("login refused")
        return HTMLResponse(LOGIN % "That was not the token.", 401)

    @app.post("/logout", include_in_schema=False)
    async def logout() -> Response:
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, path="/")
        return response

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await hub.serve(socket)

    return app
