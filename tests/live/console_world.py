"""A trader's hands and eyes for tests of the console: its pages, clicks, calls and pictures."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from tests.helpers import wait_until

DESKTOP = {"width": 1360, "height": 900}
PHONE = {"width": 390, "height": 844}
RUN_AXE = """async () => {
    const told = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]});
    const bad = told.violations.filter(v => ["critical", "serious"].includes(v.impact));
    const where = n => n.target + " " + n.failureSummary.slice(0, 150);
    const told_of = v => v.id + ": " + v.help + ": " + v.nodes.slice(0, 4).map(where).join("; ");
    return {passes: told.passes.length, violations: bad.map(told_of)};
}"""
CLOCK = "document.querySelectorAll('.fact')[5]?.innerText"
SLOW_MS = 40_000
"""A busy machine may take so long; nothing waits longer than it must."""
PAGES = {
    "overview": ("collector.", "received → tape", "tape.bitfinex"),
    "connections": ("8 / 30", "timestamp, sequence", "tBTCUSD"),
    "market": ("BTC/USD", "blend", "spread_bps", "buy"),
    "trading": ("all positions", "of the last"),
    "models": ("tcn", "no model is trained here"),
    "history": ("Download", "no download yet"),
    "files": ("bitfinex/websocket/books", "rows"),
    "settings": ("risk.max_spread_bps", "at once"),
    "logs": ("collector.bitfinex", "connected"),
    "alerts": ("Who is told",),
}


class World:
    """An instance, a browser in it, and what the browser did."""

    def __init__(self, project, page, seen, told):
        self.project, self.page, self.seen = project, page, seen
        self.address, self.token_file = told["address"], Path(told["token_file"])

    def open(self, name):
        self.page.goto(f"{self.address}/view/{name}")
        self.page.wait_for_selector("h1")

    def key(self, name):
        return self.page.locator(f'[data-key="{name}"]')

    def shows(self, *words, where="main#main"):
        place = self.page.locator(where).first
        for word in words:
            expect(place).to_contain_text(word, timeout=SLOW_MS)

    def call(self, method, path, told=None, **headers):
        """A call of the API: status and answer."""
        token = self.token_file.read_text().strip()
        request = urllib.request.Request(
            f"{self.address}{path}", method=method,
            data=None if told is None else json.dumps(told).encode(),
            headers={"Authorization": f"Bearer {token}", **headers},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")


def expect(place):
    from playwright.sync_api import expect as playwright_expect

    return playwright_expect(place)


def choose_theme(world, name: str) -> None:
    """A click while the page is drawn anew after the restart is not heard: then once more."""

    from playwright.sync_api import Error

    def is_there() -> bool:
        try:
            world.key("theme").click(timeout=3000)
            header = world.page.locator("header.top")
            expect(header).to_contain_text(f"Theme: {name}", timeout=3000)
        except (AssertionError, Error):
            return False
        return True

    wait_until(is_there, SLOW_MS / 1000, f"the theme {name}")


def take_pictures(world, folder):
    folder.mkdir(parents=True, exist_ok=True)
    # Three minutes are what the pictures look back: a row a second of each of two instruments.
    wait_until(lambda: world.project.ring("features").committed > 360, 300, "something to draw")
    for name, scheme, size in (
        ("overview", "light", DESKTOP), ("market", "dark", DESKTOP), ("trading", "light", DESKTOP),
        ("connections", "light", DESKTOP), ("overview", "dark", PHONE), ("market", "light", PHONE),
    ):  # fmt: skip
        world.page.emulate_media(color_scheme=scheme)
        world.page.set_viewport_size({**size, "height": min(size["height"], 760)})
        world.open(name)
        world.shows(PAGES[name][-1])
        wait_until(lambda: world.page.locator("svg, tr").count() > 1, 20)
        suffix = "-phone" if size is PHONE else ""
        world.page.screenshot(path=folder / f"console-{name}-{scheme}{suffix}.png")
