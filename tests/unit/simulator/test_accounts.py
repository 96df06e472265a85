"""Accounts over a market's engine, without a venue's language: orders, money, faults."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes.simulator.account import Account
from processes.simulator.accounts import Accounts
from processes.simulator.balances import atoms
from processes.simulator.events import BalanceEvent, FillEvent, OrderEvent, PositionEvent
from processes.simulator.faults import read_fault
from processes.simulator.market import UNITS, Market
from processes.simulator.orders import Listing, OrderRequest, RefusedError, Rules
from schemas.errors import ConfigError, OperatorError
from schemas.settings import SimulatorAccount
from tests.unit.simulator.accounting import check

START_NS = 10**18
BEGIN = {"USD": "10000", "BTC": "5"}
ASSETS = {"BTC/USD": ("BTC", "USD"), "ETH/USD": ("ETH", "USD")}


def listing(symbol: str) -> Listing:
    base, quote = symbol.split("/")
    leverage = 2 if base == "ETH" else 0
    return Listing(
        symbol=symbol, base=base, quote=quote, taker_parts=0 if leverage else 4000,
        maker_parts=0 if leverage else 2500, step_units=1000, min_units=10_000,
        min_cost=atoms("0.5"), leverage=leverage,
    )  # fmt: skip


class Place:
    """A venue's accounts over two quiet markets."""

    def __init__(self, balances: dict[str, str] = BEGIN, **rules: Any) -> None:
        self.now_ns = START_NS
        self.markets = {s: Market(s, Decimal("0.1")) for s in ASSETS}
        named = [
            SimulatorAccount(venue="kraken", key=key, secret="c2VjcmV0LXNlY3JldA==", balances=money)
            for key, money in (("key-of-one", balances), ("key-of-two", BEGIN))
        ]
        self.accounts = Accounts(
            "kraken", named, self.markets, Rules(listing=listing, **rules), first_id=1000
        )
        for symbol, market in self.markets.items():
            market.on_trade = self.accounts.noting(symbol)
        self.told: list = []
        self.account.delivery.listeners.append(lambda event, _: self.told.append(event))

    @property
    def account(self) -> Account:
        found = self.accounts.of("key-of-one")
        assert found is not None
        return found

    def crowd(self, side, ticks, units, symbol="BTC/USD") -> None:
        """Somebody else's order."""
        self.markets[symbol].submit(side, units, self.now_ns, ticks=ticks)

    def order(self, side, units, ticks=None, symbol="BTC/USD", account=None, **more):
        kind = "market" if ticks is None else "limit"
        request = OrderRequest(
            symbol=symbol, side=side, kind=kind, units=units, ticks=ticks, **more
        )
        return (account or self.account).place(request, self.now_ns)

    def fault(self, kind, **arguments) -> None:
        self.accounts.commit(read_fault({"kind": kind, **arguments}, ["kraken"]), self.now_ns)

    def step(self, seconds=1.0) -> None:
        self.now_ns += int(seconds * 1e9)
        self.accounts.tick(self.now_ns)

    def truth(self, key="key-of-one"):
        return self.accounts.truth(key)

    def balance(self, asset, what="total", key="key-of-one") -> str:
        return self.truth(key)["balances"][asset][what]


def test_a_resting_order_holds_its_cost_and_is_filled_by_who_comes():
    place = Place()
    order = place.order(1, UNITS, 1000)  # one at 100.0
    assert place.balance("USD", "held") == "100.4"
    assert place.balance("USD", "available") == "9899.6"
    place.crowd(-1, 1000, UNITS // 4)
    assert order.filled_units == UNITS // 4
    assert place.balance("USD") == "9974.9375"  # 25 and a maker's fee of 0.25 %
    assert place.balance("BTC") == "5.25"
    place.crowd(-1, 900, UNITS)
    assert order.status == "filled"
    assert place.balance("USD", "held") == "0"
    check(place.truth(), BEGIN, ASSETS)
    place.step(0)
    kinds = [(type(e).__name__, e.what if isinstance(e, OrderEvent) else "") for e in place.told]
    fill = [("FillEvent", ""), ("BalanceEvent", ""), ("BalanceEvent", "")]
    assert kinds == [("OrderEvent", "new"), *fill, *fill, ("OrderEvent", "filled")]
    assert [e.sequence for e in place.told] == list(range(1, 9))
    parts = [e for e in place.told if isinstance(e, FillEvent)]
    assert [e.order.filled_units for e in parts] == [UNITS // 4, UNITS]


def test_a_market_order_takes_what_there_is_at_a_takers_fee():
    place = Place()
    place.crowd(-1, 1000, UNITS)
    place.crowd(-1, 1010, UNITS)
    order = place.order(1, UNITS * 3 // 2)
    assert order.status == "filled"
    assert order.average == Decimal("150.5") / Decimal("1.5")
    assert place.balance("USD") == "9848.898"  # 150.5 and 0.4 %
    rest = place.order(1, UNITS)
    assert (rest.status, rest.cause, rest.filled_units) == ("canceled", "market", UNITS // 2)
    check(place.truth(), BEGIN, ASSETS)


@pytest.mark.parametrize(
    ("tif", "units", "status", "cause", "filled"),
    [
        ("ioc", 2 * UNITS, "canceled", "ioc", UNITS),
        ("ioc", UNITS, "filled", "", UNITS),
        ("fok", 2 * UNITS, "canceled", "fok", 0),
        ("fok", UNITS, "filled", "", UNITS),
    ],
)
def test_immediate_orders_never_rest(tif, units, status, cause, filled):
    place = Place()
    place.crowd(-1, 1000, UNITS)
    place.crowd(-1, 1020, UNITS)
    order = place.order(1, units, 1010, time_in_force=tif)
    assert (order.status, order.cause, order.filled_units) == (status, cause, filled)
    assert place.markets["BTC/USD"].best(1) is None
    assert place.balance("USD", "held") == "0"


def refused(place, *arguments, **more) -> str:
    before = place.truth()
    with pytest.raises(RefusedError) as error:
        place.order(*arguments, **more)
    after = place.truth()
    assert after.pop("events") == before.pop("events") + 1  # the refusal itself is told
    assert after == before
    return error.value.why


def test_what_is_not_as_it_must_be_is_refused_and_changes_nothing():
    place = Place()
    place.crowd(-1, 1000, UNITS)
    place.order(1, UNITS, 900, client_id="a")
    assert refused(place, 1, UNITS, 900, client_id="a") == "client_id"
    assert refused(place, 1, 1500, 900) == "quantity_step"
    assert refused(place, 1, 9000, 900) == "quantity_min"
    assert refused(place, 1, 10_000, 900) == "cost_min"
    assert refused(place, 1, 0, 900) == "quantity"
    assert refused(place, 1, UNITS, 0) == "price"
    assert refused(place, 1, UNITS, 1000, post_only=True) == "post_only"
    assert refused(place, 1, UNITS, 900, post_only=True, time_in_force="ioc") == "time_in_force"
    assert refused(place, 1, 200 * UNITS, 900) == "insufficient_funds"
    assert refused(place, -1, 6 * UNITS, 1100) == "insufficient_funds"
    assert refused(place, 1, UNITS, 900, reduce_only=True) == "reduce_only"
    with pytest.raises(RefusedError):
        place.order(1, UNITS, 900, symbol="NO/SUCH")
    assert place.order(1, UNITS, 900, client_id="b").is_open


def test_where_post_only_is_not_refused_it_is_canceled_unfilled():
    place = Place(refuses_post_only=False)
    place.crowd(-1, 1000, UNITS)
    order = place.order(1, UNITS, 1000, post_only=True)
    assert (order.status, order.cause, order.filled_units) == ("canceled", "post_only", 0)
    assert place.order(1, UNITS, 999, post_only=True).is_open


def queue(place, ticks, side=1):
    return [(order.owner, order.units) for order in place.markets["BTC/USD"].queue(side, ticks)]


def test_an_amend_keeps_the_id_and_where_it_only_shrinks_its_place():
    place = Place()
    order = place.order(1, 3 * UNITS, 900)
    place.crowd(1, 900, UNITS)
    place.account.amend(order, place.now_ns, units=2 * UNITS)
    assert queue(place, 900) == [("key-of-one", 2 * UNITS), ("", UNITS)]
    assert place.balance("USD", "held") == "180.72"
    place.account.amend(order, place.now_ns, units=4 * UNITS)
    assert queue(place, 900) == [("", UNITS), ("key-of-one", 4 * UNITS)]
    place.account.amend(order, place.now_ns, ticks=901)
    assert queue(place, 901) == [("key-of-one", 4 * UNITS)]
    place.crowd(-1, 901, UNITS)
    assert order.filled_units == UNITS
    with pytest.raises(RefusedError, match="amend_below_filled"):
        place.account.amend(order, place.now_ns, units=UNITS)
    with pytest.raises(RefusedError, match="insufficient_funds"):
        place.account.amend(order, place.now_ns, units=200 * UNITS)
    place.crowd(-1, 950, UNITS)
    with pytest.raises(RefusedError, match="post_only"):
        place.account.amend(order, place.now_ns, ticks=950, post_only=True)
    place.account.amend(order, place.now_ns, ticks=950)
    assert order.filled_units == 2 * UNITS
    assert place.truth()["fills"][-1]["liquidity"] == "taker"
    place.account.cancel(order, place.now_ns)
    with pytest.raises(RefusedError, match="unknown_order"):
        place.account.cancel(order, place.now_ns)
    check(place.truth(), BEGIN, ASSETS)


def test_an_amend_may_use_what_the_order_itself_holds():
    place = Place({"USD": "100.4"})
    order = place.order(1, UNITS, 1000)
    assert place.balance("USD", "available") == "0"
    place.account.amend(order, place.now_ns, units=2 * UNITS, ticks=500)
    assert place.balance("USD", "available") == "0"
    with pytest.raises(RefusedError, match="insufficient_funds"):
        place.account.amend(order, place.now_ns, ticks=501)
    place.account.amend(order, place.now_ns, units=UNITS)
    assert place.balance("USD", "available") == "50.2"


@pytest.mark.parametrize(("units", "parked"), [(4, 3), (2, 1), (1, 0)])
def test_an_amend_of_a_held_order_changes_what_is_held_back(units, parked):
    place = Place()
    place.fault("hold_fills", share="0.3333334")
    order = place.order(1, 3 * UNITS, 1000)
    assert queue(place, 1000) == [("key-of-one", UNITS)]
    place.account.amend(order, place.now_ns, units=units * UNITS)
    assert order.parked_units == parked * UNITS
    assert queue(place, 1000) == [("key-of-one", UNITS)]
    place.fault("release_fills")
    assert queue(place, 1000) == [("key-of-one", units * UNITS)]


@pytest.mark.parametrize("choice", ["cancel_newest", "cancel_oldest", "cancel_both"])
def test_an_account_never_trades_with_itself(choice):
    place = Place()
    place.crowd(-1, 1000, UNITS)
    old = place.order(-1, UNITS, 1010)
    new = place.order(1, 3 * UNITS, 1020, self_trade=choice)
    assert new.filled_units == UNITS
    assert old.filled_units == 0
    assert old.is_open == (choice == "cancel_newest")
    assert new.is_open == (choice == "cancel_oldest")
    assert {o.cause for o in (old, new) if not o.is_open} == {"self_trade"}
    check(place.truth(), BEGIN, ASSETS)


def test_two_accounts_trade_with_each_other():
    place = Place()
    other = place.accounts.of("key-of-two")
    place.order(1, UNITS, 1000)
    place.order(-1, UNITS, 1000, account=other)
    (mine,), (theirs,) = place.truth()["fills"], place.truth("key-of-two")["fills"]
    assert mine["trade_id"] == theirs["trade_id"]
    assert mine["id"] != theirs["id"]
    assert (mine["liquidity"], theirs["liquidity"]) == ("maker", "taker")
    for key in ("key-of-one", "key-of-two"):
        check(place.truth(key), BEGIN, ASSETS)


def test_the_dead_man_cancels_everything_when_its_time_has_come():
    place = Place()
    orders = [place.order(1, UNITS, 900 + n) for n in range(3)]
    place.account.dead_man_ns = place.now_ns + 60 * 10**9
    place.step(59)
    assert all(order.is_open for order in orders)
    place.step(1)
    assert {order.cause for order in orders} == {"dead_man"}
    place.step(100)
    assert place.order(1, UNITS, 900).is_open


def test_positions_are_opened_and_closed_with_profit_and_margin():
    place = Place()
    place.crowd(-1, 1000, 3 * UNITS, "ETH/USD")
    place.order(1, 2 * UNITS, symbol="ETH/USD")
    place.order(1, UNITS, symbol="ETH/USD")
    assert place.balance("USD") == "10000"
    assert place.balance("USD", "held") == "150"  # half of 300
    first, second = place.account.positions.open
    place.crowd(1, 1100, 3 * UNITS, "ETH/USD")
    close = place.order(
        -1, 5 * UNITS // 2, symbol="ETH/USD", closes=((first, 3 * UNITS // 2), (second, UNITS))
    )
    fills = [place.account.fills[number] for number in close.fills]
    assert [(f.position_id, f.units) for f in fills] == [(first, 3 * UNITS // 2), (second, UNITS)]
    assert place.balance("USD") == "10025"
    assert place.balance("USD", "held") == "25"
    (left,) = place.truth()["positions"]
    assert (left["id"], left["quantity"], left["ordered"]) == (str(first), "0.5", "0")
    place.step(0)
    changes = [e.what for e in place.told if isinstance(e, PositionEvent)]
    assert changes == ["opened", "opened", "changed", "closed"]


def test_a_position_cannot_be_closed_twice():
    place = Place()
    place.crowd(-1, 1000, UNITS, "ETH/USD")
    place.order(1, UNITS, symbol="ETH/USD")
    (number,) = place.account.positions.open
    closing = {"symbol": "ETH/USD", "closes": ((number, UNITS),)}
    resting = place.order(-1, UNITS, 1100, **closing)
    assert refused(place, -1, UNITS, 1100, **closing) == "no_position"
    assert refused(place, 1, UNITS, 900, **closing) == "no_position"
    place.account.cancel(resting, place.now_ns)
    with pytest.raises(RefusedError, match="quantity"):
        place.order(-1, UNITS // 2, 1100, **closing)
    again = place.order(-1, UNITS, 1100, **closing)
    place.crowd(1, 1100, UNITS, "ETH/USD")
    assert again.status == "filled"
    assert not place.account.positions.open
    assert place.balance("USD") == "10010"
    assert place.account.positions.of("ETH/USD", 1) == []
    with pytest.raises(RefusedError, match="no_position"):
        place.account.positions.oldest("ETH/USD", 1, UNITS)


# ---- faults


def test_orders_are_refused_on_request():
    place = Place()
    place.fault("reject_order", count=2, account="key-of-one")
    place.fault("insufficient_funds", account="key-of-two")
    assert [refused(place, 1, UNITS, 900) for _ in range(2)] == ["rejected"] * 2
    assert place.order(1, UNITS, 900).is_open
    with pytest.raises(RefusedError, match="insufficient_funds"):
        place.order(1, UNITS, 900, account=place.accounts.of("key-of-two"))


def test_held_orders_fill_nothing_or_a_share_until_they_are_released():
    place = Place()
    before = place.order(1, UNITS, 1000)
    place.fault("hold_fills", share="0.25")
    place.crowd(-1, 1000, UNITS)
    assert before.filled_units == UNITS // 4
    after = place.order(1, 2 * UNITS)
    assert (after.is_open, after.filled_units) == (True, UNITS // 2)
    place.crowd(-1, 1000, 10 * UNITS)
    assert (before.filled_units, after.filled_units) == (UNITS // 4, UNITS // 2)
    place.fault("release_fills")
    assert before.status == after.status == "filled"
    check(place.truth(), BEGIN, ASSETS)
    place.fault("hold_fills", seconds=5.0)
    third = place.order(1, UNITS, 1000)
    assert third.filled_units == 0
    place.account.amend(third, place.now_ns, units=2 * UNITS)
    place.step(6)
    assert third.status == "filled"
    assert third.units == 2 * UNITS
    check(place.truth(), BEGIN, ASSETS)


def test_late_fills_come_after_the_answer_of_a_cancel():
    place = Place()
    place.fault("late_fills", seconds=3.0)
    order = place.order(1, UNITS, 1000)
    place.crowd(-1, 1000, UNITS // 2)
    place.account.cancel(order, place.now_ns)
    place.step(1)
    assert [e.what for e in place.told] == ["new", "canceled"]
    place.step(3)
    late = place.told[2:]
    assert [type(e) for e in late] == [FillEvent, BalanceEvent, BalanceEvent]
    assert place.balance("BTC") == "5.5"


def test_events_are_told_twice_on_request():
    place = Place()
    place.fault("doubled_events", count=1)
    place.order(1, UNITS, 1000)
    place.step(0)
    assert [e.sequence for e in place.told] == [1, 1]
    place.order(1, UNITS, 999)
    place.step(0)
    assert [e.sequence for e in place.told] == [1, 1, 2]


def test_a_command_is_treated_as_asked_for():
    place = Place()
    faults = place.account.faults
    assert faults.treatment("order").lost == ""
    place.fault("lose_answer", command="cancel", how="silent")
    place.fault("late_answer", seconds=2.0)
    place.fault("out_of_order_events")
    first = faults.treatment("order")
    assert (first.lost, first.late_ns, first.events_first) == ("", 2 * 10**9, True)
    second = faults.treatment("cancel")
    assert (second.lost, second.cut, second.late_ns) == ("answer", False, 0)
    place.fault("lose_request")
    assert faults.treatment("amend").lost == "request"
    assert faults.treatment("amend").lost == ""


def test_an_account_is_there_once_and_an_unknown_one_is_told():
    place = Place()
    with pytest.raises(OperatorError, match="it has key-of-one, key-of-two"):
        place.truth("nobody")
    one = SimulatorAccount(venue="kraken", key="key-of-one", secret="c2VjcmV0LXNlY3JldA==")
    with pytest.raises(OperatorError, match="twice"):
        Accounts("kraken", [one, one], {}, Rules(listing=listing), first_id=1)


def test_a_secret_may_be_in_the_environment(monkeypatch):
    named = SimulatorAccount(venue="kraken", key="key-of-one", secret="${PLAYED_SECRET}")
    with pytest.raises(ConfigError, match="PLAYED_SECRET"):
        Accounts("kraken", [named], {}, Rules(listing=listing), first_id=1)
    monkeypatch.setenv("PLAYED_SECRET", "c2VjcmV0")
    found = Accounts("kraken", [named], {}, Rules(listing=listing), first_id=1).of("key-of-one")
    assert found is not None
    assert found.secret == "c2VjcmV0"


COMMANDS = st.one_of(
    st.tuples(
        st.just("place"), st.sampled_from([1, -1]), st.integers(1, 80), st.integers(980, 1020),
        st.sampled_from(["gtc", "gtc", "ioc", "fok", "market"]),
        st.sampled_from(["cancel_newest", "cancel_oldest", "cancel_both"]),
    ),
    st.tuples(
        st.just("crowd"), st.sampled_from([1, -1]), st.integers(1, 60), st.integers(980, 1020)
    ),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("amend"), st.integers(0, 5), st.integers(1, 80), st.integers(980, 1020)),
    st.tuples(st.just("hold"), st.sampled_from(["0", "0.3", "1"])),
    st.tuples(st.just("release")),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(COMMANDS, max_size=60), st.sampled_from(["quote", "received"]))
def test_money_is_conserved_whatever_is_done(commands, fee_in):
    begin = {"USD": "777.7", "BTC": "3"}
    place = Place(begin, fee_in=fee_in)
    place.markets.pop("ETH/USD")
    for command in commands:
        place.step(0.1)
        opened = list(place.account.open.values())
        try:
            if command[0] == "place":
                _, side, tenths, ticks, how, choice = command
                tif = {"market": "gtc"}.get(how, how)
                place.order(
                    side, tenths * UNITS // 10 + 7000, None if how == "market" else ticks,
                    time_in_force=tif, self_trade=choice,
                )  # fmt: skip
            elif command[0] == "crowd":
                place.crowd(command[1], command[3], command[2] * UNITS // 10 + 123)
            elif command[0] == "hold":
                place.fault("hold_fills", share=command[1])
            elif command[0] == "release":
                place.fault("release_fills")
            elif opened and command[0] == "cancel":
                place.account.cancel(opened[command[1] % len(opened)], place.now_ns)
            elif opened:
                order = opened[command[1] % len(opened)]
                place.account.amend(
                    order, place.now_ns, units=command[2] * UNITS // 10, ticks=command[3]
                )
        except RefusedError:
            pass
    check_held_markets(place)
    place.fault("release_fills")
    place.account.cancel_all(place.now_ns)
    place.step(0)
    check(place.truth(), begin, ASSETS)
    assert all(row["held"] == "0" for row in place.truth()["balances"].values())
    follow(place, begin)


def check_held_markets(place) -> None:
    """Market orders have no price to reckon a hold with; without them all must agree."""
    truth = place.truth()
    if all(o["kind"] == "limit" for o in truth["orders"] if o["status"] == "open"):
        begin = {"USD": "777.7", "BTC": "3"}
        check(truth, begin, ASSETS)


def follow(place, begin) -> None:
    """Who only listens knows the balances and what became of each order."""
    assert [e.sequence for e in place.told] == list(range(1, len(place.told) + 1))
    told = {a: atoms(v) for a, v in begin.items()}
    ended: dict[int, str] = {}
    for event in place.told:
        if isinstance(event, BalanceEvent):
            told[event.asset] += event.change
            assert told[event.asset] == event.total
        elif isinstance(event, OrderEvent) and event.what in {"filled", "canceled"}:
            assert event.order.id not in ended
            ended[event.order.id] = event.what
    assert ended == {o.id: o.status for o in place.account.orders()}
    for asset, value in told.items():
        assert value == place.account.balances.total(asset)
