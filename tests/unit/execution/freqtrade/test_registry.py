"""A Freqtrade account of the settings becomes a broker, with its secrets from where they are."""

import queue

import pytest

from processes.execution.brokers.freqtrade.session import FreqtradeSession
from processes.execution.brokers.network import NetworkBroker
from processes.execution.brokers.registry import Brokerage
from processes.live import arm_live
from schemas.brokers import FreqtradeAccount
from schemas.errors import ConfigError
from schemas.instruments import Instrument
from schemas.settings import ExecutionSettings, Settings
from tests.gates import Gate

INSTRUMENTS = [
    Instrument(index=0, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD"),
    Instrument(index=4, venue="kraken", symbol="ETH/USD", pair="ETH/USD"),
]


def account(**more) -> FreqtradeAccount:
    return FreqtradeAccount(**{
        "url": "http://127.0.0.1:8080", "username": "exec", "password": "${BOT_WORD}",
        "ws_token": "${BOT_TOKEN}", **more,
    })  # fmt: skip


def made(tmp_path, *, live=False, **accounts) -> dict:
    settings = Settings(execution=ExecutionSettings(accounts=accounts, live=live))
    return Brokerage(
        settings, INSTRUMENTS, tmp_path, queue.Queue(), Gate(), lambda: 0, lambda _: [],
        lambda: True,
    ).brokers()  # fmt: skip


@pytest.fixture(autouse=True)
def words(monkeypatch):
    monkeypatch.setenv("BOT_WORD", "hidden-word")
    monkeypatch.setenv("BOT_TOKEN", "hidden-token")


def test_each_bot_is_an_account_of_its_own_with_the_instruments_of_its_venue(tmp_path):
    found = made(tmp_path, one=account(), two=account(venue="bitfinex"))
    assert all(isinstance(broker, NetworkBroker) for broker in found.values())
    one, two = (found[name].session for name in ("one", "two"))
    assert isinstance(one, FreqtradeSession)
    assert (one._pairs, two._pairs) == ({4: "ETH/USD"}, {0: "BTC/USD"})
    assert one._path != two._path
    assert "hidden" not in repr(one._client) + repr(one._socket)


def test_a_secret_that_is_not_there_is_said_by_its_setting(tmp_path, monkeypatch):
    monkeypatch.delenv("BOT_TOKEN")
    with pytest.raises(ConfigError, match=r"execution.accounts.one.ws_token"):
        made(tmp_path, one=account())


def test_a_bot_elsewhere_is_refused_when_it_is_made(tmp_path):
    with pytest.raises(ConfigError, match="on this machine"):
        made(tmp_path, one=account(url="http://10.0.0.7:8080"))


def test_a_bot_is_a_bot_whether_or_not_money_may_be_behind_it(tmp_path):
    """Whether it is in dry-run it says itself; unarmed, a live one is not used."""
    assert not made(tmp_path, one=account())["one"].session._live
    settings = Settings(execution=ExecutionSettings(accounts={"one": account()}, live=True))
    arm_live(tmp_path, settings, 1)
    assert made(tmp_path, live=True, one=account())["one"].session._live
    assert not made(tmp_path, live=True, one=account(username="other"))["one"].session._live
