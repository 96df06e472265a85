"""Turns at an endpoint: spread over processes, blocked for all, never believed when absurd."""

import asyncio
import fcntl

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import python
from venues.pace import BELIEVED_NS, Pace

CHILD = """
import asyncio, sys, time
from pathlib import Path
from venues.pace import Pace

async def main():
    pace = Pace(Path(sys.argv[1]), "venue", utc_ns=time.time_ns, sleep=asyncio.sleep)
    for _ in range(int(sys.argv[2])):
        await pace.turn("trades", float(sys.argv[3]))
        print(time.time_ns(), flush=True)

asyncio.run(main())
"""


WAITING = """
import asyncio, sys
from pathlib import Path
from venues.pace import Pace

async def sleep(seconds):
    print("waiting", flush=True)
    await asyncio.sleep(60)

now_ns = int(sys.argv[2])
pace = Pace(Path(sys.argv[1]), "venue", utc_ns=lambda: now_ns, sleep=sleep)
asyncio.run(pace.turn("trades", 10))
"""


class World:
    def __init__(self) -> None:
        self.now_ns = 10**18

    async def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        await asyncio.sleep(0)

    def pace(self, folder, venue="venue") -> Pace:
        return Pace(folder, venue, utc_ns=lambda: self.now_ns, sleep=self.sleep)


def test_two_processes_never_take_turns_closer_than_the_interval(tmp_path):
    interval_s, turns = 0.02, 25
    children = [python("-c", CHILD, str(tmp_path), str(turns), str(interval_s)) for _ in range(3)]
    times = []
    for child in children:
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        times += [int(line) for line in out.split()]
    times.sort()
    assert len(times) == 3 * turns
    # A child prints a moment after its turn: single gaps wobble by that, a run of them does not.
    for first, last in zip(times, times[10:], strict=False):
        assert last - first >= 10 * interval_s * 1e9 * 0.9
    assert times[-1] - times[0] >= (len(times) - 1) * interval_s * 1e9 * 0.97


def test_a_process_that_dies_waiting_costs_no_turn(tmp_path):
    world = World()
    asyncio.run(world.pace(tmp_path).turn("trades", 10))
    child = python("-c", WAITING, str(tmp_path), str(world.now_ns))
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.kill()
    child.communicate()
    before = world.now_ns
    asyncio.run(world.pace(tmp_path).turn("trades", 10))
    assert (world.now_ns - before) / 1e9 < 10.1


def test_endpoints_and_venues_do_not_wait_for_each_other(tmp_path):
    world = World()
    asyncio.run(world.pace(tmp_path).turn("trades", 60))
    before = world.now_ns
    asyncio.run(world.pace(tmp_path).turn("candles", 60))
    asyncio.run(world.pace(tmp_path, "other").turn("trades", 60))
    assert world.now_ns == before


def test_a_block_holds_for_all_endpoints_and_is_not_shortened(tmp_path):
    world = World()
    pace = world.pace(tmp_path)
    asyncio.run(pace.block(60))
    asyncio.run(pace.block(5))
    before = world.now_ns
    asyncio.run(world.pace(tmp_path).turn("anything", 1))
    assert 60 <= (world.now_ns - before) / 1e9 < 61


@given(ahead_ns=st.integers(-(10**19), 10**18))
def test_a_clock_that_was_set_back_stops_nobody_for_long(tmp_path_factory, ahead_ns):
    folder = tmp_path_factory.mktemp("pace")
    world = World()
    stored = max(world.now_ns + ahead_ns, 0)
    (folder / "venue.trades").write_bytes(stored.to_bytes(8, "little"))
    before = world.now_ns
    asyncio.run(world.pace(folder).turn("trades", 1))
    assert world.now_ns - before <= BELIEVED_NS + 10**8


def test_a_file_that_was_cut_short_is_no_obstacle(tmp_path):
    (tmp_path / "venue.trades").write_bytes(b"\x01\x02")
    asyncio.run(World().pace(tmp_path).turn("trades", 1))


def test_a_turn_is_taken_only_if_it_is_free_now(tmp_path):
    world = World()
    first, second = world.pace(tmp_path), world.pace(tmp_path)
    assert first.take("commands", 1.1)
    assert not second.take("commands", 1.1)
    world.now_ns += 1_050_000_000
    assert not first.take("commands", 1.1)
    world.now_ns += 60_000_000
    assert second.take("commands", 1.1)
    assert first.take("other", 1.1)
    assert world.pace(tmp_path, "elsewhere").take("commands", 1.1)


def test_where_no_pace_is_kept_every_turn_is_free(tmp_path):
    pace = World().pace(tmp_path)
    assert all(pace.take("commands", 0.0) for _ in range(10))
    assert not list(tmp_path.iterdir())


def test_who_would_have_to_wait_for_the_lock_takes_no_turn(tmp_path):
    world = World()
    pace = world.pace(tmp_path)
    assert pace.take("commands", 1.0)
    world.now_ns += 2_000_000_000
    with next(tmp_path.iterdir()).open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not pace.take("commands", 1.0)
    assert pace.take("commands", 1.0)
