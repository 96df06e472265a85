"""Panels: everything is escaped, colours can be read, and no page asks for anything from
outside."""

import re
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from processes.console.drawing import act, ago, amount, count, micros, number, size, text
from processes.console.jobs import words_of
from processes.console.memory import VALUE_MAX, Memory
from processes.console.panels import connections, market, overview, trading
from processes.console.slow import LOADING, Slow
from processes.console.view import AlertLine, Bar, Level, Market, Point, Trade, Trading, View
from schemas.errors import OperatorError, UsageError
from schemas.messages import KillSwitchStatus, ProcessStatus, Status
from tests.helpers import ROOT, wait_until
from tests.unit.console.test_api import decision

STATIC = ROOT / "processes" / "console" / "static"
BAD = "<img src=x onerror=alert(1)>\"'"


def hostile():
    """A view in which every text is one that somebody else could have chosen."""
    bars = [Bar(n, 1.0, 2.0, 0.5, 1.5, 3.0) for n in range(3)]
    one = Market(
        index=0, venue=BAD, symbol=BAD, pair=BAD, bids=[Level(1.0, 2.0)], asks=[Level(2.0, 1.0)],
        middle=1.5, trades=[Trade(1, BAD, 1.0, 1.0)], bars=bars, candles=bars, invalid=[BAD],
        past=[Point(n, 1.0 + n, 0.5, 0.3, 0.2, 1.0) for n in range(3)], last_side=BAD,
    )  # fmt: skip
    process = ProcessStatus(
        name=BAD, pid=1, state=BAD, restarts=1, uptime_s=1.0, rss_bytes=1, heartbeat_age_ms=1.0,
        detail=BAD,
    )  # fmt: skip
    stream = {"symbol": BAD, "channel": "ticker", "suffix": BAD, "primary": True, "state": BAD,
              "text": BAD, "data_ns": 1}  # fmt: skip
    connection = {
        "connection": 0, "state": BAD, "live": 1, "refused": 0, "wanted": 1, "named_limit": 0,
        "url": BAD, "opened": 1, "gaps": 0, "resyncs": 0, "bytes": 1, "last_error": BAD,
        "last_error_ns": 1, "streams": [stream],
    }  # fmt: skip
    position = dict.fromkeys(
        ("quantity", "average_price", "mark", "unrealized", "realized", "fees"), "1"
    ) | {"symbol": BAD, "opened_ns": 0}
    return View(
        kill_level="flatten", kill_by=BAD, mode=BAD, rung=BAD, markets=[one],
        status=Status(
            state=BAD, profile=BAD, mode="paper", rung="mlx",
            kill_switch=KillSwitchStatus(level="none"), processes=[process], rings=[],
            latency_us={}, endpoints={},
        ),
        decisions=[msgspec.structs.replace(decision(1), symbol=BAD, reason=BAD, strategy=BAD,
                                           reason_text=BAD, action=BAD)],
        reasons={BAD: 1},
        trading=Trading(positions=[position], days={BAD: BAD}, error=BAD),
        feeds=[{"venue": BAD, "error": BAD, "stale_s": {}, "connections": [connection],
                "flags": [BAD]}],
        alerts=[AlertLine(name=BAD, severity=BAD, means=BAD, text=BAD, todo=BAD,
                          can_acknowledge=True)],
    )  # fmt: skip


PANELS = [
    getattr(module, name)
    for module, names in (
        (overview, "head switch pipeline hops attention profit rings processes own equity"),
        (market, "symbols top ladder depth trades bars candles forecasts predictions"),
        (trading, "positions orders fills decisions reasons limits days held"),
        (connections, "feeds streams"),
    )
    for name in names.split()
]


@pytest.mark.parametrize("panel", PANELS)
def test_what_others_wrote_is_text_and_never_markup(panel):
    view = hostile()
    for choice in ("", "ticker", f"{BAD}/{BAD}"):
        drawn = panel(view, choice)
        assert "<img" not in drawn
        assert not re.search(r"[\"' ]onerror=alert\(1\)>", drawn)
        assert drawn.count("<table") == drawn.count("</table>")
        assert drawn.count("<div") == drawn.count("</div>")


@pytest.mark.parametrize("panel", PANELS)
def test_an_instance_that_says_nothing_is_drawn_too(panel):
    assert isinstance(panel(View(), ""), str)


def test_features_are_drawn_anew_with_each_cut():
    cells = market.FeatureCells()
    names = {one.name: 1.0 for one in market.CATALOGUE}
    past = {name: [1.0, 2.0] for name in names}

    def view(cut_ns, value):
        one = Market(index=0, venue="v", symbol="s", pair="p", cut_ns=cut_ns,
                     features={**names, "spread_bps": value}, feature_past=past)  # fmt: skip
        return View(markets=[one])

    assert "7.125" in cells(view(1, 7.125), "")
    assert "7.125" in cells(view(1, 8.125), "")
    assert "8.125" in cells(view(2, 8.125), "")


def test_a_level_far_out_does_not_press_the_depth_together():
    def edges(*bids: float) -> list[float]:
        levels = [Level(price, 1.0) for price in bids]
        one = Market(
            index=0, venue="v", symbol="s", pair="p", bids=levels, middle=100.0,
            asks=[Level(101.0, 1.0), Level(102.0, 1.0)],
        )  # fmt: skip
        drawn = market.depth(View(markets=[one]), "v/s")
        return [float(x) for x in re.findall(r"([\d.]+),[\d.]+", drawn)]

    near, far = edges(99.0, 98.0), edges(99.0, 10.0)
    assert min(near) == min(far) == 0.0  # beyond the edge a side goes on at its height
    assert max(near) == market.WIDTH
    assert max(far) == pytest.approx(market.WIDTH * (6 + 2) / 12, abs=0.1)


def test_figures_as_people_read_them():
    assert number(-1234.5) == "\u22121\u202f234.50"
    assert number(-0.001) == "0.00"
    assert number(float("nan")) == "–"
    assert amount("0.00120000") == "0.0012"
    assert amount("-12345678.5") == "\u221212\u202f345\u202f678.5"
    assert amount(None) == "–"
    assert amount("<b>") == "&lt;b&gt;"
    assert (count(999), count(58_200), count(2.5e6)) == ("999", "58.2\u202fk", "2.5\u202fM")
    assert (micros(999), micros(1500), micros(2.5e6)) == (
        "999\u202fµs",
        "1.5\u202fms",
        "2.50\u202fs",
    )
    assert (size(12), size(12_000_000)) == ("12\u202fB", "12.0\u202fMB")
    assert (ago(0.1), ago(61), ago(90_000)) == ("now", "1\u202fmin", "1\u202fd 1\u202fh")
    assert text(BAD).count("<") == 0
    assert "<img" not in act("why", BAD, of=BAD)


# ---- colours


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def schemes():
    style = (STATIC / "console.css").read_text(encoding="utf-8")
    blocks = re.findall(r"\{ color-scheme: (light|dark); ([^}]*)\}", style)
    return [(name, dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", body))) for name, body in blocks]


@pytest.mark.parametrize(("name", "colours"), schemes())
def test_words_can_be_read_and_marks_seen(name, colours):
    assert len(schemes()) == 4
    for ink in ("ink", "faint", "accent", "danger"):
        for ground in ("paper", "card", "soft"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (name, ink, ground)
    for ink, ground in (
        ("on-accent", "accent"), ("on-danger", "stop"), ("accent", "tint"), ("ink", "tint"),
        ("ink", "danger-tint"), ("danger", "danger-tint"), ("other", "card"),
    ):  # fmt: skip
        assert contrast(colours[ink], colours[ground]) >= 4.5, (name, ink, ground)
    for mark in ("accent", "other", "danger"):
        assert contrast(colours[mark], colours["card"]) >= 3.0


def test_what_is_chosen_by_hand_is_what_the_system_would_choose():
    found = schemes()
    assert [name for name, _ in found] == ["light", "dark", "light", "dark"]
    assert found[0] == found[2]
    assert found[1] == found[3]


def test_nothing_of_ours_is_fetched_from_elsewhere():
    for path in STATIC.iterdir():
        words = path.read_text(encoding="utf-8")
        for address in re.findall(r"https?://[^\s\"')]+", words):
            assert address == "http://www.w3.org/2000/svg", (path.name, address)


# ---- beside panels


def test_a_slow_panel_is_never_waited_for_and_made_once():
    made = []
    with ThreadPoolExecutor(1) as pool:
        slow = Slow(pool, lambda choice: made.append(choice) or f"made {choice}", 60.0)
        view = View()
        assert slow(view, "a") == LOADING
        wait_until(lambda: slow(view, "a") == "made a")
        assert made == ["a"]
        for number_ in range(200):
            slow(view, str(number_))
        wait_until(lambda: not any(not one.done() for one in slow._coming.values()))
        for number_ in range(200):
            slow(view, str(number_))
        assert len(slow._made) <= 32


def test_a_slow_panel_says_what_went_wrong():
    def fail(_):
        raise OperatorError("no <such> thing")

    with ThreadPoolExecutor(1) as pool:
        slow = Slow(pool, fail)
        wait_until(lambda: slow(View(), "") != LOADING)
        assert "no &lt;such&gt; thing" in slow(View(), "")


def test_choices_are_remembered_and_bounded(tmp_path):
    (tmp_path / "state").mkdir()
    memory = Memory(tmp_path)
    memory.put("symbol", "bitfinex/tBTCUSD")
    memory.put("log_text", "x" * (VALUE_MAX + 1))
    assert Memory(tmp_path).get("symbol") == "bitfinex/tBTCUSD"
    assert Memory(tmp_path).get("log_text", "none") == "none"
    with pytest.raises(AssertionError):
        memory.put("anything", "x")
    (tmp_path / "state" / "console.json").write_text("{")
    assert Memory(tmp_path).get("symbol") == ""


def test_words_of_a_download_cannot_become_options():
    words = words_of("bitfinex", "candles", "tBTCUSD, --help", "2026-11-01", "", timeframe="1m")
    assert words[words.index("--") + 1 :] == ["bitfinex", "candles", "tBTCUSD", "--help"]
    assert "--from=2026-11-01" in words
    assert not any(one.startswith("--to") for one in words)
    assert not any("timeframe" in one for one in words_of("kraken", "trades", "x", "", ""))
    with pytest.raises(UsageError, match="name a symbol"):
        words_of("bitfinex", "candles", " , ", "", "")
