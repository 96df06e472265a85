"""Brokers when it matters most: questions that overtake orders, wild sessions, dead men, the
switch.

Every story ends with `BrokerWorld.agree`, as in test_brokers.py.
"""

import random
from decimal import Decimal
from typing import Any

import pytest

from processes.execution.brokers import venue
from processes.execution.brokers.network import Reconcile
from schemas.errors import RefusedError
from schemas.trading import KillLevel, OrderState
from tests.conformance.brokers import BrokerWorld

S = OrderState


# ---- looks that overtake orders


def test_an_order_that_is_sent_while_the_venue_is_asked_is_not_taken_for_lost(play):
    async def story(world):
        world.trading.may_place.clear()
        world.trading.may_tell.clear()
        number = world.rest()
        await world.until(lambda: number in world.trading.begun)
        looks = world.trading.looks
        world.give(Reconcile(world.outstanding()))
        await world.until(lambda: world.trading.looks > looks)
        world.trading.may_place.set()  # the venue was asked, and then it took the order
        await world.reached(number, S.ACKED)
        world.trading.may_tell.set()
        await world.passed(15.0)
        assert not world.alarms("vanished")
        assert not world.orders[number].unknown

    play(story)


def test_an_order_that_had_to_wait_is_given_time_from_when_it_left(play, monkeypatch):
    monkeypatch.setattr(venue, "LOOK_LONGEST_S", 0.25)  # so that it is told in time

    async def story(world):
        world.fault("late_answer", count=40, seconds=1.8)
        others = [world.rest(ticks=50 + n) for n in range(world.trading.parallel)]
        await world.until(lambda: all(n in world.trading.begun for n in others))
        await world.passed(0.5)
        world.fault("lose_request", count=1, command="order")
        number = world.rest(ticks=20)
        await world.reached(number, S.EXPIRED)
        assert number in world.trading.begun, "it waited for its turn, and was sent"
        left_s = world.trading.begun[number]
        assert world.clock.now_s() - left_s >= world.trading.settle_s

    play(story)


def test_an_order_of_ours_that_nobody_asked_about_is_not_foreign(play):
    async def story(world):
        for n in range(5):
            world.give(Reconcile(world.outstanding()))
            number = world.rest(ticks=50 + n)
            await world.reached(number, S.ACKED)
            await world.passed(3.0)
        assert not world.alarms("foreign_order")

    play(story)


def test_an_order_that_is_asked_about_is_not_forgotten(play, monkeypatch):
    monkeypatch.setattr(venue, "TRACKED_MAX", 8)

    async def story(world):
        oldest = world.rest()
        await world.reached(oldest, S.ACKED)
        for _ in range(6):
            await world.reached(world.submit(), S.FILLED)
        world.cancel(oldest)
        await world.reached(oldest, S.CANCELED)
        world.trading.may_tell.clear()
        looks = world.trading.looks
        asked = next(one for one in world.outstanding() if one.intent.command_id == oldest)
        world.give(Reconcile((asked,)))
        await world.until(lambda: world.trading.looks > looks)
        for _ in range(4):
            await world.reached(world.submit(), S.FILLED)
        world.trading.may_tell.set()
        await world.passed(5.0)
        monkeypatch.setattr(venue, "TRACKED_MAX", 1000)

    play(story)


def test_a_long_question_does_not_keep_the_dead_mans_timer_waiting(play, broker_subject):
    if not broker_subject.dead_man:
        pytest.skip(f"{broker_subject.name} has no such timer")

    async def story(world):
        resting = world.rest()
        await world.reached(resting, S.ACKED)
        world.fault("lose_request", count=1, how="silent", command="order")
        lost = world.submit()
        world.trading.may_tell.clear()
        await world.reached(lost, S.UNKNOWN)
        await world.passed(2 * world.dead_man_s)
        world.trading.may_tell.set()
        await world.reached(lost, S.EXPIRED)
        assert world.state(resting) is S.ACKED

    play(story)


def test_a_refusal_on_a_good_connection_says_nothing_of_the_key(play):
    async def story(world):
        async def refuse(timeout_s: float) -> None:
            del world.trading.dead_man
            raise RefusedError("the session is not known")

        await world.passed(1.0)
        world.trading.dead_man = refuse
        await world.until(lambda: not world.is_ready)
        await world.until(lambda: world.is_ready, 60.0)

    play(story)


# ---- all at once

WILD: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cut", {}),
    ("gap", {}),
    ("silence", {"seconds": 4.0}),
    ("down", {"seconds": 5.0}),
    ("rest_down", {"seconds": 5.0}),
    ("rest_slow", {"seconds": 8.0}),
    ("nonce_error", {}),
    ("rate_limit", {}),
    ("reject_order", {}),
    ("lose_request", {"command": "order"}),
    ("lose_request", {"command": "order", "how": "silent"}),
    ("lose_answer", {"command": "order"}),
    ("lose_answer", {"command": "order", "how": "silent"}),
    ("lose_answer", {"command": "cancel"}),
    ("late_answer", {"seconds": 3.0, "count": 2}),
    ("late_fills", {"seconds": 3.0, "count": 3}),
    ("doubled_events", {"count": 5}),
    ("out_of_order_events", {"count": 3}),
    ("hold_fills", {"share": "0.5", "seconds": 6.0}),
)


@pytest.mark.parametrize("seed", range(8))
def test_a_wild_session_ends_in_agreement(play, seed):
    draw = random.Random(seed)

    async def story(world):
        for _ in range(45):
            await wild_step(world, draw)
            if draw.random() < 0.6:
                for _ in range(draw.randrange(8)):
                    await world.tick()
            else:
                await world.passed(draw.choice([0.05, 0.5, 3.0]))
        world.fault("release_fills")
        await world.passed(20.0)

    play(story)


async def wild_step(world: BrokerWorld, draw: random.Random) -> None:
    """Something that a trader does, or that happens to one."""
    what, side = draw.random(), draw.choice(["buy", "sell"])
    if what < 0.25:
        world.submit(side)
    elif what < 0.5:
        world.rest(side, ticks=draw.randrange(5, 60))
    elif what < 0.65:
        live = [number for number, order in world.orders.items() if order.open]
        if live:
            world.cancel(draw.choice(live))
    elif what < 0.75:
        world.trade_through(side, ticks=draw.randrange(10, 80))
    elif what < 0.78:
        await world.restart()
    elif what < 0.8:
        world.cancel_all()
    else:
        kind, arguments = draw.choice(WILD)
        world.fault(kind, **arguments)


# ---- safety


def test_what_orders_hold_is_not_available_whoever_tells_of_the_balance(play, broker_subject):
    if not broker_subject.spot:
        pytest.skip("an order holds margin, and not what it sells")

    async def story(world):
        number = world.rest("sell")
        await world.reached(number, S.ACKED)
        await world.reconciled()
        base, quantity = world.subject.base, Decimal(world.subject.quantity)
        assert Decimal(world.held[base].total) - Decimal(world.held[base].available) == quantity
        before = Decimal(world.held[base].total)
        await world.reached(world.submit("buy"), S.FILLED)
        await world.until(lambda: Decimal(world.held[base].total) > before)
        assert Decimal(world.held[base].total) - Decimal(world.held[base].available) == quantity

    play(story)


def test_the_dead_mans_timer_fires_when_execution_is_ill(play, broker_subject):
    if not broker_subject.dead_man:
        pytest.skip(f"{broker_subject.name} has no such timer")

    async def story(world):
        number = world.rest()
        await world.reached(number, S.ACKED)
        await world.passed(3 * world.dead_man_s)
        assert world.state(number) is S.ACKED, "refreshed as long as it is well"
        world.healthy = False
        await world.reached(number, S.CANCELED)

    play(story)


def test_the_dead_mans_timer_fires_after_a_death(play, broker_subject):
    if not broker_subject.dead_man:
        pytest.skip(f"{broker_subject.name} has no such timer")

    async def story(world):
        number = world.rest()
        await world.reached(number, S.ACKED)
        await world.die()
        await world.passed(2 * world.dead_man_s)
        assert [row["status"] for row in world.true_orders().values()] == ["canceled"]
        world.start()
        await world.reached(number, S.CANCELED)

    play(story)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 6, 10])
def test_after_the_kill_switch_is_acknowledged_nothing_is_written(play, steps):
    async def story(world):
        world.fault("late_answer", count=20, seconds=1.5)
        numbers = [world.rest(ticks=50 + n) for n in range(30)]
        for _ in range(steps):
            await world.tick()
        world.word[0] = KillLevel.CANCEL
        await world.until(lambda: world.gate.idle, 1.0)  # then execution would be killed
        written = set(world.trading.begun)
        assert written == set(world.trading.written)
        world.cancel_all()
        numbers += [world.submit() for _ in range(5)]
        await world.until(lambda: all(world.orders[n].state.final for n in numbers))
        assert set(world.trading.begun) == written
        there = {world.subject.order_id(row["id"]) for row in world.truth()["orders"]}
        ours = {world.orders[n].venue_order_id for n in written} - {""}
        assert there == ours
        for number in set(numbers) - written:
            assert world.state(number) is S.EXPIRED
            assert "kill switch" in world.orders[number].text or "too long" in (
                world.orders[number].text
            )

    play(story)
