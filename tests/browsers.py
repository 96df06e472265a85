"""A real browser for tests: the Chromium of this machine, driven by Playwright.

A machine without one skips the test by name; where `CI` is set it fails it. `DC_CHROMIUM` names
another program.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import NODE_FOLDER

AXE = "axe-core@4.14.1"
NAMES = ("chromium", "chromium-browser", "google-chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def chromium() -> str:
    """Its path; skips the test without one, fails it in CI."""
    found = os.environ.get("DC_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and MAC.exists():
        found = str(MAC)
    if found is None:
        missing = "Chromium is not installed (Debian: apt install chromium)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def axe() -> str:
    """The script that judges a page's accessibility (https://github.com/dequelabs/axe-core)."""
    path = NODE_FOLDER / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        missing = f"axe-core is not installed: npm install --prefix {NODE_FOLDER} {AXE}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return path.read_text(encoding="utf-8")


class Seen:
    """What a page did that it should not."""

    def __init__(self, page, address: str) -> None:
        self.words: list[str] = []
        self.quiet = False
        """True while the server is away on purpose."""
        page.on("request", lambda one: self._request(one.url, address))
        page.on("console", self._said)
        page.on("pageerror", lambda one: self.words.append(f"error: {one}"))
        page.on("response", lambda one: one.status >= 400 and self._note(f"{one.status} {one.url}"))

    def _request(self, url: str, address: str) -> None:
        socket = address.replace("http", "ws", 1)
        if not url.startswith((f"{address}/", f"{socket}/", "data:", "blob:")):
            self.words.append(f"asked elsewhere: {url}")

    def _said(self, message) -> None:
        if message.type in {"error", "warning"}:
            self._note(f"console: {message.text}")

    def _note(self, words: str) -> None:
        if not self.quiet:
            self.words.append(words)


@contextmanager
def browser() -> Iterator:
    """A browser; closed with all its pages."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path)
        try:
            yield made
        finally:
            made.close()
