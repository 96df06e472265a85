"""Which account an instrument's orders go to."""

from decimal import Decimal

import pytest

from config.loader import load
from processes.execution.routes import Route, routes_of
from schemas.errors import ConfigError
from schemas.instruments import Instrument

INSTRUMENTS = [
    Instrument(index=0, venue="kraken", symbol="BTC/USD", pair="BTC/USD"),
    Instrument(index=1, venue="kraken", symbol="ETH/USD", pair="ETH/USD"),
    Instrument(index=2, venue="gmo", symbol="BTC_JPY", pair="BTC/JPY"),
    Instrument(index=3, venue="gmo", symbol="BTC", pair="BTC/JPY"),
    Instrument(index=4, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD"),
]
KEYS = {"key": "${A_KEY}", "secret": "file:/there"}
BOT = {
    "broker": "freqtrade", "url": "http://127.0.0.1:8080", "username": "bot",
    "password": "${P}", "ws_token": "keychain:bot",
}  # fmt: skip


def accounts(**named):
    text = "{" + ", ".join(f"{name}: {value!r}" for name, value in named.items()) + "}"
    return load("demo", environment={"DC__execution__accounts": text.replace("'", '"')})


def routes(**named) -> dict[int, Route]:
    return routes_of(accounts(**named), INSTRUMENTS)


def test_paper_takes_all_when_nothing_is_said():
    found = routes_of(load("demo", environment={}), INSTRUMENTS)
    assert found == dict.fromkeys(
        range(5),
        Route("paper", may_short=True, taker=Decimal("0.00005"), notional=Decimal(100)),
    )


def test_the_more_exact_name_goes_before():
    found = routes(
        paper={"broker": "paper", "instruments": ["*"]},
        mine={"broker": "kraken", **KEYS, "instruments": ["kraken:*"]},
        bot={**BOT, "instruments": ["kraken:ETH/USD"]},
    )
    assert [found[n].account for n in range(5)] == ["mine", "bot", "paper", "paper", "paper"]
    assert not found[0].may_short
    assert not found[1].may_short


def test_only_leverage_can_be_sold_short_at_gmo():
    found = routes(gmo={"broker": "gmo", **KEYS, "taker_bps": 5, "order_notional": "15000"})
    told = {"taker": Decimal("0.0005"), "notional": Decimal(15000)}
    assert found == {
        2: Route("gmo", may_short=True, **told),
        3: Route("gmo", may_short=False, **told),
    }


def test_two_accounts_for_one_instrument_are_refused():
    with pytest.raises(ConfigError, match="one and two both take kraken:BTC/USD"):
        routes(one={"broker": "kraken", **KEYS}, two={**BOT})


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ({"broker": "kraken", "key": "abc", "secret": "${S}"}, "key"),
        ({**BOT, "url": "http://10.0.0.1:8080"}, "url"),
        ({**BOT, "url": "http://127.0.0.1.evil.example:8080"}, "url"),
        ({"broker": "moon"}, "broker"),
        ({"broker": "paper", "instruments": ["BTC/USD"]}, "instruments"),
    ],
)
def test_what_an_account_may_not_be(account, words):
    with pytest.raises(ConfigError, match=words):
        accounts(wrong=account)
