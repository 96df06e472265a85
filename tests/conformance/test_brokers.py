"""One suite for every broker at a venue: whatever goes wrong, ledger and venue come to agree.

Every story ends with `BrokerWorld.agree`: states, fills to the last unit, fees, balances.
"""

from decimal import Decimal

import pytest

from schemas.trading import AccountAway, AccountConnected, CancelNotSent, OrderState, Reconciled

S = OrderState


# ---- the ordinary


def test_it_connects_and_says_what_is_held(play):
    async def story(world):
        told = [type(fact) for fact in world.facts]
        assert told.index(AccountConnected) < told.index(Reconciled)
        assert {asset: Decimal(fact.total) for asset, fact in world.held.items()} == {
            asset: Decimal(text) for asset, text in world.subject.balances.items()
        }
        assert not world.alarms("foreign_order")

    play(story)


def test_what_is_held_on_margin_is_told_until_it_is_closed(play):
    async def story(world):
        symbol, quantity = world.subject.symbol, Decimal(world.subject.quantity)
        for side, signed in (("buy", quantity), ("sell", None)):
            number = world.submit(side, reduce_only=side == "sell")
            await world.reached(number, S.FILLED)
            world.on_margin.clear()
            await world.reconciled()
            told = {name: Decimal(fact.quantity) for name, fact in world.on_margin.items()}
            on_margin = not world.subject.spot and signed is not None
            assert told == ({symbol: signed} if on_margin else {})

    play(story)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_market_order_is_filled(play, side):
    async def story(world):
        number = world.submit(side)
        await world.reached(number, S.FILLED)

    play(story)


def test_a_large_order_has_many_fills(play):
    async def story(world):
        market = world.market
        depth = Decimal(market.depth(-1, 6)).scaleb(-8)
        number = world.submit("buy", quantity=f"{depth:.4f}")
        await world.reached(number, S.FILLED)
        assert len(world.fills[number]) > 3

    play(story)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_limit_order_rests_and_is_filled(play, side):
    async def story(world):
        number = world.rest(side)
        await world.reached(number, S.ACKED)
        await world.passed(3.0)
        assert world.state(number) is S.ACKED
        world.trade_through(side)
        await world.reached(number, S.FILLED)

    play(story)


def test_partial_fills_then_the_rest(play):
    async def story(world):
        world.fault("hold_fills", share="0.4")
        number = world.submit("buy", limit_price=world.price("sell", 20))
        await world.reached(number, S.PARTIALLY_FILLED)
        world.fault("release_fills")
        await world.reached(number, S.FILLED)

    play(story)


def test_a_resting_order_is_canceled(play):
    async def story(world):
        number = world.rest()
        await world.reached(number, S.ACKED)
        world.cancel(number)
        await world.reached(number, S.CANCELED)

    play(story)


def test_a_partly_filled_order_is_canceled(play):
    async def story(world):
        world.fault("hold_fills", share="0.4")
        number = world.submit("buy", limit_price=world.price("sell", 20))
        await world.reached(number, S.PARTIALLY_FILLED)
        world.cancel(number)
        await world.reached(number, S.CANCELED)
        assert world.orders[number].filled

    play(story)


def test_all_are_canceled(play):
    async def story(world):
        numbers = [world.rest(ticks=50 + n) for n in range(4)]
        for number in numbers:
            await world.reached(number, S.ACKED)
        world.cancel_all()
        for number in numbers:
            await world.reached(number, S.CANCELED)

    play(story)


# ---- races


@pytest.mark.parametrize("first", ["cancel", "fill"])
def test_a_cancel_that_races_a_fill(play, first):
    async def story(world):
        number = world.rest()
        await world.reached(number, S.ACKED)
        if first == "cancel":
            world.cancel(number)
            world.trade_through("buy")
        else:
            world.trade_through("buy")
            world.cancel(number)
        await world.reached(number, S.FILLED, S.CANCELED)

    play(story)


def test_a_cancel_that_follows_its_order_at_once(play):
    async def story(world):
        number = world.rest()
        world.cancel(number)
        await world.reached(number, S.CANCELED)

    play(story)


def test_a_cancel_of_what_is_over_is_no_error(play):
    async def story(world):
        number = world.submit()
        await world.reached(number, S.FILLED)
        world.cancel(number)
        await world.passed(5.0)
        assert world.state(number) is S.FILLED
        assert not any(isinstance(fact, CancelNotSent) for fact in world.facts)

    play(story)


def test_fills_that_come_after_the_cancel(play):
    async def story(world):
        world.fault("hold_fills", share="0.4")
        world.fault("late_fills", count=4, seconds=8.0)
        number = world.submit("buy", limit_price=world.price("sell", 20))
        await world.reached(number, S.ACKED)
        world.cancel(number)
        await world.reached(number, S.CANCELED)
        await world.until(lambda: world.orders[number].filled)

    play(story)


# ---- refusals


@pytest.mark.parametrize("kind", ["reject_order", "insufficient_funds", "rate_limit", "too_small"])
def test_a_refused_order_is_rejected(play, kind):
    async def story(world):
        quantity = world.subject.quantity
        if kind == "too_small":
            quantity = world.subject.too_small
        else:
            world.fault(kind, count=1)
        number = world.submit(quantity=quantity)
        await world.reached(number, S.REJECTED)
        assert world.orders[number].text
        await world.reached(world.submit(), S.FILLED)

    play(story)


def test_an_order_of_more_than_there_is(play):
    async def story(world):
        held = Decimal(world.subject.balances[world.subject.base])
        number = world.rest("sell", quantity=f"{held + 1:f}")
        await world.reached(number, S.REJECTED)

    play(story)


# ---- answers and requests that are lost or late


@pytest.mark.parametrize("how", ["refuse", "silent"])
@pytest.mark.parametrize("side", ["market", "limit"])
def test_a_lost_answer_means_one_order(play, how, side):
    async def story(world):
        world.fault("lose_answer", count=1, how=how, command="order")
        number = world.submit() if side == "market" else world.rest()
        resting = world.after_a_cut() if how == "refuse" else S.ACKED
        await world.reached(number, S.FILLED if side == "market" else resting)
        assert len(world.true_orders()) == 1

    play(story)


@pytest.mark.parametrize("how", ["refuse", "silent"])
def test_a_lost_request_means_none(play, how):
    async def story(world):
        world.fault("lose_request", count=1, how=how, command="order")
        number = world.submit()
        await world.reached(number, S.UNKNOWN)
        await world.reached(number, S.EXPIRED)
        assert not world.true_orders()

    play(story)


@pytest.mark.parametrize("seconds", [3.0, 30.0])
def test_a_late_answer(play, seconds):
    async def story(world):
        world.fault("late_answer", count=1, seconds=seconds)
        number = world.submit()
        await world.reached(number, S.FILLED)
        await world.passed(seconds)

    play(story)


@pytest.mark.parametrize("kind", ["lose_answer", "lose_request"])
@pytest.mark.parametrize("how", ["refuse", "silent"])
def test_a_lost_cancel(play, kind, how):
    async def story(world):
        number = world.rest()
        await world.reached(number, S.ACKED)
        world.fault(kind, count=1, how=how, command="cancel")
        world.cancel(number)
        await world.passed(40.0)
        await world.ready()
        if kind == "lose_request":
            assert world.state(number) is (world.after_a_cut() if how == "refuse" else S.ACKED)
            world.cancel(number)
        await world.reached(number, S.CANCELED)

    play(story)


# ---- events that are doubled, late, in another order, or missing


@pytest.mark.parametrize(
    "faults",
    [
        [("doubled_events", {"count": 40})],
        [("out_of_order_events", {"count": 10})],
        [("late_fills", {"count": 3, "seconds": 4.0})],
        [("late_fills", {"count": 2, "seconds": 4.0}), ("doubled_events", {"count": 40})],
        [("gap", {})],
    ],
    ids=["doubled", "out_of_order", "late_fills", "late_and_doubled", "gap"],
)
def test_events_that_come_otherwise_end_in_the_same(play, faults):
    async def story(world):
        for kind, arguments in faults:
            world.fault(kind, **arguments)
        first = world.submit("buy")
        resting = world.rest()
        second = world.submit("sell")
        for number in (first, second):
            await world.reached(number, S.FILLED)
        await world.reached(resting, S.ACKED, world.after_a_cut())
        world.cancel(resting)
        await world.reached(resting, S.CANCELED)

    play(story)


def test_an_event_that_is_lost_shows_with_the_next(play, broker_subject):
    if not broker_subject.counts_events:
        pytest.skip(f"{broker_subject.name} does not number its events")

    async def story(world):
        first = world.rest()
        await world.reached(first, S.ACKED)
        world.fault("gap")
        world.cancel_at_venue(first)
        await world.passed(1.0)
        assert world.state(first) is S.ACKED, "nothing has told of it"
        world.rest(ticks=60)
        await world.reached(first, S.CANCELED)

    play(story)


# ---- the connection


def test_the_connection_is_cut_before_an_order(play):
    async def story(world):
        world.fault("cut")
        number = world.submit()
        await world.until(lambda: world.orders[number].state.final)
        await world.ready()
        await world.reached(world.submit(), S.FILLED)

    play(story)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8])
def test_the_connection_is_cut_while_orders_are_under_way(play, steps):
    async def story(world):
        numbers = [world.submit(), world.rest(), world.submit("sell")]
        for _ in range(steps):
            await world.tick()
        world.fault("cut")
        await world.passed(1.0)
        await world.ready()
        for number in numbers:
            await world.until(lambda n=number: world.state(n) not in {S.SENT, S.UNKNOWN})

    play(story)


def test_what_happens_while_it_is_away_is_told_afterwards(play):
    async def story(world):
        filled, canceled, stays = world.rest(ticks=20), world.rest("sell"), world.rest(ticks=5000)
        for number in (filled, canceled, stays):
            await world.reached(number, S.ACKED)
        world.fault("down", seconds=20.0)
        world.trade_through("buy")
        world.cancel_at_venue(canceled)
        await world.reached(filled, S.FILLED)
        await world.reached(canceled, S.CANCELED)
        assert world.state(stays) is world.after_a_cut()
        assert any(isinstance(fact, AccountAway) for fact in world.facts)

    play(story)


def test_nothing_is_sent_while_the_venue_is_away(play):
    async def story(world):
        world.fault("down", seconds=30.0)
        await world.until(lambda: not world.is_ready)
        number = world.submit()
        await world.reached(number, S.EXPIRED)
        assert number not in world.trading.begun
        await world.ready()

    play(story)


# ---- nonces, rates, others


def test_nonces_that_are_refused_pass(play):
    async def story(world):
        world.fault("nonce_error", count=3)
        world.fault("cut")
        await world.until(lambda: not world.is_ready)
        await world.ready()
        await world.reached(world.submit(), S.FILLED)

    # A refused key is tried again after five minutes, a refused nonce at once.
    play(story, longest_s=200.0)


def test_rate_limits_while_asking_pass(play):
    async def story(world):
        number = world.rest()
        await world.reached(number, S.ACKED)
        world.fault("rate_limit", count=2)
        world.fault("cut")
        await world.until(lambda: not world.is_ready)
        await world.ready()
        await world.reached(world.submit(), S.FILLED)

    play(story)


def test_a_foreign_order_is_told_and_left_alone(play):
    async def story(world):
        foreign = world.place_foreign()
        own = world.rest()
        await world.reached(own, S.ACKED)
        await world.reconciled()
        (alarm,) = world.alarms("foreign_order")
        assert world.subject.order_id(foreign) in alarm.text
        assert world.subject.symbol in alarm.text
        world.cancel(own)
        await world.reached(own, S.CANCELED)
        rows = {row["id"]: row for row in world.truth()["orders"]}
        assert rows[foreign]["status"] == "open"

    play(story)


# ---- lives


def test_a_new_life_finds_what_became_of_its_orders(play):
    async def story(world):
        filled, stays = world.rest(ticks=20), world.rest(ticks=5000)
        canceled = world.rest("sell")
        for number in (filled, stays, canceled):
            await world.reached(number, S.ACKED)
        await world.die()
        world.trade_through("buy")
        if world.subject.outlives_socket:
            world.cancel_at_venue(canceled)
        world.start()
        await world.ready()
        await world.reached(filled, world.after_a_cut(S.FILLED))
        await world.reached(canceled, S.CANCELED)
        assert world.state(stays) is world.after_a_cut()

    play(story)


def test_a_fill_with_a_hundred_behind_it_is_found_in_a_new_life(play, broker_subject):
    if not broker_subject.outlives_socket:
        pytest.skip(f"at {broker_subject.name} no order is open without its socket")

    async def story(world):
        number = world.rest(ticks=20)
        await world.reached(number, S.ACKED)
        if not world.subject.outlives_socket:
            world.fault("late_fills", count=40, seconds=60.0)
            world.trade_through("buy")  # filled before the death, and not told
            await world.passed(0.5)
        await world.die()
        world.trade_through("buy")
        await world.passed(1.0)
        world.trade_as_other(100)
        await world.passed(1.0)
        world.start()
        await world.reached(number, S.FILLED)

    play(story)


def test_an_order_of_an_earlier_life_is_found_by_its_name_alone(play):
    async def story(world):
        for _ in range(10):
            before = world.true_orders()
            world.fault("lose_answer", count=1, command="order")
            number = world.rest()
            await world.until(lambda known=before: world.true_orders().keys() > known.keys())
            await world.die()
            if not world.orders[number].accepted:
                break
            world.start()  # it was connected again and had asked before it died
            await world.ready()
        assert not world.orders[number].accepted, "neither an answer nor an event was seen"
        ((name, row),) = [one for one in world.true_orders().items() if one[0] not in before]
        if row["status"] == "open":  # and not canceled with its socket
            world.cancel_named(name)
        world.start()
        # Without a name nothing of it is left to be seen, which comes to the same.
        await world.reached(number, S.CANCELED if world.subject.named else S.EXPIRED)

    play(story)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 6])
def test_a_life_that_ends_between_send_and_answer(play, steps):
    async def story(world):
        numbers = [world.submit(), world.rest(), world.submit("sell")]
        for _ in range(steps):
            await world.tick()
        await world.die()
        world.start()
        await world.ready()
        for number in numbers:
            await world.until(lambda n=number: world.state(n) not in {S.SENT, S.UNKNOWN})

    play(story)
