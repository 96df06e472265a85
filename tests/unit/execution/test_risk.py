"""Risk: each limit in each scope, what venues take, what accounts have, what is remembered."""

from decimal import Decimal

import msgspec
import pytest

from config.loader import load
from processes.execution.beginning import Beginning
from processes.execution.effects import Send
from processes.execution.machine import Machine
from schemas.instruments import Instrument
from schemas.trading import (
    AccountConnected,
    Action,
    AssetHeld,
    KillLevel,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderState,
    Reason,
    Reconciled,
)
from tests.unit.execution.test_machine import T0, enter, fill, prediction

SECOND = 10**9
BTC, ETH, YEN, COIN = range(4)
INSTRUMENTS = [
    Instrument(index=BTC, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD"),
    Instrument(index=ETH, venue="bitfinex", symbol="tETHUSD", pair="ETH/USD"),
    Instrument(index=YEN, venue="gmo", symbol="BTC", pair="BTC/JPY"),
    Instrument(
        index=COIN, venue="kraken", symbol="ADA/USD", pair="ADA/USD", quantity_step="0.1",
        min_quantity="0.5", min_notional="5",
    ),
]  # fmt: skip
KRAKEN = {"broker": "kraken", "key": "${K}", "secret": "${S}"}


def settings(**changes):
    named = {key.replace("__", "."): str(value) for key, value in changes.items()}
    return load("demo", environment={}, changes=named)


def machine(**changes) -> Machine:
    made = Machine(7, INSTRUMENTS, settings(**changes))
    for account in made.accounts.names:
        made.on_event(Reconciled(account, T0), T0)
    return made


def decide(made, instrument=BTC, cut=1, now_ns=T0, **changes):
    told = prediction(cut, instrument=instrument, now_ns=now_ns, **changes)
    return made.on_prediction(told, now_ns, cut)


def reason(made, instrument=BTC, cut=1, now_ns=T0, **changes) -> Reason:
    decision, effects = decide(made, instrument, cut, now_ns, **changes)
    assert bool(effects) == (decision.action != Action.HOLD)
    return decision.reason


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("risk__per_instrument", BTC, ETH),
        ("risk__per_venue", BTC, COIN),
        ("risk__per_account", BTC, COIN),
    ],
)
@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ('max_order_notional: "50"', Reason.MAX_ORDER),
        ('max_position_notional: "50"', Reason.MAX_POSITION),
        ('max_total_notional: "50"', Reason.MAX_TOTAL_POSITION),
    ],
)
def test_a_limit_holds_in_its_scope_and_nowhere_else(scope, inside, outside, limit, code):
    name = {
        "risk__per_instrument": "bitfinex:tBTCUSD", "risk__per_venue": "bitfinex",
        "risk__per_account": "here",
    }[scope]  # fmt: skip
    accounts = '{here: {broker: paper, instruments: ["bitfinex:*"]}, paper: {broker: paper}}'
    made = machine(execution__accounts=accounts, **{scope: f'{{"{name}": {{{limit}}}}}'})
    assert reason(made, inside) == code
    assert reason(made, outside) == Reason.SIGNAL


def test_the_narrowest_scope_says_how_large_an_order_may_be():
    made = machine(
        risk__max_order_notional="50",
        risk__per_venue='{bitfinex: {max_order_notional: "60"}}',
        risk__per_instrument='{"bitfinex:tBTCUSD": {max_order_notional: "100"}}',
    )
    assert reason(made, ETH) == Reason.MAX_ORDER
    assert reason(made, BTC) == Reason.SIGNAL


def test_sums_are_limited_in_every_scope_at_once():
    made = machine(
        risk__max_total_notional="10000", risk__per_venue='{bitfinex: {max_total_notional: "150"}}'
    )
    _, intent = enter(made)
    assert reason(made, ETH) == Reason.MAX_TOTAL_POSITION
    made.on_event(fill(intent), T0)
    assert reason(made, ETH) == Reason.MAX_TOTAL_POSITION
    assert reason(made, COIN) == Reason.SIGNAL


def test_orders_a_minute_are_counted_by_scope():
    made = machine(
        risk__per_venue="{bitfinex: {max_orders_per_minute: 1}}", strategy__cooldown_s="0"
    )
    enter(made)
    assert reason(made, ETH) == Reason.ORDER_RATE
    assert reason(made, COIN) == Reason.SIGNAL
    assert reason(made, ETH, 2, T0 + 61 * SECOND) == Reason.SIGNAL


def lose(made, instrument=BTC, price="90", cut=1, now_ns=T0) -> int:
    """One trade that loses; the time after it."""
    _, (sent,) = decide(made, instrument, cut, now_ns)
    made.on_event(fill(sent.intent, now_ns=now_ns), now_ns)
    now_ns += 61 * SECOND
    _, (sent,) = decide(made, instrument, cut + 1, now_ns, up=0.0, reference_price=float(price))
    made.on_event(fill(sent.intent, price=price, now_ns=now_ns), now_ns)
    return now_ns + 10 * SECOND


def test_a_days_loss_is_of_its_scope():
    made = machine(risk__per_venue='{bitfinex: {max_daily_loss: "5"}}')
    now_ns = lose(made)
    assert reason(made, ETH, 9, now_ns) == Reason.DAILY_LOSS
    assert reason(made, COIN, 9, now_ns) == Reason.SIGNAL


def test_amounts_in_another_currency_are_brought_to_that_of_the_limits():
    rated = {"risk__rates": '{JPY: "0.01"}', "execution__order_notional": "20000"}
    assert reason(machine(**rated), YEN) == Reason.SIGNAL
    assert reason(machine(execution__order_notional="20000"), YEN) == Reason.MAX_ORDER
    made = machine(**rated, risk__max_total_notional="250")
    _, (sent,) = decide(made, YEN)
    assert made._situation(BTC).under_way == {YEN: 200}
    made.on_event(fill(sent.intent), T0)
    assert made.book.exposure() == 200
    made.book.see(YEN, 90.0)
    assert made.book.equity() == made.book.result_today() == -20


def test_a_drawdown_stops_entries_until_a_person_arms():
    made = machine(risk__max_drawdown="9", risk__max_daily_loss="1000")
    now_ns = lose(made)
    assert reason(made, ETH, 9, now_ns) == Reason.MAX_DRAWDOWN
    day = now_ns + 86_400 * SECOND
    made.on_timer(day)
    assert reason(made, ETH, 10, day) == Reason.MAX_DRAWDOWN, "a new day is no reason"
    made.on_kill(KillLevel.PAUSE, day)
    made.on_kill(KillLevel.NONE, day)
    assert made.book.drawdown() == 0
    assert reason(made, ETH, 11, day) == Reason.SIGNAL


def test_the_highest_equity_counts_what_is_not_realized():
    made = machine(risk__max_drawdown="15", risk__max_daily_loss="1000")
    _, intent = enter(made)
    made.on_event(fill(intent), T0)
    made.book.see(BTC, 120.0)
    made.on_timer(T0 + SECOND)
    assert made.book.losses.peak == 20
    made.book.see(BTC, 104.0)
    assert reason(made, ETH) == Reason.MAX_DRAWDOWN


def test_losses_in_a_row_stop_entries_until_one_wins_or_a_person_arms():
    made = machine(risk__max_losing_streak=2, risk__max_daily_loss="1000")
    now_ns = lose(made)
    assert made.book.losses.streak == 1
    _, (running,) = decide(made, ETH, 50, now_ns)
    made.on_event(fill(running.intent, now_ns=now_ns), now_ns)
    now_ns = lose(made, cut=3, now_ns=now_ns)
    assert reason(made, COIN, 9, now_ns) == Reason.LOSING_STREAK
    _, (sent,) = decide(made, ETH, 51, now_ns, up=0.0)
    made.on_event(fill(sent.intent, price="150", now_ns=now_ns), now_ns)
    assert made.book.losses.streak == 0
    assert reason(made, COIN, 10, now_ns) == Reason.SIGNAL


def test_a_first_small_fill_is_no_trade_that_ended():
    made = machine()
    _, intent = enter(made)
    part = OrderFilled(intent.command_id, "a", "100", "0.000001", "0.5", "USD", T0)
    made.on_event(part, T0)
    assert made.book.held() == []
    assert made.book.losses.streak == 0
    made.on_event(OrderFilled(intent.command_id, "b", "100", "0.999999", "0", "USD", T0), T0)
    assert made.book.held() == [BTC]
    assert made.book.losses.trades == {BTC: Decimal("-0.5")}


def test_quantities_are_what_the_venue_takes_and_the_rest_is_dust():
    made = machine(execution__order_notional="77")
    _, (sent,) = decide(made, COIN, reference_price=3.0)
    assert sent.intent.quantity == "25.6"
    bought = OrderFilled(sent.intent.command_id, "a", "3", "25.6", "0.0666", "ADA", T0)
    made.on_event(bought, T0)
    assert made.book.position(COIN).quantity == Decimal("25.5334")
    standing = made.standing()
    assert [held.quantity for held in standing.positions] == ["25.5334"]
    (traded,) = standing.traded  # what the killer needs to close 25.5 of it, and no more
    assert (Decimal(traded.step), "ADA" in traded.bases) == (Decimal("0.1"), True)
    later = T0 + 61 * SECOND
    _, (sent,) = decide(made, COIN, 2, later, up=0.0, reference_price=3.0)
    assert (sent.intent.side, sent.intent.quantity) == ("sell", "25.5")
    made.on_event(fill(sent.intent, price="3", now_ns=later), later)
    assert made.book.position(COIN).quantity == Decimal("0.0334")
    assert made.book.held() == made.standing().positions == []
    assert made.on_kill(KillLevel.FLATTEN, later)[1:] == []
    made.on_kill(KillLevel.NONE, later)
    later += 61 * SECOND
    assert reason(made, COIN, 3, later, reference_price=3.0) == Reason.SIGNAL, "nothing is held"


@pytest.mark.parametrize(
    ("notional", "price", "code"),
    [
        ("100", 1000.0, Reason.MIN_SIZE),
        ("4", 3.0, Reason.MIN_NOTIONAL),
        ("6", 3.0, Reason.SIGNAL),
        ("100", 1e-13, Reason.NOT_FINITE),
    ],
)
def test_what_the_venue_would_not_take_is_not_sent(notional, price, code):
    made = machine(execution__order_notional=notional)
    assert reason(made, COIN, reference_price=price) == code


def test_each_account_has_its_own_size_of_an_entry():
    accounts = {
        "paper": {"broker": "paper"},
        "yen": {
            "broker": "gmo",
            "key": "${K}",
            "secret": "${S}",
            "instruments": ["gmo:*"],
            "order_notional": "15000",
        },
    }
    told = msgspec.json.encode(accounts).decode()
    made = machine(execution__accounts=told, risk__rates='{JPY: "0.0066"}')
    made.on_event(AssetHeld("yen", T0, "JPY", "100000", "100000"), T0)
    sizes = [decide(made, instrument)[1][0].intent.quantity for instrument in (BTC, YEN)]
    assert [Decimal(size) * 100 for size in sizes] == [100, 15000]


def at_kraken() -> Machine:
    accounts = msgspec.json.encode({"mine": {**KRAKEN, "taker_bps": 100}}).decode()
    return machine(execution__accounts=accounts)


def held(asset: str, amount: str) -> AssetHeld:
    return AssetHeld("mine", T0, asset, amount, amount)


def test_what_an_account_has_must_pay_the_order_and_its_fee():
    made = at_kraken()
    assert reason(made, COIN, move=900.0) == Reason.BALANCE, (
        "a venue that has said nothing has nothing"
    )
    made.on_event(held("USD", "100.99"), T0)
    assert reason(made, COIN, move=900.0) == Reason.BALANCE
    made.on_event(held("USD", "abc"), T0)
    assert reason(made, COIN, move=900.0) == Reason.BALANCE
    made.on_event(held("ZUSD", "101"), T0)
    assert reason(made, COIN, move=900.0) == Reason.SIGNAL


def test_orders_under_way_are_taken_off_what_an_account_has():
    other = Instrument(index=4, venue="kraken", symbol="ETH/USD", pair="ETH/USD")
    accounts = msgspec.json.encode({"mine": KRAKEN}).decode()
    made = Machine(7, [*INSTRUMENTS, other], settings(execution__accounts=accounts))
    made.on_event(Reconciled("mine", T0), T0)
    made.on_event(held("USD", "150"), T0)
    _, (sent,) = decide(made, COIN)
    assert reason(made, 4) == Reason.BALANCE
    made.on_event(OrderCanceled(sent.intent.command_id, T0), T0)
    assert reason(made, 4) == Reason.SIGNAL


def test_an_account_that_is_traded_on_paper_has_no_wallet():
    made = at_kraken()
    made.on_event(AccountConnected("mine", T0, is_paper=True), T0)
    made.on_event(Reconciled("mine", T0), T0)
    assert reason(made, COIN, move=900.0) == Reason.SIGNAL


def test_rejects_in_a_row_end_with_an_order_that_is_taken():
    made = machine(strategy__cooldown_s="0")
    for cut in (1, 2):
        _, intent = enter(made, cut=cut)
        made.on_event(OrderRejected(intent.command_id, T0, "no"), T0)
        made.on_event(OrderRejected(intent.command_id, T0, "no"), T0)
    assert made.book.losses.rejects == 2
    _, intent = enter(made, cut=3)
    made.on_event(OrderAccepted(intent.command_id, "v", T0), T0)
    assert made.book.losses.rejects == 0


def test_what_risk_remembers_outlives_a_machine_and_arming_while_it_was_away_counts():
    made = machine(risk__max_drawdown="9", risk__max_losing_streak=1)
    now_ns = lose(made)
    made.on_kill(KillLevel.PAUSE, now_ns)
    kept = Beginning.of([], made.book).encode()

    def again() -> Machine:
        other = machine(risk__max_drawdown="9", risk__max_losing_streak=1)
        other.take_up(Beginning.decode(kept))
        return other

    other = again()
    assert other.book.losses == made.book.losses
    other.on_kill(KillLevel.PAUSE, now_ns)
    other.on_timer(now_ns)
    assert (other.book.losses.streak, other.book.drawdown()) == (1, 10)
    other = again()
    other.on_timer(now_ns)  # the switch is off
    assert (other.book.losses.streak, other.book.drawdown()) == (0, 0)


def test_what_a_recording_of_before_began_with_is_taken_up():
    old = b'{"orders":[],"positions":{},"day":"2025-10-09","realized_today":"-7"}'
    made = machine(risk__max_daily_loss="5")
    made.take_up(Beginning.decode(old))
    assert made.book.result_today() == -7
    assert reason(made) == Reason.DAILY_LOSS


def test_the_ledger_keeps_what_risk_remembers_with_the_fills(body):
    ledger, made = body.open(), machine()
    book, now_ns = made.book, T0
    for cut in (1, 3):
        for step, price in ((cut, "100"), (cut + 1, "90")):
            up = 0.9 if step == cut else 0.0
            _, (sent,) = decide(made, BTC, step, now_ns, up=up, reference_price=float(price))
            assert isinstance(sent, Send)
            ledger.record_intent(sent.intent)
            event = fill(sent.intent, price=price, now_ns=now_ns)
            made.on_event(event, now_ns)
            ledger.record_event(event, OrderState.FILLED, book.losses)
            now_ns += 61 * SECOND
    ledger.close()
    again = body.open()
    restored = again.restore(0)[1]
    assert restored.losses == book.losses
    assert restored.losses.streak == 2
    assert restored.realized_by == book.realized_by
    restored.losses.peak = Decimal(5)
    again.record_losses(restored.losses, now_ns)
    again.close()
    third = body.open()
    assert third.restore(0)[1].losses.peak == 5
    third.close()
