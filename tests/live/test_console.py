"""The console as a trader meets it: real Chromium on a running demo, every page, every command.

One instance for all of it, since starts are dear; what one story changes it puts back. With
DC_PICTURES set the pictures of docs/console.md are made as well.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.browsers import Seen, axe, browser
from tests.helpers import ROOT, wait_until
from tests.leaks import assert_no_secret
from tests.live.conftest import Project
from tests.live.console_world import (
    CLOCK,
    DESKTOP,
    PAGES,
    PHONE,
    RUN_AXE,
    SLOW_MS,
    World,
    choose_theme,
    expect,
    take_pictures,
)
from tests.rest_servers import FakeBitfinex, make_trades
from tests.servers import free_port

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
PAST_TRADES, PAST_MS, PAGES_A_MINUTE = 1200, 1_700_000_000_000, 90


@pytest.fixture(scope="module")
def past():
    """A venue's history: so many trades that fetching them takes its time."""
    with FakeBitfinex(trades=make_trades(7, PAST_TRADES, PAST_MS)).running() as server:
        yield server


@pytest.fixture(scope="module")
def world(past):
    with browser() as chromium:
        folder = Path(tempfile.mkdtemp(prefix="dct-"))
        project = Project(folder)
        project.set(
            console__enabled=True, console__port=free_port(),
            simulator__symbols=["tBTCUSD", "tETHUSD", "tLTCUSD"],
            rest__bitfinex__url=past.url, rest__bitfinex__page_rows=40,
            rest__bitfinex__share_of_rate=1.0, rest__bitfinex__rates__trades=PAGES_A_MINUTE,
        )  # fmt: skip
        try:
            assert "dcctl console" in project.dcctl("start")
            told = project.json("console")
            project.wait_slots("decisions", 10)
            page = chromium.new_context(viewport=DESKTOP, color_scheme="light").new_page()
            page.set_default_timeout(SLOW_MS)
            seen = Seen(page, told["address"])
            page.goto(told["url"])
            page.wait_for_url("**/view/overview")
            made = World(project, page, seen, told)
            yield made
            page.context.close()
            project.dcctl("stop")
            project.assert_clean()
            assert_no_secret(folder)
        finally:
            project.end()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _page_is_sound(world):
    """No error in the browser's console, nothing asked of another host; of every test."""
    yield
    found, world.seen.words = world.seen.words, []
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_shows_what_is(world, name):
    world.open(name)
    world.shows(*PAGES[name])
    assert world.page.locator(".fault").count() == 0
    assert "cannot be drawn" not in world.page.content()


def test_figures_move_while_one_looks(world):
    world.open("overview")
    clock = world.page.locator(".fact").last
    before = clock.inner_text()
    world.page.wait_for_function(f"before => {CLOCK} !== before", arg=before)
    world.shows("on paper", where="header.top")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_fits_a_phone(world, name):
    world.page.set_viewport_size(PHONE)
    try:
        world.open(name)
        world.shows(PAGES[name][0])
        assert world.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        expect(world.key("kill")).to_be_in_viewport()
    finally:
        world.page.set_viewport_size(DESKTOP)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_shuts_anybody_out(world, scheme):
    """Axe's rules for WCAG 2.2 A and AA, every page: nothing critical, nothing serious."""
    script, found = axe(), []
    world.page.emulate_media(color_scheme=scheme)
    try:
        for name, words in PAGES.items():
            world.open(name)
            world.shows(words[0])
            world.page.evaluate(script)
            told = world.page.evaluate(RUN_AXE)
            assert told["passes"] > 10
            found += [f"{name}: {row}" for row in told["violations"]]
    finally:
        world.page.emulate_media(color_scheme="light")
    assert not found, "\n".join(found)


def test_kill_takes_two_steps_and_says_how_long_it_took(world):
    world.open("market")
    world.key("kill").click()
    assert world.project.status().kill_switch.level == "none"
    world.key("kill-cancel").click()
    assert world.project.status().kill_switch.level == "none"
    world.key("kill").click()
    world.key("kill-confirm").click()
    world.shows("obeyed after", where=".answer")
    assert "ms" in world.page.locator(".answer").inner_text()
    assert world.project.status().kill_switch.level == "flatten"
    world.key("kill-cancel").click()
    world.shows("Kill switch: flatten", "by the console, browser", "obeyed")
    world.open("overview")
    world.shows("Kill switch: flatten", "critical · kill_switch")


def test_arm_asks_for_the_word(world):
    world.open("trading")
    world.key("arm").click()
    world.key("arm-word").fill("yes")
    world.key("arm-confirm").click()
    world.shows("nothing was done", where=".answer")
    assert world.project.status().kill_switch.level == "flatten"
    world.key("arm-word").fill("arm")
    world.key("arm-confirm").click()
    world.shows("Armed: it was at flatten", where=".answer")
    assert world.project.status().kill_switch.level == "none"
    world.key("arm-cancel").click()
    expect(world.page.locator(".pulled")).to_have_count(0, timeout=SLOW_MS)


def test_the_kill_switch_by_keys_alone(world):
    """Tab reaches it, enter opens it, escape leaves it."""
    world.open("logs")
    for _ in range(12):
        world.page.keyboard.press("Tab")
        if world.page.evaluate("document.activeElement.dataset.key") == "kill":
            break
    assert world.page.evaluate("document.activeElement.dataset.key") == "kill"
    world.page.keyboard.press("Enter")
    expect(world.key("kill-confirm")).to_be_visible()
    world.page.keyboard.press("Escape")
    expect(world.key("kill-confirm")).to_have_count(0, timeout=SLOW_MS)
    assert world.project.status().kill_switch.level == "none"


def test_every_decision_says_why(world):
    world.open("trading")
    world.key("tab-all").click()
    world.page.locator("[data-panel^=decisions] [data-act=why]").nth(8).click()
    world.shows("what the policy saw", "model blend", "features", where=".why")
    world.key("why-close").click()


NEWEST = "document.querySelector('[data-panel^=decisions] [data-act=why]')?.dataset.of"


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_slow_press_lands_though_its_table_moves_on(world, by):
    """A row that is drawn anew between press and release would swallow the click."""
    page = world.page
    world.open("trading")
    world.key("tab-all").click()
    button = page.locator("[data-panel^=decisions] [data-act=why]").nth(8)
    expect(button).to_be_visible(timeout=SLOW_MS)
    button.hover()
    if by == "mouse":
        page.mouse.down()
    else:
        page.evaluate(
            "document.querySelectorAll('[data-panel^=decisions] [data-act=why]')[8].focus()"
        )
        page.keyboard.down(" ")
    held = page.evaluate(NEWEST)
    for _ in range(3):
        page.wait_for_function(f"before => {CLOCK} !== before", arg=page.evaluate(CLOCK))
    assert page.evaluate(NEWEST) == held
    page.mouse.up() if by == "mouse" else page.keyboard.up(" ")
    world.shows("what the policy saw", where=".why")
    world.key("why-close").click()
    page.wait_for_function(f"before => {NEWEST} !== before", arg=held)


def test_a_press_that_opens_a_menu_holds_nothing(world):
    """Its release goes to the menu, and never comes."""
    page = world.page
    world.open("trading")
    world.key("tab-all").click()
    button = page.locator("[data-panel^=decisions] [data-act=why]").nth(8)
    expect(button).to_be_visible(timeout=SLOW_MS)
    button.hover()
    page.mouse.down(button="right")
    page.wait_for_function(f"before => {NEWEST} !== before", arg=page.evaluate(NEWEST))
    page.mouse.up(button="right")


def test_a_file_is_browsed(world):
    world.open("files")
    files = world.page.locator("[data-panel^=files] [data-act=file]", has_text="websocket/trades")
    files.first.click()
    world.shows("tape.bitfinex", "records", "recv_ns", where="[data-panel^='file:']")


def test_a_setting_is_changed_after_its_difference_was_shown_and_undone(world):
    world.open("settings")
    world.key("settings-search").fill("max_spread_bps")
    world.page.locator("[data-act=change][data-setting='risk.max_spread_bps']").click()
    world.key("setting-value").fill("many")
    world.key("change-next").click()
    world.shows("risk.max_spread_bps", where=".toast.bad")
    world.page.locator("[data-act=change][data-setting='risk.max_spread_bps']").click()
    world.key("setting-value").fill("19")
    world.key("change-next").click()
    world.shows("20.0", "19.0", where=".diff")
    assert spread_limit(world) == 20.0
    world.key("apply").click()
    wait_until(lambda: spread_limit(world) == 19.0, 40)
    world.shows("changed here")
    world.page.locator("[data-act=undo]").first.click()
    world.key("apply").click()
    wait_until(lambda: spread_limit(world) == 20.0, 40)


def test_past_trades_are_fetched_cancelled_and_fetched_on(world, past):
    world.open("history")
    world.page.get_by_label("What").select_option("trades")
    world.key("history-symbols").fill("tBTCUSD")
    world.page.get_by_label("From, UTC").fill("2023-11-14T22:13")
    world.page.get_by_label("To, UTC; empty = now").fill("2023-11-16T00:00")
    world.key("download").click()
    jobs = "[data-panel=jobs]"
    world.shows("trades", "running", where=jobs)
    wait_until(lambda: len(past.seen) > 2, 30, "some pages")
    world.page.locator("[data-act=cancel]").first.click()
    world.shows("cancelled", where=jobs)
    (job,) = world.project.json("history", "jobs")
    assert 0 < job["rows"] < PAST_TRADES
    world.page.locator("[data-act=resume]").first.click()
    world.shows("done", f"{PAST_TRADES:,}".replace(",", "\u202f"), where=jobs)
    assert world.page.locator("[data-act=cancel], [data-act=resume]").count() == 0


def spread_limit(world):
    return world.call("GET", "/settings")[1]["settings"]["risk"]["max_spread_bps"]


def test_a_connection_is_closed_and_opened_by_hand(world):
    world.open("connections")
    world.page.locator("[data-act=disconnect]").first.click()
    world.key("sure-yes").click()
    world.shows("disconnected", where="[data-panel=feeds]")
    world.shows("disconnected by hand", where="[data-panel=feeds]")
    world.page.locator("[data-act=connect]").first.click()
    world.shows("8 / 30", where="[data-panel=feeds]")
    expect(world.page.locator("[data-panel=feeds] .dot.good")).to_have_count(1, timeout=SLOW_MS)
    world.project.wait_running()


def test_a_symbol_is_subscribed(world):
    world.open("connections")
    world.key("tab-books").click()
    world.key("subscribe-symbol").fill("tLTCUSD")
    world.key("subscribe").click()
    world.shows("tLTCUSD", "Restarts collector.bitfinex", where=".dialog")
    old = world.project.pid("collector.bitfinex")
    world.key("apply").click()
    world.project.wait_back("collector.bitfinex", old, 120)
    world.shows("tLTCUSD", "12 / 30")
    world.open("market")
    world.shows("LTC/USD")
    assert world.page.locator("[aria-selected=true]").count() == 0
    world.open("connections")
    assert world.page.locator("[aria-selected=true]").inner_text() == "books"  # remembered


def test_dcctl_does_what_the_page_does(world):
    project = world.project

    def states() -> set[str]:
        (feed,) = project.json("feeds", "list", "bitfinex")
        return {one["state"] for one in feed["connections"]}

    live = states()
    assert "disconnected" not in live
    assert "tLTCUSD" in project.dcctl("feeds", "list", "--streams")
    assert "all connections disconnected" in project.dcctl(
        "feeds", "disconnect", "bitfinex", "--yes"
    )
    assert states() == {"disconnected"}
    project.dcctl("feeds", "connect", "bitfinex")
    wait_until(lambda: states() == live, 60, "connected again")
    assert "there are" in project.dcctl("feeds", "connect", "bitfinex", "-c", "7", code=1)
    assert "subscribed already" in project.dcctl(
        "feeds", "subscribe", "bitfinex", "tLTCUSD", "--yes", code=2
    )
    asked = project.try_dcctl("set", "risk.max_spread_bps=9")  # nobody answers: nothing is done
    assert asked.returncode == 1
    assert "would be" in asked.stderr
    assert "taken at once" in asked.stderr
    told = project.json("set", "risk.max_spread_bps=9", "--yes")
    assert list(told["changed"]) == ["risk.max_spread_bps"]
    assert project.json("set")["risk"] == {"max_spread_bps": 9}
    assert "nothing would change" in project.dcctl("set", "risk.max_spread_bps=9", code=1)
    assert "in force" in project.dcctl("set", "--drop", "risk.max_spread_bps", "--yes")
    assert "risk" not in project.json("set")
    assert "your files alone" in project.dcctl("set", "execution.live=true", "--yes", code=1)
    assert "KEY=VALUE" in project.dcctl("set", "risk.max_spread_bps", code=2)
    old = project.pid("collector.bitfinex")
    assert "restarted collector.bitfinex" in project.dcctl(
        "feeds", "unsubscribe", "bitfinex", "tLTCUSD", "--yes"
    )
    project.wait_back("collector.bitfinex", old, 120)
    wait_until(lambda: "tLTCUSD" not in project.dcctl("feeds", "list", "--streams"), 60)
    world.open("connections")
    world.shows("8 / 30")


def test_the_console_starts_anew_and_the_page_finds_it(world):
    world.open("overview")
    world.shows("received → tape")
    others = {p.name: p.pid for p in world.project.status().processes if p.name != "console"}
    world.seen.quiet = True
    world.project.dcctl("restart", "console")
    told = world.project.json("console")
    assert told["address"] == world.address
    world.shows("received → tape", "restarted")  # the page itself; its session outlives a process
    expect(world.page.locator("html.away")).to_have_count(0, timeout=SLOW_MS)
    choose_theme(world, "light")
    choose_theme(world, "auto")
    world.seen.quiet, world.seen.words = False, []
    now = {p.name: p.pid for p in world.project.status().processes if p.name != "console"}
    assert now == others


def test_the_api_sees_and_steers(world):
    assert world.call("GET", "/health")[0] in {200, 503}
    status, told = world.call("GET", "/bot/status")
    assert (status, told["mode"], told["profile"]) == (200, "paper", "demo")
    lines = world.call("GET", "/logs?process=console&text=command")[1]
    assert {"kill", "arm", "settings", "disconnect"} <= {line.get("name") for line in lines}
    assert world.call("GET", "/decisions?limit=3")[1][0]["reason_text"]
    assert world.call("GET", "/why/last")[0] in {200, 409}
    status, told = world.call("POST", "/kill", {"level": "pause"})
    assert (status, told["acknowledged"], told["level"]) == (200, True, "pause")
    assert world.call("POST", "/arm", {"word": "arm"})[1]["level_before"] == "pause"
    assert world.call("GET", "/bot/status", Host="evil.example")[0] == 421
    assert world.call("POST", "/kill", {}, Origin="http://evil.example")[0] == 403
    assert world.call("GET", "/bot/status", Authorization="Bearer x")[0] == 401
    world.page.goto(f"{world.address}/docs")
    world.shows("/bot/status", "/kill", where="main")


def test_commands_are_in_the_audit_log(world):
    import sqlite3

    def audited():
        with sqlite3.connect(world.project.data / "history.sqlite") as database:
            rows = database.execute("SELECT * FROM audit").fetchall()
        text = " ".join(str(row) for row in rows)
        return all(word in text for word in ('"name": "kill"', '"name": "arm"', '"by": "browser"'))

    wait_until(audited, 40, "kill and arm in the audit table")


def test_what_it_costs_and_pictures(world):
    """The figures of docs/console.md, printed; the pictures, if they are asked for."""
    process = psutil.Process(world.project.pid("console"))
    assert process.nice() >= 10
    world.open("overview")
    world.shows("received → tape")
    begin, at_s = sum(process.cpu_times()[:2]), time.monotonic()
    wait_until(lambda: time.monotonic() - at_s > 5, 10)
    used = (sum(process.cpu_times()[:2]) - begin) / (time.monotonic() - at_s)
    print(f"one browser: {100 * used:.1f} % of a core, {process.memory_info().rss / 1e6:.0f} MB")
    assert used < 0.9
    if folder := os.environ.get("DC_PICTURES"):
        take_pictures(world, ROOT / folder)
