"""What every conformance test has: a clock that jumps, and a pace file of its own; for brokers a
way to play a story to its end."""

import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conformance.brokers import BROKERS, BrokerSubject, BrokerWorld
from tests.conformance.clock import Clock, patch_time, run_in


@pytest.fixture
def clock(monkeypatch, tmp_path) -> Clock:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clock = Clock()
    patch_time(monkeypatch, clock)
    return clock


@pytest.fixture(params=BROKERS, ids=lambda subject: subject.label or subject.name)
def broker_subject(request) -> BrokerSubject:
    return request.param


@pytest.fixture
def play(broker_subject, clock, tmp_path) -> Callable[..., None]:
    """Plays a story at a venue whose session is ready, and holds ledger against venue at its
    end."""

    def run(
        story: Callable[[BrokerWorld], Awaitable[None]],
        *,
        longest_s: float = 3600.0,
        **settings: Any,
    ) -> None:
        async def whole() -> None:
            async with BrokerWorld(broker_subject, clock, tmp_path, **settings) as world:
                await world.ready()
                await story(world)
                await world.agree()

        run_in(clock, whole(), longest_s)

    return run
