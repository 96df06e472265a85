"""The documents' site, built as scripts/site builds it, and what its pages point at."""

import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tests.helpers import ROOT

CONFIG = "zensical.toml"
LOADING = {
    ("img", "src"), ("img", "srcset"), ("script", "src"), ("iframe", "src"), ("source", "src"),
    ("source", "srcset"), ("video", "src"), ("audio", "src"), ("embed", "src"), ("object", "data"),
    ("use", "href"), ("image", "href"), ("form", "action"),
}  # fmt: skip
"""Attributes by which a page loads something."""
NAMES_ONLY = {"canonical", "next", "prev", "alternate"}
"""Relations of a <link> that is not loaded."""


class Page(NamedTuple):
    """What one page points at, and what can be pointed at in it."""

    links: list[str]
    loads: list[str]
    anchors: set[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page([], [], set())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.page.anchors.add(found["id"])
        if tag == "a" and "href" in found:
            self.page.links.append(found["href"])
        if tag == "link" and not NAMES_ONLY & set(found.get("rel", "").split()):
            self.page.loads.append(found.get("href", ""))
        self.page.loads.extend(found[name] for name in found if (tag, name) in LOADING)


def read(text: str) -> Page:
    """A page's links, loads and anchors."""
    reader = _Reader()
    reader.feed(text)
    return reader.page


def navigation() -> list[str]:
    """Every page that the site's navigation names, in order."""
    nav = tomllib.loads((ROOT / CONFIG).read_text(encoding="utf-8"))["project"]["nav"]
    return [path for section in nav for pages in section.values() for path in pages]


def sections() -> list[str]:
    """The navigation's first level."""
    nav = tomllib.loads((ROOT / CONFIG).read_text(encoding="utf-8"))["project"]["nav"]
    return [name for section in nav for name in section]


def copy_sources(folder: Path) -> None:
    """What the site is made of, in a folder of a test's own."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / CONFIG, folder)


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Build it as ./scripts/site does, with no way to any other host."""
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
    )  # fmt: skip


def pages(site: Path) -> dict[str, Page]:
    """Every page of a built site by its path."""
    return {
        str(path.relative_to(site)): read(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
    }


def broken(site: Path, found: dict[str, Page]) -> list[str]:
    """Links and loads within the site that lead nowhere, and all that leave it to load."""
    faults = []
    for name, page in found.items():
        for target in (*page.links, *page.loads):
            parts = urlsplit(target)
            if parts.scheme in {"http", "https", "mailto"} or parts.netloc:
                faults += [f"{name} loads {target}"] if target in page.loads else []
                continue
            if parts.scheme == "data":
                continue
            # The page for what is not found is shown at any depth, so it begins at the root.
            start = site if parts.path.startswith("/") else (site / name).parent
            path = (start / unquote(parts.path).lstrip("/")) if parts.path else site / name
            path = path / "index.html" if path.is_dir() else path
            if not path.is_file():
                faults.append(f"{name} -> {target}")
            elif parts.fragment and path.suffix == ".html":
                other = found[str(path.resolve().relative_to(site.resolve()))]
                if unquote(parts.fragment) not in {*other.anchors, "__skip"}:
                    faults.append(f"{name} -> {target}: no such anchor")
    return faults
