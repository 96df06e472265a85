"""Every trading call at Kraken, over real sockets, against the simulator's private side."""

import asyncio
import json
import logging
from contextlib import suppress
from decimal import Decimal

import pytest

from schemas.account import CommandAnswer, Fill, OrderUpdate
from schemas.errors import ConfigError, RefusedError, UnavailableError, VenueError
from tests.conformance.brokers import KRAKEN, SECRET
from tests.unit.venues.kraken_calls import Play, player
from venues.kraken import trading
from venues.numbers import parse_exact
from venues.trading import NotSentError, OrderRef


@pytest.fixture
def play(monkeypatch, tmp_path) -> Play:
    return player(monkeypatch, tmp_path)


# ---- placing


def test_an_order_is_placed_under_its_command_id_and_told(play):
    async def story(calls):
        order = calls.order(ticks=40, quantity="0.12345678")
        written = []
        number = await calls.trading.place(order, lambda: written.append(1))
        assert written == [1]
        row = calls.rows()[number]
        assert (row["client_id"], row["side"], row["kind"]) == (order.command_id, "buy", "limit")
        assert (row["quantity"], Decimal(row["price"])) == (
            "0.12345678", Decimal(order.limit_price))  # fmt: skip
        await calls.until(lambda: any(isinstance(e, OrderUpdate) for e in calls.told))
        told = next(event for event in calls.told if isinstance(event, OrderUpdate))
        assert told.client_order_id == calls.trading.client_id(order) == order.command_id
        assert (told.order_id, told.quantity) == (number, "0.12345678")

    play(story)


def test_a_market_order_is_filled_and_told_with_its_fee(play):
    async def story(calls):
        number = await calls.trading.place(calls.order("sell", reduce_only=True), lambda: None)
        await calls.until(lambda: calls.rows()[number]["status"] == "filled")
        true = calls.truth()["fills"]
        await calls.until(lambda: sum(isinstance(e, Fill) for e in calls.told) == len(true))
        told = [event for event in calls.told if isinstance(event, Fill)]
        assert [Decimal(f.fees[0].amount) for f in told] == [Decimal(f["fee"]) for f in true]
        assert {f.fees[0].asset for f in told} == {"USD"}

    play(story)


def test_a_write_is_told_long_before_a_late_answer(play):
    async def story(calls):
        calls.fault("late_answer", count=1, seconds=4.0)
        begun_s, written = calls.clock.now_s(), []
        await calls.trading.place(
            calls.order(ticks=40), lambda: written.append(calls.clock.now_s())
        )
        assert written[0] - begun_s < 0.1
        assert calls.clock.now_s() - begun_s > 3.9

    play(story)


@pytest.mark.parametrize("ahead_s", [-90, 0, 90])
def test_the_deadline_is_by_the_venues_clock(play, ahead_s):
    async def story(calls):
        other = calls.make(now_ns=lambda: calls.clock.now_ns() + ahead_s * 10**9)
        await calls.trading.close()
        await calls.connect(other)
        try:
            assert await other.place(calls.order(ticks=40), lambda: None) in calls.rows()
        finally:
            await other.close()

    play(story)


def test_an_answer_that_was_held_up_does_not_spoil_the_next_deadline(play):
    async def story(calls):
        calls.fault("silence", seconds=7.0)
        refs = [await calls.place(calls.order(ticks=40 + n)) for n in range(3)]
        assert {ref.venue_order_id for ref in refs} == set(calls.rows())

    play(story)


def test_after_its_deadline_an_order_is_refused(play, monkeypatch):
    monkeypatch.setattr(trading, "DEADLINE_NS", -1)

    async def story(calls):
        with pytest.raises(RefusedError, match="Deadline elapsed"):
            await calls.place(calls.order(ticks=40))
        assert not calls.rows()

    play(story)


@pytest.mark.parametrize("kind", ["reject_order", "insufficient_funds", "rate_limit"])
def test_a_refused_order_is_not_there(play, kind):
    async def story(calls):
        calls.fault(kind, count=1)
        with pytest.raises(RefusedError, match="EOrder:"):
            await calls.place(calls.order())
        assert not calls.rows()

    play(story)


def test_a_venue_that_cannot_now_says_nothing_of_the_order(play):
    async def story(calls):
        calls.fault("maintenance", seconds=60.0)
        with pytest.raises(UnavailableError) as caught:
            await calls.place(calls.order())
        assert not isinstance(caught.value, RefusedError)

    play(story)


@pytest.mark.parametrize("how", ["refuse", "silent"])
def test_a_lost_answer_is_no_refusal(play, how):
    async def story(calls):
        calls.fault("lose_answer", count=1, how=how)
        with pytest.raises(OSError, match=r"answer|lost") as caught:
            await calls.place(calls.order(ticks=40))
        assert isinstance(caught.value, TimeoutError) == (how == "silent")
        assert len(calls.rows()) == 1

    play(story)


def test_without_a_connection_nothing_leaves(play):
    async def story(calls):
        for _ in range(2):
            with pytest.raises(NotSentError):
                await calls.place(calls.order())
            await calls.connect()
            calls.fault("cut")
            with pytest.raises(OSError, match="ended"):
                await calls.trading.watch()
            with pytest.raises(NotSentError):
                await calls.place(calls.order())
            await calls.trading.close()
        assert not calls.rows()

    play(story, connected=False)


@pytest.mark.parametrize("terms", [{"quantity": "NaN"}, {"quantity": ""}, {"quantity": "1e-999"}])
def test_what_is_no_number_does_not_leave(play, terms):
    async def story(calls):
        with pytest.raises(NotSentError):
            await calls.place(calls.order(**terms))

    play(story)


# ---- batches


def test_a_batch_is_answered_order_by_order(play):
    async def story(calls):
        orders = [calls.order(ticks=40), calls.order("sell", ticks=60), calls.order()]
        written = []
        answers = await calls.trading.place_batch(orders, lambda: written.append(1))
        assert written == [1]
        assert [answer.client_order_id for answer in answers] == [o.command_id for o in orders]
        assert all(isinstance(answer, CommandAnswer) and answer.accepted for answer in answers)
        assert {answer.order_id for answer in answers} == set(calls.rows())

    play(story)


def test_of_a_batch_with_a_bad_order_none_is_there(play):
    async def story(calls):
        with pytest.raises(RefusedError, match="minimum"):
            await calls.trading.place_batch(
                [calls.order(ticks=40), calls.order(quantity=KRAKEN.too_small)]
            )
        assert not calls.rows()

    play(story)


def test_in_a_batch_one_order_can_fail_for_want_of_money(play):
    async def story(calls):
        rich = calls.order("sell", ticks=40, quantity="30")
        poor = calls.order("sell", ticks=41, quantity="30")
        first, second = await calls.trading.place_batch([rich, poor])
        assert (first.accepted, second.accepted) == (True, False)
        assert "funds" in second.text
        assert list(calls.rows()) == [first.order_id]

    play(story)


def test_a_batch_is_of_two_to_fifteen_orders_of_one_symbol(play):
    async def story(calls):
        for orders in (
            [calls.order()],
            [calls.order() for _ in range(16)],
            [calls.order(), calls.order(symbol="XRP/USD")],
        ):
            with pytest.raises(NotSentError):
                await calls.trading.place_batch(orders)
        calls.fault("rate_limit", count=1)
        with pytest.raises(RefusedError):
            await calls.trading.place_batch([calls.order(), calls.order()])
        assert not calls.rows()

    play(story)


# ---- changing


@pytest.mark.parametrize("known", [True, False], ids=["by_id", "by_client_id"])
def test_an_amended_order_keeps_its_id(play, known):
    async def story(calls):
        ref = await calls.place(calls.order(ticks=40))
        price = calls.price("buy", 45)
        named = ref if known else OrderRef(order=ref.order)
        await calls.trading.amend(named, quantity="0.5", limit_price=price)
        (row,) = calls.rows().values()
        assert (Decimal(row["quantity"]), Decimal(row["price"])) == (Decimal("0.5"), Decimal(price))
        await calls.trading.amend(named, quantity="0.4")
        (row,) = calls.rows().values()
        assert (Decimal(row["quantity"]), Decimal(row["price"])) == (Decimal("0.4"), Decimal(price))
        await calls.trading.cancel([ref])
        with pytest.raises(RefusedError, match="Unknown order"):
            await calls.trading.amend(named, quantity="0.3")

    play(story)


def test_an_edited_order_is_another_one(play):
    async def story(calls):
        ref = await calls.place(calls.order(ticks=40))
        number = await calls.trading.edit(ref, quantity="0.5")
        assert number != ref.venue_order_id
        rows = calls.rows()
        assert rows[ref.venue_order_id]["status"] == "canceled"
        assert (rows[number]["status"], Decimal(rows[number]["quantity"])) == (
            "open", Decimal("0.5"))  # fmt: skip
        with pytest.raises(NotSentError):
            await calls.trading.edit(OrderRef(order=ref.order), quantity="0.4")
        edited = OrderRef(order=ref.order, venue_order_id=number)
        with pytest.raises(RefusedError):
            await calls.trading.edit(edited, quantity=KRAKEN.too_small)
        assert calls.rows()[number]["status"] == "open"

    play(story)


# ---- cancels


@pytest.mark.parametrize("number", [1, 2, 7, 51, 103])
def test_orders_are_canceled_by_whichever_name_is_known(play, number):
    async def story(calls):
        refs = await calls.rest_of(number)
        stays = await calls.place(calls.order(ticks=500))
        named = [ref if place % 2 else OrderRef(order=ref.order) for place, ref in enumerate(refs)]
        await calls.trading.cancel(named)
        rows = calls.rows()
        assert {rows[ref.venue_order_id]["status"] for ref in refs} == {"canceled"}
        assert rows[stays.venue_order_id]["status"] == "open"

    play(story)


def test_a_cancel_of_what_is_over_is_no_error_and_one_refused_is(play):
    async def story(calls):
        refs = await calls.rest_of(3)
        await calls.trading.cancel(refs[:1])
        await calls.trading.cancel(refs[:1])
        await calls.trading.cancel(refs)
        assert {row["status"] for row in calls.rows().values()} == {"canceled"}
        calls.fault("rate_limit", count=1)
        with pytest.raises(VenueError, match="Rate limit"):
            await calls.trading.cancel(refs[:1])

    play(story)


def test_all_are_canceled(play):
    async def story(calls):
        await calls.rest_of(3)
        await calls.trading.cancel_all()
        assert {row["status"] for row in calls.rows().values()} == {"canceled"}
        await calls.trading.cancel_all()

    play(story)


def test_the_dead_mans_timer(play):
    async def story(calls):
        await calls.rest_of(2)
        await calls.trading.dead_man(20.0)
        await calls.passed(15.0)
        await calls.trading.dead_man(20.0)
        await calls.passed(15.0)
        assert {row["status"] for row in calls.rows().values()} == {"open"}
        await calls.passed(6.0)
        assert {row["status"] for row in calls.rows().values()} == {"canceled"}
        await calls.rest_of(1)
        await calls.trading.dead_man(20.0)
        await calls.trading.dead_man(0)
        await calls.passed(30.0)
        assert "open" in {row["status"] for row in calls.rows().values()}

    play(story)


# ---- the connection


def test_a_wrong_secret_is_a_refused_key_and_is_not_shown(play):
    async def story(calls):
        wrong = "d3Jvbmcgc2VjcmV0LCBtYWRlIHVw"
        other = calls.make(secret=wrong)
        with pytest.raises(RefusedError, match="Invalid signature") as caught:
            await calls.connect(other)
        await other.close()
        assert wrong not in str(caught.value)
        assert wrong not in repr(other._access)

    play(story, connected=False)


def test_a_secret_that_cannot_sign_is_said_at_once(play):
    async def story(calls):
        with pytest.raises(ConfigError, match="base64") as caught:
            calls.make(secret="half-a-secret!")
        assert "half" not in str(caught.value)

    play(story, connected=False)


def test_connecting_again_leaves_nothing_of_the_attempt_before(play):
    async def story(calls):
        calls.fault("refuse", count=1)
        with suppress(VenueError):
            await calls.connect()
        for _ in range(3):
            await calls.connect()
        await calls.until(lambda: len(calls.exchange.clients) == 1)
        assert (await calls.place(calls.order(ticks=40))).venue_order_id in calls.rows()

    play(story, connected=False)


def test_nonces_and_rates_do_not_condemn_the_key(play):
    async def story(calls):
        for kind in ("nonce_error", "rate_limit"):
            calls.fault(kind, count=20)
            with pytest.raises(VenueError) as caught:
                await calls.connect()
            assert not isinstance(caught.value, RefusedError)
            await calls.trading.close()
            calls.fault(kind, count=0)
        await calls.connect()

    play(story, connected=False)


def test_a_token_that_is_refused_does_not_condemn_the_key(play):
    async def story(calls):
        async def stale() -> str:
            return "of-yesterday"

        fresh, calls.trading._private.websocket_token = (
            calls.trading._private.websocket_token, stale)  # fmt: skip
        with pytest.raises(VenueError, match="ESession") as caught:
            await calls.connect()
        assert not isinstance(caught.value, RefusedError)
        assert "of-yesterday" not in str(caught.value)
        await calls.trading.close()
        calls.trading._private.websocket_token = fresh
        await calls.connect()

    play(story, connected=False)


def test_what_is_lent_or_staked_is_not_told_as_held(play):
    rows = [
        {"asset": "BTC", "balance": 3, "wallets": [
            {"type": "earn", "id": "bonded", "balance": 2},
            {"type": "spot", "id": "main", "balance": 1},
        ]},
    ]  # fmt: skip

    async def story(calls):
        frame = {"channel": "balances", "type": "snapshot", "sequence": 1, "data": rows}
        calls.told.clear()
        calls.trading._take(parse_exact(json.dumps(frame).encode()))
        assert [(event.asset, event.balance) for event in calls.told] == [("BTC", "1")]

    play(story)


def test_a_token_that_ends_ends_the_connection(play):
    async def story(calls):
        socket = calls.trading._socket
        assert socket is not None
        socket._token = "not-any-more"
        with pytest.raises(RefusedError, match="ESession"):
            await calls.place(calls.order())
        with pytest.raises(ConnectionError, match="token"):
            await calls.trading.watch()

    play(story)


@pytest.mark.parametrize("kind", ["down", "storm"])
def test_a_venue_that_is_not_there(play, kind):
    async def story(calls):
        calls.fault(kind, **({"seconds": 5.0} if kind == "down" else {"count": 1, "how": "cut"}))
        with pytest.raises((VenueError, OSError)) as caught:
            await calls.connect()
        assert not isinstance(caught.value, RefusedError)
        await calls.trading.close()
        await calls.passed(6.0)
        await calls.connect()

    play(story, connected=False)


@pytest.mark.parametrize(
    ("kind", "arguments", "error"),
    [
        ("cut", {}, OSError),
        ("gap", {}, VenueError),
        ("silence", {"seconds": 30.0}, TimeoutError),
    ],
)
def test_watching_ends_with_what_ended_the_connection(play, kind, arguments, error):
    async def story(calls):
        calls.fault(kind, **arguments)
        if kind == "gap":
            await calls.place(calls.order())
        with pytest.raises(error):
            await calls.trading.watch()

    play(story)


def test_a_quiet_connection_stays(play):
    async def story(calls):
        with suppress(TimeoutError):
            async with asyncio.timeout(180.0):
                await calls.trading.watch()
        assert await calls.trading.place(calls.order(ticks=40), lambda: None) in calls.rows()

    play(story)


def test_garbage_never_ends_anything_but_the_connection(play):
    async def story(calls):
        for _ in range(12):
            calls.fault("garbage", count=10)
            with suppress(VenueError, OSError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await calls.trading.watch()
            await calls.trading.close()
            await calls.connect()

    play(story)


def test_secrets_are_in_no_text(play, caplog):
    caplog.set_level(logging.DEBUG)
    errors = []

    async def story(calls):
        tokens = []
        issue = calls.trading._private.websocket_token

        async def noted() -> str:
            tokens.append(await issue())
            return tokens[-1]

        calls.trading._private.websocket_token = noted
        for kind in ("reject_order", "lose_answer", "cut", "silence", "garbage", "maintenance"):
            try:
                await calls.connect()
                calls.fault(kind)
                await calls.place(calls.order())
                async with asyncio.timeout(15.0):
                    await calls.trading.watch()
            except (VenueError, OSError, TimeoutError) as error:
                errors.append(repr(error) + repr(error.__context__))
            await calls.trading.close()
            calls.fault("maintenance_end")
            await calls.passed(6.0)
        assert len(tokens) > 3
        said = " ".join([*errors, caplog.text, repr(calls.told), repr(calls.trading)])
        for secret in (*tokens, SECRET):
            assert secret not in said
        assert errors

    play(story, connected=False)
