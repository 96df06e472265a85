"""The private socket's token: kept alive, replaced when it is lost, never used when it has
ended."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.errors import VenueError
from venues.gmo.private import EXTEND_AFTER_S, LIFE_S, RETRY_S, SPARE_S, TokenKeeper

BASE = "wss://host.example/ws/private/v1"
MOST = 5


class Account:
    """The venue's side, strict: tokens end, and a sixth removes the one that would end first."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.alive: dict[str, float] = {}
        self.calls: list[tuple[str, float]] = []
        self.failing: Callable[[str], Exception | None] = lambda call: None
        self._made = 0

    async def create(self) -> str:
        self._called("create")
        self._made += 1
        if len(self.living()) == MOST:
            del self.alive[min(self.alive, key=self.alive.__getitem__)]
        self.alive[f"t{self._made}"] = self.now_s + LIFE_S
        return f"t{self._made}"

    async def extend(self, token: str) -> None:
        self._called("extend")
        if token not in self.living():
            raise VenueError("ERR-5106 Invalid request parameter. token")
        self.alive[token] = self.now_s + LIFE_S

    async def delete(self, token: str) -> None:
        self._called("delete")
        self.alive.pop(token, None)

    def living(self) -> set[str]:
        self.alive = {token: end for token, end in self.alive.items() if end > self.now_s}
        return set(self.alive)

    def _called(self, call: str) -> None:
        self.calls.append((call, self.now_s))
        error = self.failing(call)
        if error is not None:
            raise error

    def count(self, call: str) -> int:
        return [name for name, _ in self.calls].count(call)


def world() -> tuple[Account, TokenKeeper]:
    account = Account()
    return account, TokenKeeper(account, lambda: account.now_s)


def run(coroutine):
    return asyncio.run(coroutine)


async def live(account: Account, keeper: TokenKeeper, seconds: float, step: float = 5.0) -> int:
    """Turn for turn, as a session would; how often it had to connect anew."""
    again, end = 0, account.now_s + seconds
    while account.now_s < end:
        account.now_s += step
        if await keeper.tick():
            again += 1
            await keeper.address(BASE)
    return again


def test_a_token_is_extended_in_time_for_as_long_as_the_process_lives():
    async def story():
        account, keeper = world()
        assert await keeper.address(BASE) == f"{BASE}/t1"
        assert await live(account, keeper, 24 * 3600) == 0
        assert account.living() == {"t1"}
        assert account.count("create") == 1
        assert 24 * 2 <= account.count("extend") <= 24 * 3

    run(story())


def test_connecting_again_uses_the_token_that_there_is():
    async def story():
        account, keeper = world()
        await keeper.address(BASE)
        account.now_s += 600
        assert await keeper.address(BASE + "/") == f"{BASE}/t1"
        assert account.count("create") == 1

    run(story())


def test_a_refused_extension_costs_the_token_and_the_old_one_is_handed_back():
    async def story():
        account, keeper = world()
        await keeper.address(BASE)
        account.alive.clear()  # a sixth token, made elsewhere, has removed ours
        assert await live(account, keeper, EXTEND_AFTER_S + 60) == 1
        assert keeper.token == "t2"
        assert keeper.text == ""
        assert account.living() == {"t2"}
        assert account.count("delete") == 1

    run(story())


def test_an_extension_without_an_answer_is_tried_again():
    async def story():
        account, keeper = world()
        await keeper.address(BASE)
        account.now_s += EXTEND_AFTER_S
        account.failing = lambda call: TimeoutError()
        assert not await keeper.tick()
        assert "TimeoutError" in keeper.text
        account.now_s += RETRY_S - 1
        assert not await keeper.tick()
        assert account.count("extend") == 1
        account.failing = lambda call: None
        account.now_s += 1
        assert not await keeper.tick()
        assert account.count("extend") == 2
        assert (keeper.token, keeper.text) == ("t1", "")

    run(story())


def test_extensions_that_never_succeed_end_in_a_new_token_before_the_old_one_ends():
    async def story():
        account, keeper = world()
        await keeper.address(BASE)
        account.failing = lambda call: OSError("no way there") if call == "extend" else None
        assert await live(account, keeper, LIFE_S) == 1
        assert keeper.token == "t2"
        made = [when for name, when in account.calls if name == "create"]
        assert made[1] < 1000 + LIFE_S
        assert made[1] > 1000 + LIFE_S - SPARE_S - 10

    run(story())


def test_without_a_token_nothing_is_opened_and_the_venue_is_not_hammered():
    async def story():
        account, keeper = world()
        account.failing = lambda call: VenueError("ERR-5012 The auth is invalid.")
        for _ in range(100):
            with pytest.raises(OSError, match="ERR-5012"):
                await keeper.address(BASE)
            account.now_s += 1
        assert account.count("create") <= 100 / RETRY_S + 1
        account.failing = lambda call: None
        account.now_s += RETRY_S
        assert await keeper.address(BASE) == f"{BASE}/t1"

    run(story())


def test_a_socket_that_is_refused_gets_another_token_at_once():
    async def story():
        account, keeper = world()
        await keeper.address(BASE)
        account.now_s += RETRY_S
        keeper.refused()
        assert keeper.token == ""
        assert await keeper.address(BASE) == f"{BASE}/t2"

    run(story())


def test_a_machine_that_slept_for_hours_begins_anew():
    async def story():
        account, keeper = world()
        await keeper.address(BASE)
        account.now_s += 3 * LIFE_S
        assert keeper.token == ""
        assert await keeper.tick()
        assert await keeper.address(BASE) == f"{BASE}/t2"

    run(story())


def test_at_the_end_every_token_is_handed_back():
    async def story():
        account, keeper = world()
        for _ in range(3):
            await keeper.address(BASE)
            keeper.refused()
            account.now_s += RETRY_S
        await keeper.address(BASE)
        await keeper.close()
        assert account.living() == set()
        assert keeper.token == ""

    run(story())


FAILURE = st.sampled_from([None, None, None, "lost", "refused"])
STEP = st.tuples(
    st.sampled_from([1.0, 10.0, 60.0, 600.0, 1500.0, 4000.0]),
    FAILURE,
    st.sampled_from(["tick", "tick", "connect", "refused", "steal"]),
)


@hypothesis_settings(max_examples=150)
@given(st.lists(STEP, max_size=60))
def test_whatever_happens_no_ended_token_is_used_and_there_are_never_six(steps):
    async def story():
        account, keeper = world()
        for seconds, failure, what in steps:
            account.now_s += seconds
            error = {None: None, "lost": OSError("lost"), "refused": VenueError("ERR-626")}[failure]
            account.failing = lambda call, error=error: error
            stolen = False
            if what == "tick":
                again = await keeper.tick()
                assert not (again and keeper.token)
            elif what == "refused":
                keeper.refused()
            elif what == "steal":
                account.alive.pop(keeper.token, None)
                stolen = True
            else:
                try:
                    address = await keeper.address(BASE)
                except OSError:
                    assert keeper.token == ""
                else:
                    assert address == f"{BASE}/{keeper.token}"
            if keeper.token and not stolen and keeper.token in account.alive:
                assert account.alive[keeper.token] > account.now_s
            assert len(keeper._given_up) <= MOST
        for call in ("create", "extend", "delete"):
            times = [when for name, when in account.calls if name == call]
            gaps = [after - before for before, after in pairwise(times)]
            assert all(gap >= RETRY_S for gap in gaps), call
        account.failing = lambda call: None
        account.now_s += RETRY_S
        keeper.refused()
        await keeper.address(BASE)
        await live(account, keeper, 120.0)
        assert keeper.token in account.living()

    run(story())
