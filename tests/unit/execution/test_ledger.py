"""The ledger, on both bodies: each order and each fill once, whatever is killed, repeated or cut
off."""

import os
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from processes.execution import ledger as ledger_module
from processes.execution.assets import Assets
from processes.execution.ledger import (
    Ledger,
    LedgerError,
    LedgerUnavailableError,
    open_ledger,
)
from processes.execution.orders import Order
from processes.execution.positions import Book
from processes.execution.reading import LedgerView
from schemas.settings import LedgerSettings
from schemas.trading import (
    Intent,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderState,
    OrderUnknown,
)
from tests.helpers import python
from tests.unit.databases.bodies import Body

T0 = 1_760_000_000_000_000_000
HOUR = 3_600 * 10**9


@pytest.fixture
def ledger(body):
    made = body.open()
    yield made
    made.close()


def intent(number=1, side="buy", quantity="3", decided_ns=T0, **more) -> Intent:
    named = {"instrument": 0, "symbol": "tBTCUSD", **more}
    return Intent(
        command_id=f"{number:032x}", side=side, quantity=quantity, kind="market",
        decided_ns=decided_ns, **named,
    )  # fmt: skip


def fill(number=1, order=1, price="100", quantity="1", fee="0.1", time_ns=T0) -> OrderFilled:
    return OrderFilled(f"{order:032x}", f"f{number}", price, quantity, fee, "USD", time_ns)


def test_an_intent_is_written_once(ledger, body):
    assert ledger.record_intent(intent())
    assert not ledger.record_intent(intent())
    assert not ledger.record_intent(intent(quantity="5"))
    assert body.ask("SELECT command_id, session, quantity FROM intents") == [(f"{1:032x}", 7, "3")]


def test_a_fill_told_twice_is_one_fill(ledger, body):
    ledger.record_intent(intent())
    for _ in range(2):
        ledger.record_event(fill(1), OrderState.PARTIALLY_FILLED)
    ledger.record_event(fill(2, quantity="2"), OrderState.FILLED)
    ledger.record_event(fill(2, price="1", quantity="9"), OrderState.FILLED)  # told wrong later
    found = body.ask("SELECT fill_id, quantity FROM fills ORDER BY fill_id")
    assert found == [("f1", "1"), ("f2", "2")]
    orders, book = ledger.restore(0)
    assert [(order.state, order.filled) for order in orders] == [(OrderState.FILLED, Decimal(3))]
    assert book.position(0).quantity == 3
    assert book.position(0).fees == Decimal("0.2")
    assert held(body.settings, body.folder) == {"tBTCUSD": (Decimal(3), Decimal("-0.2"))}


def test_a_fill_is_known_by_its_order_and_its_id(ledger, body):
    """Ids are the venue's, and venues do not ask each other."""
    for number in (1, 2):
        ledger.record_intent(intent(number, instrument=number, symbol=f"s{number}"))
        ledger.record_event(fill(1, order=number), OrderState.PARTIALLY_FILLED)
    assert len(body.ask("SELECT * FROM fills")) == 2
    _, book = ledger.restore(0)
    assert [book.position(number).quantity for number in (1, 2)] == [1, 1]


def test_an_event_of_an_order_that_is_not_there_is_refused_whole(ledger, body):
    with pytest.raises(LedgerError, match="no order"):
        ledger.record_event(fill(1, order=9), OrderState.FILLED)
    assert body.ask("SELECT count(*) FROM order_events") == [(0,)]
    assert body.ask("SELECT count(*) FROM fills") == [(0,)]
    ledger.record_intent(intent())  # and no transaction was left open
    ledger.record_event(fill(1), OrderState.PARTIALLY_FILLED)
    assert body.ask("SELECT count(*) FROM fills") == [(1,)]


def test_restore_after_reopening(body):
    first = body.open()
    old, young, resting, unsent = (
        intent(1, decided_ns=T0), intent(2, decided_ns=T0 + HOUR), intent(3, decided_ns=T0),
        intent(4, decided_ns=T0),
    )  # fmt: skip
    for each in (old, young, resting, unsent):
        first.record_intent(each)
    first.record_event(fill(1, order=1, quantity="3"), OrderState.FILLED)
    first.record_event(OrderCanceled(young.command_id, T0 + HOUR, "why"), OrderState.CANCELED)
    first.record_event(OrderAccepted(resting.command_id, "v3", T0), OrderState.ACKED)
    first.record_event(fill(2, order=3), OrderState.PARTIALLY_FILLED)
    first.close()

    second = body.open(8)
    orders, book = second.restore(T0 + HOUR // 2)
    kept = {order.intent.command_id: order for order in orders}
    # Old and closed is left out; young or open is not.
    assert set(kept) == {young.command_id, resting.command_id, unsent.command_id}
    assert kept[young.command_id].state == OrderState.CANCELED
    assert kept[young.command_id].text == "why"
    assert kept[resting.command_id].state == OrderState.PARTIALLY_FILLED
    assert kept[resting.command_id].fill_ids == {"f2"}
    assert kept[resting.command_id].intent == resting
    assert kept[unsent.command_id].state == OrderState.NEW
    assert book.position(0).quantity == 4
    # Told once more after the restart, as a venue does when it is asked.
    assert not kept[resting.command_id].add(fill(2, order=3))
    second.record_event(fill(2, order=3), OrderState.PARTIALLY_FILLED)
    assert not second.record_intent(resting)
    assert second.restore(0)[1].position(0).quantity == 4
    second.close()


def test_the_view_of_orders_shows_the_last_state(ledger, body):
    ledger.record_intent(intent(1))
    ledger.record_intent(intent(2))
    ledger.record_event(OrderAccepted(f"{1:032x}", "v", T0), OrderState.ACKED)
    ledger.record_event(OrderExpired(f"{1:032x}", T0), OrderState.EXPIRED)
    assert body.ask("SELECT command_id, state FROM orders ORDER BY command_id") == [
        (f"{1:032x}", "expired"), (f"{2:032x}", "new"),
    ]  # fmt: skip


def test_profit_is_exact_by_day_and_comes_back(body):
    first = body.open()
    day = 24 * HOUR
    first.record_intent(intent(1, "buy", "0.3"))
    first.record_event(fill(1, 1, "0.1", "0.3", "0", T0), OrderState.FILLED)
    first.record_intent(intent(2, "sell", "0.3"))
    first.record_event(fill(2, 2, "0.3", "0.1", "0.01", T0 + day), OrderState.PARTIALLY_FILLED)
    first.record_event(fill(3, 2, "0.3", "0.2", "0.01", T0 + day), OrderState.FILLED)
    first.close()
    second = body.open()
    _, book = second.restore(0)
    assert book.realized_today == Decimal("0.04")
    view = body.ask("SELECT realized_day, realized FROM realized_profit ORDER BY day")
    assert [tuple(map(Decimal, row)) for row in view] == [
        (Decimal(0), Decimal(0)), (Decimal("0.04"), Decimal("0.04")),
    ]  # fmt: skip
    assert body.ask("SELECT quantity, realized FROM positions") == [("0.0", "0.04")]
    second.close()
    book.turn_day(T0 + 2 * day)
    assert book.realized_today == 0


def test_costs_and_fees_come_back_to_the_last_digit(body):
    """A third of a position, a fee of what was bought, and one that has no price here."""
    assets = {0: Assets(frozenset({"BTC"}), frozenset({"USD"}))}
    first, book = body.open(assets=assets), Book(assets)
    steps = [("buy", "3", "0.01", "BTC"), ("sell", "1", "0.02", "USD"), ("sell", "1", "7", "BNB")]
    for number, (side, quantity, fee, asset) in enumerate(steps, 1):
        first.record_intent(intent(number, side, quantity))
        told = OrderFilled(f"{number:032x}", f"f{number}", "100.03", quantity, fee, asset, T0)
        first.record_event(told, OrderState.FILLED)
        book.fill(0, side, told)
    first.close()
    second = body.open(assets=assets)
    restored = second.restore(0)[1]
    second.close()
    assert restored.positions == book.positions
    assert restored.realized_today == book.realized_today
    assert restored.position(0).quantity == Decimal("0.99")
    assert restored.position(0).other_fees == {"BNB": 7}


def test_two_writers_at_once_are_refused_by_name(ledger, body):
    with pytest.raises(LedgerError, match=r"being written by .*" + str(os.getpid())):
        body.open()
    assert ledger.record_intent(intent())
    ledger.close()
    body.open().close()


# ---- any order of things

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["intent", "fill", "accept", "cancel", "reject", "unknown", "reopen"]),
        st.integers(1, 5),
        st.integers(1, 4),
        st.sampled_from(["0.1", "0.25", "1", "3"]),
    ),
    max_size=40,
)
MAKERS = {
    "accept": lambda order: OrderAccepted(order, "v", T0),
    "cancel": lambda order: OrderCanceled(order, T0, "why"),
    "reject": lambda order: OrderRejected(order, T0, "no"),
    "unknown": lambda order: OrderUnknown(order, T0),
}


def play(steps, reopen, ledger: Ledger) -> tuple[Ledger, dict[str, Order], Book]:
    """The steps in the ledger, and in plain objects beside it."""
    orders: dict[str, Order] = {}
    book = Book()
    for what, number, extra, amount in steps:
        command = f"{number:032x}"
        if what == "reopen":
            ledger = reopen(ledger)
        elif what == "intent":
            side = "buy" if number % 2 else "sell"
            wanted = intent(number, side, "2", instrument=number % 3, symbol=f"s{number % 3}")
            assert ledger.record_intent(wanted) == (command not in orders)
            orders.setdefault(command, Order.of(wanted))
        elif command in orders:
            order = orders[command]
            maker = MAKERS.get(what)
            event = (
                maker(command) if maker else fill(extra, number, f"10{extra}", amount, "0.01", T0)
            )
            known = len(order.fill_ids)
            order.add(event)
            if len(order.fill_ids) > known:
                book.fill(order.intent.instrument, order.intent.side, event)
            ledger.record_event(event, order.state)
    return ledger, orders, book


def compare(ledger: Ledger, orders: dict[str, Order], book: Book) -> None:
    restored, positions = ledger.restore(0)
    for order in orders.values():
        order.cancel_asked = False
    assert {order.intent.command_id: order for order in restored} == orders
    assert {n: p for n, p in positions.positions.items() if p.fees} == {
        n: p for n, p in book.positions.items() if p.fees
    }
    assert positions.realized_today == book.realized_today


@given(steps=EVENTS)
@hypothesis_settings(max_examples=30)
def test_what_is_restored_is_what_happened(steps, tmp_path_factory):
    body = Body("sqlite", tmp_path_factory.mktemp("ledger"), None)

    def reopen(ledger: Ledger) -> Ledger:
        ledger._database.close()  # as a kill: nothing is written on the way out
        return body.open()

    ledger, orders, book = play(steps, reopen, body.open())
    try:
        compare(ledger, orders, book)
    finally:
        ledger.close()


@given(steps=EVENTS)
@hypothesis_settings(max_examples=12)
def test_what_is_restored_is_what_happened_at_a_server(steps, postgres, tmp_path_factory):
    body = Body("postgres", tmp_path_factory.mktemp("ledger"), postgres)

    def reopen(ledger: Ledger) -> Ledger:
        ledger._database.close()
        return body.open()

    ledger, orders, book = play(steps, reopen, body.open())
    try:
        compare(ledger, orders, book)
    finally:
        ledger.close()


# ---- kills

KILLED = """
import sys
from pathlib import Path
from processes.execution.ledger import open_ledger
from schemas.settings import LedgerSettings
from schemas.trading import OrderState
from tests.unit.execution.test_ledger import fill, intent
ledger = open_ledger(LedgerSettings(url=sys.argv[2], timeout_s=2.0), Path(sys.argv[1]), 7)
number = 0
while True:
    number += 1
    assert ledger.record_intent(intent(number))
    print("intent", number, flush=True)
    ledger.record_event(fill(number, order=number), OrderState.PARTIALLY_FILLED)
    print("fill", number, flush=True)
"""


def test_killed_between_two_writes_everything_said_is_there(body, seed):
    """What was told as written is written; what was in the air is there whole or not at all."""
    draw = random.Random(seed)
    child = python("-c", KILLED, str(body.folder), body.url)
    said = [child.stdout.readline().split() for _ in range(draw.randint(20, 120))]
    child.kill()
    # Not communicate(): it would not see what readline has read ahead.
    said += [line.split() for line in child.stdout.read().splitlines() if len(line.split()) == 2]
    assert not child.stderr.read()
    child.communicate()
    ledger = body.open(8)  # the dead writer's hold is nobody's any more
    orders, book = ledger.restore(0)
    intents = {word[1] for word in said if word[0] == "intent"}
    fills = {word[1] for word in said if word[0] == "fill"}
    assert len(intents) <= len(orders) <= len(intents) + 1
    assert len(fills) <= book.position(0).quantity <= len(fills) + 1
    counts = [
        body.ask(f"SELECT count(*) FROM {table}")
        for table in ("order_events", "fills", "position_changes")
    ]
    assert counts[0] == counts[1] == counts[2]
    ledger.close()


# ---- the file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def opened(path) -> Ledger:
    return open_ledger(LedgerSettings(), path.parent, 7)


def test_an_intent_is_synced_before_it_counts_as_written(path):
    """The write of an intent waits for the disk, and only that: FULL, then NORMAL again."""
    ledger = opened(path)
    db = ledger._database._db
    seen = []
    db.set_trace_callback(seen.append)
    ledger.record_intent(intent())
    ledger.record_event(fill(), OrderState.PARTIALLY_FILLED)
    db.set_trace_callback(None)
    words = [text for text in seen if text.startswith(("PRAGMA", "COMMIT"))]
    assert words == ["PRAGMA synchronous=FULL", "COMMIT", "PRAGMA synchronous=NORMAL", "COMMIT"]
    assert db.execute("PRAGMA synchronous").fetchone() == (1,)
    ledger.close()


def test_what_is_tended_is_synced(path):
    """An empty commit would not do that: the log is synced by a checkpoint."""
    ledger = opened(path)
    db = ledger._database._db
    ledger.record_intent(intent())
    ledger.record_event(fill(), OrderState.PARTIALLY_FILLED)
    seen = []
    db.set_trace_callback(seen.append)
    assert ledger.tend()
    assert ledger.tend()
    assert seen == ["PRAGMA wal_checkpoint(PASSIVE)"]
    db.set_trace_callback(None)
    ledger.close()


def test_a_torn_log_loses_its_end_and_no_more(tmp_path, path, seed):
    """Power fails while pages are being written: the write-ahead log ends in the middle."""
    ledger = opened(path)
    ledger._database._db.execute("PRAGMA wal_autocheckpoint=0")
    ledger._database._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(1, 21):
        ledger.record_intent(intent(number))
        ledger.record_event(fill(number, order=number), OrderState.PARTIALLY_FILLED)
    plain, log = path.read_bytes(), path.with_name(path.name + "-wal").read_bytes()
    ledger.close()
    draw = random.Random(seed)
    last = 21
    for cut in sorted((draw.randrange(len(log)) for _ in range(12)), reverse=True):
        torn = tmp_path / f"torn-{cut}" / "ledger.sqlite"
        torn.parent.mkdir()
        torn.write_bytes(plain)
        torn.with_name(torn.name + "-wal").write_bytes(log[:cut])
        again = opened(torn)
        orders, book = again.restore(0)
        again.close()
        # A beginning of what was written: the first so many, nothing of the next but its intent.
        assert {int(o.intent.command_id, 16) for o in orders} == set(range(1, len(orders) + 1))
        assert book.position(0).quantity in {len(orders), len(orders) - 1}
        assert len(orders) <= last
        last = len(orders)


@pytest.mark.parametrize(
    "content", [b"this is no database at all, it is a text. " * 40, b"\0" * 4096]
)
def test_what_is_no_ledger_is_refused_by_name(path, content):
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite"):
        opened(path)
    assert path.read_bytes() == content, "somebody may still rescue something from it"


def test_a_damaged_ledger_is_refused(path):
    ledger = opened(path)
    for number in range(1, 200):
        ledger.record_intent(intent(number))
    ledger.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xa5" * (4096 * 3)
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite"):
        opened(path)


def test_a_ledger_that_cannot_be_opened_is_refused(tmp_path):
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(LedgerError, match=tmp_path.name):
        opened(tmp_path / "ledger.sqlite")


def held(settings, folder) -> dict[str, tuple[Decimal, Decimal]]:
    found = LedgerView(settings, folder).positions()
    return {one.symbol: (Decimal(one.quantity), Decimal(one.realized)) for one in found}


def test_positions_of_a_ledger_that_has_no_tables_yet(path):
    """`dcctl status` may look while execution is just making it."""
    path.touch()
    assert held(LedgerSettings(), path.parent) == {}


def test_positions_are_read_while_execution_writes(path):
    ledger = opened(path)
    ledger.record_intent(intent())
    ledger._database._db.execute("BEGIN IMMEDIATE")
    assert held(LedgerSettings(), path.parent) == {}
    ledger._database._db.execute("ROLLBACK")
    ledger.record_event(fill(1), OrderState.PARTIALLY_FILLED)
    assert held(LedgerSettings(), path.parent)["tBTCUSD"][0] == 1
    ledger.close()


def refused(ledger: Ledger, wanted: Intent) -> str:
    """Why an intent may not be sent; empty if it may."""
    try:
        assert ledger.record_intent(wanted)
    except LedgerUnavailableError as error:
        return str(error)
    return ""


def test_a_disk_that_is_full_denies_orders_and_keeps_events(path):
    """No room for an intent: not sent. What the broker tells is written when there is room."""
    ledger = opened(path)
    db = ledger._database._db
    assert ledger.record_intent(intent(1, quantity="100000"))
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count={pages}")
    number, filled = 1, 0
    while not ledger.waiting:
        number += 1
        denied = refused(ledger, intent(number, strategy="s" * 900))
    assert "full" in denied
    while not ledger.waiting > 3:
        filled += 1
        ledger.record_event(fill(filled), OrderState.PARTIALLY_FILLED)
    assert not ledger.tend()
    db.execute("PRAGMA max_page_count=100000")
    assert ledger.tend()
    assert ledger.waiting == 0
    orders, book = ledger.restore(0)
    assert book.position(0).quantity == filled
    assert len(orders) == number
    ledger.close()


def test_what_may_wait_is_bounded(path, monkeypatch):
    monkeypatch.setattr(ledger_module, "KEPT_MAX", 5)
    ledger = opened(path)
    db = ledger._database._db
    ledger.record_intent(intent())
    db.execute("PRAGMA query_only=1")  # as a disk that fails
    for number in range(1, 6):
        ledger.record_event(fill(number), OrderState.PARTIALLY_FILLED)
    with pytest.raises(LedgerUnavailableError, match="wait for the ledger already"):
        ledger.record_event(fill(6), OrderState.PARTIALLY_FILLED)
    db.execute("PRAGMA query_only=0")
    ledger.close()
    again = opened(path)
    assert again.restore(0)[1].position(0).quantity == 5
    again.close()
