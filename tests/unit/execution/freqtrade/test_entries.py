"""Before and after an entry: what is refused here, the numbers that go out, what came of them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.execution.brokers.freqtrade.entries import (
    bot_fault,
    entry_fault,
    mismatch,
    numbers_of,
)
from tests.unit.execution.freqtrade.makers import (
    OPENED_MS,
    config,
    entry,
    leaving,
    order,
    reading,
    trade,
)

PRICE = Decimal(100)


def fault(command=None, found=None, price=PRICE, **more) -> str:
    return entry_fault(command or entry(), price, found or reading(), live=False, **more)


def test_an_entry_that_may_go_has_no_fault():
    assert fault() == ""
    assert entry_fault(entry(), PRICE, reading(live=True), live=True) == ""
    assert entry_fault(entry(), PRICE, reading(), live=True) == ""
    assert fault(found=reading(free="101.02")) == ""


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (reading(state="paused"), "the bot is paused"),
        (reading(state="stopped"), "the bot is stopped"),
        (reading(live=True), "nobody has armed it"),
        (reading(runmode="live"), "run mode"),
        (reading(version="2025.12"), "2026.1 is the oldest"),
        (reading(version="develop-1a2b"), "2026.1 is the oldest"),
        (reading(force_entry_enable=False), "force_entry_enable"),
        (reading(position_adjustment_enable=True), "position_adjustment_enable"),
        (reading(trading_mode="futures"), "only spot"),
        (reading(stake_currency="EUR"), "stakes are in EUR"),
        (reading(free="100.5"), "it would buy less"),
        (reading(free="0"), "it would buy less"),
        (reading(trade(order(), enter_tag="other")), "open trade of ETH/USD"),
        (reading(trade(order())), "of this command id already"),
        (reading(closed=[trade(order(filled="1"))]), "of this command id already"),
        (
            reading(*(trade(order(), enter_tag=str(n), pair=f"{n}/USD") for n in range(3))),
            "its 3 open trades",
        ),
    ],
)
def test_each_thing_that_the_bot_would_do_wrong_is_refused(found, text):
    assert text in fault(found=found)


@pytest.mark.parametrize(
    "price", [Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity")]
)
def test_prices_that_are_none_are_refused(price):
    assert "above zero" in fault(price=price)


def test_a_short_entry_is_refused():
    assert "sell short" in fault(leaving())


def test_any_number_of_trades_is_allowed_where_the_bot_allows_it():
    crowd = [trade(order(), enter_tag=str(n), pair=f"{n}/USD") for n in range(50)]
    assert fault(found=reading(*crowd, max_open_trades=Decimal(-1))) == ""


@pytest.mark.parametrize(
    ("version", "recent"),
    [
        ("2026.9", True), ("2026.1", True), ("2027.1-dev", True), ("2025.12", False),
        ("2024.10", False), ("", False), ("develop", False), ("2026.10", True),
    ],
)  # fmt: skip
def test_versions_are_calendar_versions(version, recent):
    assert config(version=version).recent is recent
    assert (bot_fault(config(version=version), live=False) == "") is recent


amounts = st.decimals("0.00000001", "1000000", places=8, allow_nan=False, allow_infinity=False)
prices = st.decimals("0.000001", "100000000", places=6, allow_nan=False, allow_infinity=False)


@given(amounts, prices)
def test_the_bots_own_division_gives_the_very_amount(quantity, price):
    """It divides in binary and cuts to the venue's step: what is cut must not be a whole step."""
    rate, stake = numbers_of(quantity, price)
    amount = stake / rate
    assert amount >= float(quantity)
    assert Decimal(amount) - quantity < max(quantity, Decimal(1)) * Decimal("1E-14")
    assert rate == float(price)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (trade(order()), ""),
        (trade(order(filled="1")), ""),
        (trade(order(amount="0.99999999")), ""),
        (trade(order(), enter_tag="other"), "answered with the trade other"),
        (trade(order(), pair="BTC/USD"), "of BTC/USD"),
        (trade(order(), open_timestamp=OPENED_MS - 5000), "older than the order"),
        (trade(order(), is_short=True), "went short"),
        (trade(order("O-REAL")), "is real"),
        (trade(), "no entry order"),
        (trade(order(amount="0.9")), "ordered 0.9, not 1"),
        (trade(order(amount="1.3")), "ordered 1.3, not 1"),
        (trade(order(safe_price=Decimal(101))), "limit is 101, not 100"),
        (trade(order(amount="0.99"), precision_mode=2, amount_precision=Decimal(2)), ""),
        (trade(order(amount="0.98"), precision_mode=2, amount_precision=Decimal(2)), "ordered"),
    ],
)
def test_what_the_bot_made_of_an_entry_is_looked_at(made, text):
    found = mismatch(entry(), PRICE, made, dry_run=True)
    assert text in found
    assert bool(text) == bool(found)


def test_a_simulated_order_at_a_live_bot_is_a_mismatch():
    assert "simulated" in mismatch(entry(), PRICE, trade(order()), dry_run=False)
    assert mismatch(entry(), PRICE, trade(order("O1-REAL")), dry_run=False) == ""
