"""The ledger: each order and each fill once, whatever is killed, repeated or cut off."""

import random
import sqlite3
from decimal import Decimal

import pytest

from processes.execution.ledger import MIGRATIONS, Ledger, LedgerError, positions_of
from schemas.trading import (
    Intent,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderState,
    Reconciled,
)
from tests.helpers import python

T0 = 1_760_000_000_000_000_000
HOUR = 3_600 * 10**9


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path):
    made = Ledger(path, 7)
    yield made
    made.close()


def intent(number=1, side="buy", quantity="3", decided_ns=T0, **more) -> Intent:
    return Intent(
        command_id=f"{number:032x}", instrument=0, symbol="tBTCUSD", side=side, quantity=quantity,
        kind="market", decided_ns=decided_ns, **more,
    )  # fmt: skip


def fill(number=1, order=1, price="100", quantity="1", fee="0.1", time_ns=T0) -> OrderFilled:
    return OrderFilled(f"{order:032x}", f"f{number}", price, quantity, fee, "USD", time_ns)


def rows(path, query: str) -> list[tuple]:
    db = sqlite3.connect(path)
    found = db.execute(query).fetchall()
    db.close()
    return found


def test_an_intent_is_written_once(ledger, path):
    assert ledger.record_intent(intent())
    assert not ledger.record_intent(intent())
    assert not ledger.record_intent(intent(quantity="5"))
    assert rows(path, "SELECT command_id, session, quantity FROM intents") == [
        (f"{1:032x}", 7, "3")
    ]


def test_an_intent_is_synced_before_it_counts_as_written(ledger):
    """The first write of an intent waits for the disk, and only that: FULL, then NORMAL again."""
    seen = []
    ledger._db.set_trace_callback(seen.append)
    ledger.record_intent(intent())
    ledger.record_intent(intent())
    words = [text.split("(")[0].strip() for text in seen]
    assert words == [
        "PRAGMA synchronous=FULL", "INSERT INTO intents VALUES", "PRAGMA synchronous=NORMAL",
    ] * 2  # fmt: skip
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (1,)


def test_a_fill_told_twice_is_one_fill(ledger, path):
    ledger.record_intent(intent())
    for _ in range(2):
        ledger.record_event(fill(1), OrderState.PARTIALLY_FILLED)
    ledger.record_event(fill(2, quantity="2"), OrderState.FILLED)
    ledger.record_event(fill(2, price="1", quantity="9"), OrderState.FILLED)  # told wrong later
    assert rows(path, "SELECT fill_id, quantity FROM fills") == [("f1", "1"), ("f2", "2")]
    orders, book = ledger.restore(0)
    assert [(order.state, order.filled) for order in orders] == [(OrderState.FILLED, Decimal(3))]
    assert book.position(0).quantity == 3
    assert book.position(0).fees == Decimal("0.2")
    assert positions_of(path) == {"tBTCUSD": (Decimal(3), Decimal("-0.2"))}


def test_an_event_of_an_order_that_is_not_there_is_refused_whole(ledger, path):
    with pytest.raises(sqlite3.IntegrityError):
        ledger.record_event(fill(1, order=9), OrderState.FILLED)
    assert rows(path, "SELECT count(*) FROM order_events") == [(0,)]
    assert rows(path, "SELECT count(*) FROM fills") == [(0,)]
    ledger.record_intent(intent())  # and no transaction was left open
    ledger.record_event(fill(1), OrderState.PARTIALLY_FILLED)
    assert rows(path, "SELECT count(*) FROM fills") == [(1,)]


def test_reconciliation_is_no_row(ledger, path):
    ledger.record_event(Reconciled("paper", T0), OrderState.NEW)
    assert rows(path, "SELECT count(*) FROM order_events") == [(0,)]


def test_restore_after_reopening(path):
    first = Ledger(path, 7)
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

    second = Ledger(path, 8)
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
    assert not second.record_intent(resting)
    second.close()


def test_the_view_of_orders_shows_the_last_state(ledger, path):
    ledger.record_intent(intent(1))
    ledger.record_intent(intent(2))
    ledger.record_event(OrderAccepted(f"{1:032x}", "v", T0), OrderState.ACKED)
    ledger.record_event(OrderExpired(f"{1:032x}", T0), OrderState.EXPIRED)
    assert rows(path, "SELECT command_id, state FROM orders ORDER BY command_id") == [
        (f"{1:032x}", "expired"), (f"{2:032x}", "new"),
    ]  # fmt: skip


def test_realized_profit_of_today_comes_back(path):
    first = Ledger(path, 7)
    day = 24 * HOUR
    first.record_intent(intent(1, "buy", "1"))
    first.record_event(fill(1, 1, "100", "1", "0", T0), OrderState.FILLED)
    first.record_intent(intent(2, "sell", "1"))
    first.record_event(fill(2, 2, "110", "1", "1", T0 + day), OrderState.FILLED)
    first.close()
    second = Ledger(path, 7)
    _, book = second.restore(0)
    second.close()
    assert book.realized_today == 9
    book.turn_day(T0 + 2 * day)
    assert book.realized_today == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from processes.execution.ledger import Ledger
from schemas.trading import OrderState
from tests.unit.execution.test_ledger import fill, intent
ledger = Ledger(Path(sys.argv[1]), 7)
if sys.argv[2] == "inside":
    ledger.record_intent(intent(1))
    ledger._db.execute("PRAGMA cache_size=1")
    ledger._encoder = type("Dies", (), {"encode": lambda *_: os.kill(os.getpid(), 9)})()
    print("go", flush=True)
    ledger.record_event(fill(1), OrderState.FILLED)
number = 0
while True:
    number += 1
    assert ledger.record_intent(intent(number))
    print("intent", number, flush=True)
    ledger.record_event(fill(number, order=number), OrderState.PARTIALLY_FILLED)
    print("fill", number, flush=True)
"""


def test_killed_between_two_writes_everything_said_is_there(path, seed):
    """What was told as written is written; what was in the air is there whole or not at all."""
    draw = random.Random(seed)
    child = python("-c", KILLED, str(path), "run")
    said = [child.stdout.readline().split() for _ in range(draw.randint(20, 120))]
    child.kill()
    # Not communicate(): it would not see what readline has read ahead.
    said += [line.split() for line in child.stdout.read().splitlines() if len(line.split()) == 2]
    assert not child.stderr.read()
    child.communicate()
    ledger = Ledger(path, 8)
    orders, book = ledger.restore(0)
    ledger.close()
    intents = {word[1] for word in said if word[0] == "intent"}
    fills = {word[1] for word in said if word[0] == "fill"}
    assert len(intents) <= len(orders) <= len(intents) + 1
    assert len(fills) <= book.position(0).quantity <= len(fills) + 1
    assert rows(path, "SELECT count(*) FROM order_events") == rows(
        path, "SELECT count(*) FROM fills"
    )


def test_killed_inside_a_transaction_nothing_of_it_is_there(path):
    child = python("-c", KILLED, str(path), "inside")
    out, err = child.communicate(timeout=60)
    assert (out, child.returncode) == ("go\n", -9), err
    ledger = Ledger(path, 8)
    orders, book = ledger.restore(0)
    assert [order.state for order in orders] == [OrderState.NEW]
    assert book.held() == []
    ledger.record_event(fill(1), OrderState.PARTIALLY_FILLED)
    ledger.close()


def test_a_torn_log_loses_its_end_and_no_more(tmp_path, path, seed):
    """Power fails while pages are being written: the write-ahead log ends in the middle."""
    ledger = Ledger(path, 7)
    ledger._db.execute("PRAGMA wal_autocheckpoint=0")
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
        again = Ledger(torn, 8)
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
        Ledger(path, 7)
    assert path.read_bytes() == content, "somebody may still rescue something from it"


def test_a_damaged_ledger_is_refused(path):
    ledger = Ledger(path, 7)
    for number in range(1, 200):
        ledger.record_intent(intent(number))
    ledger.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xa5" * (4096 * 3)
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite"):
        Ledger(path, 7)


def test_a_ledger_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(LedgerError, match=tmp_path.name):
        Ledger(tmp_path, 7)


def test_a_newer_ledger_is_left_alone(path):
    Ledger(path, 7).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(LedgerError, match="newer"):
        Ledger(path, 7)


def test_positions_of_a_ledger_that_has_no_tables_yet(path):
    """`dcctl status` may look while execution is just making it."""
    path.touch()
    assert positions_of(path) == {}


def test_positions_are_read_while_execution_writes(path, ledger):
    ledger.record_intent(intent())
    ledger._db.execute("BEGIN IMMEDIATE")
    assert positions_of(path) == {}
    ledger._db.execute("ROLLBACK")
    ledger.record_event(fill(1), OrderState.PARTIALLY_FILLED)
    assert positions_of(path)["tBTCUSD"][0] == 1
