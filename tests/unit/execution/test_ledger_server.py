"""The ledger's server killed, frozen, restarted, taken over: bounded, nothing lost, nothing
twice."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import psycopg
import pytest

from processes.clock import monotonic_s
from processes.execution.ledger import LedgerError, LedgerUnavailableError
from schemas.trading import OrderExpired, OrderState
from tests.helpers import wait_until
from tests.servers import PostgresServer, postgres_server
from tests.unit.databases.bodies import Body
from tests.unit.execution.test_ledger import T0, fill, intent

BOUND_S = 3.0
"""No call may take longer, with the timeout of 0.3 s that these tests set."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that these tests may hurt."""
    with postgres_server() as made:
        yield made


@pytest.fixture
def hurt(server, tmp_path) -> Iterator[Body]:
    """A ledger's place there; the server is well again afterwards."""
    body = Body("postgres", tmp_path, server)
    yield body
    if server.process is None:
        server.start()
    server.thaw()


def bounded(call):
    """What a call gives or raises, and that it did so in time."""
    began_s = monotonic_s()
    try:
        return call()
    finally:
        assert monotonic_s() - began_s < BOUND_S


def settle(ledger) -> None:
    wait_until(ledger.tend, what="the ledger to write what waits")


def counts(body: Body) -> dict[str, int]:
    tables = ("intents", "order_events", "fills", "position_changes")
    return {table: body.ask(f"SELECT count(*) FROM {table}")[0][0] for table in tables}


def test_a_server_that_is_gone_denies_orders_and_loses_no_event(hurt, server):
    ledger = hurt.open(timeout_s=0.3)
    assert ledger.record_intent(intent(1))
    server.kill()
    with pytest.raises(LedgerUnavailableError):
        bounded(lambda: ledger.record_intent(intent(2)))
    denied = OrderExpired(intent(2).command_id, T0, "the ledger is away")
    bounded(lambda: ledger.record_event(denied, OrderState.EXPIRED))
    for number in range(1, 4):
        bounded(lambda n=number: ledger.record_event(fill(n), OrderState.PARTIALLY_FILLED))
    assert ledger.waiting == 5
    server.start()
    settle(ledger)
    assert counts(hurt) == {"intents": 2, "order_events": 4, "fills": 3, "position_changes": 3}
    orders, book = ledger.restore(0)
    assert [order.state for order in orders] == [OrderState.FILLED, OrderState.EXPIRED]
    assert book.position(0).quantity == 3
    assert ledger.record_intent(intent(3))
    ledger.close()


def test_a_restart_between_two_orders_costs_none(hurt, server):
    ledger = hurt.open(timeout_s=2.0)
    assert ledger.record_intent(intent(1))
    server.stop()
    server.start()
    assert ledger.record_intent(intent(2))
    ledger.close()
    assert counts(hurt)["intents"] == 2


def test_what_a_crash_of_the_server_forgets_is_written_again(hurt, server):
    """Events are committed without waiting for its disk: what it lost we still have."""
    ledger = hurt.open(timeout_s=2.0)
    assert ledger.record_intent(intent(1, quantity="100"))
    for number in range(1, 21):
        ledger.record_event(fill(number), OrderState.PARTIALLY_FILLED)
    # What a crash may take of asynchronous commits is up to chance: here it takes the last ten.
    hurt.script(
        "DELETE FROM fills WHERE fill_id IN (SELECT 'f' || n FROM generate_series(11, 20) n);"
        "DELETE FROM position_changes WHERE number > 10; DELETE FROM order_events WHERE number > 10"
    )
    server.kill()
    server.start()
    assert ledger.record_intent(intent(2))
    assert counts(hurt) == {"intents": 2, "order_events": 20, "fills": 20, "position_changes": 20}
    _, book = ledger.restore(0)
    assert book.position(0).quantity == 20
    ledger.close()


def test_what_is_tended_is_on_the_servers_disk(hurt, server):
    """Events do not wait for it; after `tend` all of them are there, with nothing kept."""
    with psycopg.connect(hurt.url, autocommit=True) as session:
        session.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        session.execute("SELECT pg_reload_conf()")
    ledger = hurt.open()
    assert ledger.record_intent(intent(1, quantity="100"))
    for number in range(1, 30):
        ledger.record_event(fill(number), OrderState.PARTIALLY_FILLED)
    assert len(ledger._kept) == 29
    assert ledger.waiting == 0
    (written,) = hurt.ask("SELECT pg_current_wal_insert_lsn()")[0]
    assert ledger.tend()
    assert len(ledger._kept) == 0
    assert hurt.ask(f"SELECT pg_current_wal_flush_lsn() >= '{written}'::pg_lsn") == [(True,)]
    ledger.close()


def test_a_frozen_server_denies_in_time_and_its_late_commit_is_found(hurt, server):
    ledger = hurt.open(timeout_s=0.3)
    assert ledger.record_intent(intent(1))
    with frozen(server):
        with pytest.raises(LedgerUnavailableError):
            bounded(lambda: ledger.record_intent(intent(2)))
        with pytest.raises(LedgerUnavailableError):
            bounded(lambda: ledger.record_intent(intent(3)))
    settle(ledger)
    # Asked once more for the same order, the ledger knows that it was never said to be written.
    assert ledger.record_intent(intent(2))
    assert not ledger.record_intent(intent(2))
    assert counts(hurt)["intents"] == 3
    ledger.close()


def test_an_answer_that_was_lost_is_asked_for(hurt, server, monkeypatch):
    """The commit was made, the connection died before it said so: the intent may be sent."""
    ledger = hurt.open(timeout_s=2.0)
    database = ledger._database
    write = database.write

    def cut_off(statements, deadline_s, *, durable):
        write(statements, deadline_s, durable=durable)
        monkeypatch.setattr(database, "write", write)
        number = database._session.info.backend_pid
        hurt.script(f"SELECT pg_terminate_backend({number})")
        return write(statements, deadline_s, durable=durable)

    monkeypatch.setattr(database, "write", cut_off)
    assert ledger.record_intent(intent(1))
    assert not ledger.record_intent(intent(1))
    # And one that another life had written stays known.
    monkeypatch.setattr(database, "write", cut_off)
    assert not ledger.record_intent(intent(1, decided_ns=T0 + 1))
    assert counts(hurt)["intents"] == 1
    ledger.close()


def test_a_writer_that_came_in_between_is_noticed(hurt, server):
    ledger = hurt.open(timeout_s=2.0)
    ledger.record_intent(intent(1))
    number = ledger._database._session.info.backend_pid
    hurt.script(f"SELECT pg_terminate_backend({number})")
    other = hurt.open(8)
    with pytest.raises(LedgerError, match="being written by"):
        ledger.record_intent(intent(2))
    other.record_intent(intent(4))
    other.close()
    with pytest.raises(LedgerError, match="another process in the meantime"):
        wait_until(lambda: ledger.record_intent(intent(5)))
    ledger._database.close()
    assert counts(hurt)["intents"] == 2


def test_a_server_that_belongs_to_another_data_folder_is_refused(hurt, tmp_path):
    """There, the same number is another instrument."""
    ledger = hurt.open()
    ledger.record_intent(intent(1))
    ledger.close()
    hurt.open().close()
    hurt.folder = tmp_path / "other"
    with pytest.raises(LedgerError, match="another data folder"):
        hurt.open()
    assert counts(hurt)["intents"] == 1


def test_hurt_at_any_moment_nothing_is_lost_or_doubled(hurt, server, seed):
    draw = random.Random(seed)
    ledger = hurt.open(timeout_s=0.5)
    sent, told = [], 0
    for number in range(1, 60):
        if number % 12 == 0:
            draw.choice([server.kill, server.stop])()
            server.start()
        wanted = intent(number, quantity="5")
        try:
            assert ledger.record_intent(wanted)
        except LedgerUnavailableError:
            event = OrderExpired(wanted.command_id, T0, "the ledger is away")
            ledger.record_event(event, OrderState.EXPIRED)
            continue
        sent.append(wanted.command_id)
        for _ in range(draw.randint(0, 3)):
            told += 1
            ledger.record_event(fill(told, number), OrderState.PARTIALLY_FILLED)
            if draw.random() < 0.05:
                server.kill()
                server.start()
    settle(ledger)
    ledger.close()
    again = hurt.open(9)
    orders, book = again.restore(0)
    again.close()
    assert {order.intent.command_id for order in orders if not order.expired} == set(sent)
    assert len(orders) == 59
    assert book.position(0).quantity == told == counts(hurt)["fills"]


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Nobody there does anything, neither the server nor its sessions."""
    processes = [process := psutil.Process(server.process.pid), *process.children()]
    for one in processes:
        one.suspend()
    try:
        yield
    finally:
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.resume()


def test_a_password_is_never_said(hurt, server, monkeypatch):
    from processes.execution.ledger import open_ledger
    from schemas.settings import LedgerSettings

    monkeypatch.setenv("DC_TEST_SECRET", "s3cret/word")
    url = f"postgresql://dc:${{DC_TEST_SECRET}}@127.0.0.1:{server.port}"
    ledger = open_ledger(LedgerSettings(url=hurt.url.replace("dc@", "dc:${DC_TEST_SECRET}@")),
                         hurt.folder, 1)  # fmt: skip
    ledger.close()
    with pytest.raises(LedgerError) as found:
        open_ledger(LedgerSettings(url=f"{url}/nowhere"), hurt.folder, 1)
    assert "nowhere" in str(found.value)
    assert "s3cret" not in str(found.value)


def test_a_user_without_the_right_to_make_a_schema_is_told_so(hurt, server):
    with psycopg.connect(hurt.url, autocommit=True) as session:
        session.execute("DO $$ BEGIN CREATE ROLE weak LOGIN; EXCEPTION WHEN duplicate_object "
                        "THEN NULL; END $$")  # fmt: skip
    hurt.url = hurt.url.replace("dc@", "weak@")
    with pytest.raises(LedgerError, match="permission denied"):
        hurt.open()
