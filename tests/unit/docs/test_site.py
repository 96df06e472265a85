"""The site builds, every link in it leads somewhere, and it loads nothing from another host."""

import re
import tomllib

import pytest

from tests.helpers import ROOT
from tests.unit.docs.site import (
    CONFIG,
    broken,
    build,
    copy_sources,
    navigation,
    pages,
    read,
    sections,
)

WANTED = [
    "Get started", "Concepts", "Venues", "Models", "Trading safely", "Operate", "Reference",
    "Architecture", "Performance", "日本語",
]  # fmt: skip
ELSEWHERE = re.compile(r"@import|url\(\s*['\"]?(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    copy_sources(folder)
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    made = tomllib.loads((ROOT / CONFIG).read_text(encoding="utf-8"))["project"]["site_dir"]
    return folder / made


def test_the_navigation_is_the_one_that_was_agreed():
    assert sections() == WANTED


def test_every_page_is_in_the_navigation_once():
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    # The decisions' index has a link to each of them; a test of scripts/reference holds it.
    written -= {name for name in written if re.match(r"decisions/\d", name)}
    assert sorted(navigation()) == sorted(written)


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    found = pages(site)
    assert len(found) > len(navigation())
    assert broken(site, found) == []


def test_style_sheets_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.css"):
        assert not ELSEWHERE.search(path.read_text(encoding="utf-8")), path.name


def test_the_search_knows_the_pages(site):
    text = (site / "search.json").read_text(encoding="utf-8")
    assert "supervisor_gone" in text


def test_a_broken_link_and_a_broken_anchor_fail_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / CONFIG).write_text('[project]\nsite_name = "x"\n', encoding="utf-8")
    faults = "[x](nowhere.md) and [y](index.md#nothing)"
    (tmp_path / "docs" / "index.md").write_text(f"# x\n\n{faults}\n", encoding="utf-8")
    done = build(tmp_path)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "anchor does not exist" in said
    assert "page does not exist" in said


def test_it_finds_what_it_should(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"></p><a href="#here"></a><a href="#gone"></a><a href="b.html"></a>'
        '<img src="//far.example/x.png"><link rel="stylesheet" href="https://far.example/x.css">'
        '<link rel="canonical" href="https://far.example/"><a href="https://far.example/"></a>'
    )
    found = {"a.html": read((tmp_path / "a.html").read_text())}
    assert broken(tmp_path, found) == [
        "a.html -> #gone: no such anchor",
        "a.html -> b.html",
        "a.html loads //far.example/x.png",
        "a.html loads https://far.example/x.css",
    ]
