"""A bot's strategy changed: looked for first, written whole, put back when the bot does not
obey."""

import asyncio
import json
from decimal import Decimal

import pytest

from processes.execution.brokers.freqtrade import strategy as module
from processes.execution.brokers.freqtrade.strategy import (
    SettingsFile,
    change_strategy,
    strategies_folder,
    strategies_in,
)
from schemas.errors import OperatorError
from tests.unit.execution.freqtrade.makers import config
from venues.freqtrade.answers import Health
from venues.freqtrade.refusals import BotError, Verdict

AWAY = BotError("no connection", Verdict.NOT_SENT)


class Bot:
    """A bot that reloads as it is told to: what it shows, look by look."""

    def __init__(self, file, after) -> None:
        self.file = file
        self.after = list(after)
        self.reloads = 0
        self.begun = 5

    def obey(self) -> str:
        return json.loads(self.file.read_text())["strategy"]

    async def show_config(self):
        return config(strategy=self.strategy, max_open_trades=Decimal(3))

    @property
    def strategy(self) -> str:
        return self._strategy if self.reloads else "Old"

    async def health(self):
        if not self.reloads:
            return Health(1, 1, 5)
        step = self.after.pop(0) if self.after else "gone"
        if step == "gone":
            raise AWAY
        self._strategy = self.obey() if step == "obeys" else "Old"
        return Health(None if step == "begins" else 9, 1, 5 if step == "old" else 9)

    async def reload_config(self) -> str:
        self.reloads += 1
        if self.after == ["refuses"]:
            raise AWAY
        return "Reloading config ..."


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"strategy": "Old", "dry_run": true}')
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "new.py").write_text("class New(IStrategy):\n    pass\nclass NoBase:\n    pass\n")
    return path


def change(file, *after) -> Bot:
    bot = Bot(file, after)
    settings = SettingsFile(file, str(file.parent / "strategies"))
    asyncio.run(change_strategy(bot, settings, "New"))
    return bot


def test_a_bot_that_comes_back_with_it_has_it(file):
    bot = change(file, "old", "gone", "begins", "obeys")
    assert bot.reloads == 1
    assert json.loads(file.read_text()) == {"strategy": "New", "dry_run": True}


def test_a_bot_that_goes_on_with_the_old_one_was_told_elsewhere(file):
    before = file.read_bytes()
    with pytest.raises(OperatorError, match="--strategy"):
        change(file, "old", "gone", "stubborn")
    assert file.read_bytes() == before


@pytest.mark.parametrize("after", [["gone"], ["refuses"], ["begins"]])
def test_a_bot_that_does_not_come_back_gets_its_old_settings(file, monkeypatch, after):
    monkeypatch.setattr(module, "BACK_S", 0.2)
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    before = file.read_bytes()
    with pytest.raises(OperatorError, match="start it again"):
        change(file, *after)
    assert file.read_bytes() == before


def test_nothing_is_written_for_a_strategy_that_is_not_there(file):
    before = file.read_bytes()
    settings = SettingsFile(file, str(file.parent / "strategies"))
    bot = Bot(file, [])
    for name in ("NoBase", "new", "../New", ""):
        with pytest.raises(OperatorError, match="there are: New"):
            asyncio.run(change_strategy(bot, settings, name))
    assert (bot.reloads, file.read_bytes()) == (0, before)


def test_strategies_are_where_the_account_or_the_bot_says(tmp_path):
    (tmp_path / "user" / "strategies").mkdir(parents=True)
    (tmp_path / "own").mkdir()
    user = {"user_data_dir": str(tmp_path / "user")}
    assert strategies_folder(user, "") == tmp_path / "user" / "strategies"
    both = {**user, "strategy_path": str(tmp_path / "own")}
    assert strategies_folder(both, "") == tmp_path / "own"
    assert strategies_folder(both, str(tmp_path)) == tmp_path
    for settings in ({}, {"strategy_path": str(tmp_path / "none")}):
        with pytest.raises(OperatorError):
            strategies_folder(settings, "")


def test_files_that_are_no_python_are_passed_by(tmp_path):
    (tmp_path / "a.py").write_bytes(b"\x00\xff class")
    (tmp_path / "b.py").write_text("class B(\n")
    (tmp_path / "c.py").write_text("class C(Base): pass")
    assert strategies_in(tmp_path) == {"C": tmp_path / "c.py"}


@pytest.mark.parametrize("text", ["[]", '"x"', "{,}", '{"a": 1} // words', ""])
def test_settings_that_could_not_be_written_back_are_refused(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(OperatorError):
        SettingsFile(path, "")
