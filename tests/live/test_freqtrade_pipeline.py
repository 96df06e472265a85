"""The whole pipeline with a Freqtrade bot as its account: decisions become the real bot's
trades."""

import sqlite3
from contextlib import closing, suppress
from decimal import Decimal

import pytest

from tests.freqtrade import freqtrade_bot
from tests.freqtrade_desk import bot_position
from tests.helpers import wait_until
from tests.planted import plant
from tests.servers import free_port

pytestmark = [pytest.mark.live, pytest.mark.timeout(500)]
SYMBOLS = ["BTC/USD", "ETH/USD"]
MADE_THERE = "SELECT command_id FROM intents WHERE strategy = 'made_there'"


def rows(project, query: str) -> list[tuple]:
    """What the ledger has."""
    with closing(sqlite3.connect(f"file:{project.data}/ledger.sqlite?mode=ro", uri=True)) as ledger:
        return ledger.execute(query).fetchall()


def simulator_is_up(project) -> bool:
    processes = {process.name: process.state for process in project.status().processes}
    return processes["simulator"] == "ready"


def fills(project) -> int:
    return rows(project, "SELECT count(*) FROM fills")[0][0]


def held(project) -> dict[str, Decimal]:
    found = rows(project, "SELECT symbol, quantity FROM positions")
    return {symbol: Decimal(quantity) for symbol, quantity in found if Decimal(quantity)}


def sold_by_hand(bot) -> bool:
    """Whether a person at the bot could sell a trade: it may be gone, or just being sold."""
    held = [trade for trade in bot.status() if not trade["has_open_orders"]]
    wanted = [{"tradeid": trade["trade_id"], "ordertype": "market"} for trade in held]
    return any(bot.ask("forceexit", body)[0] == 200 for body in wanted[:1])


def sold_by_hand_and_seen(project, bot) -> bool:
    """Whether a person has sold a trade and the ledger has it as made there.

    Where our own exit of that trade was under way too, what the bot sold is that exit's: once more.
    """
    wait_until(lambda: sold_by_hand(bot), 120, "a trade that a person sells")
    with suppress(AssertionError):
        wait_until(lambda: rows(project, MADE_THERE), 20)
    return bool(rows(project, MADE_THERE))


def test_decisions_become_the_bots_trades_through_a_crash_and_the_switch_makes_it_flat(project):
    port = free_port()
    project.set(
        venues__bitfinex={"enabled": False},
        venues__kraken={"enabled": True, "url": "simulator", "symbols": SYMBOLS},
        simulator__symbols=[],
        simulator__kraken_symbols=SYMBOLS,
        simulator__port=port,
        strategy__enter_threshold=0.05,
        strategy__min_expected_value_bps=-1000.0,
        strategy__cooldown_s=0.0,
        strategy__horizon_s=3.0,
    )
    bot_port = free_port()
    account = {
        "broker": "freqtrade", "url": f"http://127.0.0.1:{bot_port}", "username": "exec",
        "password": "${BOT_WORD}", "ws_token": "${BOT_TOKEN}", "ask_every_s": 1,
    }  # fmt: skip
    project.set(execution__accounts={"bot": account})
    words = {"BOT_WORD": plant("bot-word"), "BOT_TOKEN": plant("bot-token")}
    project.environment.update(words)
    # The account is away until its bot is there, which needs its venue first.
    project.dcctl("start", "--timeout", "5", code=1)
    wait_until(lambda: simulator_is_up(project), 60, "the simulator")
    with freqtrade_bot(
        f"http://127.0.0.1:{port}/kraken", port=bot_port, words=tuple(words.values())
    ) as bot:
        project.wait_running(300)  # as long as dcctl start would: kernels may have to be compiled
        wait_until(lambda: fills(project) >= 2, 120, "fills by the bot")
        pid = project.kill("execution")
        project.wait_back("execution", pid, 120)
        wait_until(lambda: sold_by_hand_and_seen(project, bot), 200, "what a person sold, seen")
        (theirs,) = rows(project, MADE_THERE)[0]
        assert "made by the bot itself" in project.dcctl("why", theirs)
        before = fills(project)
        wait_until(lambda: fills(project) >= before + 2, 120, "fills after the crash")
        project.dcctl("kill", "--level", "flatten", "--yes")
        wait_until(lambda: bot.status() == [], 60, "the bot to be flat")
        wait_until(lambda: held(project) == {}, 60, "the ledger to be flat")
        # A running bot is paused by the comparison that follows the switch.
        wait_until(lambda: bot.state() == "paused", 30, "the bot to be paused")
        for symbol in SYMBOLS:
            assert bot_position(bot, symbol) == 0
        closed = bot.ask("trades?limit=500")[1]["trades"]
        of_bot = sum(Decimal(str(o["filled"])) for trade in closed for o in trade["orders"])
        of_ledger = sum(Decimal(q) for (q,) in rows(project, "SELECT quantity FROM fills"))
        assert of_bot == of_ledger
        project.dcctl("stop")
    for path in project.logs.iterdir():
        assert not any(word in path.read_text(errors="replace") for word in words.values()), path
    project.assert_clean()
