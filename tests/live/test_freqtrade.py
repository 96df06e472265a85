"""Orders at the real Freqtrade, dry-run: whatever breaks, the ledger is the bot afterwards."""

from decimal import Decimal

import pytest

from schemas.trading import (
    AccountAway,
    AccountConnected,
    KillLevel,
    OrderAdopted,
    OrderState,
    Reconciled,
)
from tests.freqtrade import freqtrade_bot
from tests.freqtrade_desk import Desk, access_of, assert_agrees, desk_of
from tests.helpers import wait_until
from tests.kraken_stub import KrakenStub, kraken_stub

pytestmark = pytest.mark.live
S = OrderState
ETH = "XETHZUSD"


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
    """The module's bot as each test wants it: alive, without trades, the market at 3000."""
    venue.down = False
    venue.prices[ETH] = Decimal(3000)
    if shared_bot.process is None:
        shared_bot.start()
    yield shared_bot
    venue.down = False
    if shared_bot.process is None:
        return
    shared_bot.ask("start", {})
    for trade in shared_bot.status():
        shared_bot.ask(f"trades/{trade['trade_id']}", method="DELETE")
    wait_until(lambda: shared_bot.status() == [], what="the bot to be empty")


@pytest.fixture
def desk(tmp_path, bot):
    with desk_of(tmp_path, bot) as one:
        one.connect()
        yield one


def cross(venue: KrakenStub, price: int) -> None:
    venue.prices[ETH] = Decimal(price)


def bought(desk: Desk, quantity: str = "0.17241379"):
    order = desk.send(quantity)
    desk.reach(order, S.FILLED)
    return order


def test_an_entry_rests_fills_when_the_market_comes_and_is_sold_in_parts(venue, bot, desk):
    entry = desk.send("0.17241379", price="2900.00")
    desk.reach(entry, S.ACKED)
    assert_agrees(desk, bot)
    cross(venue, 2800)
    desk.reach(entry, S.FILLED)
    assert str(entry.filled) == "0.17241379"
    assert_agrees(desk, bot)
    part = desk.send("0.05", side="sell")
    desk.reach(part, S.FILLED)
    assert_agrees(desk, bot)
    rest = desk.send("0.12241379", side="sell", price="2850.00")
    desk.reach(rest, S.ACKED)
    assert_agrees(desk, bot)
    cross(venue, 2900)
    desk.reach(rest, S.FILLED)
    assert desk.position() == 0
    assert_agrees(desk, bot)
    assert desk.alarms() == set()


@pytest.mark.parametrize("quantity", ["0.17241379", "0.1", "0.33333333", "1.00000001", "0.07"])
def test_the_bot_buys_the_very_quantity_that_was_asked_for(bot, desk, quantity):
    order = bought(desk, quantity)
    assert str(order.filled.normalize()) == str(order.quantity.normalize())


def test_an_entry_is_cancelled_and_its_number_given_to_the_next_one(bot, desk):
    first = desk.send("0.1", price="2900.00")
    desk.reach(first, S.ACKED)
    number = bot.status()[0]["trade_id"]
    desk.broker.cancel(first.intent.command_id)
    desk.reach(first, S.CANCELED)
    second = desk.send("0.1", price="2910.00")
    desk.reach(second, S.ACKED)
    assert bot.status()[0]["trade_id"] == number
    desk.broker.cancel(first.intent.command_id)
    assert_agrees(desk, bot)
    assert second.state is S.ACKED


def test_an_exit_is_cancelled_and_made_again_at_another_price(venue, bot, desk):
    bought(desk)
    resting = desk.send("0.17241379", side="sell", price="3100.00")
    desk.reach(resting, S.ACKED)
    desk.broker.cancel(resting.intent.command_id)
    desk.reach(resting, S.CANCELED)
    assert_agrees(desk, bot)
    again = desk.send("0.17241379", side="sell", price="3050.00")
    desk.reach(again, S.ACKED)
    cross(venue, 3060)
    desk.reach(again, S.FILLED)
    assert_agrees(desk, bot)


def test_what_the_bot_would_do_wrong_is_refused_here(bot, desk):
    too_much = desk.send("4", price="2900.00")
    desk.reach(too_much, S.EXPIRED)
    assert "buy less" in too_much.text
    nothing = desk.send("0.1", side="sell")
    desk.reach(nothing, S.EXPIRED)
    assert "nothing of ours" in nothing.text
    first = desk.send("0.1", price="2900.00")
    desk.reach(first, S.ACKED)
    second = desk.send("0.1", price="2900.00")
    desk.reach(second, S.EXPIRED)
    assert "open trade" in second.text
    assert_agrees(desk, bot)


def test_dust_that_a_partial_exit_would_leave_is_the_bots_refusal(bot, desk):
    bought(desk, "0.1")
    dust = desk.send("0.09999", side="sell")
    desk.reach(dust, S.REJECTED)
    assert "too small" in dust.text
    assert_agrees(desk, bot)


def test_a_pulled_switch_lets_nothing_through_and_stops_the_bots_entries(bot, desk):
    desk.gate.level[0] = KillLevel.PAUSE
    order = desk.send("0.1", price="2900.00")
    desk.reach(order, S.EXPIRED)
    assert order.text == "the kill switch is on"
    desk.agree()
    assert bot.state() == "paused"
    desk.gate.level[0] = KillLevel.NONE
    desk.agree()
    assert bot.state() == "running"
    assert_agrees(desk, bot)


def test_exits_go_through_a_pause_and_bring_a_stopped_bot_to_life(bot, desk):
    bought(desk)
    desk.gate.level[0] = KillLevel.PAUSE
    bot.ask("stop", {})
    wait_until(lambda: bot.state() == "stopped")
    order = desk.send("0.17241379", side="sell")
    desk.reach(order, S.FILLED)
    assert bot.state() == "paused"
    assert_agrees(desk, bot)


def test_two_entries_at_once_are_two_calls_one_after_the_other(venue, bot, desk):
    with venue.hold("Depth") as waiting:
        first = desk.send("0.1", price="2900.00")
        waiting(1)
        second = desk.send("0.1", price="2900.00")
        other = desk.send("0.002", price="59000.00", instrument=1)
    desk.reach(first, S.ACKED)
    desk.reach(second, S.EXPIRED)
    desk.reach(other, S.ACKED)
    assert len(bot.status()) == 2
    assert_agrees(desk, bot)


def test_a_bot_killed_with_a_resting_entry_fills_it_unseen_and_it_is_found(venue, bot, desk):
    entry = desk.send("0.1", price="2900.00")
    desk.reach(entry, S.ACKED)
    bot.kill()
    desk.until(lambda: not desk.agreed, "the bot to be away")
    cross(venue, 2800)
    bot.start()
    desk.connect()
    desk.reach(entry, S.FILLED)
    assert bot.state() == "running"
    assert_agrees(desk, bot)


def test_a_bot_killed_in_the_middle_of_an_entry_is_asked_for_it_afterwards(venue, bot, desk):
    with venue.hold("Depth") as waiting:
        entry = desk.send("0.1", price="2900.00")
        waiting(1)
        bot.kill()
        desk.reach(entry, S.UNKNOWN)
    bot.start()
    desk.connect()
    # Nobody can say, so for as long as the call could go on it is asked for and not given up.
    assert entry.state is S.UNKNOWN
    another = desk.send("0.002", price="59000.00", instrument=1)
    desk.reach(another, S.EXPIRED)
    assert "not known yet" in another.text
    assert bot.status() == []


def test_a_venue_that_is_gone_leaves_no_trade_and_no_doubt_at_a_dry_bot(venue, bot, desk):
    venue.down = True
    entry = desk.send("0.1", price="2900.00")
    desk.reach(entry, S.EXPIRED)
    assert entry.unknown
    venue.down = False
    assert_agrees(desk, bot)
    held = bought(desk)
    venue.down = True
    leaving = desk.send("0.17241379", side="sell")
    desk.reach(leaving, S.EXPIRED)
    venue.down = False
    assert_agrees(desk, bot)
    assert desk.position() == held.filled


def test_an_answer_that_comes_too_late_is_found_by_its_tag(venue, bot, tmp_path, monkeypatch):
    monkeypatch.setattr("venues.freqtrade.client.ACT_S", 0.3)
    with desk_of(tmp_path, bot) as desk:
        desk.connect()
        with venue.hold("Depth") as waiting:
            entry = desk.send("0.1", price="2900.00")
            waiting(1)
            desk.reach(entry, S.UNKNOWN)
        desk.reach(entry, S.ACKED)
        assert_agrees(desk, bot)


def test_execution_that_ends_in_between_takes_up_where_it_was(venue, bot, tmp_path):
    with desk_of(tmp_path, bot) as first:
        first.connect()
        entry = first.send("0.1", price="2900.00")
        first.reach(entry, S.ACKED)
    cross(venue, 2800)
    wait_until(lambda: bot.status()[0]["amount"] > 0, what="the fill, with nobody there")
    with desk_of(tmp_path, bot) as second:
        second.connect()
        known = second.orders[entry.intent.command_id]
        second.reach(known, S.FILLED)
        leaving = second.send("0.1", side="sell")
        second.reach(leaving, S.FILLED)
        assert_agrees(second, bot)
    with desk_of(tmp_path, bot) as third:
        third.connect()
        assert_agrees(third, bot)
        assert all(order.state is S.FILLED for order in third.orders.values())


def test_a_trade_of_somebody_else_is_alarmed_and_left_alone(bot, desk):
    bot.ask("start", {})
    body = {"pair": "BTC/USD", "price": 59000, "ordertype": "limit", "stakeamount": 100}
    assert bot.ask("forceenter", {**body, "entry_tag": "by hand"})[0] == 200
    desk.agree()
    assert desk.alarms() == {"FOREIGN_TRADE"}
    assert desk.gate.level[0] == KillLevel.NONE
    assert len(bot.status()) == 1
    desk.broker.cancel_all()
    wait_until(lambda: bot.status() == [], what="the kill switch's sweep")


def sell_by_hand(bot, amount: float | None = None) -> None:
    body = {"tradeid": bot.status()[0]["trade_id"], "ordertype": "market"}
    more = {} if amount is None else {"amount": amount}
    assert bot.ask("forceexit", {**body, **more})[0] == 200


def test_what_a_person_sells_at_the_bot_is_booked_and_trading_goes_on(bot, desk):
    bought(desk)
    sell_by_hand(bot, 0.05)
    desk.until(lambda: desk.position() == Decimal("0.12241379"), "its exit to be booked")
    assert "MADE_THERE" in desk.alarms()
    assert desk.gate.level[0] == KillLevel.NONE
    assert_agrees(desk, bot)
    ours = desk.send("0.05", side="sell")
    desk.reach(ours, S.FILLED)
    sell_by_hand(bot)
    desk.until(lambda: desk.position() == 0, "the rest")
    assert_agrees(desk, bot)
    assert desk.alarms() == {"MADE_THERE"}


@pytest.mark.parametrize("ahead_s", [0.0, 90_000.0], ids=["at once", "a day later"])
@pytest.mark.parametrize("dies", [False, True], ids=["away", "dies over it"])
def test_what_was_sold_while_nobody_looked_is_booked_once(bot, tmp_path, dies, ahead_s):
    """A life that dies when it has noted what was sold, and before its ledger has it."""
    with desk_of(tmp_path, bot) as first:
        first.connect()
        bought(first)
    sell_by_hand(bot)
    wait_until(lambda: bot.status() == [], what="the trade to be closed")
    if dies:
        second = Desk(tmp_path, access_of(bot), ahead_s=ahead_s)
        wait_until(lambda: second.queue.qsize() and any(
            isinstance(event, AccountConnected) for event in list(second.queue.queue)
        ))  # fmt: skip
        second.reconcile()
        wait_until(lambda: any(
            isinstance(event, Reconciled) for event in list(second.queue.queue)
        ))  # fmt: skip
        assert any(isinstance(event, OrderAdopted) for event in list(second.queue.queue))
        second.die()
    for _ in range(2):  # the second finds nothing new
        with desk_of(tmp_path, bot, ahead_s=ahead_s) as last:
            last.connect()
            assert last.position() == 0
            assert_agrees(last, bot)
            assert last.gate.level[0] == KillLevel.NONE
            assert len(last.orders) == 2
    # Whom the ledger has let go is not begun anew.
    with desk_of(tmp_path, bot, ahead_s=ahead_s) as last:
        (adopted,) = (n for n, order in last.orders.items() if order.intent.side == "sell")
        del last.orders[adopted]
        last.let_go.add(adopted)
        last.connect()
        assert last.position() == 0
        assert adopted not in last.orders


def test_a_trade_that_is_gone_from_the_bot_is_said(bot, tmp_path):
    with desk_of(tmp_path, bot) as first:
        first.connect()
        bought(first)
    bot.ask(f"trades/{bot.status()[0]['trade_id']}", method="DELETE")
    with desk_of(tmp_path, bot) as second:
        second.connect()
        second.until(lambda: "TRADE_LOST" in second.alarms())
        assert second.gate.level[0] == KillLevel.PAUSE


def test_a_wrong_password_and_a_wrong_token_are_said_and_nothing_is_sent(bot, tmp_path):
    for name, said in (("password", "password"), ("ws_token", "ws_token")):
        with desk_of(tmp_path / name, bot, **{name: "wrong-word"}) as desk:
            desk.until(lambda d=desk: any(isinstance(f, AccountAway) for f in d.facts))
            away = next(f for f in desk.facts if isinstance(f, AccountAway))
            assert said in away.text
            assert "wrong-word" not in away.text
            order = desk.send("0.1", price="2900.00")
            desk.reach(order, S.EXPIRED)
    assert bot.status() == []


def test_a_bot_that_stands_still_is_away_and_nothing_is_sent_to_it(bot, tmp_path, monkeypatch):
    monkeypatch.setattr("venues.freqtrade.client.READ_S", 0.5)
    with desk_of(tmp_path, bot) as desk:
        desk.connect()
        bot.freeze()
        try:
            order = desk.send("0.1", price="2900.00")
            desk.reach(order, S.EXPIRED)
            assert order.text == "the bot is away"
            assert not desk.agreed
        finally:
            bot.thaw()
        desk.connect()
        assert bot.status() == []
        again = desk.send("0.1", price="2900.00")
        desk.reach(again, S.ACKED)
        assert_agrees(desk, bot)


def test_a_cancel_that_comes_too_late_changes_nothing(venue, bot, desk):
    entry = desk.send("0.1", price="2900.00")
    desk.reach(entry, S.ACKED)
    cross(venue, 2800)
    wait_until(lambda: bot.status()[0]["amount"] > 0, what="the fill")
    desk.broker.cancel(entry.intent.command_id)
    desk.reach(entry, S.FILLED)
    desk.broker.cancel(entry.intent.command_id)
    desk.broker.cancel("0" * 32)
    assert_agrees(desk, bot)


def test_an_order_that_is_handed_over_twice_is_sent_once(bot, desk):
    entry = desk.send("0.1", price="2900.00")
    desk.reach(entry, S.ACKED)
    assert desk.broker.submit(entry.intent)
    desk.broker.cancel(entry.intent.command_id)
    desk.reach(entry, S.CANCELED)
    assert desk.broker.submit(entry.intent)
    assert_agrees(desk, bot)
    assert bot.status() == []


def test_a_bot_that_reloads_begins_paused_and_is_let_run_again(bot, desk):
    bot.ask("reload_config", {})
    desk.until(lambda: not desk.agreed, "the link to end")
    desk.connect()
    assert bot.state() == "running"
    desk.gate.level[0] = KillLevel.PAUSE
    bot.ask("reload_config", {})
    desk.until(lambda: not desk.agreed, "the link to end")
    desk.connect()
    assert bot.state() == "paused"
