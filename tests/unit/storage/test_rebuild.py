"""History made again from the lake: the same rows as storage has made, and nothing twice."""

import contextlib
import random
import shutil
import threading

import pytest

from processes.lake_holes import Hole, note_hole
from processes.replay.history import Turns
from processes.storage.history_database import turn_path
from schemas.decisions import SlotKind
from schemas.errors import OperatorError
from schemas.settings import HistorySettings, Settings
from schemas.tape import Flag, Marker
from tests.helpers import wait_until
from tests.unit.storage.histories import (
    BAR_TABLES,
    BTC,
    ETH,
    FUNDING,
    GMO,
    MINUTE,
    T0,
    Place,
    candles,
    decided,
    marker,
    message,
    trades,
)

MADE = (*BAR_TABLES, "signals", "profit", "audit")
HOUR = 60 * MINUTE


@pytest.fixture
def at(body) -> Place:
    return Place(body)


def fill_up(at: Place, draw: random.Random, rounds: int = 4, *, lapses: bool = True) -> None:
    """Candles, trades with their gaps, and decisions, over sessions."""
    for number in range(rounds):
        begin = T0 + number * HOUR
        last = begin
        minutes = [(draw.randrange(2), draw.randrange(40), draw.random()) for _ in range(30)]
        at.append("tape.bitfinex", candles(*minutes))
        for instrument in (BTC, ETH, FUNDING, GMO):
            ring = "tape.gmo" if instrument == GMO else "tape.bitfinex"
            for part in range(3):
                last = begin + part * 20 * MINUTE
                told = [
                    (0 if instrument == GMO else draw.randrange(1, 999),
                     last + draw.randrange(-5 * MINUTE, 20 * MINUTE),
                     round(draw.uniform(1, 1e5), 2), round(draw.uniform(1e-8, 3), 8))
                    for _ in range(draw.randrange(5, 40))
                ]  # fmt: skip
                flags = Flag.FUNDING if instrument == FUNDING else 0
                block = trades(*told, instrument=instrument, recv_ns=last, flags=flags)
                if instrument == FUNDING:
                    block["count"] = draw.choice([2, 30])
                at.append(ring, block)
                recv = (last + 60 * MINUTE // 7, last + 60 * MINUTE // 5)
                what = draw.choice([Marker.GAP, Marker.UNSUBSCRIBED, Marker.SUBSCRIBED])
                event = (recv[0] - 50_000_000, 0)
                told_gap = marker(what, recv[1], instrument=instrument, recv=recv, event=event)
                at.append(ring, told_gap)
                if draw.random() < 0.5:
                    filled = marker(
                        Marker.BACKFILLED, recv[1] + 1, instrument=instrument, recv=recv
                    )
                    at.append(ring, filled)
            if lapses and draw.random() < 0.6:
                lapse(at, ring, last + 25 * MINUTE, instrument)
        slots = decided(draw.randrange(130, 150), draw.randrange(1 << 30))
        slots["time_ns"] += number * 22 * MINUTE  # sessions meet within a minute, too
        at.append("decisions", slots)
        at.append("decisions", message(SlotKind.INPUT_COMMAND, {"kill_level": draw.randrange(4)}))
        if draw.random() < 0.5:
            at.session += 1
            at.sequences = dict.fromkeys(at.sequences, 0)


def lapse(at: Place, ring: str, recv_ns: int, instrument: int) -> None:
    """Slots that storage never had: the ring went round before it came."""
    first = at.sequences[ring] + 1
    hole = Hole(
        session=at.session, first=first, last=first + 8, time_ns=recv_ns, reason="lapped"
    )  # fmt: skip
    note_hole(at.folder / "lake", ring, hole)
    at.append(ring, trades((7, recv_ns, 5.0, 1.0), instrument=instrument, recv_ns=recv_ns), skip=9)


def tables(at: Place) -> dict[str, list[tuple]]:
    found = {table: at.rows(table) for table in MADE}
    found["audit"] = [row for row in found["audit"] if row[0] == "decisions"]
    return found


def test_what_is_made_again_is_what_storage_has_made(at, tmp_path, seed):
    fill_up(at, random.Random(seed))
    at.write()
    live = tables(at)
    assert all(live.values()), {name: len(mine) for name, mine in live.items()}
    # Again into the same database, however often: nothing changes.
    for _ in range(2):
        assert at.rebuild().rows > 0
        assert tables(at) == live
    # Into an empty one, which nobody has written while the instance ran.
    other = Place.beside(at, tmp_path / "other")
    (other.folder / "journal").unlink()  # all is sealed
    made = other.rebuild()
    assert made.decisions > 400
    fresh = tables(other)
    for table in MADE:
        assert fresh[table] == live[table], table


def test_what_history_could_not_read_the_lake_makes_whole(at):
    """Journals that went unread are gaps in its bars, until they are read from the lake."""
    at.append("tape.bitfinex", marker(Marker.SUBSCRIBED, T0 + 8 * HOUR))
    at.append("tape.bitfinex", trades((5000, T0 + 9 * HOUR, 5.0, 1.0), recv_ns=T0 + 9 * HOUR))
    lost = trades((5001, T0 + 9 * HOUR + MINUTE, 5.0, 1.0), recv_ns=T0 + 9 * HOUR + MINUTE)
    lost["sequence"] = at.sequences["tape.bitfinex"] + 1
    at.record("tape.bitfinex", lost)
    later = trades((5002, T0 + 9 * HOUR + 5 * MINUTE, 5.0, 1.0), recv_ns=T0 + 9 * HOUR + 5 * MINUTE)
    at.append("tape.bitfinex", later, skip=1)
    at.write()
    minutes = (
        f"SELECT (start_ns - {T0}) / {MINUTE}, complete, trades FROM bars "
        "WHERE source = 'trades' AND timeframe = '1m'"
    )
    assert sorted(at.body.ask(minutes, "history")) == [(540, 0, 1.0), (545, 0, 1.0)]
    at.rebuild(venue="bitfinex", symbol="BTC/USD")
    assert sorted(at.body.ask(minutes, "history")) == [(540, 1, 1.0), (541, 1, 1.0), (545, 1, 1.0)]


class BrokenOffError(Exception):
    """The end of a rebuild that somebody has had enough of."""


def test_broken_off_anywhere_and_done_again_it_is_the_same(at, tmp_path, seed):
    draw = random.Random(seed)
    fill_up(at, draw, rounds=2)
    shutil.rmtree(at.folder / "journal")  # all is sealed
    whole = Place.beside(at, tmp_path / "whole")
    whole.rebuild()
    for _ in range(4):
        left = draw.randrange(1, 12)

        def report(*_: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise BrokenOffError

        with contextlib.suppress(BrokenOffError):
            at.rebuild(report)
    at.rebuild()
    assert tables(at) == tables(whole)


def test_only_what_is_asked_for_is_made(at):
    fill_up(at, random.Random(3), lapses=False)
    shutil.rmtree(at.folder / "journal")  # all is sealed
    at.rebuild(symbol="tETHUSD")
    assert {symbol for (symbol,) in at.rows("bars", "symbol")} == {"tETHUSD"}
    assert {symbol for (symbol,) in at.rows("profit", "symbol")} == {"tETHUSD"}
    assert at.rows("audit") == []
    at.rebuild(start_ns=T0 + HOUR, end_ns=T0 + 2 * HOUR, venue="gmo")
    found = at.body.ask(
        "SELECT min(recv_ns), max(recv_ns) FROM bars WHERE venue = 'gmo'", "history"
    )
    assert T0 + HOUR <= found[0][0] <= found[0][1] < T0 + 2 * HOUR
    at.rebuild()
    assert {symbol for (symbol,) in at.rows("bars", "symbol")} == {
        "tBTCUSD", "tETHUSD", "fUSD", "BTC_JPY"
    }  # fmt: skip


def test_storage_and_who_rebuilds_take_turns(at, seed):
    """A live writer goes on beside a rebuild, and in the end nothing is twice or missing."""
    draw = random.Random(seed)
    fill_up(at, draw, rounds=2)
    writer = at.writer()
    writer.pass_once()
    settings = Settings(history=HistorySettings(url=at.body.url))
    turns = Turns(settings, at.folder, beside=True)
    taken = threading.Thread(target=turns.take)
    taken.start()
    wait_until(lambda: writer.gives_way)
    assert not writer.pass_once()  # it lets go
    taken.join(30)
    with pytest.raises(OperatorError, match="another dcctl history rebuild is at work"):
        Turns(settings, at.folder, beside=True).take()
    assert not writer.pass_once()
    turns.leave()
    assert not writer.gives_way
    at.write(writer)
    fill_up(at, draw, rounds=1)
    again = threading.Thread(target=at.rebuild)
    again.start()
    while again.is_alive():
        writer.pass_once()
    at.write(writer)
    writer.close()
    live = tables(at)
    assert turn_path(at.folder).exists()
    total = sum(
        int((block["kind"] == SlotKind.DECISION).sum())
        for journal in (at.folder / "journal" / "decisions").glob("*.slots")
        for block in slots_of(journal)
    )
    assert sum(row[4] for row in live["profit"]) == total
    at.rebuild()
    for name, mine in tables(at).items():
        assert set(mine) == set(live[name]), name


def slots_of(path):
    from processes.journal_files import read_segment
    from processes.storage.journal import read_slots
    from schemas import decisions

    return read_slots(read_segment(path), decisions.SLOT)
