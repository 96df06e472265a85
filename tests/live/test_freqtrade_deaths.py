"""Execution dies at every step of an order at the real bot: no order twice, no fill lost.

The steps are numbered as they come: between any two of them the loop of brokers ends at once, with
what is on disk and at the bot as it is then. A second life takes up what is there, a minute and
more later, so that whatever can be known is known.
"""

from decimal import Decimal

import pytest

from processes.execution.brokers.freqtrade.memory import Memory
from schemas.trading import OrderState
from tests.freqtrade import freqtrade_bot
from tests.freqtrade_desk import Desk, assert_agrees, bot_position
from tests.helpers import wait_until
from tests.kraken_stub import kraken_stub
from venues.freqtrade.client import Access, FreqtradeClient

pytestmark = pytest.mark.live
S = OrderState
NOT_KNOWN = {S.NEW, S.SENT, S.UNKNOWN}
LATER_S = 90
STEPS_MOST = 60


class DeathError(BaseException):
    """The end of a life."""


class Reaper:
    """Counts steps; at the chosen one the life ends."""

    def __init__(self) -> None:
        self.at = -1
        self.passed: list[str] = []

    def step(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) == self.at:
            raise DeathError(name)

    def around(self, holder: type, name: str, monkeypatch) -> None:
        """A step before and one after each call of a method."""
        method = getattr(holder, name)
        if name in {"save", "remove"}:

            def told(*arguments):
                self.step(f"before {name}")
                result = method(*arguments)
                self.step(f"after {name}")
                return result

            monkeypatch.setattr(holder, name, told)
            return

        async def awaited(*arguments):
            self.step(f"before {name}")
            result = await method(*arguments)
            self.step(f"after {name}")
            return result

        monkeypatch.setattr(holder, name, awaited)


@pytest.fixture(scope="module")
def venue():
    with kraken_stub() as one:
        yield one


@pytest.fixture(scope="module")
def bot(venue):
    with freqtrade_bot(venue.url, fee=0) as one:
        yield one


@pytest.fixture
def reaper(monkeypatch, bot):
    one = Reaper()
    for name in ("force_enter", "force_exit", "cancel_open_orders"):
        one.around(FreqtradeClient, name, monkeypatch)
    for name in ("save", "remove"):
        one.around(Memory, name, monkeypatch)
    yield one
    one.at = -1
    bot.ask("start", {})
    for trade in bot.status():
        bot.ask(f"trades/{trade['trade_id']}", method="DELETE")
    wait_until(lambda: bot.status() == [], what="the bot to be empty")


def a_life(folder, bot, ahead_s=0.0) -> Desk:
    return Desk(folder, Access(bot.url, bot.user, bot.password, bot.ws_token), ahead_s=ahead_s)


def until_death(desk: Desk, deed) -> bool:
    """Do something; whether the life ended over it. Ended lives close nothing."""
    try:
        deed(desk)
    except DeathError:
        return True
    return False


def enter(desk: Desk) -> None:
    desk.reach(desk.send("0.1"), S.FILLED)


def rest(desk: Desk) -> None:
    desk.reach(desk.send("0.1", price="2900.00"), S.ACKED)


def rest_and_cancel(desk: Desk) -> None:
    order = desk.send("0.1", price="2900.00")
    desk.reach(order, S.ACKED)
    desk.broker.cancel(order.intent.command_id)
    desk.reach(order, S.CANCELED)


def enter_and_leave(desk: Desk) -> None:
    enter(desk)
    desk.reach(desk.send("0.04", side="sell"), S.FILLED)
    desk.reach(desk.send("0.06", side="sell"), S.FILLED)


@pytest.mark.parametrize("deed", [enter, rest, rest_and_cancel, enter_and_leave])
def test_whenever_execution_dies_the_next_life_agrees_with_the_bot(
    bot, reaper, tmp_path, deed, seed, long_run
):
    died = True
    for at in range(1, STEPS_MOST) if long_run else range(1 + seed % 3, STEPS_MOST, 3):
        folder = tmp_path / str(at)
        before = {o["order_id"] for o in orders_of(bot)}
        reaper.passed.clear()
        reaper.at = at
        first = a_life(folder, bot)
        first.connect()
        died = until_death(first, deed)
        reaper.at = -1
        first.die()
        sent = list(first.orders.values())
        second = a_life(folder, bot, LATER_S)
        second.connect()
        second.until(
            lambda s=second: all(o.state not in NOT_KNOWN for o in s.orders.values()),
            f"what died at {reaper.passed[-1:]} to be known",
        )
        assert set(second.orders) == {order.intent.command_id for order in sent}
        assert_agrees(second, bot)
        # Nothing was sent twice: as many orders as the ledger has, and no more held than ordered.
        made = {o["order_id"] for o in orders_of(bot)} - before
        assert len(made) <= len(sent), reaper.passed
        assert bot_position(bot) <= Decimal("0.1")
        assert second.alarms() == set(), reaper.passed
        second.close()
        for trade in bot.status():
            bot.ask(f"trades/{trade['trade_id']}", method="DELETE")
        if not died:
            break
    assert not died, "a life that nothing ends comes to its end"
    assert at > 6, reaper.passed
    print(deed.__name__, reaper.passed)


def orders_of(bot) -> list[dict]:
    trades = [*bot.status(), *bot.ask("trades?limit=500")[1]["trades"]]
    return [order for trade in trades for order in trade["orders"]]
