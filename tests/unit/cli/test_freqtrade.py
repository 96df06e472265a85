"""dcctl freqtrade at a real bot: seen, steered, and given another strategy that it proves to
use."""

import json
import stat

import pytest

from processes.cli.__main__ import EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE
from processes.execution.brokers.freqtrade.memory import Memory
from tests.freqtrade import freqtrade_bot
from tests.helpers import wait_until
from tests.kraken_stub import kraken_stub
from tests.servers import free_port
from tests.unit.execution.freqtrade.makers import leaving

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def bot():
    with kraken_stub() as venue, freqtrade_bot(venue.url) as one:
        yield one


def account(bot, **more) -> dict:
    return {
        "broker": "freqtrade", "url": bot.url, "username": bot.user, "password": "${BOT_WORD}",
        "ws_token": "${BOT_TOKEN}", "config_file": str(bot.config),
        "strategies": str(bot.strategies), **more,
    }  # fmt: skip


@pytest.fixture
def accounts(bot, monkeypatch):
    monkeypatch.setenv("BOT_WORD", bot.password)

    def use(**found) -> None:
        monkeypatch.setenv("DC__execution__accounts", json.dumps(found))

    use(one=account(bot))
    return use


def test_a_bot_is_seen_and_steered(bot, accounts, dcctl):
    assert dcctl("freqtrade", "start") == 0
    assert "one: " in dcctl.out
    wait_until(lambda: bot.state() == "running")
    assert dcctl("freqtrade", "status", "--json") == 0
    told = json.loads(dcctl.out)["one"]
    assert (told["state"], told["mode"], told["strategy"]) == ("running", "dry-run", "CommandOnly")
    assert (told["trades"], told["trades_most"], told["free"]) == (0, 3, "10000.0")
    assert dcctl("freqtrade", "status") == 0
    assert "CommandOnly" in dcctl.out
    assert dcctl("freqtrade", "stopentry", "--json") == 0
    assert "no more entries" in json.loads(dcctl.out)["said"]
    assert dcctl("freqtrade", "stop", "--yes") == 0
    wait_until(lambda: bot.state() == "stopped")
    assert dcctl("freqtrade", "reload") == 0
    wait_until(lambda: bot.state() == "paused", what="the bot to be back")


def test_a_strategy_is_changed_and_proved(bot, accounts, dcctl):
    bot.add_strategy("OtherOne")
    bot.config.chmod(0o600)
    assert dcctl("freqtrade", "strategy", "OtherOne") == 0, dcctl.err
    assert "CommandOnly -> OtherOne" in dcctl.out
    assert bot.ask("show_config")[1]["strategy"] == "OtherOne"
    assert bot.read_config()["strategy"] == "OtherOne"
    assert stat.S_IMODE(bot.config.stat().st_mode) == 0o600
    assert dcctl("freqtrade", "strategy", "CommandOnly", "--json") == 0
    assert json.loads(dcctl.out)["after"]["strategy"] == "CommandOnly"


def test_a_strategy_that_is_not_there_is_refused_and_the_bot_lives_on(bot, accounts, dcctl):
    (bot.strategies / "broken.py").write_text("class Broken(:\n")
    old = bot.config.read_bytes()
    for name in ("Nobody", "Broken"):
        assert dcctl("freqtrade", "strategy", name) == EXIT_FAILED
        assert f"no strategy {name}" in dcctl.err
        assert "CommandOnly" in dcctl.err
    assert bot.config.read_bytes() == old
    assert bot.ask("show_config")[1]["strategy"] == "CommandOnly"


def test_what_is_wrong_with_the_settings_is_said(bot, accounts, dcctl, tmp_path, monkeypatch):
    strategy = ("freqtrade", "strategy", "CommandOnly")
    for settings, said in (
        ({"config_file": ""}, "config_file"),
        ({"config_file": str(tmp_path / "none.json")}, "cannot be read"),
        ({"strategies": ""}, "name the folder"),
        ({"strategies": str(tmp_path / "none")}, "is no folder"),
    ):
        accounts(one=account(bot, **settings))
        assert dcctl(*strategy) == EXIT_FAILED
        assert said in dcctl.err
    commented = tmp_path / "commented.json"
    commented.write_text('{\n// dry\n"dry_run": true}')
    accounts(one=account(bot, config_file=str(commented)))
    assert dcctl(*strategy) == EXIT_FAILED
    assert "not plain JSON" in dcctl.err
    accounts(one=account(bot), two=account(bot, instruments=["bitfinex:*"], venue="bitfinex"))
    assert dcctl("freqtrade", "start") == EXIT_USAGE
    assert dcctl("freqtrade", "start", "--account", "three") == EXIT_USAGE
    assert dcctl("freqtrade", "stopentry", "-a", "two") == 0
    monkeypatch.delenv("BOT_WORD")
    assert dcctl("freqtrade", "status") == EXIT_CONFIG
    accounts(paper={"broker": "paper"})
    assert dcctl("freqtrade", "status") == EXIT_FAILED
    assert "has the broker freqtrade" in dcctl.err


def test_a_bot_that_lives_and_does_not_let_us_in_is_told_from_one_that_is_gone(
    bot, accounts, dcctl, monkeypatch
):
    monkeypatch.setenv("BOT_WORD", "wrong-word")
    assert dcctl("freqtrade", "status", "--json") == 0
    told = json.loads(dcctl.out)["one"]
    assert told["state"] == "no answer"
    assert "username and password" in told["trouble"]
    assert dcctl("freqtrade", "status") == 0
    assert "no answer" in dcctl.out


def test_only_bots_of_this_machine_and_only_those_that_answer(bot, accounts, dcctl):
    accounts(one=account(bot, url="http://10.1.1.1:8080"))
    assert dcctl("freqtrade", "status") == EXIT_CONFIG
    accounts(one=account(bot, url=f"http://127.0.0.1:{free_port()}"))
    assert dcctl("freqtrade", "status", "--json") == 0
    assert json.loads(dcctl.out)["one"]["state"] == "away"
    assert dcctl("freqtrade", "start") == EXIT_FAILED
    assert bot.password not in dcctl.err


def test_a_person_says_that_the_venue_has_no_such_order(accounts, dcctl):
    assert dcctl("freqtrade", "absent", "e" * 32, "--yes") == EXIT_FAILED
    assert "no order yet" in dcctl.err
    path = dcctl.folder / "data" / "one.sqlite"
    memory = Memory(path)
    command = leaving(checked=True)
    memory.save(command)
    memory.close()
    assert dcctl("freqtrade", "absent", "0" * 32, "--yes") == EXIT_FAILED
    assert command.id in dcctl.err
    assert dcctl("freqtrade", "absent", command.id, "--yes") == 0
    memory = Memory(path)
    assert memory.found_absent(command)
    memory.close()
