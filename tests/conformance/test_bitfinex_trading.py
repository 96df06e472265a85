"""Every trading call at Bitfinex, against the simulator's account channel over real sockets."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
import uvloop

from processes.simulator import bitfinex_private
from processes.simulator.orders import OrderRequest
from schemas.account import AccountEvent, BalanceChange, Fill, OrderUpdate
from schemas.errors import AnswerError, MaintenanceError, RefusedError, UnavailableError, VenueError
from schemas.trading import OrderState
from shm.atomics import read_word
from tests.conformance.brokers import BITFINEX, KEY, SECRET, BrokerWorld
from tests.conformance.clock import Clock, run_in
from venues.bitfinex import look, private_socket
from venues.bitfinex.look import ABSENT_S, HISTORY_NS
from venues.bitfinex.orders import client_id_of
from venues.bitfinex.trading import ANSWER_S, MULTI_MAX, BitfinexTrading
from venues.trading import NewOrder, NotSentError, OrderRef

DAY_NS = 86_400 * 10**9


class Bench(BrokerWorld):
    """The simulator and the calls, without a session between them and the test."""

    def start(self) -> None:
        made = self.make_trading()
        assert isinstance(made, BitfinexTrading)
        self.calls = made
        self.told: list[AccountEvent] = []
        self.orders_made = 0
        self.watching: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.calls.connect(self.told.append)
        self.watching = asyncio.create_task(self.calls.watch())

    async def die(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)
        await self.calls.close()

    def order(self, side: str = "buy", ticks: int | None = 50, **terms: Any) -> NewOrder:
        """One that rests so many ticks behind the best price; None: a market order."""
        self.orders_made += 1
        number = self.orders_made * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)
        known: dict[str, Any] = {
            "command_id": f"{number:032x}",
            "symbol": BITFINEX.symbol, "side": side, "quantity": BITFINEX.quantity,
            "kind": "market" if ticks is None else "limit",
            "limit_price": "" if ticks is None else self.price(side, ticks),
            "decided_ns": self.clock.now_ns(),
        }  # fmt: skip
        return NewOrder(**{**known, **terms})

    async def place(self, *args: Any, **terms: Any) -> OrderRef:
        """An order that is at the venue."""
        order = self.order(*args, **terms)
        return OrderRef(order=order, venue_order_id=await self.calls.place(order, lambda: None))

    def statuses(self) -> dict[str, str]:
        return {row["id"]: row["status"] for row in self.truth()["orders"]}

    def since_ns(self) -> int:
        return self.clock.now_ns() - 3600 * 10**9

    def quiet(self) -> bool:
        """No socket of this account is open at the venue."""
        return not self.exchange.clients


@pytest.fixture
def bench(clock, tmp_path) -> Callable[..., None]:
    def run(story: Callable[[Bench], Awaitable[None]], *, connected: bool = True, **more) -> None:
        async def whole() -> None:
            async with Bench(BITFINEX, clock, tmp_path, **more) as place:
                if connected:
                    await place.connect()
                await story(place)

        run_in(clock, whole(), 7200.0)

    return run


def secretless(error: BaseException) -> None:
    assert SECRET not in str(error)
    assert KEY not in str(error)


# ---- the connection


def test_a_wrong_key_is_told_apart_from_what_passes(bench):
    async def story(place):
        account = place.exchange.venues["bitfinex"].accounts.of(KEY)
        place.fault("nonce_error", count=1)
        with pytest.raises(UnavailableError, match="nonce: small") as late:
            await place.calls.connect(place.told.append)
        await place.calls.close()
        account.secret = "another-secret"
        with pytest.raises(RefusedError, match="digest invalid") as wrong:
            await place.calls.connect(place.told.append)
        await place.calls.close()
        account.secret = SECRET
        place.fault("maintenance")
        with pytest.raises(MaintenanceError):
            await place.calls.connect(place.told.append)
        await place.calls.close()
        place.fault("maintenance_end")
        place.fault("down", seconds=5.0)
        with pytest.raises(UnavailableError, match="503") as away:
            await place.calls.connect(place.told.append)
        await place.calls.close()
        for caught in (late, wrong, away):
            secretless(caught.value)
        await place.passed(5.0)
        await place.connect()
        assert repr(place.calls._access) == "Access(...)"

    bench(story, connected=False)


@pytest.mark.parametrize("kind", ["restart", "maintenance", "cut", "silence", "garbage"])
def test_watching_ends_when_the_account_is_told_no_longer(bench, kind):
    async def story(place):
        ref = await place.place()
        place.fault(kind, seconds=60.0, count=30)
        await place.until(place.watching.done)
        error = place.watching.exception()
        assert isinstance(error, VenueError | OSError), error
        secretless(error)
        await place.calls.close()
        await place.until(place.quiet)
        await place.passed(0.1)
        assert place.statuses() == {ref.venue_order_id: "canceled"}

    bench(story)


def test_a_connection_that_nobody_answers_on_is_reset(bench):
    async def story(place):
        (client, _) = next(iter(place.exchange.clients.values()))
        place.fault("silence", seconds=600.0)
        began_s = place.clock.now_s()
        await place.until(place.watching.done)
        assert isinstance(place.watching.exception(), TimeoutError)
        assert place.clock.now_s() - began_s <= private_socket.HEARD_S + 1
        await place.calls.close()
        await place.until(lambda: client.number not in place.exchange.clients)

    bench(story)


def test_everything_ends_when_nobody_keeps_the_timer(bench):
    async def story(place):
        ref = await place.place()
        await place.calls.dead_man(20.0)
        await place.passed(15.0)
        await place.calls.dead_man(20.0)
        await place.passed(15.0)
        assert place.statuses()[ref.venue_order_id] == "open"
        await place.until(place.watching.done, 10.0)
        with pytest.raises(UnavailableError, match="dead-man"):
            place.watching.result()
        await place.calls.close()
        await place.until(lambda: place.statuses()[ref.venue_order_id] == "canceled")

    bench(story)


def test_nothing_is_sent_without_a_connection(bench):
    async def story(place):
        for call in (
            place.calls.place(place.order(), lambda: None),
            place.calls.cancel_all(),
            place.calls.watch(),
        ):
            with pytest.raises(NotSentError):
                await call
        await place.calls.close()
        await place.calls.close()

    bench(story, connected=False)


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


# ---- looking


def test_a_look_tells_what_became_of_orders(bench):
    async def story(place):
        resting, gone = await place.place(), await place.place(ticks=60)
        filled = await place.place("sell", None)
        place.fault("hold_fills", share="0.4")
        partly = await place.place(limit_price=place.price("sell", 20))
        await place.calls.cancel([gone])
        never = OrderRef(order=place.order())
        foreign = place.place_foreign()
        await place.passed(1.0)
        refs = [resting, gone, filled, partly, never]
        for unknown in (False, True):
            asked = [OrderRef(order=ref.order) for ref in refs] if unknown else refs
            sight = await place.calls.look(asked, place.since_ns())
            names = {ref.venue_order_id: ref.order.command_id for ref in refs[:4]}
            assert sight.missing == {never.order.command_id}
            assert sight.ambiguous == {}
            assert [order.order_id for order in sight.foreign] == [foreign]
            found = {name: sight.orders[command] for name, command in names.items()}
            assert {n: (o.status, Decimal(o.filled_quantity)) for n, o in found.items()} == {
                resting.venue_order_id: ("open", 0),
                gone.venue_order_id: ("canceled", 0),
                filled.venue_order_id: ("filled", Decimal("0.25")),
                partly.venue_order_id: ("partially_filled", Decimal("0.1")),
            }
            told = [
                (command, f.fill_id, Decimal(f.price), Decimal(f.quantity), f.fees[0].asset,
                 Decimal(f.fees[0].amount))
                for command, f in sight.fills
            ]  # fmt: skip
            true = [
                (names[f["order_id"]], f["id"], Decimal(f["price"]), Decimal(f["quantity"]),
                 f["fee_asset"], Decimal(f["fee"]))
                for f in place.truth()["fills"]
            ]  # fmt: skip
            assert sorted(told) == sorted(true)
            assert len({asset for *_, asset, _ in true}) == 2

    bench(story)


def test_a_look_turns_all_pages(bench, monkeypatch):
    monkeypatch.setattr(look, "PAGE_ROWS", 3)

    async def story(place):
        refs = []
        for number in range(11):
            refs.append(await place.place("sell" if number % 2 else "buy", None))
            await place.passed(0.05)
        sight = await place.calls.look(refs, place.since_ns())
        assert set(sight.orders) == {ref.order.command_id for ref in refs}
        assert len(sight.fills) == len(place.truth()["fills"]) > 11
        times = [fill.time_ns for _, fill in sight.fills]
        assert times == sorted(times)
        monkeypatch.setattr(look, "PAGES_MAX", 2)
        with pytest.raises(VenueError, match="more than"):
            await place.calls.look(refs, place.since_ns())

    bench(story)


def test_a_client_id_means_an_order_only_with_its_day(bench):
    async def story(place):
        account = place.exchange.venues["bitfinex"].accounts.of(KEY)
        order = place.order()

        def same(time_ns: int) -> None:
            account.place(
                OrderRequest(
                    symbol=BITFINEX.symbol, side=1, kind="limit", units=10**6,
                    ticks=place.market.best(1) - 70, client_id=str(client_id_of(order.command_id)),
                    time_in_force="ioc",
                ),
                time_ns,
            )  # fmt: skip

        now_ns = place.clock.now_ns()
        same(now_ns - 2 * DAY_NS)
        asked = [OrderRef(order=order)]
        assert (await place.calls.look(asked, 0)).missing == {order.command_id}
        same(now_ns)
        assert set((await place.calls.look(asked, 0)).orders) == {order.command_id}
        same(now_ns)
        sight = await place.calls.look(asked, 0)
        assert set(sight.ambiguous) == {order.command_id}
        assert not sight.orders
        assert not sight.missing

    bench(story)


def test_only_what_is_proved_is_called_missing(bench):
    async def story(place):
        had = OrderRef(order=place.order(), venue_order_id="999")
        old = place.order(decided_ns=place.clock.now_ns() - HISTORY_NS - 1)
        sight = await place.calls.look([had, OrderRef(order=old)], 0)
        assert (sight.orders, sight.missing, sight.ambiguous) == ({}, set(), {})
        await place.passed(ABSENT_S)
        assert (await place.calls.look([had], 0)).missing == {had.order.command_id}
        place.fault("rest_down", seconds=60.0)
        with pytest.raises(UnavailableError):
            await place.calls.look([had], 0)

    bench(story)


# ---- what is told


@pytest.mark.parametrize(
    ("frame", "ends"),
    [
        ('[0,"fos",7]', False),
        ('[0,"miu",["base",7]]', False),
        ('[0,"ws",[["exchange","USD","x"]]]', False),
        ('[0,"te",[1]]', False),
        ('[0,"on",[1,null,"x"]]', True),
        ('[0,"tu",{}]', True),
        ('[0,"n",7]', True),
        ("[0", True),
    ],
)
def test_only_frames_that_orders_depend_on_end_a_connection_that_cannot_be_read(bench, frame, ends):
    async def story(place):
        (client, _) = next(iter(place.exchange.clients.values()))
        client.put(frame)
        await place.passed(2.0)
        assert place.watching.done() == ends
        if ends:
            assert isinstance(place.watching.exception(), AnswerError)
            assert frame not in str(place.watching.exception())

    bench(story)


def test_what_is_available_is_asked_for_after_every_change(bench):
    async def story(place):
        await place.place()
        await place.place("buy", None)
        await place.passed(3.0)
        told = {e.asset: e for e in place.told if isinstance(e, BalanceChange)}
        for asset, row in place.truth()["balances"].items():
            assert Decimal(told[asset].balance) == Decimal(row["total"])
            assert Decimal(told[asset].available) == Decimal(row["available"])
        assert all(e.available for e in place.told if isinstance(e, BalanceChange))
        held = {row.asset: row for row in await place.calls.holdings()}
        assert {a: Decimal(row.available) for a, row in held.items()} == {
            a: Decimal(row["available"]) for a, row in place.truth()["balances"].items()
        }

    bench(story)


def test_fills_are_told_once_with_their_fees(bench):
    async def story(place):
        place.fault("doubled_events", count=40)
        await place.place("sell", None)
        await place.passed(1.0)
        fills = [event for event in place.told if isinstance(event, Fill)]
        assert sorted(fill.fill_id for fill in fills) == [f["id"] for f in place.truth()["fills"]]
        assert all(Decimal(fill.fees[0].amount) > 0 for fill in fills)

    bench(story)


def test_a_fill_that_is_never_confirmed_is_asked_for(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(bitfinex_private, "CONFIRM_NS", 3600 * 10**9)

    async def whole() -> None:
        async with BrokerWorld(BITFINEX, clock, tmp_path) as world:
            await world.ready()
            number = world.submit()
            await world.reached(number, OrderState.FILLED)
            await world.agree()

    run_in(clock, whole(), 3600.0)


class RealClock(Clock):
    """The machine's own time."""

    def now_ns(self) -> int:
        return time.time_ns()

    def now_s(self) -> float:
        return time.monotonic()


def test_on_the_brokers_own_loop(tmp_path):
    """uvloop's transports are others: a cut under way, a kill, a close."""

    async def whole() -> None:
        async with BrokerWorld(BITFINEX, RealClock(), tmp_path) as world:
            read_word(int(world.word.ctypes.data))  # compiled now, not while an order waits
            await world.ready()
            number, resting = world.submit(), world.rest()
            await world.reached(number, OrderState.FILLED)
            await world.reached(resting, OrderState.ACKED)
            world.fault("cut")
            await world.reached(resting, OrderState.CANCELED)
            await world.ready()
            again = world.rest()
            await world.reached(again, OrderState.ACKED)
            world.cancel_all()
            await world.reached(again, OrderState.CANCELED)
            assert set(world.trading.written) == {number, resting, again}
            await world.until(lambda: not world.disagreement())

    uvloop.run(asyncio.wait_for(whole(), 60))
