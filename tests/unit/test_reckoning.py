"""What the tests reckon of a venue's fills, by hand and against the ledger's own book."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.execution.assets import Assets
from processes.execution.positions import Book
from schemas.trading import OrderFilled
from tests.reckoning import Reckoned, Traded, is_same

ASSETS = Assets(frozenset({"BTC"}), frozenset({"USD"}))
DAY_NS = 86_400 * 10**9


def row(side: str, price: str, quantity: str, fee: str = "0", asset: str = "USD", day: int = 0):
    return {
        "symbol": "X", "side": side, "price": price, "quantity": quantity, "fee": fee,
        "fee_asset": asset, "time_ns": day * DAY_NS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "held", "realized", "cost"),
    [
        ([row("buy", "100", "2", "1"), row("sell", "110", "1", "1")], 1, 8, 100),
        ([row("sell", "100", "2"), row("buy", "90", "2")], 0, 20, 0),
        ([row("buy", "100", "1"), row("sell", "110", "3")], -2, 10, -220),
        ([row("buy", "100", "10", "1", "BTC"), row("sell", "110", "8")], 1, -20, 100),
    ],
)  # fmt: skip
def test_by_hand(rows, held, realized, cost):
    mine = Reckoned("BTC", [Traded.of(one) for one in rows])
    mine.check()
    assert (mine.held, mine.realized, mine.cost) == (held, realized, cost)


def test_each_day_has_its_own():
    rows = [row("buy", "100", "2"), row("sell", "101", "1", day=1), row("sell", "98", "1", day=2)]
    mine = Reckoned("BTC", [Traded.of(one) for one in rows])
    assert list(mine.by_day.values()) == [0, 1, -2]


AMOUNTS = st.decimals("0.00000001", "1000", places=8)
FILLS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]), AMOUNTS, AMOUNTS, st.decimals("0", "0.001", places=8),
        st.sampled_from(["USD", "BTC"]),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@given(FILLS)
def test_the_ledgers_book_says_the_same(told):
    rows = [row(side, f"{p:f}", f"{q:f}", f"{f:f}", asset) for side, p, q, f, asset in told]
    mine = Reckoned("BTC", [Traded.of(one) for one in rows])
    mine.check()
    book = Book({0: ASSETS})
    for number, one in enumerate(rows):
        fill = OrderFilled(
            "c", str(number), one["price"], one["quantity"], one["fee"], one["fee_asset"], 1
        )
        book.fill(0, one["side"], fill)
    position = book.position(0)
    assert Fraction(position.quantity) == mine.held
    assert Fraction(position.fees) == mine.fees
    assert is_same(str(position.realized), mine.realized, flat=not mine.held)
