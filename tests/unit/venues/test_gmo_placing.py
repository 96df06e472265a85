"""How an order is written for GMO Coin, how a send may end, and which order looks like which."""

import asyncio
from decimal import Decimal

import pytest
from msgspec import structs

from schemas.errors import (
    AnswerError,
    MaintenanceError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
)
from tests.conformance.clock import Clock, run_in
from venues.gmo.look import Looker, Question, looks_like
from venues.gmo.order_rest import GmoOrderRest
from venues.gmo.placing import ANSWER_S, BEGIN_S, closes_positions, order_body, sent_once
from venues.gmo.private_rest import Order
from venues.gmo.rest import SymbolRules
from venues.rest import Answer, Tools
from venues.trading import NewOrder, NotSentError, OrderRef

ORDER = NewOrder(
    command_id="a" * 32, symbol="BTC", side="buy", quantity="0.01000", kind="limit",
    limit_price="9000000.0",
)  # fmt: skip
RULES = {
    symbol: SymbolRules(
        symbol=symbol, min_size=Decimal(step), max_size=Decimal(5), size_step=Decimal(step),
        tick_size=Decimal(1), taker_fee=Decimal(0), maker_fee=Decimal(0), min_close_size=None,
    )
    for symbol, step in (("BTC", "0.00001"), ("BTC_JPY", "0.001"))
}  # fmt: skip
FOUND = Order(
    root_order_id=7, order_id=7, symbol="BTC", side="BUY", order_type="NORMAL",
    execution_type="LIMIT", settle_type="OPEN", size=Decimal("0.01"), executed_size=Decimal(0),
    price=Decimal(9000000), losscut_price=Decimal(0), status="ORDERED", cancel_type="",
    time_in_force="FAS", mts=0,
)  # fmt: skip


def changed(**terms):
    return structs.replace(ORDER, **terms)


def test_an_order_is_written_with_plain_numbers():
    assert order_body(ORDER, RULES) == {
        "symbol": "BTC", "side": "BUY", "executionType": "LIMIT", "timeInForce": "FAS",
        "size": "0.01", "price": "9000000",
    }  # fmt: skip
    market = changed(kind="market", limit_price="", side="sell", quantity="10")
    assert order_body(market, RULES) == {
        "symbol": "BTC", "side": "SELL", "executionType": "MARKET", "timeInForce": "FAK",
        "size": "10",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"symbol": "DOGE"}, "lists no DOGE"),
        ({"quantity": "0.000001"}, "no multiple of 0.00001"),
        ({"symbol": "BTC_JPY", "quantity": "0.0001"}, "no multiple of 0.001"),
        ({"limit_price": "9000000.5"}, "no multiple of 1"),
        ({"reduce_only": True}, "reduces nothing"),
    ],
)
def test_an_order_that_the_venue_would_refuse_is_not_written(terms, said):
    with pytest.raises(RefusedError, match=said):
        order_body(changed(**terms), RULES)


def test_only_leverage_orders_that_reduce_close_positions():
    assert closes_positions(changed(symbol="BTC_JPY", reduce_only=True))
    assert not closes_positions(changed(symbol="BTC_JPY"))
    assert not closes_positions(changed(side="sell", reduce_only=True))


@pytest.mark.parametrize(
    ("raised", "begins", "wanted"),
    [
        (RefusedError("no", code="ERR-201"), True, RefusedError),
        (RateLimitedError("slower", code="ERR-5003"), True, RefusedError),
        (RateLimitedError("HTTP 429"), True, RefusedError),
        (MaintenanceError("closed", code="ERR-5201"), True, RefusedError),
        (MaintenanceError("HTTP 503"), True, MaintenanceError),
        (UnavailableError("busy", code="ERR-626"), True, UnavailableError),
        (UnavailableError("no answer in time"), True, UnavailableError),
        (UnavailableError("connection refused"), False, NotSentError),
        (AnswerError("not JSON"), True, AnswerError),
    ],
)
def test_a_send_ends_as_what_is_known_of_the_order(raised, begins, wanted):
    async def send(sending):
        if begins:
            sending.begun()
        raise raised

    async def story():
        with pytest.raises(wanted) as caught:
            await sent_once(send, lambda: None)
        assert type(caught.value) is wanted

    asyncio.run(story())


@pytest.mark.parametrize("begins", [True, False])
def test_a_send_has_some_time_to_begin_and_more_to_be_answered(begins):
    clock, late = Clock(), []

    async def send(sending):
        if begins:
            sending.begun()
        try:
            await asyncio.sleep(3600.0)
        finally:
            late.append(sending)
        return "1"

    async def story():
        begin_s = clock.now_s()
        with pytest.raises(TimeoutError if begins else NotSentError):
            await sent_once(send, lambda: None)
        assert clock.now_s() - begin_s == pytest.approx(ANSWER_S if begins else BEGIN_S, abs=0.01)
        if not begins:
            # Whatever still holds the body cannot write it any more.
            with pytest.raises(ConnectionError):
                late[0].begun()

    run_in(clock, story(), 60.0)


def test_an_order_looks_like_one_alone_if_every_term_is_alike():
    assert looks_like(FOUND, ORDER)
    for terms in (
        {"symbol": "BTC_JPY"}, {"side": "sell"}, {"quantity": "0.02"}, {"kind": "market"},
        {"limit_price": "9000001"}, {"symbol": "BTC_JPY", "reduce_only": True},
    ):  # fmt: skip
        assert not looks_like(FOUND, changed(**terms)), terms
    market = structs.replace(FOUND, execution_type="MARKET", price=Decimal(0))
    assert looks_like(market, changed(kind="market", limit_price=""))
    closing = structs.replace(FOUND, symbol="BTC_JPY", settle_type="CLOSE")
    assert looks_like(closing, changed(symbol="BTC_JPY", reduce_only=True))
    assert not looks_like(closing, changed(symbol="BTC_JPY"))
    assert not looks_like(structs.replace(closing, order_type="LOSSCUT"), changed(reduce_only=True))


class Refusing:
    """Reads of a venue that refuses a whole question for one order that it does not know."""

    def __init__(self, known: int, code: str = "ERR-5123") -> None:
        self.known, self.code = known, code

    async def open_orders(self, symbol, *, page):
        return []

    async def latest_executions(self, symbol, *, page):
        return []

    async def orders(self, ids):
        if list(ids) != [self.known]:
            raise RefusedError(f"{self.code} The order does not exist.", code=self.code)
        return [structs.replace(FOUND, order_id=self.known)]


def test_an_order_that_is_not_there_does_not_hide_the_others():
    refs = [
        OrderRef(order=changed(command_id=f"{number:032x}"), venue_order_id=str(number))
        for number in range(7, 19)
    ]
    question = Question(refs=refs, since_ns=0, now_ns=0, symbols=["BTC"])
    sight = asyncio.run(Looker(Refusing(9), question).look())
    assert set(sight.orders) == {f"{9:032x}"}
    assert sight.missing == {ref.order.command_id for ref in refs if ref.venue_order_id != "9"}
    with pytest.raises(RefusedError):
        asyncio.run(Looker(Refusing(9, "ERR-5106"), question).look())


@pytest.mark.parametrize(
    "body", [b'{"data":"THETOKEN"}', b'"THETOKEN', b'{"status":0,"data":["THETOKEN"]}']
)
def test_an_answer_that_cannot_be_read_shows_no_token(body):
    class Client:
        tools = Tools(utc_ns=lambda: 0, uniform=lambda: 0.0)

        async def call(self, request, read):
            return read(Answer(200, body, "POST ws-auth"))

    with pytest.raises(AnswerError) as caught:
        asyncio.run(GmoOrderRest(Client(), "key", "secret").create())
    assert "THETOKEN" not in str(caught.value)
