"""Lines on disk, then the state, then the rings: ended between any two, nothing is lost, and what
is made again is the same."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from processes.influx.main import Influx
from processes.runtime import Context
from tests.influx_shim import TOKEN
from tests.instances import bare_instance
from tests.unit.influx.test_kills import CAPACITY, MAKERS, Rig

SETTINGS = {
    "enabled": True, "url": "http://127.0.0.1:9", "token": "${DC_TEST_TOKEN}", "flush_ms": 10,
}  # fmt: skip


class Killed(BaseException):
    """Where a SIGKILL would have been."""


class Lives:
    """One life of the process after another, each in this one; no sender runs."""

    def __init__(self, rig: Rig, context: Context) -> None:
        self.rig, self.context = rig, context

    @contextmanager
    def life(self) -> Iterator[Influx]:
        with ExitStack() as stack:
            yield Influx(self.context, stack)

    def positions(self) -> dict[str, int]:
        return {ring: self.rig.reader_rows(ring).position for ring in MAKERS}

    def committed(self) -> dict[str, int]:
        return {ring: writer.committed for ring, writer in self.rig.writers.items()}


def turn(influx: Influx) -> None:
    influx._take()
    influx._retry_s = 0.0
    influx._keep()


def lines_of(influx: Influx) -> list[bytes]:
    """All lines that wait on disk, in their order; they are done then."""
    found = []
    while (record := influx.spool.next_backlog() or influx.spool.next_live()) is not None:
        found += [b"%d " % record.batch.bucket + line for line in record.batch.body.split(b"\n")]
        influx.spool.done(record)
    return found


@pytest.fixture
def lives(monkeypatch, closed_logs) -> Iterator[Lives]:
    monkeypatch.setenv("DC_TEST_TOKEN", TOKEN)
    rings = {
        f"rings__{name}": CAPACITY for name in ("tape", "features", "predictions", "decisions")
    }
    with bare_instance(influx=SETTINGS, **rings) as bare:
        bare.put_in_force()
        rig = Rig(bare, bare.open())
        context = Context(bare.paths.run, "influx")
        yield Lives(rig, context)
        context.close()


def whole(lives: Lives) -> list[bytes]:
    """What one life without trouble makes of everything that was fed."""
    shutil.rmtree(lives.rig.folder)
    for ring in MAKERS:
        reader = lives.context.reader(ring)
        reader.seek(0)
        reader.acknowledge()
    with lives.life() as influx:
        turn(influx)
        return lines_of(influx)


def test_a_disk_that_takes_nothing_leaves_the_rings_where_they_are(lives, monkeypatch):
    lives.rig.feed(300)
    with lives.life() as influx:
        append = influx.spool.append

        def full(_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(influx.spool, "append", full)
        turn(influx)
        assert lives.positions() == dict.fromkeys(MAKERS, 0)
        assert not (lives.rig.folder / "state").exists()
        lives.rig.feed(50)
        monkeypatch.setattr(influx.spool, "append", append)
        turn(influx)
        assert lives.positions() == lives.committed()
        found = lines_of(influx)
    assert sorted(found) == sorted(whole(lives))


@pytest.mark.parametrize("place", ["batch", "state", "rings"])
def test_killed_between_two_steps_the_same_lines_are_made_again(lives, monkeypatch, place):
    lives.rig.feed(330)
    with lives.life() as influx:
        turn(influx)
        first = lines_of(influx)
    lives.rig.feed(400)

    def die(*_: object) -> None:
        raise Killed

    with lives.life() as influx:
        if place == "batch":
            append, kept = influx.spool.append, []

            def one_only(batch: object) -> None:
                die() if kept else append(batch)
                kept.append(batch)

            monkeypatch.setattr(influx.spool, "append", one_only)
        elif place == "state":
            monkeypatch.setattr(influx, "_keep_state", die)
        else:
            for reader in influx._readers.values():
                monkeypatch.setattr(reader, "acknowledge", die)
        with pytest.raises(Killed):
            turn(influx)
        assert lives.positions() != lives.committed()
    with lives.life() as influx:
        turn(influx)
        assert lives.positions() == lives.committed()
        second = lines_of(influx)
    wanted = whole(lives)
    assert set(first) | set(second) == set(wanted)
    assert len(set(wanted)) == len(wanted)
    again = len(first) + len(second) - len(wanted)
    assert (again > 0) == (place != "rings")
