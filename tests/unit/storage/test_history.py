"""History on both bodies: every row once, over any kill, and every hole told."""

import json
import random
import re
import subprocess

import numpy as np
import psycopg
import pytest

from processes.clock import monotonic_s
from processes.runtime import Context
from processes.storage.history import History
from processes.storage.history_database import FILE, ROOM
from processes.storage.history_rows import NOT_WANTED
from processes.storage.history_writer import Writer
from processes.storage.timescale import AVAILABLE, EXTENSION, hypertable, make_hypertables
from schemas import decisions
from schemas.decisions import SlotKind
from schemas.errors import DatabaseError, DatabaseUnavailableError
from schemas.settings import HistorySettings, Settings
from schemas.trading import Action, OrderFilled, Reason
from tests.helpers import ROOT, python, wait_until
from tests.instances import bare_instance
from tests.servers import postgres_server
from tests.unit.databases.bodies import Body
from tests.unit.storage.histories import (
    BTC,
    ETH,
    MINUTE,
    T0,
    TABLES,
    Place,
    candles,
    decided,
    message,
    trades,
)
from tests.unit.storage.history_child import RINGS


@pytest.fixture
def at(body) -> Place:
    return Place(body)


def test_a_bar_is_the_last_that_the_venue_said_of_it(at):
    at.append("tape.bitfinex", candles((0, 0, 101.5), (1, 0, 7), (0, 0, 102.5), (0, 1, 103)))
    writer = at.write(at.writer())
    at.append("tape.bitfinex", candles((0, 1, 104.25)))
    at.write(writer)
    writer.close()
    found = at.rows("bars", "symbol, timeframe, start_ns, close, high, average_price")
    assert found == [
        ("tBTCUSD", "1m", T0, 102.5, 103.5, None),
        ("tBTCUSD", "1m", T0 + MINUTE, 104.25, 105.25, None),
        ("tETHUSD", "1m", T0, 7.0, 8.0, None),
    ]


def test_signals_are_decisions_in_which_something_was_wanted(at):
    slots = decided(600)
    at.append("decisions", slots)
    at.write()
    mine = slots[slots["kind"] == SlotKind.DECISION]
    wanted = mine[~np.isin(mine["reason"], [int(reason) for reason in NOT_WANTED])]
    assert 0 < len(wanted) < len(mine)
    found = at.rows("signals", "sequence, session, symbol, strategy, action, reason, confidence")
    assert sorted(found) == sorted(
        (
            int(one["sequence"]), 5, TABLES.instruments[one["instrument"]].symbol,
            "moving_average_cross", Action(one["action"]).name.lower(),
            Reason(one["reason"]).name.lower(), float(one["numbers"][0]),
        )
        for one in wanted
    )  # fmt: skip
    commands = {row[0] for row in at.rows("signals", "command_id")}
    assert commands == {"", f"{77:032x}"}


def test_profit_has_a_row_a_minute_with_its_last_decision(at):
    slots = decided(601)
    at.append("decisions", slots[:300].copy())
    at.append("decisions", slots[300:].copy())
    writer = at.writer()
    at.write(writer)
    writer.close()
    wanted: dict[tuple, list] = {}
    for one in slots[slots["kind"] == SlotKind.DECISION]:
        minute = int(one["time_ns"]) // MINUTE * MINUTE
        key = (minute, TABLES.instruments[one["instrument"]].symbol)
        before = wanted.get(key, [0])[0]
        numbers = dict(zip(decisions.NUMBERS, one["numbers"], strict=False))
        wanted[key] = [before + 1, numbers["position"], numbers["unrealized_pnl"]]
    found = at.rows("profit", "minute_ns, symbol, decisions, position, unrealized")
    assert {row[:2]: list(row[2:]) for row in found} == wanted


def test_the_audit_log_holds_kills_settings_starts_and_what_brokers_told(at):
    fill = OrderFilled(f"{1:032x}", "f1", "100.10", "0.5", "0.01", "USD", T0)
    at.append("decisions", message(SlotKind.INPUT_START, {"open_orders": 0}))
    at.append("decisions", message(SlotKind.INPUT_COMMAND, {"kill_level": 3}))
    at.append("decisions", message(SlotKind.INPUT_CONFIG, {"generation": 2}))
    at.append("decisions", message(SlotKind.INPUT_TIMER, {}))
    at.append("decisions", message(SlotKind.INPUT_BROKER, fill))
    at.log("supervisor", {"level": "info", "process": "supervisor", "event": "process ready"})
    at.log("features", {"level": "info", "event": "dull"}, {"level": "error", "event": "bad"})
    with (at.logs / "features.jsonl").open("a") as file:
        file.write("{torn\n")
    at.write()
    found = at.rows("audit", "process, kind, detail, place")
    told = {(process, kind): json.loads(detail) for process, kind, detail, _ in found}
    assert set(told) == {
        ("execution", "start"), ("execution", "kill switch"), ("execution", "settings"),
        ("execution", "broker"), ("supervisor", "info"), ("features", "error"),
    }  # fmt: skip
    assert told["execution", "kill switch"] == {"level": "flatten", "kill_level": 3}
    assert told["execution", "broker"]["price"] == "100.10"
    assert told["features", "error"]["event"] == "bad"
    times = {time for (time,) in at.rows("audit", "time_ns")}
    assert times == {T0, 1_760_000_040_000_000_000}


def test_logs_are_followed_over_their_rotation(at):
    writer = at.writer()
    for number in range(40):
        at.log("supervisor", {"level": "info", "event": f"e{number}"})
        if number % 7 == 3:
            at.write(writer)
        if number in {10, 11, 25}:
            for old in (2, 1):
                path = at.logs / f"supervisor.jsonl.{old}"
                if path.exists():
                    path.rename(at.logs / f"supervisor.jsonl.{old + 1}")
            (at.logs / "supervisor.jsonl").rename(at.logs / "supervisor.jsonl.1")
    at.write(writer)
    writer.close()
    events = [json.loads(detail)["event"] for (detail,) in at.rows("audit", "detail")]
    assert sorted(events) == sorted(f"e{number}" for number in range(40))
    assert at.rows("holes") == []


def test_a_log_that_went_before_it_was_read_is_a_hole(at):
    at.log("supervisor", {"level": "info", "event": "first"})
    at.write()
    (at.logs / "supervisor.jsonl").unlink()
    at.log("supervisor", {"level": "info", "event": "second"})
    at.write()
    assert len(at.rows("audit")) == 2
    (hole,) = at.rows("holes", "source, first, last")
    assert hole[0] == "log supervisor"
    assert hole[1] > 0


def test_what_the_journal_lost_is_a_hole(at):
    at.append("tape.bitfinex", candles((0, 0, 1)))
    at.append("tape.bitfinex", candles((0, 1, 2)), skip=10)
    writer = at.write(at.writer())
    assert at.rows("holes") == [("tape.bitfinex", "5", 3, 12)]
    assert writer.progress.holes == 1
    at.append("tape.bitfinex", candles((0, 2, 3)))
    for path in (at.folder / "journal" / "tape.bitfinex").glob("*.slots"):
        path.unlink()  # sealed into the lake before history had read the last of it
    at.append("tape.bitfinex", candles((0, 3, 4)))
    at.write(writer)
    writer.close()
    assert at.rows("holes") == [("tape.bitfinex", "5", 15, 16), ("tape.bitfinex", "5", 3, 12)]
    assert [row[0] for row in at.rows("bars", "close")] == [1.0, 2.0, 4.0]


def test_journals_given_up_at_a_stop_are_holes_of_the_next_life(at):
    at.append("decisions", decided(10))
    at.write()
    at.append("decisions", decided(10))
    away = at.writer()
    away.note_ends()  # a stop while the database is away: the journals are sealed and go
    for path in (at.folder / "journal").rglob("*.slots"):
        path.unlink()
    at.session, at.sequences["decisions"] = 6, 0
    at.append("decisions", decided(4))
    at.write()
    assert at.rows("holes") == [("decisions", "5", 11, 20)]
    assert at.rows("progress", "source, mark, place") == [("decisions", "6", 4)]
    assert not list((at.folder / "state").iterdir())
    at.write()
    assert len(at.rows("holes")) == 1


def test_a_first_life_begins_with_what_is_there(at):
    """A history that is switched on later has no holes before its beginning."""
    at.append("decisions", decided(6), skip=1000)
    at.write()
    assert at.rows("holes") == []
    assert at.rows("progress") == [("decisions", "5", 1006)]


def fill_up(at: Place, draw: random.Random) -> None:
    for _ in range(3):
        minutes = [(draw.randrange(2), draw.randrange(40), draw.random()) for _ in range(150)]
        at.append("tape.bitfinex", candles(*minutes))
        for instrument in (BTC, ETH):
            told = [
                (draw.randrange(1, 400), T0 + draw.randrange(20 * MINUTE), draw.random(), 0.1)
                for _ in range(100)
            ]
            at.append("tape.bitfinex", trades(*told, instrument=instrument))
        at.append("decisions", decided(draw.randrange(100, 300), draw.randrange(1 << 30)))
        at.append("decisions", message(SlotKind.INPUT_COMMAND, {"kill_level": draw.randrange(4)}))
    lines = [{"level": "warning", "event": f"w{number}"} for number in range(200)]
    at.log("features", *lines)


def test_killed_at_any_moment_each_row_is_there_once(at, tmp_path, seed):
    draw = random.Random(seed)
    fill_up(at, draw)
    ended = kills = 0
    while not ended:
        child = python(
            str(ROOT / "tests/unit/storage/history_child.py"), str(at.folder), at.body.url
        )
        assert child.stdout.readline() == "go\n", child.stderr.read()
        if kills < 5:
            kills += 1
            try:
                child.wait(draw.uniform(0.002, 0.12))
            except subprocess.TimeoutExpired:
                child.kill()
        rest, errors = child.communicate(timeout=60)
        assert not errors
        ended = rest == "done\n" and kills >= 5
    found = at.everything()
    # The same in one go, elsewhere.
    other = Body("sqlite", tmp_path / "other", None)
    other.folder.mkdir()
    settings = Settings(history=HistorySettings())
    once = Writer(settings, at.folder, at.logs, RINGS, lambda: TABLES)
    once._database._data = other.folder
    while once.pass_once():
        pass
    once.close()
    for table, rows in found.items():
        wanted = sorted(other.ask(f"SELECT * FROM {table}", ROOM), key=repr)
        assert rows == wanted, table
    assert all(found[table] for table in ("bars", "signals", "profit", "audit"))


def test_two_histories_at_once_are_refused(at):
    writer = at.writer()
    writer.connect()
    with pytest.raises(DatabaseError, match="being written by"):
        at.writer().connect()
    writer.close()


def test_a_server_that_goes_and_comes_costs_lag_and_no_row(tmp_path, seed):
    draw = random.Random(seed)
    with postgres_server() as server:
        body = Body("postgres", tmp_path, server)
        at = Place(body)
        writer = at.writer(timeout_s=0.5)
        for _ in range(3):
            fill_up(at, draw)
            wait_until(lambda: goes_on(writer))  # half a second may be too little for a busy server
            draw.choice([server.kill, server.stop])()
            began_s = monotonic_s()
            with pytest.raises(DatabaseUnavailableError):
                writer.pass_once()
            assert monotonic_s() - began_s < 3
            server.start()
            wait_until(lambda: goes_on(writer))
        at.write(writer)
        writer.close()
        counted = body.ask("SELECT sum(decisions) FROM profit", ROOM)[0][0]
        total = sum(
            int((block["kind"] == SlotKind.DECISION).sum())
            for block in at.journal("decisions").read(0)
        )
        assert int(counted) == total
        assert at.rows("holes") == []


def goes_on(writer: Writer) -> bool:
    try:
        writer.pass_once()
    except DatabaseUnavailableError:
        return False
    return True


def test_storage_goes_on_without_a_database_and_finds_its_way_back(closed_logs):
    """The thread as storage starts and ends it, in a bare instance."""
    with bare_instance() as instance:
        url = "postgresql://dc@127.0.0.1:1/nowhere"
        for address, away in ((url, True), ("", False)):
            instance.settings = instance.load(history__url=address)
            instance.put_in_force()
            if away:
                instance.open()
            context = Context(instance.paths.run, "storage")
            history = History(context)
            history.begin()
            if away:
                wait_until(lambda h=history: h._writer.progress.error)
                assert "cannot be reached" in history._writer.progress.error
            else:
                wait_until(lambda h=history: h._writer.progress.caught_up)
                assert (context.paths.data / FILE).exists()
            history.tend()
            history.finish()
            wait_until(lambda h=history: not h._thread.is_alive(), 30)
            context.close()


# ---- TimescaleDB


class Recorded:
    """What would be said to a server that has the extension, or has not."""

    def __init__(self, *, available: int, refuses: bool = False) -> None:
        self.available = available
        self.refuses = refuses
        self.said: list[str] = []

    def read(self, statement, parameters=()):
        assert (statement, parameters) == (AVAILABLE, ())
        return [(self.available,)]

    def write(self, statements, deadline_s, *, durable):
        if self.refuses:
            raise DatabaseError("permission denied")
        assert deadline_s > monotonic_s()
        assert durable
        self.said += [text for text, _ in statements]


def test_hypertables_are_made_where_the_extension_is_there():
    there = Recorded(available=1)
    assert make_hypertables(there, 1.0)
    assert there.said == [
        EXTENSION, hypertable("bars", "start_ns"), hypertable("bar_trades", "start_ns"),
        hypertable("signals", "time_ns"), hypertable("profit", "minute_ns"),
    ]  # fmt: skip
    assert "86400000000000" in there.said[1]
    assert not make_hypertables(Recorded(available=0), 1.0)
    assert not make_hypertables(Recorded(available=1, refuses=True), 1.0)


def test_the_real_server_is_asked_for_the_extension(postgres, tmp_path):
    body = Body("postgres", tmp_path, postgres)
    with psycopg.connect(body.url) as session:
        (count,) = session.execute(AVAILABLE).fetchone()
    writer = Place(body).writer()
    writer.connect()
    assert make_hypertables(writer._database._database, 5.0) == bool(count)
    writer.close()


def test_every_hypertable_keeps_its_time_in_its_key():
    """TimescaleDB refuses a table whose unique key lacks the column it is cut by."""
    folder = ROOT / "processes/storage/migrations"
    script = "".join(path.read_text() for path in sorted(folder.glob("*.sql")))
    from processes.storage.timescale import TABLES as CUT

    for table, column in CUT.items():
        # Made anew by a later migration, a table goes by its later form.
        made = re.findall(rf"CREATE TABLE {table}(?:_\d+)? \((.*?)\) STRICT", script, re.DOTALL)
        part = made[-1]
        key = part.partition("PRIMARY KEY (")[2]
        assert column in key
