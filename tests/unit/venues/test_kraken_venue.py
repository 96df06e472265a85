"""Kraken as the collector sees it: plans, requests, tokens."""

import asyncio
import json

import pytest

from schemas.errors import ConfigError
from schemas.feeds import FeedSettings, KrakenSettings
from tests.unit.venues.test_kraken_codec import subscriptions
from venues.kraken.subscriptions import asked_for, request_id
from venues.kraken.venue import KrakenVenue
from venues.registry import open_venue, wanted_streams

SYMBOLS = tuple(f"A{number}/USD" for number in range(250))


def venue_of(*channels: str, **more) -> KrakenVenue:
    counter = iter(range(100))

    async def token() -> str:
        return f"token-{next(counter)}"

    return KrakenVenue(KrakenSettings(channels=channels, **more), "ws://x", token)


def test_streams_of_the_settings():
    settings = KrakenSettings(symbols=("BTC/USD",), candles=("1m", "4h"), book_depth=100)
    found = list(wanted_streams("kraken", settings))
    assert [(symbol, pair, channel, parameters, primary)
            for symbol, pair, channel, parameters, primary in found] == [
        ("BTC/USD", "BTC/USD", "books", {"length": 100}, True),
        ("BTC/USD", "BTC/USD", "trades", {}, False),
        ("BTC/USD", "BTC/USD", "ticker", {}, False),
        ("BTC/USD", "BTC/USD", "candles", {"timeframe": "1m"}, False),
        ("BTC/USD", "BTC/USD", "candles", {"timeframe": "4h"}, False),
    ]  # fmt: skip


def test_plan_keeps_a_symbols_streams_together_and_level3_apart():
    wanted = subscriptions(SYMBOLS, ("books", "trades", "raw_books"))
    connections = venue_of("books", "raw_books").plan(wanted)
    assert sorted(map(id, wanted)) == sorted(id(s) for c in connections for s in c)
    kinds = [{s.stream.channel for s in c} for c in connections]
    assert kinds == [{"books", "trades"}] * 3 + [{"raw_books"}] * 3
    assert [len({s.instrument.symbol for s in c}) for c in connections] == [100, 100, 50] * 2
    many = subscriptions(SYMBOLS, ("books", "trades", "ticker", "candles"))
    assert max(map(len, venue_of("books", symbols_per_connection=200).plan(many))) <= 500
    assert venue_of("books").plan([]) == []


def test_requests_name_many_symbols_of_one_stream():
    wanted = subscriptions(SYMBOLS[:120], ("books", "candles"))
    requests = venue_of("books", ticker_trigger="bbo").subscribe(wanted)
    assert [len(request.subscriptions) for request in requests] == [100, 20] * 3
    for request in requests:
        asked = json.loads(request.text)
        params, stream = asked["params"], request.subscriptions[0].stream
        assert params["symbol"] == [s.instrument.symbol for s in request.subscriptions]
        assert params["snapshot"] is True
        assert asked_for(asked["req_id"]) == ("subscribe", stream.index, 0)
        assert "token" not in params
    assert json.loads(requests[0].text)["params"]["depth"] == 25
    assert [json.loads(r.text)["params"]["interval"] for r in requests[2:]] == [1, 1, 60, 60]
    assert request_id(2, 65535, 65535) < 1 << 53
    assert asked_for(request_id(2, 65535, 65535)) == ("unsubscribe", 65535, 65535)
    assert venue_of("books").subscribe([]) == []


@pytest.mark.parametrize(("depth", "symbols"), [(10, 40), (100, 8), (1000, 2)])
def test_level3_requests_stay_within_the_venues_units(depth, symbols):
    wanted = [
        s for s in subscriptions(SYMBOLS[:80], ("raw_books",)) if s.stream.channel == "raw_books"
    ]
    from msgspec.structs import replace

    stream = replace(wanted[0].stream, length=depth)
    wanted = [replace(s, stream=stream) for s in wanted]
    venue = venue_of("raw_books", level3_depth=depth)
    requests = venue.subscribe(wanted)
    assert {len(request.subscriptions) for request in requests} == {symbols}
    assert venue.command_interval_s > 1  # one such request a second
    assert venue_of("books").command_interval_s == 0


def test_each_level3_connection_has_a_token_of_its_own():
    venue = venue_of("books", "raw_books")
    one, other = (subscriptions((symbol,), ("raw_books",)) for symbol in ("A/USD", "B/USD"))
    other = subscriptions(("A/USD", "B/USD"), ("raw_books",))[1:]
    settings = KrakenSettings()
    assert asyncio.run(venue.address(one)) == settings.level3_url
    assert asyncio.run(venue.address(other)) == settings.level3_url
    tokens = [json.loads(venue.subscribe(w)[0].text)["params"]["token"] for w in (one, other)]
    assert tokens == ["token-0", "token-1"]
    asyncio.run(venue.address(one))  # connected anew
    assert json.loads(venue.unsubscribe(one[0], 5))["params"] == {
        "channel": "level3", "symbol": ["A/USD"], "depth": 10, "token": "token-2",
    }  # fmt: skip
    assert asyncio.run(venue.address(subscriptions(("A/USD",), ("books",)))) == "ws://x"


def test_level3_without_a_token_is_a_wrong_setting():
    settings: FeedSettings = KrakenSettings(symbols=("A/USD",), channels=("books", "raw_books"))
    with pytest.raises(ConfigError, match=r"venues\.kraken\.channels has raw_books.*token"):
        open_venue("kraken", settings, "ws://x")


def test_ping_and_opening():
    venue = venue_of("books")
    assert json.loads(venue.ping())["method"] == "ping"
    assert venue.opening(0) == []
    assert venue.ends_are_confirmed


def test_instruments_are_asked_for_once_without_a_symbol():
    venue = venue_of("books", "instruments")
    (text,) = venue.opening(0)
    asked = json.loads(text)
    assert asked["params"] == {"channel": "instrument", "snapshot": True}
    assert asked_for(asked["req_id"])[0] == ""  # a refusal is no market stream's
    assert venue.opening(1) == []


@pytest.mark.parametrize("channels", [("instruments",), ("raw_books", "instruments")])
def test_instruments_alone_open_no_connection_and_are_a_wrong_setting(channels):
    with pytest.raises(ConfigError, match=r"venues\.kraken\.channels has instruments.*add ticker"):
        venue_of(*channels)
