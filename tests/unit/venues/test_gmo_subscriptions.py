"""GMO Coin acknowledges nothing: how a subscription is known to be live, refused, or to be asked
again, with the time given."""

import json

import msgspec
import pytest

from config.loader import load
from schemas import tape
from schemas.feeds import GmoSettings
from schemas.tape import Kind, Marker, MarkerReason
from tests.feeding import Feed, Tables
from tests.unit.venues.gmo_frames import book, error, ticker, trade
from venues.gmo.codec import GmoCodec, number_of
from venues.gmo.subscriptions import BOTH_SIDES, command, wanted_streams
from venues.gmo.symbols import common_pair
from venues.gmo.venue import open_venue
from venues.registry import wanted_streams as registered_streams
from venues.wire import Acknowledged, Refused, Subscription

S = 1_000_000_000


def subscriptions(**settings) -> list[Subscription]:
    tables = Tables("gmo")
    found = []
    for symbol, pair, channel, parameters, primary in wanted_streams(
        GmoSettings(**{"symbols": ("BTC", "BTC_JPY"), **settings})
    ):
        instrument, stream = tables.allot(symbol, pair, channel, parameters)
        found.append(Subscription(instrument=instrument, stream=stream, primary=primary))
    return found


class Live(Feed):
    """A live connection's codec, and what was wanted on it."""

    def __init__(self, **settings) -> None:
        self.wanted = subscriptions(**settings)
        super().__init__(GmoCodec, tolerant=False, subscriptions=self.wanted, settle_s=2.2)
        self.codec._allot = None
        self.codec.open(1, 1)

    def of(self, channel: str, symbol: str = "BTC_JPY") -> Subscription:
        return next(
            each
            for each in self.wanted
            if (each.stream.channel, each.instrument.symbol) == (channel, symbol)
        )

    def ask(self, channel: str, symbol: str = "BTC_JPY") -> Subscription:
        wanted = self.of(channel, symbol)
        self.codec.sent(wanted)
        return wanted

    def tick(self, seconds: float) -> list:
        found = self.codec.tick(round(seconds * S))
        self.codec.flush()
        return found


def test_one_number_has_one_name(monkeypatch):
    fed = Live()
    fed.ask("trades", "BTC")
    assert [type(notice) for notice in fed.tick(1) + fed.tick(4)] == [Acknowledged]
    number = number_of(fed.of("trades", "BTC"))
    monkeypatch.setattr("venues.gmo.codec.channel_number", lambda *_: number)
    wanted = fed.ask("trades", "BTC_JPY")
    (refused,) = fed.tick(5) + fed.tick(8)
    assert (type(refused), refused.subscription) == (Refused, wanted)
    assert "one number" in refused.text
    assert [what for what, *_ in fed.codec.data_ns()] == [fed.of("trades", "BTC")]


def test_the_first_frame_is_the_acknowledgement():
    fed = Live()
    wanted = fed.ask("books")
    assert fed.tick(1) == []
    fed.frames([book([("2", "1")], [("1", "1")]), book([("2", "2")], [("1", "1")])], recv_ns=2 * S)
    assert fed.notices == [Acknowledged(channel_id=number_of(wanted), subscription=wanted)]
    assert fed.codec.data_ns() == [(wanted, number_of(wanted), 2 * S)]
    assert len(fed.slots[fed.slots["kind"] == Kind.BOOK_LEVEL]) == 3


def test_a_silent_trades_channel_is_accepted_when_no_error_came_in_time():
    fed = Live()
    wanted = fed.ask("trades")
    assert fed.tick(10) == []
    assert fed.tick(12.1) == []
    assert fed.tick(12.2) == [Acknowledged(channel_id=number_of(wanted), subscription=wanted)]
    assert fed.markers() == ["SUBSCRIBED"]
    assert fed.tick(99) == []
    fed.frames([trade()], recv_ns=100 * S)
    assert fed.notices == []
    assert fed.kinds()["trade"] == 1


def test_a_book_is_not_accepted_by_silence():
    """It comes within seconds; without it the command was lost and must be sent again."""
    fed = Live()
    wanted = fed.ask("books")
    fed.tick(1)
    assert fed.tick(1000) == []
    fed.ask("books")
    fed.frames([book([], [])], recv_ns=1001 * S)
    assert [notice.subscription for notice in fed.notices] == [wanted]


def test_frames_of_what_nobody_asked_for_are_counted_only():
    fed = Live().frames([book([("2", "1")], []), trade(), ticker(symbol="ZZZ")])
    assert fed.notices == []
    assert fed.codec.unknown_frames == 3
    assert len(fed.slots) == 0


def test_after_an_unsubscription_late_frames_are_nobodys():
    fed = Live()
    wanted = fed.ask("trades")
    fed.frames([trade()])
    fed.codec.mute(number_of(wanted))
    fed.frames([trade(), trade(size="x"), "garbage"])  # nobody's holes any more
    assert fed.codec.end_channel(number_of(wanted))
    fed.codec.flush()
    fed.frames([trade()])
    assert fed.kinds()["trade"] == 1
    assert fed.codec.unknown_frames == 1
    fed.ask("trades")
    fed.frames([trade()])
    assert fed.kinds()["trade"] == 2
    assert fed.markers() == ["SUBSCRIBED", "UNSUBSCRIBED", "SUBSCRIBED"]


def test_an_error_is_of_the_command_sent_last():
    fed = Live()
    fed.ask("books", "BTC")
    fed.frames([book([], [], symbol="BTC")])
    fed.ask("trades", "BTC")
    last = fed.ask("books", "BTC_JPY")
    fed.frames([error("ERR-5106 Invalid request parameter. symbol")])
    assert fed.notices[-1] == Refused(
        code=5106, text="Invalid request parameter. symbol", subscription=last
    )
    slots = tape.view_as(fed.slots, tape.MARKER)
    refused = slots[(slots["kind"] == Kind.MARKER) & (slots["marker"] == Marker.REFUSED)]
    assert refused["instrument"].tolist() == [last.instrument.index]
    assert refused["reason"].tolist() == [MarkerReason.VENUE_REFUSED]
    # The one before was not refused, and is accepted in its time.
    fed.tick(1)
    assert [type(notice) for notice in fed.tick(4)] == [Acknowledged]


def test_an_answered_command_is_not_the_one_refused():
    fed = Live()
    first = fed.ask("trades")
    fed.ask("books")
    fed.frames([book([], []), error("ERR-5106 Invalid request parameter. symbol")])
    assert fed.notices[-1].subscription is first


def test_an_error_after_an_unsubscription_is_nobodys():
    fed = Live()
    wanted = fed.ask("books")
    fed.frames([book([], [])])
    fed.ask("trades")
    fed.codec.end_channel(number_of(wanted))
    fed.frames([error("ERR-5106 Invalid request parameter. symbol")])
    assert fed.notices[-1].subscription is None


def test_what_was_refused_wrongly_is_live_when_its_data_comes():
    fed = Live()
    wanted = fed.ask("books")
    fed.frames([error("ERR-5106 Invalid request parameter. symbol"), book([], [])])
    assert [type(notice) for notice in fed.notices] == [Refused, Acknowledged]
    assert fed.notices[1].subscription is wanted


def test_a_refused_subscription_is_not_accepted_by_silence():
    fed = Live()
    fed.ask("trades")
    fed.frames([error("ERR-5106 Invalid request parameter. channel")])
    fed.tick(1)
    assert fed.tick(100) == []


def test_too_fast_is_asked_again_and_no_refusal():
    fed = Live()
    wanted = fed.ask("trades")
    fed.frames([error("ERR-5003 Request too many.")])
    assert fed.notices == [
        Refused(code=5003, text="Request too many.", subscription=wanted, permanent=False)
    ]
    assert fed.markers() == []
    fed.ask("trades")
    fed.tick(1)
    assert [type(notice) for notice in fed.tick(9)] == [Acknowledged]


def test_maintenance_is_marked_once_and_ends_with_the_first_frame():
    fed = Live()
    for code in (5201, 5202, 5203):
        wanted = fed.ask("books")
        fed.frames([error(f"ERR-{code} MAINTENANCE")])
        assert fed.notices[-1] == Refused(
            code=code, text="MAINTENANCE", subscription=wanted, permanent=False
        )
    fed.codec.open(2, 2)
    fed.ask("books")
    fed.frames([book([], [])])
    assert fed.markers() == [
        "MAINTENANCE_BEGIN", "MAINTENANCE_END", "SUBSCRIBED", "SNAPSHOT_BEGIN", "SNAPSHOT_END",
    ]  # fmt: skip


def test_a_new_connection_knows_nothing_of_the_last_ones_commands():
    fed = Live()
    fed.ask("trades")
    fed.tick(1)
    fed.codec.open(2, 2 * S)
    assert fed.tick(50) == []
    fed.frames([trade()])
    assert fed.codec.unknown_frames == 1


def test_books_come_first_and_the_first_is_primary():
    wanted = subscriptions()
    assert [each.stream.channel for each in wanted] == ["books"] * 2 + ["trades"] * 2 + [
        "ticker"
    ] * 2
    assert [each.primary for each in wanted] == [True] * 2 + [False] * 4


def test_commands():
    both = subscriptions(taker_only=False, symbols=("BTC",))
    taker = subscriptions(symbols=("BTC",))
    assert [json.loads(command("subscribe", each)) for each in taker] == [
        {"command": "subscribe", "channel": "orderbooks", "symbol": "BTC"},
        {"command": "subscribe", "channel": "trades", "symbol": "BTC", "option": "TAKER_ONLY"},
        {"command": "subscribe", "channel": "ticker", "symbol": "BTC"},
    ]
    assert "option" not in json.loads(command("subscribe", both[1]))
    venue = open_venue(GmoSettings(), "ws://127.0.0.1:1")
    assert json.loads(venue.unsubscribe(taker[0], 5))["command"] == "unsubscribe"
    assert [request.subscriptions for request in venue.subscribe(taker)] == [[x] for x in taker]
    assert venue.plan(taker) == [taker]
    assert (venue.ping(), venue.opening(0)) == ("", [])
    assert not venue.ends_are_confirmed
    assert venue.command_interval_s > 1.0


def test_both_sides_of_a_match_are_a_stream_of_their_own():
    """Files of the lake bear its name: nobody sums them by mistake."""
    both = next(x for x in subscriptions(taker_only=False) if x.stream.channel == "trades")
    taker = next(x for x in subscriptions() if x.stream.channel == "trades")
    assert both.stream.suffix == BOTH_SIDES
    assert taker.stream.suffix == ""
    fed = Live(taker_only=False)
    fed.ask("trades")
    fed.frames([trade(side="BUY"), trade(side="SELL")])
    assert fed.kinds()["trade"] == 2


@pytest.mark.parametrize(("symbol", "pair"), [("BTC", "BTC/JPY"), ("BTC_JPY", "BTC/JPY:PERP")])
def test_symbols_have_one_common_form(symbol, pair):
    assert common_pair(symbol) == pair


def test_the_profile_asks_for_what_the_venue_has():
    settings = load("gmo-paper", environment={}).venues
    assert list(settings.enabled()) == ["gmo"]
    assert settings.gmo.command_interval_s >= 1.1
    found = list(registered_streams("gmo", settings.gmo))
    assert [stream[:3] for stream in found[:2]] == [
        ("BTC_JPY", "BTC/JPY:PERP", "books"), ("ETH_JPY", "ETH/JPY:PERP", "books"),
    ]  # fmt: skip
    assert msgspec.json.encode(found)
