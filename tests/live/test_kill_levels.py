"""The kill switch under load, at each level, for each broker: execution alive, hung, or with its
supervisor just dead. After the acknowledgement or the confirmed death no order of a strategy
reaches the venue; everything is cancelled and flat.

Whole, with its times: ./scripts/test --long tests/live/test_kill_levels.py
"""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from processes import killswitch
from processes.standing import hold_orders, noted_orders
from schemas.errors import OperatorError
from schemas.trading import KillLevel
from tests.conformance.brokers import KEY, SECRET
from tests.crash_world import PAPER, SUBJECTS, CrashWorld, Mortals, crash_world
from tests.helpers import python, wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]
LEVELS = [level for level in KillLevel if level]
STATES = ("alive", "hung", "orphaned")
SAMPLED = 1
ORDERS_BEFORE = 6
AFTERWARDS = 100
"""Predictions that would be orders, brought after the switch was pulled."""
ENOUGH_S = 60.0


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    one = Mortals()
    yield one
    one.close()


@pytest.fixture
def _keys(monkeypatch):
    monkeypatch.setenv("DC_TEST_KEY", KEY)
    monkeypatch.setenv("DC_TEST_SECRET", SECRET)


class Process:
    """The real execution process, with the pipe that its supervisor holds."""

    def __init__(self, world: CrashWorld) -> None:
        guard, self._pipe = os.pipe()
        self.child: subprocess.Popen[str] = python(
            "-m", "processes.execution.main", "--run", str(world.paths.run),
            "--name", "execution", "--guard", str(guard), pass_fds=[guard],
        )  # fmt: skip
        os.close(guard)

    def become(self, state: str) -> None:
        """Hang, or lose the supervisor."""
        if state == "hung":
            os.kill(self.child.pid, signal.SIGSTOP)
        elif state == "orphaned":
            self._close()

    def _close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def end(self) -> None:
        """Whatever it is doing."""
        self._close()
        self.child.kill()
        self.child.communicate()


def strategies_orders(world: CrashWorld) -> tuple[int, int]:
    """Orders at the venue, and how many the ledger and the killer have of the switch's own."""
    orders, _, _ = world.ledger()
    own = {number for number, one in orders.items() if one.intent.strategy == "kill_switch"}
    own |= {one.intent.command_id for one in noted_orders(world.paths.data)}
    return len(world.truth()["orders"]), len(own)


def under_load(world: CrashWorld, draw: random.Random, *, resting: bool) -> None:
    """Orders as fast as the machine decides; `resting` with one that is part filled and open."""
    world.predict_for(lambda: len(world.truth()["orders"]) >= ORDERS_BEFORE)
    if resting:
        world.hold_back()
        world.predict_for(
            lambda: any(
                row["status"] == "open" and Decimal(row["filled"])
                for row in world.truth()["orders"]
            )
        )
    else:
        more = len(world.truth()["orders"]) + draw.randint(0, 5)
        world.predict_for(
            lambda: len(world.truth()["orders"]) >= more and world.true_position() > 0
        )


def is_done(world: CrashWorld, level: KillLevel) -> bool:
    """What the level asks is so at the venue."""
    if level == KillLevel.PAUSE:
        return True
    open_now = [row for row in world.truth()["orders"] if row["status"] == "open"]
    return not open_now and (level == KillLevel.CANCEL or not world.true_position())


def story(subject, mortals: Mortals, level: KillLevel, state: str, draw: random.Random) -> str:
    """One pull; a line of what it took."""
    resting = subject is not PAPER and level >= KillLevel.CANCEL and draw.random() < 0.5
    with crash_world(subject, mortals) as world:
        world.keep_session()
        process = Process(world)
        try:
            under_load(world, draw, resting=resting)
            process.become(state)
            began_s = time.monotonic()
            told = world.pull(level)
            assert told.acknowledged or told.killed or not told.running, told
            world.turn_venue()  # what had left before has arrived
            there, own_before = strategies_orders(world)
            said_ms = 1e3 * (time.monotonic() - began_s)
            world.let_go()
            if told.acknowledged:
                brought = iter(range(AFTERWARDS))
                world.predict_for(lambda: next(brought, None) is None)
            # On paper there is no killer: what a life left undone is done by the next.
            if subject is not PAPER or (told.acknowledged and state != "orphaned"):
                wait_until(lambda: is_done(world, level), ENOUGH_S, f"{told}")
            flat_ms = 1e3 * (time.monotonic() - began_s)
            line = end_killer() if told.killer else "execution itself"
            rows = world.truth()["orders"][there:]
            _, own_after = strategies_orders(world)
            if level == KillLevel.PAUSE:
                assert all(row["side"] == "sell" for row in rows), rows
            else:
                assert len(rows) <= own_after, rows
                assert not [row for row in rows if row["side"] == "buy"]
                assert level >= KillLevel.FLATTEN or not rows
            assert own_before <= own_after
        except AssertionError as error:
            raise AssertionError(f"{error}; {world.last_words()}") from error
        finally:
            process.end()
        # A killer that an orphan has started may still be asking; it has the old time.
        wait_until(lambda: may_be_held(world), ENOUGH_S, "a killer sends orders still")
        life = world.conclude()
        assert life.ended
        return (
            f"{subject.label or subject.name} {level.name.lower()} {state}"
            f"{' resting' if resting else ''}: sends after 0; "
            f"answer or death {told.milliseconds:.1f} ms, "
            f"done {max(flat_ms, said_ms):.0f} ms, {line}"
        )


def may_be_held(world: CrashWorld) -> bool:
    """Nobody has the right to send orders."""
    try:
        hold_orders(world.paths.data).close()
    except OperatorError:
        return False
    return True


def end_killer() -> str:
    """Wait for the killer that the pull has started; what it says."""
    killer = killswitch._killers.pop()
    text, _ = killer.communicate(timeout=ENOUGH_S)
    (ended,) = json.loads(text.splitlines()[-1])
    assert killer.returncode == 0, text
    flat_ms = ended["flat_ms"] if ended["flat_ms"] is not None else ended["cancelled_ms"]
    return f"killer: {flat_ms:.0f} ms from its start"


@pytest.mark.usefixtures("_keys")
@pytest.mark.parametrize(
    "subject",
    SUBJECTS,
    ids=lambda one: one.label or one.name,
)
def test_after_the_answer_nothing_of_a_strategy_reaches_the_venue(mortals, subject, seed, long_run):
    draw = random.Random(f"{seed} {subject.label or subject.name}")
    whole = [(level, state) for level in LEVELS for state in STATES]
    for level, state in whole if long_run else draw.sample(whole, SAMPLED):
        try:
            print(story(subject, mortals, level, state, draw), flush=True)
        except AssertionError as error:
            raise AssertionError(f"{level.name} {state}: {error}") from error
