"""NiceGUI's pages: what is in them, what is asked of a person, and what comes of an answer.

A page is a frame of panels (`hub.py` fills them) and the few things that are typed or pressed.
Whatever is done goes through the desk; what was chosen is remembered.
"""

from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from nicegui import ui

from processes.console.dialogs import Dialogs
from processes.console.jobs import CHANNELS, words_of
from processes.console.memory import Memory
from processes.console.panels.connections import TABS
from processes.console.parts import bound, button, input_, select, tag
from processes.operations.logs import LEVELS
from schemas.errors import DataControllerError
from schemas.instruments import CHANNELS as LAKE_CHANNELS

if TYPE_CHECKING:
    from processes.console.main import Console

PAGES: Final = {
    "overview": "Overview",
    "connections": "Connections",
    "market": "Market",
    "trading": "Trading",
    "models": "Models",
    "history": "History",
    "files": "Files",
    "settings": "Settings",
    "logs": "Logs",
    "alerts": "Alerts",
}
HEAD: Final = (
    '<link rel="stylesheet" href="/static/console.css">'
    '<script src="/static/console.js" defer></script>'
)
FILE_CHANNELS: Final = [*LAKE_CHANNELS, "features", "predictions", "decisions"]
MARK: Final = Path(__file__).parent / "static" / "mark.svg"
RECORDS: Final = (100, 500, 3000)


def first_page(memory: Memory) -> str:
    """Where somebody comes in: where they were last."""
    page = memory.get("page", "overview")
    return page if page in PAGES else "overview"


def add(app: FastAPI, console: "Console") -> None:
    """Put all pages into the application."""

    @ui.page("/view/{name}", title="Data Controller")
    def page(name: str) -> None:
        found = name if name in PAGES else "overview"
        console.memory.put("page", found)
        Page(console, found).draw()

    ui.run_with(
        app, title="Data Controller", favicon=MARK, dark=None, language="en-US", tailwind=False,
        show_welcome_message=False, binding_refresh_interval=None, reconnect_timeout=10.0,
        message_history_length=100, gzip_middleware_factory=None,
    )  # fmt: skip


class Page:
    """One page of one browser."""

    def __init__(self, console: "Console", name: str) -> None:
        self._console = console
        self._memory = console.memory
        self._name = name
        self._dialogs = Dialogs(console.desk, self._told)
        self._panels: dict[str, ui.element] = {}

    def draw(self) -> None:
        """All of it."""
        ui.add_head_html(HEAD)
        theme = self._memory.get("theme", "auto")
        ui.query("body").props(f"data-theme={theme}")
        ui.dark_mode({"light": False, "dark": True}.get(theme))
        with ui.element("a").props('href="#main"').classes("skip"):
            tag("span", "To the content")
        self._frame(theme)
        with ui.element("main").props("id=main tabindex=-1"):
            tag("h1", PAGES[self._name])
            self._panel("switch")
            getattr(self, f"_draw_{self._name}")()
        bridge = ui.element("div").props("id=act-bridge hidden")
        bridge.on("act", self._acted, js_handler="(event) => emit(event.detail)")

    def _frame(self, theme: str) -> None:
        with ui.element("header").classes("top"):
            with ui.element("a").props('href="/view/overview" aria-label="Data Controller"'):
                ui.element("img").props('src="/static/mark.svg" alt="" width=26 height=26')
            self._panel("head", tag="div", classes="facts-line")
            button(f"Theme: {theme}", self._next_theme, "quiet", key="theme")
            button("KILL", self._dialogs.kill, "danger", key="kill")
            button("Arm …", self._dialogs.arm, "quiet", key="arm")
        with ui.element("nav").props('aria-label="pages"'):
            for name, words in PAGES.items():
                link = ui.element("a").props(f'href="/view/{name}"')
                if name == self._name:
                    link.props("aria-current=page")
                with link:
                    tag("span", words)
            link = ui.element("a").props('href="/docs"')
            with link:
                tag("span", "API")

    # ---- parts of pages

    def _panel(
        self, name: str, choice: str = "", *, tag: str = "div", classes: str = ""
    ) -> ui.element:
        element = ui.element(tag).classes(f"panel {classes}")
        self._panels[name] = element
        self._choose(name, choice)
        return element

    def _choose(self, name: str, choice: str) -> None:
        key = f"{name}:{choice}" if choice else name
        self._panels[name]._props["data-panel"] = key  # noqa: SLF001  (props() would split it)
        self._panels[name].update()

    def _section(self, title: str, name: str, choice: str = "", classes: str = "") -> None:
        with ui.element("section").classes(f"block {classes}"):
            tag("h2", title)
            self._panel(name, choice)

    # ---- pages

    def _draw_overview(self) -> None:
        self._section("Pipeline", "pipeline", classes="whole")
        self._section("Needs attention", "attention", classes="half")
        self._section("Profit and loss", "profit", classes="half")
        self._section("Latency, last ten seconds", "hops", classes="half")
        self._section("Positions", "held", classes="half")
        self._section("Processes", "processes", classes="whole")
        self._section("Rings", "rings", classes="whole")
        self._panel("own", classes="own")

    def _draw_connections(self) -> None:
        self._section("Connections", "feeds", classes="whole")
        with ui.element("section").classes("block whole"):
            tag("h2", "Subscribe")
            venues = list(self._console.desk.settings().venues.enabled())
            with ui.element("div").classes("form"):
                venue = select("Venue", venues, venues[0])
                symbol = input_("Symbol, as its venue names it", "", key="subscribe-symbol")

                async def subscribe() -> None:
                    if symbol.value.strip():
                        await self._dialogs.confirm_change(
                            f"Subscribe {venue.value} {symbol.value.strip()}",
                            self._symbols(venue.value, symbol.value.strip(), wanted=True),
                        )

                button("Subscribe", subscribe, "accent", key="subscribe")
                button("Connect all", lambda: self._connect_all("connect"), "quiet")
                button("Disconnect all", lambda: self._connect_all("disconnect"), "quiet")
        with ui.element("section").classes("block whole"):
            tag("h2", "Streams")
            current = self._memory.get("connections_tab", "ticker")
            self._tabs("connections_tab", list(TABS), current, "streams")
            self._panel("streams", current)

    def _symbols(self, venue: str, symbol: str, *, wanted: bool) -> dict[str, Any]:
        symbols = list(self._console.desk.settings().venues.enabled()[venue].symbols)
        changed = [*symbols, symbol] if wanted else [one for one in symbols if one != symbol]
        return {f"venues.{venue}.symbols": changed}

    async def _connect_all(self, what: str) -> None:
        for venue in self._console.desk.settings().venues.enabled():
            await self._do(self._console.desk.connection("browser", what, venue, -1))

    def _tabs(self, memory: str, names: list[str], current: str, panel: str) -> None:
        buttons: dict[str, ui.element] = {}

        def choose(name: str) -> None:
            self._memory.put(memory, name)
            for one, found in buttons.items():
                found.props(f"aria-selected={str(one == name).lower()}")
            self._choose(panel, name)

        with ui.element("div").classes("tabs").props("role=tablist"):
            for name in names:
                made = button(name, bound(choose, name), "tab", key=f"tab-{name}")
                made.props(f"role=tab aria-selected={str(name == current).lower()}")
                buttons[name] = made

    def _draw_market(self) -> None:
        symbol = self._memory.get("symbol")
        self._panel("symbols", symbol, classes="symbols")
        self._section("Now", "top", symbol, "whole")
        self._section("Book", "ladder", symbol, "third")
        with ui.element("div").classes("two-thirds stack"):
            self._section("Price and the blend's lean", "predictions", symbol)
            self._section("Depth", "depth", symbol)
        self._section("Trades", "trades", symbol, "third")
        with ui.element("div").classes("two-thirds stack"):
            self._section("Bars", "bars", symbol)
            self._section("Candles", "candles", symbol)
            self._section("Models", "forecasts", symbol)
        self._section("Features, last minute", "features", symbol, "whole")

    def _draw_trading(self) -> None:
        self._section("Positions", "positions", classes="whole")
        self._section("Profit", "equity", classes="half")
        self._section("Limits", "limits", classes="half")
        with ui.element("section").classes("block whole"):
            tag("h2", "Decisions")
            current = self._memory.get("decisions", "acted")
            self._tabs("decisions", ["acted", "all"], current, "decisions")
            self._panel("decisions", current)
        self._section("Orders", "orders", classes="whole")
        self._section("Fills", "fills", classes="whole")
        self._section("Reasons", "reasons", classes="half")
        self._section("Days", "days", classes="half")

    def _draw_models(self) -> None:
        symbol = self._memory.get("symbol")
        self._section("Versions", "models", classes="whole")
        self._panel("symbols", symbol, classes="symbols")
        self._section("At work now", "forecasts", symbol, "half")
        self._section("Drift against the training", "drift", classes="half")

    def _draw_history(self) -> None:
        get = self._memory.get
        venues = ["bitfinex", "kraken", "gmo"]
        with ui.element("section").classes("block whole"):
            tag("h2", "Download")
            with ui.element("div").classes("form"):
                venue = select("Venue", venues, get("history_venue", "bitfinex"))
                channel = select("What", list(CHANNELS), get("history_channel", "candles"))
                symbols = input_("Symbols", get("history_symbols"), key="history-symbols")
                start = input_("From, UTC", get("history_from"), kind="datetime-local")
                end = input_("To, UTC; empty = now", get("history_to"), kind="datetime-local")
                timeframe = input_("Timeframe", get("history_timeframe", "1m"))
                limit = input_("At most, 0 = all", get("history_limit", "0"), kind="number")
                sort = select("Sort", ["asc", "desc"], get("history_sort", "asc"))
                form = select("Format", ["arrow", "csv"], get("history_format", "arrow"))

                async def begin() -> None:
                    for name, field in (
                        ("venue", venue), ("channel", channel), ("symbols", symbols),
                        ("from", start), ("to", end), ("timeframe", timeframe), ("limit", limit),
                        ("sort", sort), ("format", form),
                    ):  # fmt: skip
                        self._memory.put(f"history_{name}", str(field.value or ""))
                    try:
                        words = words_of(
                            venue.value, channel.value, symbols.value or "", start.value or "",
                            end.value or "", timeframe=timeframe.value or "",
                            limit=int(limit.value or 0), sort=sort.value, form=form.value,
                        )  # fmt: skip
                    except (DataControllerError, ValueError) as error:
                        self._told(str(error), is_bad=True)
                        return
                    await self._do(self._console.desk.download("browser", words))

                button("Download", begin, "accent", key="download")
        self._section("Jobs", "jobs", classes="whole")

    def _draw_files(self) -> None:
        channel = self._memory.get("files_channel")
        symbol = self._memory.get("files_symbol")
        with ui.element("section").classes("block whole"):
            tag("h2", "Lake")
            with ui.element("div").classes("form"):
                chosen = select("Category", ["", *FILE_CHANNELS], channel)
                named = input_("Symbol", symbol)
                limit = select("Records", [str(one) for one in RECORDS], str(RECORDS[0]))
                self._records = limit

                def narrow() -> None:
                    self._memory.put("files_channel", chosen.value or "")
                    self._memory.put("files_symbol", named.value or "")
                    self._choose("files", f"{chosen.value or ''}|{named.value or ''}")

                chosen.on("change", narrow)
                button("Show", narrow, "accent", key="files-show")
                button("Verify the lake", self._verify, "quiet", key="verify")
            self._panel("files", f"{channel}|{symbol}")
        self._section("File", "file", classes="whole")

    async def _verify(self) -> None:
        self._told("the lake is being proved; this may take a while")
        try:
            told = await self._console.desk.verify("browser")
        except DataControllerError as error:
            self._told(str(error), is_bad=True)
            return
        faults = told.get("faults", [])
        words = f"{told.get('files', 0)} files, {told.get('rows', 0)} rows: "
        self._told(words + (f"{len(faults)} faults" if faults else "as they should be"),
                   is_bad=bool(faults))  # fmt: skip

    def _draw_settings(self) -> None:
        with ui.element("section").classes("block whole"):
            tag("h2", "Settings that may change while it runs")
            with ui.element("div").classes("form"):
                search = input_("Search", "", key="settings-search")
                search.on("input", lambda: self._choose("settings", (search.value or "")[:60]))
                button("Reload files", lambda: self._do(self._console.desk.reload("browser")),
                        "quiet", key="reload")  # fmt: skip
            self._panel("settings")

    def _draw_logs(self) -> None:
        get = self._memory.get
        names = ["", "supervisor", *self._console.process_names()]
        with ui.element("section").classes("block whole"):
            tag("h2", "Log lines, newest first")
            with ui.element("div").classes("form"):
                process = select("Process", names, get("log_process"))
                level = select("From level", list(LEVELS[:4]), get("log_level", "info"))
                wanted = input_("Holds", get("log_text"), key="log-text")

                def choose() -> None:
                    parts = (process.value or "", level.value, wanted.value or "")
                    for name, value in zip(("process", "level", "text"), parts, strict=True):
                        self._memory.put(f"log_{name}", value)
                    self._choose("logs", "|".join(parts))

                for field in (process, level):
                    field.on("change", choose)
                wanted.on("input", choose)
            self._panel("logs", f"{get('log_process')}|{get('log_level', 'info')}|"
                        f"{get('log_text')}")  # fmt: skip

    def _draw_alerts(self) -> None:
        self._section("Lasting", "attention", classes="whole")
        channels = self._console.context.settings.alerts.channels
        words = ", ".join(channels) or "none: alerts.channels in config/config.yml"
        with ui.element("section").classes("block whole"):
            tag("h2", "Who is told")
            tag("p", words)

    # ---- what is pressed inside panels

    async def _acted(self, event: Any) -> None:
        detail = event.args if isinstance(event.args, dict) else {}
        name = str(detail.get("act", ""))
        handler = getattr(self, f"_act_{name}", None)
        if handler is not None:
            await handler({str(k): str(v) for k, v in detail.items()})

    async def _act_choose(self, detail: dict[str, str]) -> None:
        self._memory.put("symbol", detail["name"])
        for name in set(self._panels) & SYMBOL_PANELS:
            self._choose(name, detail["name"])

    async def _act_why(self, detail: dict[str, str]) -> None:
        await self._dialogs.why(self._console.context.paths, detail["of"])

    async def _act_ack(self, detail: dict[str, str]) -> None:
        await self._do(self._console.desk.acknowledge("browser", detail["name"]))

    async def _act_connect(self, detail: dict[str, str]) -> None:
        number = int(detail["connection"])
        await self._do(self._console.desk.connection("browser", "connect", detail["venue"], number))

    async def _act_disconnect(self, detail: dict[str, str]) -> None:
        number = int(detail["connection"])
        if await self._dialogs.sure(
            f"Disconnect {detail['venue']} {number}?",
            "Its books grow stale, and nothing is decided on them until it is connected.",
        ):
            await self._do(
                self._console.desk.connection("browser", "disconnect", detail["venue"], number)
            )

    async def _act_unsubscribe(self, detail: dict[str, str]) -> None:
        changed = self._symbols(detail["venue"], detail["symbol"], wanted=False)
        title = f"Unsubscribe {detail['venue']} {detail['symbol']}"
        await self._dialogs.confirm_change(title, changed)

    async def _act_promote(self, detail: dict[str, str]) -> None:
        family, version = detail["family"], detail["version"]
        if await self._dialogs.sure(f"Promote {family} {version}?", "It is at work at once."):
            await self._do(self._console.desk.promote("browser", family, version, "on the page"))

    async def _act_rollback(self, detail: dict[str, str]) -> None:
        if await self._dialogs.sure(f"Roll {detail['family']} back?", "The version before works."):
            await self._do(self._console.desk.roll_back("browser", detail["family"], "on the page"))

    async def _act_cancel(self, detail: dict[str, str]) -> None:
        await self._do(self._console.desk.cancel("browser", detail["job"]))

    async def _act_resume(self, detail: dict[str, str]) -> None:
        await self._do(self._console.desk.resume("browser", detail["job"]))

    async def _act_file(self, detail: dict[str, str]) -> None:
        self._choose("file", f"{detail['name']}|{self._records.value}")
        ui.run_javascript("document.querySelector('[data-panel^=\"file:\"]').scrollIntoView()")

    async def _act_change(self, detail: dict[str, str]) -> None:
        await self._dialogs.change(detail["setting"])

    async def _act_undo(self, detail: dict[str, str]) -> None:
        await self._dialogs.confirm_change(f"Undo {detail['setting']}", {}, [detail["setting"]])

    # ---- doing and telling

    async def _do(self, work: Awaitable[Any]) -> None:
        try:
            await work
        except DataControllerError as error:
            self._told(str(error), is_bad=True)
        else:
            self._told("done")

    def _told(self, words: str, *, is_bad: bool = False) -> None:
        ui.notify(words, color=None, classes="toast bad" if is_bad else "toast",
                  position="bottom", timeout=12_000 if is_bad else 4000, close_button="close",
                  multi_line=len(words) > 80)  # fmt: skip

    def _next_theme(self) -> None:
        order = ["auto", "light", "dark"]
        now = self._memory.get("theme", "auto")
        self._memory.put("theme", order[(order.index(now) + 1) % 3] if now in order else "auto")
        ui.navigate.reload()


SYMBOL_PANELS: Final = frozenset({
    "symbols", "top", "ladder", "depth", "trades", "bars", "candles", "forecasts", "predictions",
    "features",
})  # fmt: skip
