"""A real Freqtrade bot that the supervisor starts: its deaths, and its end with everything else."""

import json
import os
import signal
import sys

import psutil
import pytest

from tests.freqtrade import FreqtradeBot
from tests.helpers import wait_until
from tests.servers import free_port, server_folder

pytestmark = [pytest.mark.live, pytest.mark.timeout(560)]
SYMBOLS = ["BTC/USD", "ETH/USD"]
PAPER = {"broker": "paper", "instruments": ["kraken:ETH/USD"]}


def keeper(project):
    return next(p for p in project.status().processes if p.name == "bot.bot")


def bot_pids(bot: FreqtradeBot) -> set[int]:
    """Processes that were started with the bot's own settings file."""
    found = set()
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if str(bot.config) in words and process.status() != psutil.STATUS_ZOMBIE:
            found.add(process.pid)
    return found


@pytest.fixture
def bot(project):
    """A bot's files and settings; nobody has started it."""
    venue_port = free_port()
    project.set(
        venues__bitfinex={"enabled": False},
        venues__kraken={"enabled": True, "url": "simulator", "symbols": SYMBOLS},
        simulator__symbols=[],
        simulator__kraken_symbols=SYMBOLS,
        simulator__port=venue_port,
    )
    with server_folder() as folder:
        made = FreqtradeBot(folder, f"http://127.0.0.1:{venue_port}/kraken", free_port())
        account = {
            "broker": "freqtrade", "url": made.url, "username": made.user,
            "password": "${BOT_WORD}", "ws_token": "${BOT_TOKEN}", "ask_every_s": 1,
            "command": made._command, "instruments": ["kraken:BTC/USD"],
        }  # fmt: skip
        project.set(execution__accounts={"bot": account, "paper": PAPER})
        project.environment.update(BOT_WORD=made.password, BOT_TOKEN=made.ws_token)
        yield made
        wait_until(lambda: not bot_pids(made), 20, "the bot's end")


def test_a_bot_is_started_comes_back_and_takes_nobody_with_it(project, bot):
    project.dcctl("start")
    assert keeper(project).state == "ready"
    assert bot.ask("ping")[0] == 200
    (first,) = bot_pids(bot)
    before = {p.name: p.pid for p in project.status().processes}

    os.kill(first, signal.SIGKILL)
    wait_until(lambda: "killed by signal 9; again in" in keeper(project).detail, 20, "its end told")
    wait_until(lambda: bot_pids(bot) - {first} and keeper(project).state == "ready", 120, "another")
    assert {p.name: p.pid for p in project.status().processes} == before
    assert all(p.restarts == 0 for p in project.status().processes)
    (second,) = bot_pids(bot)

    # The keeper killed: its next life ends the bot it left before it starts another.
    old = project.kill("bot.bot")
    project.wait_back("bot.bot", old, 120)
    wait_until(lambda: keeper(project).state == "ready", 120, "ready again")
    (third,) = bot_pids(bot)
    assert third not in {first, second}

    # The supervisor killed: bot and keeper end with it.
    project.kill("supervisor")
    wait_until(lambda: not bot_pids(bot), 20, "no bot without a supervisor")
    project.dcctl("start")
    assert len(bot_pids(bot)) == 1
    log = project.logs / "bot.bot.log"
    assert log.stat().st_mode & 0o777 == 0o600
    assert "freqtrade" in log.read_text()
    project.dcctl("stop")
    assert not bot_pids(bot)
    log_lines = (project.logs / "bot.bot.jsonl").read_text().splitlines()
    stopped = [json.loads(line) for line in log_lines if '"bot stopped"' in line]
    # Freqtrade takes SIGTERM as Ctrl-C, cleans up and ends with 130; by force it would be -9.
    assert stopped[-1]["code"] == 130
    project.assert_clean()


def test_a_program_that_is_none_and_one_that_is_deaf(project, bot, tmp_path):
    """Neither stops the others from starting, or is left behind."""
    deaf = tmp_path / "deaf.py"
    deaf.write_text(
        "import os, signal, threading\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.environ['FREQTRADE__API_SERVER__PASSWORD'], flush=True)\n"
        "threading.Event().wait(600)\n"
    )
    accounts = json.loads(project.environment["DC__execution__accounts"])
    for command, words in (
        (["/nonexistent/freqtrade"], "cannot be started"),
        ([sys.executable, str(deaf), str(bot.config)], "does not listen yet"),
    ):
        accounts["bot"]["command"] = command
        project.set(execution__accounts=accounts, supervisor__stop_timeout_s=4)
        project.try_dcctl("start", "--timeout", "20")
        wait_until(lambda words=words: words in keeper(project).detail, 60, words)
        # Where the start was slow, the others are started after `dcctl start` has given up waiting.
        wait_until(lambda: project.pid("collector.kraken"), 120, "the others are started")
        project.dcctl("stop")
        assert not bot_pids(bot)
    assert "(secret)" in (project.logs / "bot.bot.log").read_text()


def test_without_a_command_nobody_is_started(project, bot):
    accounts = json.loads(project.environment["DC__execution__accounts"])
    del accounts["bot"]["command"]
    project.set(execution__accounts=accounts)
    project.dcctl("start")
    assert "bot.bot" not in {p.name for p in project.status().processes}
    assert not bot_pids(bot)
    project.dcctl("stop")
