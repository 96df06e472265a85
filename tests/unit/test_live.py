"""Orders go where money is only if the settings and a person say so."""

import pytest

from config.loader import load
from processes.live import arm_live, disarm_live, is_real, may_trade, mode_of, real_accounts
from schemas.control import Mode

REAL = '{real: {broker: kraken, key: "${K}", secret: "${S}"}, paper: {broker: paper}}'
LOCAL = (
    '{real: {broker: kraken, key: "${K}", secret: "${S}", socket_url: "ws://127.0.0.1:1/a", '
    'rest_url: "http://localhost:1"}}'
)


def settings(accounts=REAL, live="true"):
    return load(
        "demo", environment={"DC__execution__accounts": accounts, "DC__execution__live": live}
    )


def test_both_are_needed(tmp_path):
    (tmp_path / "state").mkdir()
    assert not may_trade(tmp_path, settings(), "real"), "the settings alone"
    assert arm_live(tmp_path, settings(), 5) == ["real"]
    assert may_trade(tmp_path, settings(), "real")
    assert not may_trade(tmp_path, settings(live="false"), "real"), "the person alone"
    assert disarm_live(tmp_path)
    assert not disarm_live(tmp_path)
    assert not may_trade(tmp_path, settings(), "real")


def test_paper_and_venues_of_this_machine_need_nobody(tmp_path):
    assert may_trade(tmp_path, settings(live="false"), "paper")
    assert may_trade(tmp_path, settings(LOCAL, "false"), "real")
    assert real_accounts(settings(LOCAL)) == []


@pytest.mark.parametrize(
    "accounts",
    [
        REAL.replace("${K}", "${OTHER}"),
        REAL.replace("kraken,", "kraken, instruments: ['kraken:*'],"),
        REAL.replace("kraken", "gmo"),
        LOCAL.replace("localhost", "127.0.0.1.evil.example"),
        LOCAL.replace("ws://127.0.0.1:1", "wss://ws-auth.example"),
    ],
)
def test_another_account_than_the_one_that_was_armed_is_not(tmp_path, accounts):
    arm_live(tmp_path, settings(), 5)
    assert is_real(settings(accounts).execution.accounts["real"])
    assert not may_trade(tmp_path, settings(accounts), "real")


def test_the_mode_says_where_orders_go(tmp_path):
    (tmp_path / "state").mkdir()
    paper = settings("{paper: {broker: paper}}")
    assert mode_of(tmp_path, paper) == Mode.PAPER
    assert mode_of(tmp_path, settings()) == Mode.PAPER, "not armed"
    assert mode_of(tmp_path, settings(LOCAL)) == Mode.DRY_RUN
    arm_live(tmp_path, settings(), 5)
    assert mode_of(tmp_path, settings()) == Mode.LIVE


def test_a_damaged_word_arms_nothing(tmp_path):
    arm_live(tmp_path, settings(), 5)
    (tmp_path / "state" / "live-armed.json").write_bytes(b"{")
    assert not may_trade(tmp_path, settings(), "real")


def test_a_bot_is_real_until_it_says_otherwise():
    bot = (
        '{real: {broker: freqtrade, url: "http://127.0.0.1:1", username: u, password: "${P}", '
        'ws_token: "${W}"}}'
    )
    assert is_real(settings(bot).execution.accounts["real"])
