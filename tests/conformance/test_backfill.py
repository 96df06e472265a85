"""Trades of outages that no snapshot reaches back over: they come over REST, each exactly once."""

import msgspec
import numpy as np
import pytest

from schemas.tape import Flag, Marker, MarkerReason
from tests.conformance.clock import Clock, run_in
from tests.conformance.harness import World, flags_of
from tests.conformance.subjects import BITFINEX, GMO, KRAKEN, Subject

IDENTIFIED = tuple(
    msgspec.structs.replace(subject, symbols=subject.symbols[:2], channels=("books", "trades"))
    for subject in (BITFINEX, KRAKEN)
)
BUSY = {"events_per_s": 80.0, "channels": ("books", "trades"), "backoff_longest_s": 2.0}
"""Some 15 trades a second in each market: a dozen seconds are longer than any snapshot."""


def of_all(subjects=IDENTIFIED):
    return pytest.mark.parametrize("subject", subjects, ids=lambda subject: subject.name)


async def outage(world: World, seconds: float = 12.0) -> None:
    """The venue's sockets and REST are away while its markets go on."""
    connections = world.sessions[0].connections
    world.fault("down", seconds=seconds)
    await world.until(lambda: world.sessions[0].connections > connections, seconds + 30)
    await world.all_live()


async def closed(world: World, holes: int = 1) -> np.ndarray:
    """The markers that close so many holes of each market, once all of them are."""
    await world.until(lambda: not world.backfill.holes.waiting, 120)
    found = world.markers(Marker.BACKFILLED)
    assert len(found) == holes * len(world.subject.symbols)
    return found


def check_whole(world: World) -> None:
    """Every trade that was made since the first one told is on the tape, once, as it was."""
    for symbol in world.subject.symbols:
        trades = world.of(world.trades(), symbol)
        ids = trades["id_low"].astype(np.int64)
        assert len(ids) == len(np.unique(ids))
        history = world.exchange.histories[symbol]
        true = [t for t in history.trades if ids.min() <= t.id <= ids.max()]
        order = np.argsort(ids)
        assert ids[order].tolist() == [t.id for t in true]
        price = [float(history.market.price(t.ticks)) for t in true]
        assert trades["price"][order] == pytest.approx(price)
        assert trades["size"][order] == pytest.approx([t.units / 1e8 for t in true])
        assert trades["side"][order].tolist() == [1 if t.side == 1 else 2 for t in true]
        late = np.abs(trades["event_ns"][order] - np.array([t.time_ns for t in true]))
        assert (late < 1_000_000).all()  # the venue's resolution


@of_all()
def test_trades_of_a_long_outage_come_over_rest(clock: Clock, subject: Subject):
    async def story():
        async with World(subject, clock, **BUSY) as world:
            await world.all_live()
            await world.passed(3)
            await outage(world)
            closings = await closed(world)
            await world.passed(2)
            check_whole(world)
            assert (closings["reason"] == MarkerReason.NONE).all()
            gaps = world.markers(Marker.GAP)
            for closing in closings:
                index = closing["instrument"]
                trades = world.trades()[world.trades()["instrument"] == index]
                inside = (closing["id_low"] < trades["id_low"]) & (
                    trades["id_low"] < closing["id_high"]
                )
                # Longer than a snapshot; all of the gap is flagged, and closed behind the last.
                assert closing["count"] == inside.sum() > 50
                assert flags_of(trades[inside], Flag.BACKFILLED).all()
                assert (np.diff(trades[inside]["id_low"].astype(np.int64)) > 0).all()
                assert trades[inside]["sequence"].max() < closing["sequence"]
                assert (closing["from_event_ns"] <= trades[inside]["event_ns"]).all()
                assert (trades[inside]["event_ns"] <= closing["to_event_ns"]).all()
                mine = gaps[(gaps["instrument"] == index) & (gaps["stream"] == closing["stream"])]
                assert mine["from_recv_ns"].tolist() == [closing["from_recv_ns"]]
                assert mine["to_recv_ns"].tolist() == [closing["to_recv_ns"]]
            before = world.trades()[world.trades()["epoch"] == 1]
            assert not flags_of(before, Flag.BACKFILLED).any()
            assert world.backfill.trades == closings["count"].sum()
            assert (world.backfill.unfilled, world.backfill.holes.waiting) == (0, [])

    run_in(clock, story(), 600.0)


@of_all()
def test_a_short_outage_needs_no_rest(clock: Clock, subject: Subject):
    async def story():
        async with World(subject, clock, events_per_s=20.0, channels=("books", "trades")) as world:
            await world.all_live()
            await world.passed(8)
            world.fault("rest_down", seconds=500)
            await outage(world, 2.0)
            closings = await closed(world)
            assert (closings["reason"] == MarkerReason.NONE).all()
            assert (closings["count"] == 0).all()
            check_whole(world)

    run_in(clock, story(), 600.0)


@of_all()
def test_rest_that_fails_costs_its_holes_and_nothing_else(clock: Clock, subject: Subject):
    async def story():
        async with World(subject, clock, **BUSY) as world:
            await world.all_live()
            await world.passed(3)
            world.fault("rest_down", seconds=500)
            await outage(world)
            closings = await closed(world)
            assert (closings["reason"] == MarkerReason.CONNECT_FAILED).all()
            assert (closings["count"] == 0).all()
            assert world.backfill.unfilled == len(closings)
            assert any("stay missing" in str(line) for line in world.log.lines)
            await world.books_agree()
            world.check_trades_are_whole()  # but for the marked gap
            # The next hole is a new try, and the old one stays one.
            world.fault("rest_down", seconds=0)
            await outage(world)
            closings = await closed(world, 2)
            assert (closings[-len(subject.symbols) :]["reason"] == MarkerReason.NONE).all()
            world.check_trades_are_whole()

    run_in(clock, story(), 900.0)


@of_all()
def test_slow_rest_holds_nobody_up(clock: Clock, subject: Subject):
    """Live trades go on meanwhile, the connection breaks again, and nothing comes twice."""

    async def story():
        async with World(subject, clock, **BUSY) as world:
            await world.all_live()
            await world.passed(3)
            world.fault("rest_slow", seconds=100)
            await outage(world)
            live = len(world.trades())
            await world.passed(2)
            assert not len(world.markers(Marker.BACKFILLED))
            assert len(world.trades()) > live
            world.fault("cut")
            await world.until(lambda: world.sessions[0].connections == 3)
            await world.all_live()
            closings = await closed(world, 2)
            assert (closings["reason"] == MarkerReason.NONE).all()
            await world.passed(2)
            await world.books_agree()
            check_whole(world)

    run_in(clock, story(), 900.0)


@of_all()
@pytest.mark.parametrize("pages", [0, 1])
def test_a_collector_killed_in_the_middle_goes_on_where_it_was(clock, subject, pages, monkeypatch):
    """After none or one of its pages is on the tape."""
    for venue in ("bitfinex", "kraken"):
        monkeypatch.setattr(f"venues.{venue}.backfill.PAGE_ROWS", 100)

    async def story():
        async with World(subject, clock, **BUSY) as world:
            await world.all_live()
            await world.passed(3)
            world.fault("rest_slow", seconds=200)
            await outage(world)
            await world.until(lambda: world.backfill.trades >= 80 * pages)
            fetched = world.backfill.trades
            await world.restart()
            assert len(world.markers(Marker.BACKFILLED)) == 0
            await world.all_live()
            closings = await closed(world)
            await world.passed(2)
            check_whole(world)
            assert (closings["reason"] == MarkerReason.NONE).all()
            assert len(closings) == len(subject.symbols)
            gaps = world.markers(Marker.GAP)
            for closing in closings:  # one closes both gaps of its stream
                mine = gaps[
                    (gaps["instrument"] == closing["instrument"])
                    & (gaps["stream"] == closing["stream"])
                ]
                assert len(mine) == 2
                assert closing["from_recv_ns"] == mine["from_recv_ns"].min()
                assert closing["to_recv_ns"] == mine["to_recv_ns"].max()
            # What the first life had fetched was not fetched onto the tape again.
            flagged = flags_of(world.trades(), Flag.BACKFILLED).sum()
            assert flagged >= fetched + world.backfill.trades
            await world.restart()
            await world.all_live()
            await world.passed(2)
            check_whole(world)

    run_in(clock, story(), 900.0)


@of_all()
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"backfill_longest_s": 8.0}, MarkerReason.TOO_FAR),
        ({"backfill_timeout_s": 1.0}, MarkerReason.TOO_FAR),
        ({"backfill_pages": 1}, MarkerReason.TOO_FAR),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_the_settings_do_not_allow_stays_missing_and_is_told(
    clock, subject, settings, reason, monkeypatch
):
    for venue in ("bitfinex", "kraken"):
        monkeypatch.setattr(f"venues.{venue}.backfill.PAGE_ROWS", 100)

    async def story():
        async with World(subject, clock, **BUSY, **settings) as world:
            await world.all_live()
            await world.passed(3)
            if "backfill_timeout_s" in settings:
                world.fault("rest_slow", seconds=500)
            await outage(world)
            closings = await closed(world)
            assert (closings["reason"] == reason).all()
            assert world.backfill.unfilled == len(closings)
            world.check_trades_are_whole()
            for closing in closings:  # what the marker says is whole, is
                name = next(
                    s
                    for s in subject.symbols
                    if world.tables.instruments[s].index == closing["instrument"]
                )
                made = [
                    t.id
                    for t in world.exchange.histories[name].trades
                    if closing["from_event_ns"] < t.time_ns < closing["to_event_ns"]
                ]
                assert set(made) <= set(world.of(world.trades(), name)["id_low"].tolist())

    run_in(clock, story(), 900.0)


@of_all()
def test_a_list_whose_ids_are_not_the_streams_is_not_believed(clock: Clock, subject: Subject):
    async def story():
        async with World(subject, clock, **BUSY) as world:
            honest = world.backfill._fetch

            async def strange(instrument, from_ns):
                rows = await honest(instrument, from_ns)
                return [msgspec.structs.replace(row, id=row.id + 500_000_000) for row in rows]

            world.backfill._fetch = strange
            await world.all_live()
            await world.passed(3)
            await outage(world)
            closings = await closed(world)
            assert (closings["reason"] == MarkerReason.NOT_JOINED).all()
            world.check_trades_are_whole()

    run_in(clock, story(), 600.0)


@of_all()
def test_it_can_be_switched_off(clock: Clock, subject: Subject):
    async def story():
        async with World(subject, clock, backfill=False, **BUSY) as world:
            await world.all_live()
            await world.passed(3)
            await outage(world)
            await world.passed(3)
            assert not len(world.markers(Marker.BACKFILLED))
            assert len(world.markers(Marker.GAP))
            world.check_trades_are_whole()

    run_in(clock, story(), 600.0)


def test_trades_without_ids_are_left_missing(clock: Clock):
    """GMO Coin: docs/decisions/0009 and 0011 say why."""

    async def story():
        async with World(GMO, clock, **BUSY) as world:
            assert world.backfill is None
            await world.all_live()
            await world.passed(3)
            await outage(world)
            await world.passed(3)
            assert not len(world.markers(Marker.BACKFILLED))
            assert len(world.markers(Marker.GAP))
            world.check_trades_are_whole()

    run_in(clock, story(), 600.0)
