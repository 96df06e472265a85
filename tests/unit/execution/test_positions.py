"""Positions: whatever is bought and sold, the money adds up, to the last decimal."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from processes.execution.positions import Book, Position
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
        assert position.realized == before + gained
        worth = cash + position.quantity * mark
        assert close(worth, position.realized + position.unrealized(mark))
    assert position.quantity == sum(
        (amount if side == "buy" else -amount for side, amount, _, _ in steps), Decimal(0)
    )
    assert position.fees == sum((step[3] for step in steps), Decimal(0))
    if not position.quantity:
        assert close(position.realized, cash)


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
    assert mirror.quantity == -plain.quantity
    assert mirror.average_price == plain.average_price
    assert mirror.realized == -plain.realized
    assert mirror.unrealized(mark) == -plain.unrealized(mark)


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
            gains[day] = gains.get(day, Decimal(0)) + gained
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
