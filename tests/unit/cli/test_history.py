"""The commands history and instruments: words, exit codes, files, JSON."""

import json
from pathlib import Path

import msgspec
import pytest

from config.loader import load
from processes.cli.__main__ import EXIT_FAILED, EXIT_USAGE
from processes.cli.downloads import parse_time
from processes.cli.listings import refresh_before_start
from processes.reference import listings_by_symbol
from schemas.errors import OperatorError
from schemas.feeds import GmoSettings, KrakenSettings, VenueSettings
from tests.rest_servers import FakeBitfinex, FakeGmo, FakeKraken, make_candles, make_trades, status

START = 1_700_000_000_000 - 1_700_000_000_000 % 60_000
RANGE = ("--from", "2023-11-14", "--to", "2023-11-16")


@pytest.fixture
def venues(monkeypatch):
    """All three, on loopback."""
    bitfinex = FakeBitfinex(
        trades=make_trades(1, 200, START), candles=make_candles(1, 300, START, 60_000)
    )
    kraken, gmo = FakeKraken(trades=make_trades(2, 200, START)), FakeGmo()
    with bitfinex.running(), kraken.running(), gmo.running():
        for name, server in (("bitfinex", bitfinex), ("kraken", kraken), ("gmo", gmo)):
            monkeypatch.setenv(f"DC__rest__{name}__url", server.url)
            monkeypatch.setenv(f"DC__rest__{name}__retries", "0")
            monkeypatch.setenv(f"DC__rest__{name}__share_of_rate", "1.0")
        for key in ("bitfinex__rates__trades", "bitfinex__rates__candles", "kraken__rates__public",
                    "gmo__rates__public", "bitfinex__rates__conf"):  # fmt: skip
            monkeypatch.setenv(f"DC__rest__{key}", "6000")
        yield {"bitfinex": bitfinex, "kraken": kraken, "gmo": gmo}
        for server in (bitfinex, kraken, gmo):
            assert server.complaints == []


def test_a_download_from_typing_to_file(dcctl, venues):
    assert dcctl("history", "download", "bitfinex", "candles", "tBTCUSD", *RANGE,
                 "--format", "csv", "--json") == 0  # fmt: skip
    found = json.loads(dcctl.out)[0]
    path = Path(found["file"])
    folder = dcctl.folder / "data" / "lake" / "bitfinex" / "restapi" / "candles" / "tBTCUSD"
    assert path.parent == folder
    assert path.name.startswith("candles-1m-20231114T000000Z-20231116T000000Z-")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "mts,open,close,high,low,volume"
    assert len(lines) - 1 == found["rows"] == len(venues["bitfinex"].candles)
    assert dcctl("history", "jobs") == 0
    assert found["job"] in dcctl.out
    assert "100%" in dcctl.out


def test_several_symbols_at_once_and_a_bad_one_takes_no_other_down(dcctl, venues):
    assert dcctl("history", "download", "bitfinex", "trades", "tBTCUSD", "tNOPEUSD", *RANGE) == (
        EXIT_FAILED
    )
    assert "tNOPEUSD" in dcctl.err
    assert "symbol: invalid" in dcctl.err
    assert "tBTCUSD trades: done, 200 rows" in dcctl.out


def test_kraken_symbols_and_folders(dcctl, venues):
    assert dcctl("history", "download", "kraken", "trades", "BTC/USD", *RANGE, "--json") == 0
    found = json.loads(dcctl.out)[0]
    assert found["rows"] == 200
    assert "/kraken/restapi/trades/BTC%2FUSD/" in found["file"]


def test_a_pair_is_looked_up(dcctl, venues):
    assert dcctl("history", "download", "bitfinex", "trades", "BTC/USD", *RANGE, "--json") == 0
    assert json.loads(dcctl.out)[0]["symbol"] == "tBTCUSD"
    assert dcctl("history", "download", "bitfinex", "trades", "NO/SUCH", *RANGE) == EXIT_FAILED
    assert "--search" in dcctl.err


def test_the_newest_rows_need_no_beginning(dcctl, venues):
    assert dcctl("history", "download", "bitfinex", "trades", "tBTCUSD", "--sort", "desc",
                 "--limit", "7", "--json") == 0  # fmt: skip
    assert json.loads(dcctl.out)[0]["rows"] == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "trades", "x", *RANGE], ["bitfinex, kraken, gmo"]),
        (["bitfinex", "books", "tBTCUSD", *RANGE], ["candles, trades, tickers"]),
        (["gmo", "trades", "BTC", *RANGE], ["it has: candles"]),
        (["bitfinex", "candles", "tBTCUSD", *RANGE, "--timeframe", "2m"], ["15m"]),
        (["bitfinex", "trades", "tBTCUSD", *RANGE, "--timeframe", "1m"], ["candles"]),
        (["bitfinex", "trades", "tBTCUSD"], ["--from"]),
        (["bitfinex", "trades", "tBTCUSD", "--from", "soon"], ["2026-11-21T10:00"]),
        (["bitfinex", "trades", "tBTCUSD", "--from", "2023-01-02", "--to", "2023-01-01"],
         ["nothing lies between"]),
        (["bitfinex", "trades", "tBTCUSD", "--from", "2999-01-01"], ["nothing lies between"]),
        (["bitfinex", "trades", "tBTCUSD", *RANGE, "--format", "xls"], ["arrow or csv"]),
        (["bitfinex", "trades", "tBTCUSD", *RANGE, "--sort", "up"], ["asc or desc"]),
        (["bitfinex", "trades", "../../x", *RANGE], ["../../x"]),
        (["gmo", "candles", "..", *RANGE], [".."]),
        (["kraken", "trades", "..", *RANGE], [".."]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence_and_records_nothing(dcctl, venues, arguments, words):
    code = EXIT_USAGE if arguments[0] == "nowhere" or "soon" in arguments else EXIT_FAILED
    assert dcctl("history", "download", *arguments) == code
    for word in words:
        assert word in dcctl.err
    assert len(dcctl.err.splitlines()) == 1
    assert dcctl("history", "jobs", "--json") == 0
    assert json.loads(dcctl.out) == []


@pytest.mark.parametrize("command", ["cancel", "resume"])
@pytest.mark.parametrize("name", ["abcdef", "..", "../state"])
def test_no_such_job(dcctl, command, name):
    assert dcctl("history", command, name) == EXIT_FAILED
    assert "dcctl history jobs" in dcctl.err


def test_a_job_that_is_done_is_not_cancelled(dcctl, venues):
    dcctl("history", "download", "bitfinex", "trades", "tBTCUSD", *RANGE, "--json")
    job = json.loads(dcctl.out)[0]["job"]
    assert dcctl("history", "cancel", job) == EXIT_FAILED
    assert "is done" in dcctl.err
    assert dcctl("history", "resume", job) == 0  # nothing to do is no fault
    assert "done, 200 rows" in dcctl.out


def test_wrong_usage_is_two(dcctl):
    assert dcctl("history") == EXIT_USAGE
    assert dcctl("history", "download", "bitfinex") == EXIT_USAGE
    assert dcctl("history", "download", "bitfinex", "trades", "x", "--limit", "-1") == EXIT_USAGE
    assert dcctl("instruments", "--nonsense") == EXIT_USAGE


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1700000000000", 1_700_000_000_000),
        ("2023-11-14T22:13:20", 1_700_000_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-15T07:13:20+09:00", 1_700_000_000_000),
        ("2023-11-14", 1_699_920_000_000),
    ],
)
def test_times_as_people_type_them(text, ms):
    assert parse_time(text, "--from") == ms


@pytest.mark.parametrize("text", ["", "now", "2023", "2023-13-01", "1e12"])
def test_what_is_no_time(text):
    with pytest.raises(OperatorError, match="--to"):
        parse_time(text, "--to")


# ---- instruments


def test_instruments_of_all_venues_in_one_form(dcctl, venues):
    assert dcctl("instruments", "--json") == 0
    found = {one["symbol"]: one for one in json.loads(dcctl.out)}
    assert found["tBTCF0:USTF0"]["pair"] == "BTC/USDT:PERP"
    assert found["tIOTUSD"]["pair"] == "IOTA/USD"
    assert found["tBTCUSD"]["min_size"] == "0.00006"
    assert found["BTC/USD"]["rest_symbol"] == "XBTUSD"
    assert found["BTC/USD"]["tick_size"] == "0.1"
    assert found["BTC"]["pair"] == "BTC/JPY"
    assert found["BTC_JPY"]["pair"] == "BTC/JPY:PERP"
    assert (dcctl.folder / "data" / "reference" / "kraken.json").exists()


def test_they_are_asked_for_once_until_they_are_old_or_somebody_wants(dcctl, venues, monkeypatch):
    for _ in range(2):
        assert dcctl("instruments", "--venue", "gmo", "--search", "btc_") == 0
        assert "BTC/JPY:PERP" in dcctl.out
    assert len(venues["gmo"].seen) == 1
    assert dcctl("instruments", "refresh", "--venue", "gmo") == 0
    assert len(venues["gmo"].seen) == 2
    monkeypatch.setenv("DC__rest__reference_age_h", "0.0000000001")
    assert dcctl("instruments", "--venue", "gmo") == 0
    assert len(venues["gmo"].seen) == 3


def test_old_ones_are_better_than_none(dcctl, venues, monkeypatch):
    assert dcctl("instruments", "refresh") == 0
    monkeypatch.setenv("DC__rest__reference_age_h", "0.0000000001")
    venues["kraken"].faults.append(status(502))
    assert dcctl("instruments", "--venue", "kraken") == 0
    assert "BTC/USD" in dcctl.out
    assert "fetched before" in dcctl.err


def test_a_venue_that_does_not_answer_takes_no_other_down(dcctl, venues):
    venues["kraken"].faults.append(status(502))
    assert dcctl("instruments") == 0
    assert "tBTCUSD" in dcctl.out
    assert "kraken: " in dcctl.err
    venues["kraken"].faults.append(status(502))
    assert dcctl("instruments", "--venue", "kraken") == EXIT_FAILED
    assert dcctl("instruments", "--venue", "nowhere") == EXIT_USAGE
    assert "bitfinex, kraken, gmo" in dcctl.err


def test_a_damaged_cache_says_what_to_type(dcctl, venues):
    assert dcctl("instruments", "refresh", "--venue", "gmo") == 0
    path = dcctl.folder / "data" / "reference" / "gmo.json"
    path.write_text("{", encoding="utf-8")
    assert dcctl("instruments", "--venue", "gmo") == EXIT_FAILED
    assert "dcctl instruments refresh --venue gmo" in dcctl.err
    assert dcctl("instruments", "refresh", "--venue", "gmo") == 0
    assert dcctl("instruments", "--venue", "gmo") == 0


def test_a_start_has_ticks_at_hand_and_no_venue_can_stop_it(dcctl, venues, capsys):
    """Live venues are asked before the supervisor is; one that is fresh, or local, is not."""
    feeds = VenueSettings(
        kraken=KrakenSettings(enabled=True, symbols=("BTC/USD",)),
        gmo=GmoSettings(enabled=True, symbols=("BTC",), url="simulator"),
    )
    settings = msgspec.structs.replace(load("demo"), venues=feeds)
    data = dcctl.folder / "data"
    refresh_before_start(settings, data)
    assert listings_by_symbol(data, "kraken")
    assert len(venues["kraken"].seen) == 1
    assert not venues["gmo"].seen
    refresh_before_start(settings, data)
    assert len(venues["kraken"].seen) == 1
    (data / "reference" / "kraken.json").unlink()
    venues["kraken"].faults.append(status(502))
    refresh_before_start(settings, data)
    assert "kraken does not list its instruments" in capsys.readouterr().err
    assert listings_by_symbol(data, "kraken") == {}
