"""The killer at the real bot, execution being dead: cancelled, flat, and told to the ledger
later."""

import asyncio
import time
from decimal import Decimal

import pytest

from processes.killer.bots import BotEmergency
from schemas.instruments import Instrument
from schemas.trading import Intent, KillLevel, OrderState
from tests.freqtrade import freqtrade_bot
from tests.freqtrade_desk import PAIRS, assert_agrees, bot_position, desk_of
from tests.helpers import wait_until
from tests.kraken_stub import kraken_stub
from venues.freqtrade.client import Access, FreqtradeClient

pytestmark = pytest.mark.live
S = OrderState
INSTRUMENTS = {
    pair: Instrument(index=index, venue="kraken", symbol=pair, pair=pair)
    for index, pair in PAIRS.items()
}


@pytest.fixture(scope="module")
def venue():
    with kraken_stub() as one:
        yield one


@pytest.fixture(scope="module")
def shared_bot(venue):
    with freqtrade_bot(venue.url) as one:
        yield one


@pytest.fixture
def bot(venue, shared_bot):
    venue.down = False
    yield shared_bot
    venue.down = False
    for trade in shared_bot.status():
        shared_bot.ask(f"trades/{trade['trade_id']}", method="DELETE")
    wait_until(lambda: shared_bot.status() == [], what="the bot to be empty")


def kill(bot, level=KillLevel.FLATTEN, deadline_s=20.0, noted=None, **more):
    access = Access(bot.url, bot.user, more.pop("password", bot.password), "")
    emergency = BotEmergency(
        "bot", FreqtradeClient(access), more.pop("instruments", INSTRUMENTS),
        (noted if noted is not None else []).append, time.time_ns, may_be_live=False,
    )  # fmt: skip
    return asyncio.run(emergency.run(level, deadline_s, **more))


@pytest.fixture
def left_behind(tmp_path, bot):
    """A position, an order that rests, and a person's trade, as a dead execution leaves them."""
    with desk_of(tmp_path, bot) as desk:
        desk.connect()
        desk.reach(desk.send("0.2"), S.FILLED)
        desk.reach(desk.send("0.002", price="59000.00", instrument=1), S.ACKED)
    return tmp_path


def test_all_is_cancelled_and_closed_and_the_next_life_has_it_in_its_ledger(bot, left_behind):
    noted: list[Intent] = []
    bot.ask("stop", {})
    wait_until(lambda: bot.state() == "stopped")
    ended = kill(bot, noted=noted)
    assert ended.is_done, ended
    assert (ended.open_orders, ended.sent, ended.left) == (1, 1, {})
    assert 0 < ended.connected_ms <= ended.cancelled_ms <= ended.flat_ms
    assert bot.status() == []
    assert bot.state() == "paused"
    assert [(one.quantity, one.instrument, one.side) for one in noted] == [("0.2", 0, "sell")]
    with desk_of(left_behind, bot) as desk:
        for intent in noted:
            desk.take_up(intent)
        desk.connect()
        desk.reach(desk.orders[noted[0].command_id], S.FILLED)
        assert desk.position() == 0
        assert_agrees(desk, bot)
        assert desk.alarms() == set()


def test_a_lower_level_cancels_and_holds(bot, left_behind):
    ended = kill(bot, KillLevel.CANCEL)
    assert ended.is_done
    assert ended.sent == 0
    assert bot_position(bot) == Decimal("0.2")
    assert not any(trade["has_open_orders"] for trade in bot.status())
    assert bot.state() == "paused"


def test_a_drill_says_what_it_would_end_and_ends_nothing(bot, left_behind):
    bot.ask("start", {})
    wait_until(lambda: bot.state() == "running")
    ended = kill(bot, drill=True)
    assert (ended.open_orders, ended.sent) == (1, 0)
    assert list(ended.left.values()) == ["0.2"]
    assert len(bot.status()) == 2
    assert bot.state() == "running"


def test_a_persons_trade_is_left(bot):
    bot.ask("start", {})
    body = {"pair": "ETH/USD", "price": 3100, "ordertype": "market", "stakeamount": 200}
    assert bot.ask("forceenter", {**body, "entry_tag": "by hand"})[0] == 200
    ended = kill(bot)
    assert ended.is_done
    assert (ended.sent, len(bot.status())) == (0, 1)


def test_what_cannot_be_closed_is_said(venue, bot, left_behind):
    ended = kill(bot, instruments={})
    assert not ended.is_done
    assert "close it by hand" in str(ended.texts)
    venue.down = True
    ended = kill(bot, deadline_s=3.0)
    assert not ended.is_done
    assert "not done within 3 s" in ended.texts
    venue.down = False
    ended = kill(bot, deadline_s=0.5, password="wrong-word")
    assert ended.connected_ms is None
    assert "wrong-word" not in str(ended)
    assert "username and password" in str(ended.texts)
    assert kill(bot).is_done
