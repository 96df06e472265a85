"""The real Freqtrade in its live mode, at the simulator's Kraken, with invented keys.

Only there are partial fills, a venue's rejections and lost answers to be had. After each: the
ledger is the bot is the venue, or it says that it does not know and a person is called.
"""

from decimal import Decimal

import pytest

from processes.execution.brokers.freqtrade.memory import Memory
from processes.simulator.kraken_books import order_text
from schemas.errors import OperatorError
from schemas.settings import SimulatorAccount
from schemas.trading import AccountAway, KillLevel, OrderState
from tests.exchange import standing_exchange
from tests.freqtrade import freqtrade_bot, invented_keys
from tests.freqtrade_desk import assert_agrees, desk_of
from tests.helpers import wait_until

pytestmark = pytest.mark.live
S = OrderState
KEYS = invented_keys()
MONEY = {"USD": "100000", "ETH": "50"}


@pytest.fixture(scope="module")
def exchange():
    account = SimulatorAccount(venue="kraken", **KEYS, balances=MONEY)
    served = {"symbols": (), "kraken_symbols": ("ETH/USD", "BTC/USD"), "accounts": (account,)}
    with standing_exchange(**served) as one:
        yield one


@pytest.fixture(scope="module")
def shared_bot(exchange):
    move(exchange, 3000)
    with freqtrade_bot(f"{exchange.url}/kraken", keys=KEYS) as one:
        yield one


@pytest.fixture
def bot(exchange, shared_bot):
    exchange.fault("release_fills", venue="kraken")
    move(exchange, 3000)
    yield shared_bot
    exchange.fault("release_fills", venue="kraken")
    shared_bot.ask("start", {})
    wait_until(lambda: shared_bot.state() == "running")
    for trade in shared_bot.status():
        shared_bot.ask(f"trades/{trade['trade_id']}", method="DELETE")
    account = exchange.exchange.venues["kraken"].accounts.of(KEYS["key"])
    exchange.call(lambda: account.cancel_all(exchange.exchange.venues["kraken"].now_ns()))


@pytest.fixture
def desk(tmp_path, bot):
    with desk_of(tmp_path, bot, live=True) as one:
        one.connect()
        yield one


def move(exchange, price: int) -> None:
    exchange.fault("move", venue="kraken", symbol="ETH/USD", price=str(price))


def hold(exchange, share: str) -> None:
    exchange.fault("hold_fills", venue="kraken", seconds=600, share=share)


def at_venue(exchange) -> dict[str, dict]:
    """The venue's orders by the names that the bot knows them by."""
    orders = exchange.account("kraken", KEYS["key"])["orders"]
    return {order_text(int(order["id"])): order for order in orders}


def assert_all_agree(desk, bot, exchange) -> None:
    """Ledger, bot and venue have the same orders with the same fills."""
    assert_agrees(desk, bot)
    orders = at_venue(exchange)
    for order in desk.orders.values():
        if order.venue_order_id:
            there = orders.pop(order.venue_order_id)
            assert order.filled == Decimal(there["filled"]), there
            assert order.open == (there["status"] == "open"), there
    balances = exchange.account("kraken", KEYS["key"])["balances"]
    assert desk.held("ETH") == Decimal(balances["ETH"]["total"])
    assert abs(desk.held("USD") - Decimal(balances["USD"]["total"])) < Decimal("0.0000001")


def test_an_entry_is_filled_in_parts_and_each_part_is_told(exchange, bot, desk):
    entry = desk.send("0.5", price="2900.00")
    desk.reach(entry, S.ACKED)
    assert_all_agree(desk, bot, exchange)
    hold(exchange, "0.4")
    move(exchange, 2890)
    desk.reach(entry, S.PARTIALLY_FILLED)
    assert bot.status()[0]["amount"] == 0.0
    assert entry.filled == Decimal("0.2")
    exchange.fault("release_fills", venue="kraken")
    desk.reach(entry, S.FILLED)
    assert len(entry.fill_ids) == 2
    assert_all_agree(desk, bot, exchange)
    fees = sum(Decimal(event.fee) for event in desk.told if hasattr(event, "fee"))
    (there,) = [o for o in at_venue(exchange).values() if Decimal(o["quantity"]) == Decimal("0.5")]
    assert abs(fees - Decimal(there["fee"])) < Decimal("0.001")
    assert desk.alarms() == set()


def test_a_partly_filled_entry_is_cancelled_and_its_part_sold(exchange, bot, desk):
    hold(exchange, "0.25")
    entry = desk.send("0.4", price="3050.00")
    desk.reach(entry, S.PARTIALLY_FILLED)
    desk.broker.cancel(entry.intent.command_id)
    desk.reach(entry, S.CANCELED)
    assert entry.filled == Decimal("0.1")
    assert_all_agree(desk, bot, exchange)
    exchange.fault("release_fills", venue="kraken")
    leaving = desk.send("0.1", side="sell")
    desk.reach(leaving, S.FILLED)
    assert desk.position() == 0
    assert_all_agree(desk, bot, exchange)


def test_an_exit_is_filled_in_parts_cancelled_and_made_again(exchange, bot, desk):
    entry = desk.send("0.4")
    desk.reach(entry, S.FILLED)
    hold(exchange, "0.5")
    leaving = desk.send("0.4", side="sell", price="2950.00")
    desk.reach(leaving, S.PARTIALLY_FILLED)
    desk.broker.cancel(leaving.intent.command_id)
    desk.reach(leaving, S.CANCELED)
    assert_all_agree(desk, bot, exchange)
    exchange.fault("release_fills", venue="kraken")
    rest = desk.send("0.2", side="sell")
    desk.reach(rest, S.FILLED)
    assert desk.position() == 0
    assert_all_agree(desk, bot, exchange)


def test_an_answer_that_is_lost_leaves_an_orphan_and_calls_a_person(exchange, bot, desk, tmp_path):
    before = set(at_venue(exchange))
    exchange.fault("lose_answer", venue="kraken", command="order")
    entry = desk.send("0.1", price="2800.00")
    desk.until(lambda: "VENUE_CHECK" in desk.alarms(), "the call for a person")
    assert entry.state is S.UNKNOWN
    (orphan,) = set(at_venue(exchange)) - before
    assert at_venue(exchange)[orphan]["status"] == "open"
    assert bot.status() == []
    # Nothing more is entered, here or at the bot, until a person has looked.
    assert desk.gate.level[0] == KillLevel.PAUSE
    desk.agree()
    assert bot.state() == "paused"
    assert entry.state is S.UNKNOWN
    # The person has looked, and cancelled it.
    memory = Memory(tmp_path / "bot-memory.sqlite")
    with pytest.raises(OperatorError, match=entry.intent.command_id):
        memory.note_absent("0" * 32, "a person")
    memory.note_absent(entry.intent.command_id, "a person")
    memory.close()
    desk.agree()
    desk.reach(entry, S.REJECTED)
    desk.gate.level[0] = KillLevel.NONE
    desk.agree()
    again = desk.send("0.1", price="2800.00")
    desk.reach(again, S.ACKED)


def test_a_venues_rejection_looks_the_same_and_is_not_taken_for_granted(exchange, bot, desk):
    before = set(at_venue(exchange))
    exchange.fault("reject_order", venue="kraken")
    entry = desk.send("0.1", price="2800.00")
    desk.until(lambda: "VENUE_CHECK" in desk.alarms(), "the call for a person")
    assert entry.state is S.UNKNOWN
    assert [o for o in set(at_venue(exchange)) - before if at_venue(exchange)[o]["filled"]] == []
    desk.agree()
    assert bot.state() == "paused"


def test_a_lost_exit_is_not_sent_again_either(exchange, bot, desk):
    entry = desk.send("0.2")
    desk.reach(entry, S.FILLED)
    exchange.fault("lose_answer", venue="kraken", command="order")
    leaving = desk.send("0.2", side="sell", price="3500.00")
    desk.until(lambda: "VENUE_CHECK" in desk.alarms(), "the call for a person")
    assert leaving.state is S.UNKNOWN
    desk.agree()
    desk.agree()
    sells = [o for o in at_venue(exchange).values() if o["price"] == "3500"]
    assert len(sells) == 1


def test_a_bot_killed_while_parts_are_filled_is_caught_up_with(exchange, bot, desk):
    hold(exchange, "0.5")
    entry = desk.send("0.2", price="3050.00")
    desk.reach(entry, S.PARTIALLY_FILLED)
    bot.kill()
    desk.until(lambda: not desk.agreed, "the bot to be away")
    exchange.fault("release_fills", venue="kraken")
    bot.start()
    desk.connect()
    desk.reach(entry, S.FILLED)
    assert_all_agree(desk, bot, exchange)


def test_a_live_bot_is_not_driven_where_only_dry_ones_may_be(bot, tmp_path):
    with desk_of(tmp_path, bot) as desk:
        desk.until(lambda: any(isinstance(fact, AccountAway) for fact in desk.facts))
        assert "nobody has armed it" in desk.facts[0].text
        order = desk.send("0.1", price="2900.00")
        desk.reach(order, S.EXPIRED)
    assert bot.status() == []
