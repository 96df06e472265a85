"""What a reading makes of an order: every row of the table, and any way that a bot may go."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.execution.brokers.freqtrade.command import fill_name
from processes.execution.brokers.freqtrade.made_there import (
    command_of_theirs,
    exits_made_there,
    held_nowhere,
)
from processes.execution.brokers.freqtrade.outcomes import (
    WINDOW_NS,
    Alarm,
    differences,
    exit_amount,
    news_of,
    strangers,
    trade_to_exit,
)
from processes.execution.orders import Order
from schemas.decisions import MESSAGE_BYTES
from schemas.trading import (
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderState,
)
from tests.unit.execution.freqtrade.makers import (
    EXIT_ID,
    OPENED_MS,
    SECOND,
    T0,
    TAG,
    entry,
    leaving,
    order,
    reading,
    trade,
)

LATER_S = WINDOW_NS / SECOND + 1
DRY_ID = "dry_run_buy_ETH/USD_bc3eddce-b11b-4533-bd73-7035d259ba42"


def kinds(news) -> list[type]:
    return [type(event) for event in news.events]


def ended(command, found=None) -> tuple[list[type], set[str]]:
    news = news_of(command, found or reading(), T0)
    return kinds(news), {alarm.code for alarm in news.alarms}


# ---- the bot shows the order


def test_a_resting_entry_is_accepted_once():
    command = entry()
    found = reading(trade(order(DRY_ID)))
    news = news_of(command, found, T0)
    assert news.events == [OrderAccepted(TAG, DRY_ID, T0)]
    assert news.open
    assert command.opened_ms == OPENED_MS
    again = news_of(command, found, T0)
    assert again.events == []
    assert again.open


def test_a_partly_filled_entry_is_read_from_its_order_and_not_from_its_trade():
    command = entry()
    news_of(command, reading(trade(order(filled="0.4"), amount=Decimal(0))), T0)
    assert command.filled == Decimal("0.4")
    assert not command.over
    news = news_of(command, reading(trade(order(filled="1"))), T0)
    assert kinds(news) == [OrderFilled]
    assert command.over
    assert command.filled == 1


def test_fills_come_to_the_average_that_the_bot_has_and_carry_their_fee():
    command = entry()
    for done, average in (("0.4", "100"), ("1", "103")):
        news_of(command, reading(trade(order(filled=done, safe_price=Decimal(average)))), T0)
    assert command.cost == 103
    first, second = (event for event in command.told if isinstance(event, OrderFilled))
    assert (first.price, second.price) == ("100", "105")
    assert (first.fee, second.fee) == ("0.104", "0.1638")
    assert first.fee_currency == "USD"
    assert first.fill_id == fill_name("dry_run_buy", Decimal("0.40"))
    assert first.fill_id != second.fill_id


def test_a_fee_that_the_bot_knows_of_an_order_that_is_over_is_taken_as_it_is():
    command = entry()
    news_of(command, reading(trade(order(filled="0.4"))), T0)
    news_of(command, reading(trade(order(filled="1"), fee_open_cost=Decimal("0.3"))), T0)
    assert command.fees == Decimal("0.3")
    bought, whole = order(filled="1"), order("sell-1", "1", "1", "sell")
    one = leaving()
    news_of(one, reading(trade(bought, whole, fee_close_cost=Decimal("0.7"))), T0)
    assert one.fees == Decimal("0.7")
    second = leaving("0.5", before=["sell-1"])
    half, rest = order("sell-1", "0.5", "0.5", "sell"), order("sell-2", "0.5", "0.5", "sell")
    news_of(second, reading(trade(bought, half, rest, fee_close_cost=Decimal("0.7"))), T0)
    assert second.fees == Decimal("0.13")


@pytest.mark.parametrize(
    ("status", "text"),
    [("canceled", "canceled"), ("expired", "expired"), ("closed", "the bot ordered less")],
)
def test_an_order_that_ended_with_less_is_cancelled_for_the_rest(status, text):
    command = entry()
    shown = order(filled="0.4", status=status, is_open=False)
    news = news_of(command, reading(trade(shown)), T0)
    assert kinds(news) == [OrderAccepted, OrderFilled, OrderCanceled]
    assert news.events[-1].text == text
    assert not news.open
    assert command.over


def test_a_trade_that_was_closed_meanwhile_still_tells_its_entry():
    command = entry()
    done = trade(order(filled="1"), is_open=False, close_timestamp=OPENED_MS + 5)
    assert kinds(news_of(command, reading(closed=[done]), T0)) == [OrderAccepted, OrderFilled]


def test_a_trade_with_the_number_of_ours_and_another_tag_is_not_ours():
    command = entry(order_id="dry_run_buy", opened_ms=OPENED_MS)
    other = trade(order(), enter_tag="f" * 32)
    assert ended(command, reading(other)) == ([OrderCanceled], set())
    same_tag_later = trade(order(), open_timestamp=OPENED_MS + 1)
    assert ended(entry(order_id="x", opened_ms=OPENED_MS), reading(same_tag_later)) == (
        [OrderCanceled],
        set(),
    )


def test_an_exit_is_the_order_that_its_trade_did_not_have_before():
    command = leaving("0.5", before=["sell-1"])
    old = order("sell-1", "0.5", "0.5", "sell")
    held = trade(order(filled="1"), old)
    assert ended(command, reading(held)) == ([], set())
    fresh = order("sell-2", "0.5", "0.5", "sell")
    news = news_of(command, reading(trade(order(filled="1"), old, fresh)), T0)
    assert kinds(news) == [OrderAccepted, OrderFilled]
    assert command.order_id == "sell-2"


def test_of_several_new_exits_the_one_of_the_very_amount_is_ours_or_nobody_can_say():
    bought = order(filled="1")
    one = order("sell-1", "0.2", "0.2", "sell")
    two = order("sell-2", "0.5", "0.5", "sell")
    command = leaving("0.5")
    assert ended(command, reading(trade(bought, one, two)))[0] == [OrderAccepted, OrderFilled]
    assert command.order_id == "sell-2"
    unclear = leaving("0.3")
    found = reading(trade(bought, one, two), after_s=LATER_S)
    assert ended(unclear, found) == ([], {"AMBIGUOUS"})
    assert not unclear.over


# ---- the bot does not show it: the table of the module


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("make", [entry, leaving])
def test_what_was_never_handed_over_expires(make, live):
    held = [] if make is entry else [trade(order(filled="1"))]
    assert ended(make(sent_ns=0), reading(*held, live=live))[0] == [OrderExpired]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("make", [entry, leaving])
def test_what_the_bot_refused_and_does_not_have_is_rejected(make, live):
    held = [] if make is entry else [trade(order(filled="1"))]
    command = make(refusal="too small", answered=True)
    news = news_of(command, reading(*held, live=live), T0)
    assert news.events == [OrderRejected(command.id, T0, "too small")]


@pytest.mark.parametrize("make", [entry, leaving])
def test_a_false_refusal_is_seen_through(make):
    """A 502 for what was carried out: the order is there."""
    own = order() if make is entry else order("sell-1", "0", "1", "sell")
    orders = [own] if make is entry else [order(filled="1"), own]
    news = news_of(make(refusal="already open", answered=True), reading(trade(*orders)), T0)
    assert kinds(news) == [OrderAccepted]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("make", [entry, leaving])
def test_a_call_without_an_answer_is_waited_for_as_long_as_it_can_go_on(make, live):
    held = [] if make is entry else [trade(order(filled="1"))]
    for after_s in (0.1, 30, WINDOW_NS / SECOND - 1):
        command = make()
        assert ended(command, reading(*held, after_s=after_s, live=live)) == ([], set())
        assert not command.over


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("make", [entry, leaving])
def test_what_a_dry_bot_does_not_know_after_that_never_was(make, answered):
    held = [] if make is entry else [trade(order(filled="1"))]
    found = reading(*held, after_s=0.1 if answered else LATER_S)
    assert ended(make(answered=answered), found) == ([OrderExpired], set())


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("make", [entry, leaving])
def test_what_a_live_bot_does_not_know_may_be_at_the_venue_for_ever(make, answered):
    held = [] if make is entry else [trade(order(filled="1"))]
    command = make(answered=answered)
    found = reading(*held, after_s=LATER_S, live=True)
    assert ended(command, found) == ([], {"VENUE_CHECK"})
    assert ended(command, found) == ([], set())  # said once
    assert not command.over
    if make is entry:
        assert kinds(news_of(command, reading(trade(order()), live=True), T0)) == [OrderAccepted]


def test_an_accepted_entry_that_is_gone_was_cancelled_without_a_fill():
    command = entry(order_id="dry_run_buy", opened_ms=OPENED_MS)
    assert ended(command) == ([OrderCanceled], set())


def test_an_accepted_exit_that_is_gone_was_cancelled_without_a_fill():
    command = leaving(order_id="sell-1")
    assert ended(command, reading(trade(order(filled="1")))) == ([OrderCanceled], set())


def test_fills_that_were_told_cannot_vanish():
    command = entry()
    news_of(command, reading(trade(order(filled="0.4"))), T0)
    assert ended(command) == ([], {"TRADE_LOST"})
    assert ended(command, reading(trade(order(filled="0.3")))) == ([], {"TRADE_LOST"})
    assert ended(command, reading(trade())) == ([], {"TRADE_LOST"})
    gone = leaving()
    assert ended(gone) == ([], {"TRADE_LOST"})
    assert not command.over


# ---- after the end


def test_an_entry_that_comes_to_life_after_its_end_is_told_and_wanted_cancelled():
    command = entry(answered=True)
    news_of(command, reading(), T0)
    assert command.over
    news = news_of(command, reading(trade(order(filled="0.4"))), T0)
    assert kinds(news) == [OrderAccepted, OrderFilled]
    assert news.open
    assert command.cancel_wanted
    rest = news_of(command, reading(trade(order(filled="0.4", is_open=False))), T0)
    assert (rest.events, rest.open) == ([], False)


def test_an_exit_that_was_refused_does_not_take_a_later_exits_order():
    refused = leaving(refusal="too small", answered=True)
    held = order(filled="1")
    news_of(refused, reading(trade(held)), T0)
    later = reading(trade(held, order("sell-9", "1", "1", "sell")))
    assert ended(refused, later) == ([], set())
    assert refused.order_id == ""


# ---- any way a bot may go


@st.composite
def lives(draw):
    """What a bot shows of one order, look by look: it only ever fills up, ends, or is erased."""
    filled, steps = Decimal(0), []
    for _ in range(draw(st.integers(0, 5))):
        filled = min(Decimal(1), filled + draw(st.sampled_from([0, 1, 3])) * Decimal("0.25"))
        steps.append((filled, True))
    ends = draw(st.sampled_from(["open", "ended", "erased"]))
    if ends == "ended":
        steps.append((filled, False))
    elif ends == "erased" and not filled:
        steps.append((None, False))
    return [step for step in steps for _ in range(draw(st.integers(1, 3)))]


@given(lives(), st.sampled_from([entry, leaving]), st.booleans())
def test_orders_follow_the_bot_whatever_it_does_and_however_often_it_is_looked_at(life, make, lost):
    """The order that the events make is what the bot showed last; told twice makes no
    difference."""
    command = make(sent_ns=T0)
    ledger = Order.of(command.intent)
    ledger.sent = True
    told = []
    for filled, is_open in life:
        side = "buy" if make is entry else "sell"
        shown = (
            []
            if filled is None
            else [order("own", str(filled), side=side, is_open=is_open and filled < 1)]
        )
        bought = [order("first", "1")] if make is leaving else []
        held = trade(*bought, *shown)
        found = reading(*([held] if held.orders else []))
        if lost:  # its memory is read back from disk each time
            command = msgspec.json.decode(msgspec.json.encode(command), type=type(command))
        told += news_of(command, found, T0).events
    for event in [*told, *told]:
        ledger.add(event)
    last = next((filled for filled, _ in reversed(life) if filled is not None), Decimal(0))
    assert ledger.filled == last == command.filled
    names = [event.fill_id for event in told if isinstance(event, OrderFilled)]
    assert len(names) == len(set(names))
    assert ledger.open == (not command.over)
    if life and not life[-1][1] and life[-1][0] is not None:
        assert ledger.state in {OrderState.FILLED, OrderState.CANCELED}


# ---- what is not an order


def test_trades_without_a_tag_of_ours_are_strangers():
    ours, other, untagged = (
        trade(order(), enter_tag=tag, pair=pair)
        for tag, pair in ((TAG, "ETH/USD"), ("by hand", "BTC/USD"), (None, "ADA/USD"))
    )
    assert strangers(reading(ours, other, untagged), {TAG}) == [other, untagged]


def test_a_trade_that_holds_another_amount_than_our_orders_is_seen_when_they_are_over():
    bought = entry()
    found = reading(trade(order(filled="1")))
    news_of(bought, found, T0)
    assert differences(found, [bought]) == []
    sold_by_hand = trade(order(filled="1"), order("sell", "0.4", "0.4", "sell"))
    (alarm,) = differences(reading(sold_by_hand), [bought])
    assert isinstance(alarm, Alarm)
    assert alarm.code == "POSITION_DIFFERS"
    assert "0.6" in alarm.text
    assert differences(reading(sold_by_hand), [bought, leaving("0.4")]) == []  # it is being told
    sold = leaving("0.4")
    news_of(sold, reading(sold_by_hand), T0)
    assert differences(reading(sold_by_hand), [bought, sold]) == []


def test_an_exit_goes_to_the_oldest_open_trade_of_ours_that_holds_something():
    def of(tag, opened, filled="1", pair="ETH/USD"):
        return trade(order(filled=filled), enter_tag=tag, open_timestamp=opened, pair=pair)

    old, young, empty = of("a", 5), of("b", 6), of("c", 1, "0")
    foreign, elsewhere = of("x", 2), of("a", 3, pair="BTC/USD")
    found = reading(young, old, empty, foreign, elsewhere)
    assert trade_to_exit(found, "ETH/USD", {"a", "b", "c"}) == old
    assert trade_to_exit(found, "ETH/USD", {"c"}) is None
    assert trade_to_exit(reading(closed=[old]), "ETH/USD", {"a"}) is None


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("0.4", "0.4"),
        ("1", None),
        ("1.5", None),
        ("0.99999999", None),
        ("0.99999998", "0.99999998"),
    ],
)
def test_all_of_a_trade_is_exited_as_all_of_it(quantity, amount):
    wanted = None if amount is None else Decimal(amount)
    assert exit_amount(Decimal(quantity), trade(order(filled="1"))) == wanted


def test_the_longest_events_fit_a_slot():
    huge = order("dry_run_sell_" + "X" * 60, "123456789.12345678", "123456789.12345678", "sell")
    command = leaving("123456789.12345678")
    news = news_of(command, reading(trade(order(filled="123456789.12345678"), huge)), T0)
    assert [type(event) for event in news.events] == [OrderAccepted, OrderFilled]
    for event in news.events:
        assert len(msgspec.msgpack.encode(event)) <= MESSAGE_BYTES
    assert news.events[0].command_id == EXIT_ID


def test_exits_that_nobody_here_has_made_are_seen_when_ours_are_over():
    bought = entry()
    whole = trade(order(filled="1"))
    news_of(bought, reading(whole), T0)
    assert exits_made_there(reading(whole), [bought]) == []
    theirs = order("theirs", "0.4", "0.4", "sell", order_timestamp=OPENED_MS + 5)
    sold = trade(order(filled="1"), theirs)
    assert exits_made_there(reading(sold), [bought]) == [(sold, theirs)]
    assert exits_made_there(reading(sold), [bought, leaving("0.4")]) == []  # it may be ours
    command = command_of_theirs("bot", 3, sold, theirs)
    assert exits_made_there(reading(sold), [bought, command]) == []
    news_of(command, reading(sold), T0)
    assert command.over
    assert command.filled == Decimal("0.4")
    assert differences(reading(sold), [bought, command]) == []
    told = command.adopted
    assert (told.instrument, told.side, told.quantity) == (3, "sell", "0.4")
    assert told.time_ns == (OPENED_MS + 5) * 10**6
    assert told.command_id == command_of_theirs("bot", 3, sold, theirs).id
    assert told.command_id != command_of_theirs("other", 3, sold, theirs).id
    stranger = trade(order(filled="1"), theirs, enter_tag="by hand")
    assert exits_made_there(reading(stranger), [bought]) == []


def test_what_is_held_and_not_shown_is_looked_for():
    bought = entry()
    whole = trade(order(filled="1"))
    news_of(bought, reading(whole), T0)
    assert held_nowhere(reading(whole), [bought]) == []
    assert held_nowhere(reading(closed=[whole]), [bought]) == []
    assert held_nowhere(reading(), [bought]) == [bought]
    sold = trade(order(filled="1"), order("theirs", "1", "1", "sell"))
    command = command_of_theirs("bot", 0, sold, sold.exits[0])
    news_of(command, reading(sold), T0)
    assert held_nowhere(reading(), [bought, command]) == []
