"""The machine: policy, risk, positions and the kill switch, as a function of its inputs."""

import random
from decimal import Decimal

import msgspec
import pytest

from config.loader import load
from processes.execution.beginning import Beginning
from processes.execution.effects import Adopt, Cancel, CancelAll, Send, command_id
from processes.execution.machine import Machine
from processes.execution.orders import Order
from processes.execution.policy import Prediction
from processes.execution.positions import Book, Position
from schemas.features import Invalid
from schemas.instruments import Instrument
from schemas.predictions import MODELS, Rung
from schemas.trading import (
    REASON_TEXT,
    Action,
    Intent,
    KillLevel,
    NotSent,
    OrderAccepted,
    OrderAdopted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderState,
    Reason,
    Reconciled,
)

T0 = 1_760_000_000_000_000_000
INSTRUMENTS = [
    Instrument(index=0, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD"),
    Instrument(index=1, venue="bitfinex", symbol="tETHUSD", pair="ETH/USD"),
]
SECOND = 10**9


def settings(**changes):
    return load("demo", environment={f"DC__{k}": str(v) for k, v in changes.items()})


def prediction(cut=1, *, up=0.9, down=0.0, move=50.0, now_ns=T0, **changes) -> Prediction:
    row = (up, 1 - up - down, down, move, 10.0)
    values = {
        "instrument": 0, "rung": 0, "invalid": 0, "cut": cut, "cut_ns": now_ns,
        "feature_sequence": cut, "prediction_sequence": cut, "newest_recv_ns": now_ns,
        "reference_price": 100.0, "spread_bps": 1.0, "volatility_bps": 5.0, "book_age_s": 0.1,
        "outputs": (row,) * len(MODELS), **changes,
    }  # fmt: skip
    return Prediction(**values)


def machine(**changes) -> Machine:
    made = Machine(7, INSTRUMENTS, settings(**changes))
    made.on_event(Reconciled("paper", T0), T0)
    return made


def fill(intent, number=1, price="100", quantity=None, now_ns=T0) -> OrderFilled:
    amount = quantity or intent.quantity
    return OrderFilled(
        intent.command_id, f"{intent.command_id}-{number}", price, amount, "0", "USD", now_ns
    )


def enter(made: Machine, now_ns=T0, cut=1, **changes):
    decision, effects = made.on_prediction(prediction(cut, now_ns=now_ns, **changes), now_ns, cut)
    assert len(effects) == 1, decision
    return decision, effects[0].intent


def test_a_signal_becomes_one_order_of_the_configured_size():
    made = machine()
    decision, intent = enter(made)
    assert (decision.action, decision.reason) == (Action.ENTER_LONG, Reason.SIGNAL)
    assert (intent.side, intent.quantity, intent.kind) == ("buy", "1", "market")
    assert (
        decision.command_id
        == intent.command_id
        == command_id(7, 1, 0, "moving_average_cross", "enter_long")
    )
    assert len(intent.command_id) == 32
    _, effects = made.on_prediction(prediction(2), T0, 2)
    assert effects == []


@pytest.mark.parametrize(
    ("changes", "values", "reason"),
    [
        ({}, {"up": 0.1, "down": 0.1}, Reason.NO_SIGNAL),
        ({}, {"move": 0.0}, Reason.EV_TOO_SMALL),
        ({}, {"move": float("nan")}, Reason.NOT_FINITE),
        ({}, {"up": float("nan")}, Reason.NOT_FINITE),
        ({}, {"up": float("inf")}, Reason.NOT_FINITE),
        ({}, {"reference_price": float("nan")}, Reason.NOT_FINITE),
        ({}, {"reference_price": -5.0}, Reason.NOT_FINITE),
        ({}, {"reference_price": 1e300}, Reason.MIN_SIZE),
        ({}, {"spread_bps": float("nan")}, Reason.NOT_FINITE),
        ({}, {"spread_bps": 21.0, "move": 1e6}, Reason.SPREAD),
        ({}, {"invalid": int(Invalid.GAPPED)}, Reason.INVALID_FEATURES),
        ({}, {"cut_ns": T0 - 3 * SECOND}, Reason.STALE_DATA),
        ({}, {"up": 0.0, "down": 0.9, "move": -50.0}, Reason.SHORT_NOT_ALLOWED),
        ({"strategy__enabled": "false"}, {}, Reason.STRATEGY_DISABLED),
        ({"execution__enabled": "false"}, {}, Reason.EXECUTION_DISABLED),
        ({"strategy__name": "tcn"}, {"rung": int(Rung.POSITIONS_ONLY)}, Reason.NO_MODEL),
        ({"risk__max_order_notional": "'50'"}, {}, Reason.MAX_ORDER),
        ({"risk__max_position_notional": "'50'"}, {}, Reason.MAX_POSITION),
        ({"risk__max_total_notional": "'50'"}, {}, Reason.MAX_TOTAL_POSITION),
        ({"risk__min_quantity": "'5'"}, {}, Reason.MIN_SIZE),
    ],
)  # fmt: skip
def test_what_must_not_become_an_order_gets_its_code(changes, values, reason):
    made = machine(**changes)
    decision, effects = made.on_prediction(prediction(**values), T0, 1)
    assert (decision.action, decision.reason, effects) == (Action.HOLD, reason, [])
    assert made.orders == {}


def test_every_reason_has_words():
    assert set(REASON_TEXT) == set(Reason)


def test_rules_need_no_network():
    made = machine()
    decision, effects = made.on_prediction(prediction(rung=int(Rung.POSITIONS_ONLY)), T0, 1)
    assert decision.reason == Reason.SIGNAL
    assert len(effects) == 1


def test_nothing_is_sent_before_reconciliation():
    made = Machine(7, INSTRUMENTS, settings())
    decision, effects = made.on_prediction(prediction(), T0, 1)
    assert (decision.reason, effects) == (Reason.NOT_RECONCILED, [])


def test_a_position_is_left_on_the_opposite_signal_and_after_its_horizon():
    made = machine()
    _, intent = enter(made)
    made.on_event(fill(intent), T0)
    assert made.book.position(0).quantity == 1
    decision, _ = made.on_prediction(prediction(2), T0 + 3 * SECOND, 2)
    assert decision.reason == Reason.STALE_DATA
    later = T0 + 3 * SECOND
    decision, _ = made.on_prediction(prediction(3, now_ns=later), later, 3)
    assert decision.reason == Reason.ALREADY_IN_POSITION
    decision, effects = made.on_prediction(
        prediction(4, up=0.0, down=0.9, move=-50.0, now_ns=later), later, 4
    )
    assert decision.reason == Reason.EXIT_SIGNAL
    intent = effects[0].intent
    assert (intent.side, intent.quantity, intent.reduce_only) == ("sell", "1", True)
    made.on_event(fill(intent, price="110", now_ns=later), later)
    assert made.book.position(0).quantity == 0
    assert made.book.position(0).realized == 10
    old = T0 + 70 * SECOND
    _, intent = enter(made, now_ns=old, cut=5)
    made.on_event(fill(intent, now_ns=old), old)
    later = old + 61 * SECOND
    decision, effects = made.on_prediction(prediction(6, up=0.0, now_ns=later), later, 6)
    assert decision.reason == Reason.EXIT_HORIZON
    assert effects[0].intent.side == "sell"


def test_cooldown_and_rate():
    made = machine(risk__max_orders_per_minute=2, strategy__cooldown_s=5)
    _, intent = enter(made)
    made.on_event(OrderCanceled(intent.command_id, T0), T0)
    decision, _ = made.on_prediction(prediction(2, now_ns=T0 + SECOND), T0 + SECOND, 2)
    assert decision.reason == Reason.COOLDOWN
    later = T0 + 6 * SECOND
    _, intent = enter(made, now_ns=later, cut=3)
    made.on_event(OrderCanceled(intent.command_id, later), later)
    later += 6 * SECOND
    decision, _ = made.on_prediction(prediction(4, now_ns=later), later, 4)
    assert decision.reason == Reason.ORDER_RATE
    later = T0 + 67 * SECOND
    enter(made, now_ns=later, cut=5)


def test_a_days_loss_stops_entries_until_the_next_day():
    made = machine(risk__max_daily_loss="'5'")
    _, intent = enter(made)
    made.on_event(fill(intent), T0)
    now = T0 + 61 * SECOND
    _, effects = made.on_prediction(prediction(2, up=0.0, now_ns=now, reference_price=90.0), now, 2)
    made.on_event(fill(effects[0].intent, price="90", now_ns=now), now)
    now += 10 * SECOND
    decision, _ = made.on_prediction(prediction(3, now_ns=now), now, 3)
    assert decision.reason == Reason.DAILY_LOSS
    now += 86_400 * SECOND
    made.on_timer(now)
    enter(made, now_ns=now, cut=4)


def test_the_kill_switch_level_by_level():
    made = machine()
    _, intent = enter(made)
    assert made.on_kill(KillLevel.PAUSE, T0) == []
    decision, _ = made.on_prediction(prediction(2, instrument=1), T0, 2)
    assert decision.reason == Reason.KILLED
    effects = made.on_kill(KillLevel.CANCEL, T0)
    assert effects == [CancelAll("paper"), Cancel(intent.command_id)]
    assert made.on_timer(T0) == []  # asked once
    made.on_event(fill(intent, quantity="0.4"), T0)
    made.on_event(OrderCanceled(intent.command_id, T0), T0)
    effects = made.on_kill(KillLevel.FLATTEN, T0)
    assert [type(effect) for effect in effects] == [Send]
    closing = effects[0].intent
    assert effects[0].intent.strategy == "kill_switch"
    assert (closing.side, closing.quantity, closing.strategy) == ("sell", "0.4", "kill_switch")
    assert made.on_timer(T0 + SECOND) == []  # it is on its way
    made.on_event(OrderCanceled(closing.command_id, T0), T0 + SECOND)
    assert len(made.open_orders()) == 1, "a second has passed: tried again in the event itself"
    for order in made.open_orders():
        made.on_event(fill(order.intent, number=9), T0)
    assert made.book.held() == []
    made.on_kill(KillLevel.NONE, T0)
    enter(made, now_ns=T0 + 100 * SECOND, cut=9)


def test_closing_a_position_that_nobody_takes_is_tried_at_growing_distances():
    made = machine()
    _, intent = enter(made)
    made.on_event(fill(intent), T0)
    sweep, *tried = made.on_kill(KillLevel.FLATTEN, T0)
    assert sweep == CancelAll("paper")
    times = [0]
    for tenth in range(1, 1000):
        now = T0 + tenth * SECOND // 10
        effects = made.on_event(OrderCanceled(tried[-1].intent.command_id, now), now)
        effects += [one for one in made.on_timer(now) if isinstance(one, Send)]
        assert len(effects) <= 1
        if effects:
            tried += effects
            times.append(tenth / 10)
    assert times == [0, 1, 3, 7, 15, 31, 47, 63, 79, 95]
    assert len({effect.intent.command_id for effect in tried}) == len(tried)


def test_the_same_inputs_give_the_same_outputs(seed):
    """A random day, twice: every decision, order and position is equal."""

    def day(number: int):
        draw = random.Random(number)
        made = machine(risk__allow_short="true")
        told = []
        now = T0
        for cut in range(600):
            now += draw.randrange(10**9)
            up = draw.random()
            decision, effects = made.on_prediction(
                prediction(
                    cut,
                    up=up,
                    down=(1 - up) * draw.random(),
                    move=draw.gauss(0, 40),
                    instrument=draw.randrange(2),
                    reference_price=100 + draw.gauss(0, 1),
                    now_ns=now - draw.randrange(10**8),
                ),
                now,
                cut,
            )
            told.append((decision, effects))
            for effect in effects:
                intent = effect.intent
                events = [OrderAccepted(intent.command_id, "v", now), fill(intent, now_ns=now)]
                drawn = draw.sample(events, draw.randint(0, 2))
                told += [made.on_event(event, now) for event in drawn]
            if draw.random() < 0.01:
                told.append(made.on_kill(draw.randrange(4), now))
            told.append(made.on_timer(now))
        return told, made.book.positions

    assert day(seed) == day(seed)


def test_positions_average_turn_and_realize():
    position = Position()
    steps = [
        ("buy", "2", "100", "2", "100", "0"),
        ("buy", "2", "110", "4", "105", "0"),
        ("sell", "1", "120", "3", "105", "15"),
        ("sell", "5", "100", "-2", "100", "0"),
        ("buy", "2", "90", "0", "0", "20"),
    ]
    for number, (side, quantity, price, held, average, realized) in enumerate(steps):
        gained = position.add(
            side, OrderFilled("c", str(number), price, quantity, "0", "USD", T0 + number)
        )
        assert position.quantity == Decimal(held)
        assert position.average_price == Decimal(average)
        del gained
        assert position.realized == Decimal(realized), number
    assert position.opened_ns == 0


def test_fees_are_part_of_the_result():
    book = Book()
    book.fill(0, "buy", OrderFilled("c", "1", "100", "1", "0.25", "USD", T0))
    book.see(0, 101.0)
    assert book.realized_today == Decimal("-0.25")
    assert book.unrealized() == 1
    assert book.exposure() == 101


def test_settings_are_taken_while_running():
    made = machine()
    decision, effects = made.on_prediction(prediction(spread_bps=10.0), T0, 1)
    assert effects
    tighter = msgspec.structs.replace(
        settings(), risk=msgspec.structs.replace(settings().risk, max_spread_bps=5.0)
    )
    made.on_config(tighter)
    decision, effects = made.on_prediction(prediction(2, spread_bps=10.0, instrument=1), T0, 2)
    assert decision.reason == Reason.SPREAD


def test_an_order_that_was_not_sent_is_an_input_like_any_other():
    made = machine()
    _, intent = enter(made)
    assert made.on_event(NotSent(intent.command_id, T0, "known"), T0) == []
    assert made.open_orders() == []
    assert made.changed_orders == []


def test_a_life_goes_on_from_what_was_kept_of_the_one_before():
    one = machine()
    _, intent = enter(one)
    one.on_event(fill(intent, quantity="0.4"), T0)
    kept = Beginning.of(list(one.orders.values()), one.book).encode()
    other = machine()
    other.take_up(Beginning.decode(kept))
    assert [order.state for order in other.open_orders()] == [one.open_orders()[0].state]
    assert other.book.position(0) == one.book.position(0)
    later = T0 + SECOND
    for made in (one, other):
        made.on_event(fill(intent, 2, "101", "0.6", later), later)
    assert other.book.position(0) == one.book.position(0)
    assert other.book.realized_today == one.book.realized_today
    wanted = one.on_prediction(prediction(2, now_ns=later), later, 2)
    assert other.on_prediction(prediction(2, now_ns=later), later, 2) == wanted


def test_orders_under_way_count_towards_the_total():
    """Two instruments in one drain: neither is a position yet."""
    made = machine(risk__max_total_notional="'150'", execution__order_notional="'100'")
    _, intent = enter(made)
    decision, effects = made.on_prediction(prediction(2, instrument=1), T0, 2)
    assert (effects, decision.reason) == ([], Reason.MAX_TOTAL_POSITION)
    made.on_event(OrderCanceled(intent.command_id, T0), T0)
    decision, effects = made.on_prediction(prediction(3, instrument=1), T0, 3)
    assert decision.reason == Reason.SIGNAL


@pytest.mark.parametrize(
    ("level", "exits"),
    [(KillLevel.PAUSE, 1), (KillLevel.CANCEL, 0), (KillLevel.FLATTEN, 0), (KillLevel.SHUTDOWN, 0)],
)
def test_beyond_pause_no_strategy_makes_an_exit_that_the_gate_would_refuse(level, exits):
    """Each prediction made one, written, synced and let expire: hundreds in a second."""
    made = machine()
    _, intent = enter(made)
    made.on_event(fill(intent), T0)
    made.on_kill(level, T0)
    down = {"up": 0.0, "down": 0.9, "move": -50.0}
    for order in [one for one in made.open_orders() if one.intent.strategy == "kill_switch"]:
        made.on_event(OrderCanceled(order.intent.command_id, T0, ""), T0)
    decision, effects = made.on_prediction(prediction(2, **down), T0, 2)
    assert len(effects) == exits
    assert decision.reason is (Reason.EXIT_SIGNAL if exits else Reason.KILLED)


def closed(made: Machine, number: int, now_ns: int, *, there: bool) -> Order:
    """An order that is over, and was at its venue or never came there."""
    intent = Intent(
        command_id=f"{number:032x}", instrument=0, symbol="tBTCUSD", account="paper", side="sell",
        quantity="1", kind="market", decided_ns=now_ns,
    )  # fmt: skip
    order = made.orders[intent.command_id] = Order.of(intent)
    if there:
        order.add(OrderAccepted(intent.command_id, f"V{number}", now_ns))
    order.add(OrderExpired(intent.command_id, now_ns, ""))
    return order


def test_orders_that_never_came_to_their_venue_do_not_crowd_out_those_that_did():
    """Without their ids one that is under way is not told apart from them, where none has a name
    of ours."""
    made = machine()
    there = [closed(made, number, T0, there=True) for number in range(8)]
    for number in range(100, 300):
        closed(made, number, T0 + number * SECOND, there=False)
    standing = {one.intent.command_id for one in made.standing().orders}
    remembered = {one.intent.command_id for one in made.remembered("paper", 50)}
    wanted = {order.intent.command_id for order in there}
    assert wanted <= standing
    assert wanted <= remembered
    assert len(standing) == len(remembered) == 8 + 50


def test_however_many_were_sent_lately_all_of_them_are_known():
    made = machine()
    orders = [closed(made, n, T0 + n * SECOND // 10, there=True) for n in range(1000)]
    late = {order.intent.command_id for order in orders[-300:]}
    assert {one.intent.command_id for one in made.standing().orders} == late
    assert {one.intent.command_id for one in made.remembered("paper", 50)} == late


def test_an_order_that_was_made_there_is_followed_as_one_of_ours():
    made = machine()
    _, bought = enter(made)
    made.on_event(fill(bought), T0)
    held = made.book.position(0).quantity
    theirs = OrderAdopted("b" * 32, bought.account, 0, "sell", f"{held}", T0 + 5)
    (adopt,) = made.on_event(theirs, T0)
    assert isinstance(adopt, Adopt)
    assert adopt.intent.reduce_only
    assert adopt.intent.reason == Reason.MADE_THERE
    assert adopt.intent.symbol == bought.symbol
    assert made.on_event(theirs, T0) == []
    assert [order.state for order in made.open_orders()] == [OrderState.SENT]
    sold = OrderFilled("b" * 32, "F", "101", f"{held}", "0", "", T0)
    for _ in range(2):
        made.on_event(sold, T0)
        assert made.book.position(0).quantity == 0
    assert made.orders["b" * 32].state is OrderState.FILLED
