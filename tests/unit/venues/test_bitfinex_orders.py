"""Orders in Bitfinex's words: names that mean one order, amounts and prices as they were
decided."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.account import Fee, Fill, OrderUpdate
from schemas.errors import AnswerError
from venues.bitfinex import look
from venues.bitfinex.look import common_asset, with_common_fees
from venues.bitfinex.orders import (
    client_id_of,
    days_of,
    input_of,
    price_text,
    signed_amount,
)
from venues.trading import NewOrder, NotSentError

MIDNIGHT_NS = int(datetime(2026, 9, 23, tzinfo=UTC).timestamp()) * 10**9
SECOND = 10**9
COMMAND = "0123456789abcdef0123456789abcdef"


def order(**terms) -> NewOrder:
    known = {
        "command_id": COMMAND, "symbol": "tBTCUSD", "side": "buy", "quantity": "0.5",
        "kind": "limit", "limit_price": "86700", "decided_ns": MIDNIGHT_NS + 3600 * SECOND,
    }  # fmt: skip
    return NewOrder(**{**known, **terms})


@given(st.text("0123456789abcdef", min_size=32, max_size=32))
def test_client_ids_fit_the_venues_numbers_and_stay_the_same(command_id):
    number = client_id_of(command_id)
    assert 0 < number < 1 << 45
    assert client_id_of(command_id) == number


def test_client_ids_differ():
    ids = {client_id_of(f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}")
           for number in range(10_000)}  # fmt: skip
    assert len(ids) == 10_000


@pytest.mark.parametrize(
    ("seconds", "days"),
    [(3600, ["2026-09-23"]), (-3600, ["2026-09-22"]), (-1, ["2026-09-22", "2026-09-23"]),
     (1, ["2026-09-22", "2026-09-23"])],
)  # fmt: skip
def test_around_midnight_an_order_may_be_of_either_day(seconds, days):
    assert days_of(order(decided_ns=MIDNIGHT_NS + seconds * SECOND)) == days


def test_an_order_in_the_venues_words():
    assert input_of(order(side="sell", quantity="0.50", reduce_only=True)) == {
        "type": "EXCHANGE LIMIT", "symbol": "tBTCUSD", "amount": "-0.50", "price": "86700",
        "cid": client_id_of(COMMAND),
    }  # fmt: skip
    assert input_of(order(kind="market", limit_price=""))["type"] == "EXCHANGE MARKET"
    assert "price" not in input_of(order(kind="market", limit_price=""))


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "NaN", "Infinity", "0.000000001", "1e400"])
def test_what_is_no_quantity_is_not_sent(text):
    with pytest.raises(NotSentError):
        signed_amount(text, "buy")


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "NaN", "86700.5", "1.00001", "0.0000123456"])
def test_what_is_no_price_is_not_sent(text):
    with pytest.raises(NotSentError):
        price_text(text)


@given(st.integers(1, 10**16), st.integers(0, 8), st.sampled_from(["buy", "sell"]))
def test_amounts_keep_every_digit(units, decimals, side):
    text = f"{Decimal(units).scaleb(-decimals):f}"
    amount = signed_amount(text, side)
    assert abs(Decimal(amount)) == Decimal(text)
    assert amount.startswith("-") == (side == "sell")
    assert "e" not in amount.lower()


@given(st.integers(1, 99_999), st.integers(-8, 3))
def test_prices_of_five_digits_are_taken(digits, scale):
    text = f"{Decimal(digits).scaleb(scale):f}"
    assert Decimal(price_text(text)) == Decimal(text)


def test_fees_and_balances_are_in_assets_by_their_common_names():
    assert (common_asset("UST"), common_asset("BTC")) == ("USDT", "BTC")
    fill = Fill(
        venue="bitfinex", fill_id="1", order_id="2", symbol="tBTCUST", side="sell", price="1",
        quantity="1", fees=(Fee(asset="UST", amount="0.1"),),
    )  # fmt: skip
    assert with_common_fees(fill).fees == (Fee(asset="USDT", amount="0.1"),)


# ---- pages


def update(number: int, created_ms: int, updated_ms: int) -> OrderUpdate:
    return OrderUpdate(
        venue="bitfinex", order_id=str(number), symbol="tBTCUSD", status="canceled",
        status_text="CANCELED", created_ns=created_ms * 10**6, time_ns=updated_ms * 10**6,
    )  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=40),
    st.sampled_from(["created_ns", "time_ns"]),
)
def test_pages_are_turned_to_the_end_however_the_venue_files_them(times, filed_by):
    # No more rows of one millisecond than half a page: then nobody could turn further.
    orders, seen = [], {"created_ns": {}, "time_ns": {}}
    for created_ms, lasted_ms in times:
        one = update(len(orders) + 1, created_ms, created_ms + lasted_ms)
        at = getattr(one, filed_by)
        seen[filed_by][at] = seen[filed_by].get(at, 0) + 1
        if seen[filed_by][at] <= look.PAGE_ROWS // 2:
            orders.append(one)
    asked = []

    async def turn(start_ms, end_ms, limit):
        asked.append(end_ms)
        rows = [o for o in orders if start_ms <= getattr(o, filed_by) // 10**6]
        rows = [o for o in rows if end_ms is None or getattr(o, filed_by) // 10**6 <= end_ms]
        rows.sort(key=lambda o: getattr(o, filed_by), reverse=True)
        return rows[:limit]

    found = asyncio.run(look._pages(turn, 0, look._order_times))
    assert {o.order_id for o in found} == {o.order_id for o in orders}
    # Half a page may be of the same millisecond, and a page may be turned twice once.
    assert len(asked) <= 3 + len(orders) // (look.PAGE_ROWS // 2)


def test_more_than_a_page_of_one_moment_is_no_complete_answer():
    rows = [update(number, 5, 9) for number in range(look.PAGE_ROWS)]

    async def turn(start_ms, end_ms, limit):
        return rows[:limit]

    with pytest.raises(AnswerError):
        asyncio.run(look._pages(turn, 0, look._order_times))


@pytest.fixture(autouse=True, scope="module")
def small_pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "PAGE_ROWS", 6)
        yield
