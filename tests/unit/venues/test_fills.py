"""A fill that no trade can be is refused wherever it comes from: nothing is booked of it."""

import json
from decimal import Decimal

import msgspec
import pytest

from schemas.account import Fill
from schemas.errors import AnswerError, DecodeError
from tests.kraken_frames import Number
from tests.unit.venues.test_bitfinex_account import take
from tests.unit.venues.test_gmo_account import EXECUTION, events
from tests.unit.venues.test_kraken_account import NEW, TRADE, Told
from venues.freqtrade.trades import BotOrder
from venues.gmo.private_rest import Execution
from venues.gmo.updates import fill_of

NONE = ["0", "0.000", "-1", "-0.5"]


@pytest.mark.parametrize("value", [*NONE, "", "NaN", "Infinity", "1e9", "1,5", "٣", "."])
@pytest.mark.parametrize("name", ["price", "quantity"])
def test_a_fill_has_a_price_and_a_quantity(name, value):
    sound = {
        "venue": "kraken", "fill_id": "F", "order_id": "O", "symbol": "BTC/USD", "side": "buy",
        "price": "0.00000001", "quantity": "10",
    }  # fmt: skip
    assert Fill(**sound).price == "0.00000001"
    with pytest.raises(DecodeError, match=f"fill F of order O has the {name}"):
        Fill(**{**sound, name: value})


@pytest.mark.parametrize("value", NONE)
@pytest.mark.parametrize("name", ["last_price", "last_qty"])
def test_kraken(name, value):
    told = Told()
    told.take([NEW])
    with pytest.raises(DecodeError, match="fill T1"):
        told.take([{**TRADE, name: Number(value)}])


@pytest.mark.parametrize("price", NONE)
def test_bitfinex(price):
    row = '[0,"tu",[9,"tBTCUSD",1588241444015,7,-0.2,{},"LIMIT",1,-1,-0.1,"USD",88]]'
    assert take(row.format("153.57"))
    with pytest.raises(DecodeError, match="fill 9"):
        take(row.format(price))
    with pytest.raises(DecodeError, match="fill 9"):
        take(row.format("153.57").replace("-0.2", "0"))


@pytest.mark.parametrize("value", NONE)
@pytest.mark.parametrize("name", ["executionPrice", "executionSize"])
def test_gmo(name, value):
    assert events(EXECUTION)
    with pytest.raises(DecodeError, match=f"fill 22|{name} is -"):
        events(EXECUTION, **{name: value})


@pytest.mark.parametrize(
    "changes",
    [{"filled": -1}, {"filled": "NaN"}, {"filled": "Infinity"}, {"safe_price": 0},
     {"safe_price": -1}, {"safe_price": "NaN"}],
)  # fmt: skip
def test_freqtrade(changes):
    sound = {
        "order_id": "1", "status": "closed", "amount": 1, "safe_price": 100, "filled": 1,
        "ft_order_side": "buy", "order_type": "limit", "is_open": False,
    }  # fmt: skip
    assert msgspec.json.decode(json.dumps(sound), type=BotOrder).done == 1
    # Before its first fill an order has no price worth a check: a market order's may be none.
    unfilled = {**sound, "filled": 0, "safe_price": 0}
    assert msgspec.json.decode(json.dumps(unfilled), type=BotOrder).done == 0
    with pytest.raises(msgspec.ValidationError, match="order 1"):
        msgspec.json.decode(json.dumps({**sound, **changes}), type=BotOrder)


def test_over_rest_such_an_answer_is_none_of_the_venues():
    execution = Execution(
        execution_id=1, order_id=2, position_id=None, symbol="BTC", side="BUY", settle_type="OPEN",
        size=Decimal(1), price=Decimal(0), loss_gain=Decimal(0), fee=Decimal(1), mts=0,
    )  # fmt: skip
    with pytest.raises(AnswerError, match="fill 1"):
        fill_of(execution)
