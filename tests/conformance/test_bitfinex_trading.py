"""Orders and cancels at Bitfinex, against the simulator's account channel over real sockets."""

import asyncio
from decimal import Decimal

import pytest

from schemas.account import OrderUpdate
from schemas.errors import RefusedError, VenueError
from tests.conformance.bitfinex_bench import Play, player
from tests.conformance.brokers import BITFINEX
from venues.bitfinex.trading import ANSWER_S, MULTI_MAX
from venues.trading import NotSentError, OrderRef


@pytest.fixture
def bench(clock, tmp_path) -> Play:
    return player(clock, tmp_path)


# ---- orders


def test_it_is_written_before_it_is_answered_and_named_by_its_client_id(bench):
    async def story(place):
        order = place.order()
        place.fault("late_answer", count=1, seconds=5.0)
        written = asyncio.Event()
        placing = asyncio.create_task(place.calls.place(order, written.set))
        await place.until(written.is_set)
        assert place.clock.now_s() < 1005.0
        number = await placing
        (row,) = place.truth()["orders"]
        assert (row["id"], row["client_id"]) == (number, place.calls.client_id(order))
        (told,) = [event for event in place.told if isinstance(event, OrderUpdate)]
        assert (told.order_id, told.client_order_id, told.event) == (
            number, place.calls.client_id(order), "on",
        )  # fmt: skip

    bench(story)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("reject_order", "Invalid order"), ("insufficient_funds", "not enough exchange balance"),
     ("rate_limit", "ratelimit")],
)  # fmt: skip
def test_a_refusal_says_that_there_is_no_order(bench, kind, text):
    async def story(place):
        place.fault(kind, count=1)
        with pytest.raises(RefusedError, match=text):
            await place.place()
        assert not place.truth()["orders"]
        await place.place()

    bench(story)


@pytest.mark.parametrize("terms", [{"quantity": "1e-9"}, {"limit_price": "86700.5"}])
def test_what_the_venue_would_change_is_not_sent(bench, terms):
    async def story(place):
        with pytest.raises(NotSentError):
            await place.place(**terms)
        await place.passed(1.0)
        assert not place.truth()["events"]

    bench(story)


def test_no_answer_is_an_unknown_outcome(bench):
    async def story(place):
        place.fault("lose_request", count=1, how="silent")
        began_s = place.clock.now_s()
        with pytest.raises(TimeoutError, match="no answer"):
            await place.place()
        assert place.clock.now_s() - began_s == pytest.approx(ANSWER_S, abs=0.1)
        place.fault("lose_request", count=1)
        with pytest.raises(ConnectionError):
            await place.place()

    bench(story)


def test_an_order_that_is_told_was_taken_though_its_answer_is_lost(bench):
    async def story(place):
        place.fault("lose_answer", count=1, how="silent")
        ref = await place.place()
        assert place.statuses() == {ref.venue_order_id: "open"}

    bench(story)


def test_an_error_of_the_connection_answers_nobody(bench):
    async def story(place):
        place.fault("lose_request", count=1, how="silent")
        placing = asyncio.create_task(place.place())
        await place.passed(1.0)
        await place.calls._socket.send(b'{"event":"nonsense"}')
        with pytest.raises(VenueError, match="10000") as caught:
            await placing
        assert not isinstance(caught.value, RefusedError | NotSentError)

    bench(story)


def test_many_orders_in_one_frame(bench):
    async def story(place):
        orders = [place.order(ticks=50 + n) for n in range(4)]
        orders[2] = place.order(quantity=BITFINEX.too_small)
        written: list[bool] = []
        answers = await place.calls.place_many(orders, lambda: written.append(True))
        assert written == [True]
        assert isinstance(answers[2], RefusedError)
        assert "minimum size" in str(answers[2])
        taken = [answer for answer in answers if isinstance(answer, str)]
        assert sorted(taken) == sorted(place.statuses())
        for wrong in ([], [place.order()] * (MULTI_MAX + 1)):
            with pytest.raises(NotSentError):
                await place.calls.place_many(wrong)
        place.fault("lose_answer", count=1, how="silent", command="order")
        lost = [place.order(kind="market", ticks=None), place.order(ticks=70)]
        told, resting = await place.calls.place_many(lost)
        assert {told, resting} <= set(place.statuses()), "the account channel told of both"
        place.fault("lose_request", count=1, how="silent", command="order")
        lost = [place.order(), place.order()]
        assert [type(answer) for answer in await place.calls.place_many(lost)] == [TimeoutError] * 2

    bench(story)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_order_is_changed_in_place(bench, side):
    async def story(place):
        ref = await place.place(side)
        price = place.price(side, 60)
        await place.calls.amend(ref, change="0.05", limit_price=price)
        (row,) = place.truth()["orders"]
        assert (Decimal(row["quantity"]), row["price"]) == (Decimal("0.3"), price)
        await place.calls.amend(ref, change="-0.2")
        (row,) = place.truth()["orders"]
        assert (Decimal(row["quantity"]), row["price"]) == (Decimal("0.1"), price)
        with pytest.raises(RefusedError):
            await place.calls.amend(ref, change="-0.1")
        with pytest.raises(NotSentError):
            await place.calls.amend(ref)
        with pytest.raises(NotSentError):
            await place.calls.amend(OrderRef(order=ref.order), change="1")
        await place.calls.cancel([ref])
        with pytest.raises(RefusedError, match="not found"):
            await place.calls.amend(ref, limit_price=price)
        await place.passed(0.1)
        amended = [e for e in place.told if isinstance(e, OrderUpdate) and e.event == "ou"]
        assert [update.quantity for update in amended] == ["0.3", "0.1"]

    bench(story)


# ---- cancels


def test_cancels_by_id_by_client_id_and_of_several(bench):
    async def story(place):
        refs = [await place.place(ticks=50 + n) for n in range(5)]
        await place.calls.cancel([])
        await place.calls.cancel([refs[0]])
        await place.calls.cancel([refs[0]])  # over already
        await place.calls.cancel([OrderRef(order=refs[1].order)])
        await place.calls.cancel([refs[2], OrderRef(order=refs[3].order)])
        await place.passed(0.1)
        gone = {ref.venue_order_id for ref in refs[:4]}
        wanted = {ref.venue_order_id: "open" for ref in refs} | dict.fromkeys(gone, "canceled")
        assert place.statuses() == wanted

    bench(story)


def test_a_cancel_that_is_refused_for_another_reason_is_an_error(bench):
    async def story(place):
        ref = await place.place()
        place.fault("rate_limit", count=1)
        with pytest.raises(RefusedError, match="ratelimit"):
            await place.calls.cancel([ref])
        place.fault("rate_limit", count=1)
        with pytest.raises(RefusedError, match="ratelimit"):
            await place.calls.cancel_all()
        assert place.statuses() == {ref.venue_order_id: "open"}

    bench(story)


def test_all_are_canceled_those_of_others_too(bench):
    async def story(place):
        await place.place()
        place.place_foreign()
        await place.calls.cancel_all()
        assert set(place.statuses().values()) == {"canceled"}
        await place.calls.cancel_all()  # there is nothing

    bench(story)


def test_a_cancel_of_all_that_is_not_answered_ends_the_connection_and_so_all(bench):
    async def story(place):
        ref = await place.place()
        place.fault("lose_request", count=1, how="silent", command="cancel")
        with pytest.raises(TimeoutError):
            await place.calls.cancel_all()
        await place.until(place.watching.done)
        await place.calls.close()
        await place.until(lambda: place.statuses()[ref.venue_order_id] == "canceled")

    bench(story)
