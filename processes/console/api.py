"""The API: what pages show as JSON, and their commands. Every path is in /openapi.json and /docs.

Answers are msgspec's encoding of the very structs that pages draw. Errors are `{"error": words}`:
400 what was asked is wrong, 404 there is no such thing, 409 it was refused, 503 who must do it does
not answer. Who may call at all, how often and how much, is the gate's (`gate.py`).
"""

import asyncio
import html
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import HTMLResponse, Response

from processes.clock import utc_text
from processes.console.desk import Desk
from processes.console.sampler import Sampler
from processes.console.view import View
from processes.operations.chain import find_chain, slippage_bps
from processes.operations.logs import log_files, newest
from processes.places import Paths
from processes.sessions import latest_settings
from schemas.errors import DataControllerError, NotRunningError, UsageError
from shm.errors import SharedMemoryError

LINES_MAX: Final = 2000
ROWS_MAX: Final = 120
_encoder = msgspec.json.Encoder(enc_hook=str)
Rows = Annotated[int, Query(ge=1, le=ROWS_MAX)]


class Kill(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /kill."""

    level: str = "flatten"


class Arm(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /arm: the word `arm`, typed."""

    word: str


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /settings: values by dotted key, and keys whose changes are taken back."""

    changed: dict[str, Any] = {}
    dropped: list[str] = []
    trial: bool = False
    """Only say what would come of it."""


class Subscription(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /subscribe and /unsubscribe."""

    venue: str
    symbol: str


class Connection(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /connect and /disconnect; -1 = all of the venue's."""

    venue: str
    connection: int = -1


class Process(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /restart."""

    process: str


class Named(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /alerts/ack."""

    name: str


class Model(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /models/promote and /models/rollback, which needs no version."""

    family: str
    version: str = ""
    reason: str = ""


def reply(value: Any, status: int = 200) -> Response:
    """A value as JSON; text that is none of JSON's is written out."""
    return Response(_encoder.encode(value), status, media_type="application/json")


def fail(error: Exception) -> Response:
    """An error of ours as its status and words."""
    status = 409
    if isinstance(error, UsageError | msgspec.ValidationError | msgspec.DecodeError):
        status = 400
    elif isinstance(error, NotRunningError | SharedMemoryError):
        status = 503
    return reply({"error": str(error)}, status)


def _body(kind: type) -> dict[str, Any]:
    """The part of OpenAPI that says what a call takes."""
    schema = msgspec.json.schema(kind)
    inner = schema["$defs"][kind.__name__] if "$defs" in schema else schema
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inner}}}}


def make_router(sampler: Sampler, desk: Desk, paths: Paths) -> APIRouter:
    """All calls."""
    router = APIRouter()

    def show(path: str, pick: Callable[[View], Any], summary: str) -> None:
        async def call() -> Response:
            return reply(pick(sampler.view))

        router.add_api_route(path, call, methods=["GET"], summary=summary, tags=["see"],
                             name=path)  # fmt: skip

    def rows(path: str, pick: Callable[[View], list[Any]], summary: str) -> None:
        async def call(limit: Rows = 50) -> Response:
            return reply(pick(sampler.view)[:limit])

        router.add_api_route(path, call, methods=["GET"], summary=summary, tags=["see"],
                             name=path)  # fmt: skip

    show("/bot/status", _bot_status, "What runs, how orders go, the kill switch, profit")
    show("/status", lambda view: view.status, "Processes, rings and latencies, as dcctl status")
    show("/rings", lambda view: view.rings, "Rings, their rates and readers")
    show("/latencies", lambda view: view.hops, "Hops of the last ten seconds, microseconds")
    show("/positions", lambda view: view.trading.positions, "What is held, marked to our books")
    show("/profit", _profit, "Profit today and by day, and the line of it")
    show("/limits", lambda view: view.trading.limits, "Limits of risk and their use")
    show("/markets", lambda view: view.markets, "Books, trades, features, predictions")
    show("/connections", lambda view: view.feeds, "Connections and their streams")
    show("/alerts", lambda view: view.alerts, "What needs attention")
    rows("/orders", lambda view: view.trading.orders, "Orders, newest first")
    rows("/fills", lambda view: view.trading.fills, "Fills, newest first")
    rows("/decisions", lambda view: view.decisions, "Decisions and why, newest first")

    _add_reads(router, sampler, desk, paths)
    _add_commands(router, desk)
    return router


def _add_reads(router: APIRouter, sampler: Sampler, desk: Desk, paths: Paths) -> None:
    @router.get("/health", tags=["see"], summary="Whether all is well; 503 if it is not")
    async def health() -> Response:
        view = sampler.view
        status = view.status
        parts = {one.name: one.state == "ready" for one in status.processes} if status else {}
        well = bool(parts) and all(parts.values()) and view.kill_level == "none"
        told = {
            "overall": "healthy" if well else "unhealthy",
            "components": {name: {"healthy": good} for name, good in parts.items()}
            | {"supervisor": {"healthy": status is not None}}
            | {"kill_switch": {"healthy": view.kill_level == "none", "level": view.kill_level}},
            "timestamp": utc_text(view.at_ns),
        }
        return reply(told, 200 if well else 503)

    @router.get("/logs", tags=["see"], summary="The newest log lines, oldest first")
    async def logs(
        process: str = "",
        level: str = "info",
        text: str = "",
        lines: Annotated[int, Query(ge=1, le=LINES_MAX)] = 100,
    ) -> Response:
        def read() -> list[dict[str, Any]]:
            return newest(log_files(paths.logs, process, level), level, lines, text)

        return await _answer(asyncio.to_thread(read))

    @router.get("/why/{what}", tags=["see"], summary="All behind an order or a decision, or `last`")
    async def why(what: str, session: str = "last") -> Response:
        def find() -> dict[str, Any]:
            ledger = latest_settings(paths.data).ledger
            chain = find_chain(paths.data, ledger, what, session)
            return {**msgspec.to_builtins(chain), "slippage_bps": slippage_bps(chain)}

        return await _answer(asyncio.to_thread(find))

    @router.get("/settings", tags=["see"], summary="Settings in force, and what was changed here")
    async def settings() -> Response:
        return reply({"settings": desk.settings(), "changes": desk.changes()})


def _add_commands(router: APIRouter, desk: Desk) -> None:
    def command(
        path: str, kind: type, act: Callable[[str, Any], Awaitable[Any]], summary: str
    ) -> None:
        async def call(request: Request) -> Response:
            try:
                given: Any = msgspec.json.decode(await request.body() or b"{}", type=kind)
            except msgspec.DecodeError as error:
                return fail(error)
            return await _answer(act(request.scope["caller"], given))

        router.add_api_route(path, call, methods=["POST"], summary=summary, tags=["steer"],
                             openapi_extra=_body(kind), name=path)  # fmt: skip

    async def change(who: str, given: Change) -> Any:
        if given.trial:
            return await asyncio.to_thread(desk.proposal, given.changed, given.dropped)
        return await desk.change(who, given.changed, given.dropped)

    command("/kill", Kill, lambda who, given: desk.kill(who, given.level),
            "Pull the kill switch: pause, cancel, flatten or shutdown")  # fmt: skip
    command("/arm", Arm, lambda who, given: desk.arm(who, given.word),
            "Release the kill switch; money is armed by dcctl arm --live alone")  # fmt: skip
    command("/reload", msgspec.defstruct("Nothing", []), lambda who, _: desk.reload(who),
            "Take changed settings")  # fmt: skip
    command("/settings", Change, change, "Change settings while it runs")
    command("/restart", Process, lambda who, given: desk.restart(who, given.process),
            "Restart a process")  # fmt: skip
    for name, to in (("connect", "to"), ("disconnect", "from")):
        command(f"/{name}", Connection, _connecting(desk, name), f"{name.title()} {to} a venue")
    for name, wanted in (("subscribe", True), ("unsubscribe", False)):
        command(f"/{name}", Subscription, _subscribing(desk, wanted=wanted),
                f"{name.title()} a symbol of a venue, for good")  # fmt: skip
    command("/alerts/ack", Named, lambda who, given: desk.acknowledge(who, given.name),
            "Say that an alert is known")  # fmt: skip
    command(
        "/models/promote", Model,
        lambda who, given: desk.promote(who, given.family, given.version or "last", given.reason),
        "Put a version to work, unless something speaks against it",
    )  # fmt: skip
    command("/models/rollback", Model,
            lambda who, given: desk.roll_back(who, given.family, given.reason),
            "Back to the version before")  # fmt: skip


def _connecting(desk: Desk, name: str) -> Callable[[str, Connection], Awaitable[Any]]:
    return lambda who, given: desk.connection(who, name, given.venue, given.connection)


def _subscribing(desk: Desk, *, wanted: bool) -> Callable[[str, Subscription], Awaitable[Any]]:
    return lambda who, given: desk.subscribe(who, given.venue, given.symbol, wanted=wanted)


async def _answer(work: Awaitable[Any]) -> Response:
    try:
        return reply(await work)
    except (DataControllerError, SharedMemoryError) as error:
        return fail(error)


def _bot_status(view: View) -> dict[str, Any]:
    return {
        "state": view.status.state if view.status else "unknown",
        "profile": view.status.profile if view.status else "",
        "mode": view.mode,
        "rung": view.rung,
        "kill_switch": {
            "level": view.kill_level, "by": view.kill_by, "acknowledged": view.kill_acknowledged,
            "since": utc_text(view.kill_since_ns) if view.kill_since_ns else "",
        },
        "open_orders": view.open_orders,
        "positions": len(view.trading.positions),
        "realized_today": view.realized,
        "unrealized": view.unrealized,
        "alerts": len(view.alerts),
        "session": view.session,
        "settings_generation": view.generation,
        "time": utc_text(view.at_ns),
    }  # fmt: skip


def _profit(view: View) -> dict[str, Any]:
    return {
        "realized_today": view.realized,
        "unrealized": view.unrealized,
        "drawdown": view.drawdown,
        "days": view.trading.days,
        "equity": view.equity,
    }


def docs_page(app: FastAPI) -> Response:
    """The calls as a page, without a script or a file from anywhere."""
    rows = []
    for path, methods in sorted(app.openapi()["paths"].items()):
        for method, told in methods.items():
            fields = ", ".join(one["name"] for one in told.get("parameters", []))
            content = told.get("requestBody", {}).get("content", {})
            body = content.get("application/json", {}).get("schema", {}).get("properties", {})
            fields = ", ".join(filter(None, [fields, *body]))
            cells = (method.upper(), path, told["summary"], fields)
            rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    lines = "".join(f"<tr>{row}</tr>" for row in rows)
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/static/console.css"></head><body class="plain"><main>'
        "<h1>API</h1><p>Every call takes <code>Authorization: Bearer TOKEN</code>; "
        "<code>dcctl console</code> says where the token is. The same as a schema: "
        '<a href="/openapi.json">/openapi.json</a>.</p><pre>curl -H "Authorization: Bearer '
        '$(cat data/state/console.token)" http://127.0.0.1:9600/bot/status</pre>'
        '<div class="wide"><table><thead><tr><th>method</th><th>path</th><th>what</th>'
        f"<th>takes</th></tr></thead><tbody>{lines}</tbody></table></div></main></body></html>"
    )
