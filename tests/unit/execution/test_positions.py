"""Positions: whatever is bought and sold, the money adds up, to the last decimal."""

from decimal import Decimal, localcontext

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.execution.assets import UNKNOWN, assets_by_instrument, assets_of
from processes.execution.beginning import Beginning
from processes.execution.positions import EXACT, Book, Position
from schemas.instruments import Instrument
from schemas.trading import OrderFilled

T0 = 1_760_000_000_000_000_000
DAY = 86_400 * 10**9
CLOSE = Decimal("1e-12")
"""An average price is a quotient and so is rounded, in the 28th digit."""

amounts = st.integers(1, 10**12).map(lambda units: Decimal(units).scaleb(-8))
prices = st.integers(1, 2 * 10**9).map(lambda ticks: Decimal(ticks).scaleb(-2))
fees = st.integers(-(10**6), 10**9).map(lambda units: Decimal(units).scaleb(-8))
fills = st.lists(st.tuples(st.sampled_from(["buy", "sell"]), amounts, prices, fees), max_size=30)


def fill(price, quantity, fee=Decimal(0), number=0, time_ns=T0) -> OrderFilled:
    return OrderFilled("c", str(number), f"{price:f}", f"{quantity:f}", f"{fee:f}", "USD", time_ns)


def close(found: Decimal, wanted: Decimal) -> bool:
    return abs(found - wanted) <= CLOSE


@given(fills, prices)
def test_what_was_paid_is_what_is_held_and_what_was_gained(steps, mark):
    """Cash out of the pocket + worth of what is held = realized + unrealized, after each fill."""
    position = Position()
    cash = Decimal(0)
    for number, (side, amount, price, fee) in enumerate(steps):
        before = position.realized
        gained = position.add(side, fill(price, amount, fee, number))
        signed = amount if side == "buy" else -amount
        cash -= signed * price + fee
        assert position.realized == EXACT.add(before, gained)
        worth = cash + position.quantity * mark
        assert worth == EXACT.add(position.realized, position.unrealized(mark))
    assert position.quantity == sum(
        (amount if side == "buy" else -amount for side, amount, _, _ in steps), Decimal(0)
    )
    assert position.fees == sum((step[3] for step in steps), Decimal(0))
    if not position.quantity:
        assert position.realized == cash


@given(fills)
def test_the_average_lies_between_the_prices_paid(steps):
    position = Position()
    opened: list[Decimal] = []
    for number, (side, amount, price, _) in enumerate(steps):
        signed = amount if side == "buy" else -amount
        before = position.quantity
        position.add(side, fill(price, amount, number=number, time_ns=T0 + number))
        if not position.quantity:
            opened = []
            assert (position.average_price, position.opened_ns) == (0, 0)
            continue
        if before == 0 or (before > 0) != (position.quantity > 0):
            opened = [price]
            assert position.opened_ns == T0 + number
            assert position.average_price == price
        elif (before > 0) == (signed > 0):
            opened.append(price)
        assert min(opened) - CLOSE <= position.average_price <= max(opened) + CLOSE


@given(fills)
def test_fees_alone_make_a_loss(steps):
    """At one and the same price nothing is ever gained but what fees take or give."""
    position = Position()
    for number, (side, amount, _, fee) in enumerate(steps):
        position.add(side, fill(Decimal(100), amount, fee, number))
    assert position.realized == -position.fees
    assert position.unrealized(Decimal(100)) == 0


@given(fills, prices)
def test_a_mirrored_history_has_a_mirrored_result(steps, mark):
    plain, mirror = Position(), Position()
    other = {"buy": "sell", "sell": "buy"}
    for number, (side, amount, price, _) in enumerate(steps):
        plain.add(side, fill(price, amount, number=number))
        mirror.add(other[side], fill(price, amount, number=number))
    assert mirror.quantity == plain.quantity.copy_negate()
    assert mirror.average_price == plain.average_price
    assert mirror.realized == plain.realized.copy_negate()
    assert mirror.unrealized(mark) == plain.unrealized(mark).copy_negate()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), fills.filter(bool)), max_size=5))
def test_a_books_day_is_the_sum_of_its_fills_of_that_day(rounds):
    book = Book()
    gains: dict[int, Decimal] = {}
    day = 0
    shadow: dict[int, Position] = {}
    for instrument, later, steps in rounds:
        day += later
        for number, (side, amount, price, fee) in enumerate(steps):
            one = fill(price, amount, fee, number, T0 + day * DAY)
            book.fill(instrument, side, one)
            gained = shadow.setdefault(instrument, Position()).add(side, one)
            gains[day] = EXACT.add(gains.get(day, Decimal(0)), gained)
    assert book.realized_today == gains.get(day, Decimal(0))
    assert book.positions == shadow
    book.turn_day(T0 + (day + 1) * DAY)
    assert book.realized_today == 0
    assert set(book.held()) == {number for number, one in shadow.items() if one.quantity}


def test_a_fill_of_yesterday_that_comes_late_is_not_todays():
    book = Book()
    book.fill(0, "buy", fill(Decimal(100), Decimal(1), time_ns=T0))
    book.turn_day(T0 + DAY)
    book.fill(0, "sell", fill(Decimal(50), Decimal(1), number=1, time_ns=T0 + 1))
    assert book.realized_today == 0
    assert book.position(0).realized == -50


def test_exposure_counts_both_directions():
    book = Book()
    book.fill(0, "buy", fill(Decimal(100), Decimal(2)))
    book.fill(1, "sell", fill(Decimal(10), Decimal(5)))
    assert book.exposure() == 250, "without a mark what was paid stands for it"
    book.see(0, 110.0)
    book.see(1, 12.0)
    assert book.exposure() == 280
    assert book.unrealized() == 10


BTC = Instrument(index=0, venue="kraken", symbol="BTC/USD", pair="BTC/USD")
BTC_ASSETS = assets_of(BTC)
wide_amounts = st.decimals("1e-18", 10**9, allow_nan=False, places=18)
wide_prices = st.decimals("1e-12", 10**9, allow_nan=False, places=12)
any_fees = st.tuples(
    st.sampled_from(["BTC", "XXBT", "USD", "ZUSD", "", "KFEE"]),
    st.decimals("-0.01", 1, allow_nan=False, places=12),
)
any_fills = st.lists(
    st.tuples(st.sampled_from(["buy", "sell"]), wide_amounts, wide_prices, any_fees), max_size=30
)


@given(any_fills, wide_prices)
def test_not_the_last_digit_is_lost_whatever_fees_are_taken_of(steps, mark):
    """Quantity and money, exactly: no tolerance anywhere."""
    position, held, cash, fees = Position(), Decimal(0), Decimal(0), Decimal(0)
    others = Decimal(0)
    with localcontext(EXACT):
        for number, (side, amount, price, (asset, fee)) in enumerate(steps):
            told = OrderFilled(
                "c", str(number), f"{price:f}", f"{amount:f}", f"{fee:f}", asset, T0 + number
            )
            position.add(side, told, BTC_ASSETS)
            signed = amount if side == "buy" else -amount
            held += signed
            cash -= signed * price
            if asset in {"BTC", "XXBT"}:
                held -= fee
                fees += fee * price
            elif asset == "KFEE":
                others += fee
            else:
                cash -= fee
                fees += fee
            assert position.quantity == held
            assert position.fees == fees
            assert position.realized + position.unrealized(mark) == cash + held * mark
    assert position.other_fees.get("KFEE", 0) == others
    assert set(position.other_fees) <= {"KFEE"}
    kept = msgspec.json.decode(msgspec.json.encode(position), type=Position)
    assert kept == position


@given(any_fills)
def test_a_book_that_was_kept_goes_on_to_the_same_digit(steps):
    one, other = Book(assets_by_instrument([BTC])), Book(assets_by_instrument([BTC]))
    for number, (side, amount, price, (asset, fee)) in enumerate(steps):
        told = OrderFilled(
            "c", str(number), f"{price:f}", f"{amount:f}", f"{fee:f}", asset, T0 + number
        )
        for book in (one, other):
            book.fill(0, side, told)
        kept = Beginning.decode(Beginning.of([], other).encode())
        kept.give(other)
        assert other.positions == one.positions
        assert other.realized_today == one.realized_today


def test_a_fee_of_what_was_bought_makes_it_smaller_and_is_a_cost():
    position = Position()
    bought = OrderFilled("c", "1", "100", "2", "0.005", "BTC", T0)
    assert position.add("buy", bought, BTC_ASSETS) == Decimal("-0.5")
    assert (position.quantity, position.average_price) == (Decimal("1.995"), 100)
    assert position.fees == Decimal("0.5")
    sold = OrderFilled("c", "2", "110", "1.995", "0.1", "USD", T0 + 1)
    position.add("sell", sold, BTC_ASSETS)
    assert position.quantity == 0
    assert position.realized == Decimal("1.995") * 110 - Decimal("0.1") - 200


def test_a_position_that_was_kept_with_an_average_price_only_is_taken_up():
    old = b'{"quantity":"-2","average_price":"10.5","realized":"1","fees":"0","opened_ns":5}'
    position = msgspec.json.decode(old, type=Position)
    assert position.cost == -21
    assert position.unrealized(Decimal(10)) == 1


@pytest.mark.parametrize(
    ("venue", "symbol", "pair", "bases", "quotes"),
    [
        ("bitfinex", "tBTCUST", "BTC/USDT", {"BTC"}, {"UST", "USDT"}),
        ("bitfinex", "tDOGE:USD", "DOGE/USD", {"DOGE"}, {"USD"}),
        ("bitfinex", "tBTCF0:USTF0", "BTC/USDT:PERP", {"BTC", "BTCF0"}, {"USDT", "USTF0"}),
        ("kraken", "BTC/USD", "BTC/USD", {"BTC", "XXBT"}, {"USD", "ZUSD"}),
        ("gmo", "BTC_JPY", "BTC/JPY:PERP", {"BTC"}, {"JPY"}),
    ],
)
def test_an_asset_is_known_by_every_name_of_its_venue(venue, symbol, pair, bases, quotes):
    found = assets_of(Instrument(index=0, venue=venue, symbol=symbol, pair=pair))
    assert (found.bases, found.quotes) == (bases, quotes)


def test_what_is_no_pair_has_no_assets():
    funding = Instrument(index=0, venue="bitfinex", symbol="fUSD", pair="USD:FUNDING")
    assert assets_of(funding) == UNKNOWN
