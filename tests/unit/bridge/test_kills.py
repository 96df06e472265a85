"""The bridge as a process, killed at random: every slot is in its stream, or in a gap that says
so."""

import contextlib
import random
import signal
from collections import Counter

import redis

from tests.helpers import python, wait_until
from tests.instances import bare_instance
from tests.servers import redis_server
from tests.unit.bridge.conftest import RING, Rings, entries, missing, tape_slots


def committed(rings: Rings) -> int:
    return rings.memory.committed(RING)


def position(rings: Rings) -> int:
    rows = rings.memory.readers(RING).rows()
    return next((row.position for row in rows if row.name == "bridge"), -1)


@contextlib.contextmanager
def bridge(rings: Rings):
    child = python("-m", "processes.bridge.main", "--run", str(rings.paths.run), "--name", "bridge")
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@contextlib.contextmanager
def redis_and_rings():
    """A Redis, and an instance's rings whose bridge would bring them there in small batches."""
    with redis_server() as server, bare_instance(
        bridge__enabled=True, bridge__url=server.url, bridge__batch=64, bridge__poll_ms=1,
        bridge__backoff_first_s=0.01, bridge__backoff_longest_s=0.05, bridge__timeout_s=0.2,
    ) as made:  # fmt: skip
        made.put_in_force()
        made.open()
        yield server, Rings(made)


def test_killed_at_random_nothing_is_missing_and_nothing_doubled(seed, long_run):
    draw = random.Random(seed)
    with redis_and_rings() as (server, rings):
        writer, other = rings.writer(), rings.reader("other")
        sent = 0
        for _ in range(40 if long_run else 4):
            with bridge(rings) as child:
                start = position(rings)
                goal = draw.randrange(50, 600)

                def grown(start=start, goal=goal) -> bool:
                    nonlocal sent
                    if sent - max(position(rings), 0) < 700:  # less than the ring holds
                        count = draw.randrange(1, 60)
                        writer.append(tape_slots(count, first=sent))
                        sent += count
                    other.read()
                    other.acknowledge()
                    return position(rings) >= start + goal

                wait_until(grown, 30, "the bridge to come so far")
                child.send_signal(signal.SIGKILL)
                child.wait(10)
        with bridge(rings) as child:
            wait_until(lambda: position(rings) == committed(rings), 30, "all is brought")
            child.send_signal(signal.SIGTERM)
            assert child.wait(15) == 0
        with redis.Redis.from_url(server.url) as client:
            found = entries(client, "md:trade")
    assert other.lost == 0
    assert not missing(found, sent)
    doubled = [key for key, count in Counter(e["sequence"] for e in found).items() if count > 1]
    assert not doubled
    assert not [entry for entry in found if entry["body"]["type"] == "gap"]


def test_redis_is_killed_frozen_and_emptied_while_the_market_runs(seed):
    draw = random.Random(seed)
    with redis_and_rings() as (server, rings):
        writer, other = rings.writer(), rings.reader("other")
        sent = 0

        def feed(until) -> None:
            def step() -> bool:
                nonlocal sent
                count = draw.randrange(1, 20)
                writer.append(tape_slots(count, first=sent))
                sent += count
                other.read()
                other.acknowledge()
                return until()

            wait_until(step, 30, "the bridge to go on")

        with bridge(rings) as child:
            feed(lambda: position(rings) > 200)
            server.freeze()
            before = committed(rings)
            feed(lambda: committed(rings) > before + 3000)
            server.thaw()
            feed(lambda: position(rings) > before + 3000)
            with redis.Redis.from_url(server.url) as client:
                first = entries(client, "md:trade")
            reached = first[-1]["sequence"]
            server.kill()
            before = committed(rings)
            feed(lambda: committed(rings) > before + 500)
            server.start()
            feed(lambda: position(rings) > before + 500)
            wait_until(lambda: position(rings) == committed(rings), 30, "all is brought")
            child.send_signal(signal.SIGTERM)
            assert child.wait(15) == 0
        with redis.Redis.from_url(server.url) as client:
            second = entries(client, "md:trade")
    assert other.lost == 0
    assert not missing(first, reached)
    for found in (first, second):
        doubled = Counter(e["sequence"] for e in found if e["body"]["type"] != "gap")
        assert set(doubled.values()) == {1}
    assert second[0]["body"]["data"]["reason"] == "emptied"
    told = {e["sequence"] for e in second if e["body"]["type"] != "gap"}
    begin = second[0]["body"]["data"]["to_sequence"]
    lapped = {
        number
        for e in second if e["body"]["type"] == "gap" and e["body"]["data"]["reason"] == "lapped"
        for number in range(
            e["body"]["data"]["from_sequence"], e["body"]["data"]["to_sequence"] + 1
        )
    }  # fmt: skip
    assert told | lapped == set(range(begin + 1, sent + 1))
