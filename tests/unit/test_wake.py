"""Sleep and standstill, told apart by two clocks."""

import asyncio
import json
import os

import pytest

from processes.supervisor import awake
from processes.wake import JUMP_S, Lost, WakeWatch, end_after_sleep
from schemas.errors import UnavailableError
from tests.helpers import QuietLog
from tests.unit.supervisor.test_supervisor import instance, supervise, supervisor  # noqa: F401


class Clocks:
    """The system's clock against the monotonic one, and that one, set by hand."""

    def __init__(self) -> None:
        self.offset_s, self.now_s = 1e9, 100.0

    def watch(self) -> WakeWatch:
        return WakeWatch(lambda: int(self.offset_s * 1e9), lambda: self.now_s)


def test_sleep_moves_the_one_clock_and_a_standstill_the_other():
    clocks = Clocks()
    watch = clocks.watch()
    for _ in range(50):
        clocks.now_s += 0.05
        clocks.offset_s += 0.0001  # drift, and small steps of network time
        assert watch.look() == Lost(0.0, 0.0)
    clocks.offset_s += 3600
    assert watch.look() == Lost(pytest.approx(3600, abs=1e-3), 0.0)
    assert watch.look() == Lost(0.0, 0.0), "once"
    clocks.now_s += 12
    assert watch.look() == Lost(0.0, pytest.approx(12))
    clocks.offset_s -= 3600
    assert watch.look() == Lost(0.0, 0.0), "a clock that is set back is no sleep"
    clocks.now_s += JUMP_S
    assert watch.look() == Lost(0.0, 0.0), "so long may a turn take"


def test_the_real_clocks_lose_nothing_from_one_look_to_the_next():
    watch = WakeWatch()
    assert watch.look() == Lost(0.0, 0.0)


@pytest.mark.parametrize("kind", ["asleep", "stopped"])
def test_a_supervisor_forgives_all_children_and_says_so_once(supervisor, instance, kind):  # noqa: F811
    clocks = Clocks()
    supervisor._wake = clocks.watch()
    forgiven = []
    for child in supervisor._children:
        child.forgive = lambda name=child.spec.name: forgiven.append(name)
    supervisor._turn()
    assert forgiven == []
    if kind == "asleep":
        clocks.offset_s += 60
    else:
        clocks.now_s += 60
    supervisor._turn()
    supervisor._turn()
    assert forgiven == [child.spec.name for child in supervisor._children]
    said = "the machine was asleep; the session's clock is behind by that"
    said = said if kind == "asleep" else "nothing ran for a while"
    assert len(instance.said(said)) == 1


def test_who_stands_beside_a_connection_ends_it_after_sleep():
    clocks = Clocks()

    async def story() -> None:
        beside = asyncio.create_task(end_after_sleep(0.001, clocks.watch()))
        await asyncio.sleep(0)
        clocks.now_s += 60  # a standstill leaves it alone
        await asyncio.wait({beside}, timeout=0.02)
        assert not beside.done()
        clocks.offset_s += 60
        with pytest.raises(UnavailableError, match="asleep for 60 s"):
            await beside

    asyncio.run(story())


# ---- caffeinate


def test_a_mac_is_kept_awake_for_as_long_as_we_live(tmp_path, monkeypatch):
    program = tmp_path / "caffeinate"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    log = QuietLog()
    process = awake.stay_awake(log, "darwin")
    assert process is not None
    assert process.wait(10) == 0
    assert (tmp_path / "said").read_text().split() == ["-i", "-w", str(os.getpid())]
    (tmp_path / "said").unlink()
    assert awake.stay_awake(log, "linux") is None
    assert not (tmp_path / "said").exists()
    assert log.lines == []


def test_a_mac_without_it_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    log = QuietLog()
    assert awake.stay_awake(log, "darwin") is None
    assert "may fall asleep" in json.dumps(log.lines)
