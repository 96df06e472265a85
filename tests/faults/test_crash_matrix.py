"""Execution is killed at every step between a decision and its last fill: no order twice, no fill
lost, the ledger is the venue's truth to the last unit, positions are equal after the restart.

Whole, and by the thousand: ./scripts/test --long tests/faults/test_crash_matrix.py
One conduct of a venue: ./scripts/test --long tests/faults/test_crash_matrix.py -k "gmo-switch"
"""

import collections
import os
import random
from collections.abc import Iterator

import pytest

from tests.crash_world import CONDUCTS, PAPER, SUBJECTS, CrashWorld, Mortals, crash_world

pytestmark = [pytest.mark.live, pytest.mark.timeout(20_000)]
STEPS_MOST = 250
SAMPLED = 2
RANDOM_RUNS = int(os.environ.get("DC_CRASHES", "1000"))
"""Random schedules of each broker under --long."""
FLIGHT = 40


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    one = Mortals()
    yield one
    one.close()


def of(subject) -> str:
    return subject.label or subject.name


def die_at(world: CrashWorld, at: int, conduct: str) -> tuple[bool, str]:
    """An entry and an exit with a death at one step; whether it died, and where."""
    world.behave(conduct)
    life = world.begin(at)
    world.trade(life, 2)
    died = len(life.steps) == at
    where = life.steps[-1] if life.steps else ""
    world.conclude()
    return died, where


def conducts_of(subject) -> list[str]:
    return list(CONDUCTS) if subject is not PAPER else ["prompt"]


def live_after(subject, mortals: Mortals, at: int, conduct: str) -> tuple[bool, str]:
    with crash_world(subject, mortals) as world:
        try:
            return die_at(world, at, conduct)
        except AssertionError as error:
            raise AssertionError(f"step {at} of {of(subject)}, {conduct}: {error}") from error


@pytest.mark.parametrize("subject", SUBJECTS, ids=of)
def test_killed_at_a_step_the_next_life_is_the_venue(mortals, subject, seed):
    draw = random.Random(f"{seed} {of(subject)}")
    conducts = conducts_of(subject)
    for conduct in draw.sample(conducts, min(SAMPLED, len(conducts))):
        live_after(subject, mortals, draw.randint(1, FLIGHT), conduct)


@pytest.mark.long
@pytest.mark.parametrize(
    ("subject", "conduct"),
    [(subject, conduct) for subject in SUBJECTS for conduct in conducts_of(subject)],
    ids=lambda one: one.replace(" ", "_") if isinstance(one, str) else of(one),
)
def test_killed_at_every_step_the_next_life_is_the_venue(mortals, subject, conduct):
    deaths: collections.Counter[str] = collections.Counter()
    for at in range(1, STEPS_MOST):
        died, where = live_after(subject, mortals, at, conduct)
        if not died:
            break
        deaths[where] += 1
    print(of(subject), conduct, "deaths", sum(deaths.values()), dict(deaths), flush=True)
    # Flattened while fills are held back it goes on asking, and each look is a step.
    assert not died or CONDUCTS[conduct].flattens, "a life that nothing ends comes to its end"
    assert sum(deaths.values()) > 20


@pytest.mark.parametrize("subject", SUBJECTS, ids=of)
def test_killed_again_and_again_at_random_the_last_life_is_the_venue(
    mortals, subject, seed, long_run
):
    lives: collections.Counter[str] = collections.Counter()
    for number in range(RANDOM_RUNS if long_run else 1):
        schedule = f"{seed} {of(subject)} {number}"
        with crash_world(subject, mortals) as world:
            try:
                lives[f"{wander(world, random.Random(schedule))} lives"] += 1
            except AssertionError as error:
                raise AssertionError(f"schedule {schedule!r}: {error}") from error
    print(of(subject), "random schedules", sum(lives.values()), dict(lives))


def wander(world: CrashWorld, draw: random.Random) -> int:
    """A few lives, each killed at some step or moment, under changing conduct; how many."""
    lives = draw.randint(1, 4)
    for life_number in range(lives):
        if world.subject is not PAPER and draw.random() < 0.8:
            world.behave(draw.choice(list(CONDUCTS)))
        life = world.begin(draw.randint(1, 80), from_birth=life_number > 0 and draw.random() < 0.5)
        world.trade(life, 2 * (life_number + 1), deadline_s=draw.choice([0.2, 0.5, 1.5]))
    world.conclude()
    return lives
