"""Configuration: what is good is typed, what is wrong is named with its key, value and choices."""

import pytest

from config.loader import differences, effect_of, flatten, load, profiles
from schemas.errors import ConfigError
from schemas.settings import REFUSED, RESTARTS, SWITCHES
from tests.planted import plant


def test_every_profile_loads():
    assert {"demo", "bitfinex-paper"} <= set(profiles())
    for profile in profiles():
        assert load(profile, environment={}).profile == profile


def test_later_layers_win(tmp_path):
    extra = tmp_path / "mine.yml"
    extra.write_text("http: {port: 9600}\nstrategy: {horizon_s: 30}\n")
    settings = load("demo", file=extra, environment={"DC__http__port": "0", "HOME": "/"})
    assert settings.http.port == 0
    assert settings.strategy.horizon_s == 30
    assert settings.strategy.name == "moving_average_cross"
    assert settings.venues.bitfinex.subscriptions_per_connection == 30


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"DC__http__port": "abc"}, ["http.port", "'abc'", "int"]),
        ({"DC__http__port": "70000"}, ["http.port", "70000", "65535"]),
        ({"DC__http__prt": "1"}, ["http.prt", "Did you mean port", "Allowed here: port"]),
        ({"DC__htp__port": "1"}, ["htp", "Did you mean http", "storage"]),
        (
            {"DC__strategy__name": "magic"},
            [
                "strategy.name",
                "'magic'",
                "Allowed: moving_average_cross, tcn, always_flat, volatility_trend",
            ],
        ),
        ({"DC__strategy__horizon_s": ".inf"}, ["strategy.horizon_s", "inf", "finite"]),
        ({"DC__strategy__min_expected_value_bps": ".nan"}, ["min_expected_value_bps", "finite"]),
        ({"DC__strategy__horizon_s": ".nan"}, ["strategy.horizon_s", "nan", "> 0"]),
        ({"DC__http": "5"}, ["http", "5", "object"]),
        ({"DC__": "5"}, ["no such setting", "Allowed here", "http"]),
        ({"DC__http__port": ""}, ["http.port", "None", "int"]),
        ({"DC__http__port": "9" * 5000}, ["DC__http__port", "999"]),
        ({"DC__http__port": "[1]"}, ["http.port", "[1]", "int"]),
        ({"DC__risk__max_daily_loss": "5"}, ["risk.max_daily_loss", "5", "str"]),
        ({"DC__venues__bitfinex__stale_s": "{foo: 1}"}, ["bitfinex.stale_s", "'foo'", "books"]),
        ({"DC__venues__bitfinex__stale_s": "{books: -1}"}, ["bitfinex.stale_s", "-1", "> 0"]),
        ({"DC__venues__bitfinex__candles": "[2m]"}, ["bitfinex.candles.0", "'2m'", "1m, 5m"]),
        ({"DC__venues__bitfinex__books": "[{length: 7}]"}, ["books.0.length", "7", "1, 25"]),
        ({"DC__venues__bitfinex__books": "[{lenght: 7}]"}, ["books.0.lenght", "mean length"]),
        ({"DC__risk__max_order_notional": "1e3"}, ["risk.max_order_notional", "1e3"]),
        ({"DC__risk__max_order_notional": "'-5'"}, ["risk.max_order_notional", "-5"]),
        ({"DC__venues__bitfinex__symbols": "[]"}, ["venues.bitfinex.symbols", "tBTCUSD"]),
        ({"DC__venues__bitfinex__symbols": "[BTC/USD]"}, ["venues.bitfinex.symbols", "BTC/USD"]),
        ({"DC__venues__bitfinex__enabled": "false"}, ["no venue is enabled"]),
        ({"DC__venues__bitfinex__channels": "[ticker]"}, ["features need books"]),
        (
            {
                "DC__venues__kraken__enabled": "true",
                "DC__venues__kraken__symbols": "[BTC/USD]",
                "DC__venues__kraken__channels": "[books, raw_books]",
            },
            ["venues.kraken.channels", "level3", "token"],
        ),
        ({"DC__rings__tape": "32"}, ["rings.tape", "32", "64"]),
        ({"DC__rings__tape": "100000"}, ["rings.tape", "100000", "power of two"]),
        ({"DC__http": "["}, ["DC__http", "YAML"]),
        ({"DC__execution__enabled": "on"}, ["execution.enabled", "'on'", "bool"]),
    ],
)
def test_what_is_wrong_is_named(environment, words):
    with pytest.raises(ConfigError) as caught:
        load("demo", environment=environment)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert len(str(caught.value)) < 400, "a sentence, not the whole configuration"


BOT = 'broker: freqtrade, url: "http://127.0.0.1:1", username: dc, ws_token: "${T}"'


@pytest.mark.parametrize(
    "text",
    [
        'execution: {accounts: {a: {broker: kraken, key: "${K}", secret: WORD}}}',
        'execution: {accounts: {a: {broker: kraken, key: WORD, secret: "${S}"}}}',
        "execution: {accounts: {a: {broker: kraken, key: WORD}}}",
        "execution: {accounts: {a: {broker: krakn, key: WORD, secret: WORD}}}",
        'execution: {accounts: {A!: {broker: kraken, key: "${K}", secret: WORD}}}',
        "execution: {accounts: [{broker: kraken, key: WORD, secret: WORD}]}",
        f"execution: {{accounts: {{a: {{{BOT}, password: WORD}}}}}}",
        f"execution: {{accounts: {{a: {{{BOT}, password: WORD, wrong: 1}}}}}}",
        "execution: {accounts: {a: {broker: kraken, key: WORD: WORD, secret: x}}}",
        'execution: {accounts: {a: {broker: kraken, key: "WORD, secret: x}}}',
        "execution: {accounts: {a: {broker: kraken, key: *WORD}}}",
        "execution: {accounts: {a: {broker: kraken, key: !WORD x}}}",
        "execution: {accounts: {a: {broker: kraken, key: %WORD}}}",
        "influx: {enabled: true, token: WORD}",
        "influx: {url: 'http://dc:WORD@127.0.0.1:8086/ '}",
        "bridge: {url: 'redis://:WORD@127.0.0.1'}",
        "ledger: {url: 'postgresql://dc:WORD@127.0.0.1/dc'}",
        "ledger: {url: 'postgresql://dc:WORD@127.0.0.1:port/dc'}",
        "ledger: {url: ['postgresql://dc:WORD@127.0.0.1/dc']}",
        "history: {url: 'postgresql://127.0.0.1/dc?password=WORD'}",
        "lake: {store: 's3://KEY:WORD@bucket/folder'}",
        "simulator: {accounts: [{venue: kraken, key: 'ab', secret: WORD}]}",
    ],
)
@pytest.mark.parametrize("word", [plant("settings"), "8" * 20], ids=["text", "digits"])
def test_a_secret_that_somebody_wrote_into_settings_is_in_no_error(tmp_path, text, word):
    path = tmp_path / "own.yml"
    path.write_text(text.replace("WORD", word))
    with pytest.raises(ConfigError) as caught:
        load("demo", file=path, environment={})
    assert word not in str(caught.value)
    path.unlink()
    section, _, rest = text.replace("WORD", word).partition(": ")
    with pytest.raises(ConfigError) as caught:
        load("demo", environment={f"DC__{section}": rest})
    assert word not in str(caught.value)


def test_an_unknown_profile_lists_those_there_are():
    with pytest.raises(ConfigError, match="demo"):
        load("demmo", environment={})


def test_broken_files_are_named(tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text("a: [")
    with pytest.raises(ConfigError, match=r"bad\.yml is not YAML"):
        load("demo", file=bad, environment={})
    bad.write_text("- 1")
    with pytest.raises(ConfigError, match="keys and values"):
        load("demo", file=bad, environment={})
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"bad\.yml is not YAML"):
        load("demo", file=bad, environment={})
    with pytest.raises(ConfigError, match="cannot be read"):
        load("demo", file=tmp_path / "none.yml", environment={})


def test_changes_are_found_and_classified():
    old = load("demo", environment={})
    new = load(
        "demo",
        environment={
            "DC__risk__max_spread_bps": "5",
            "DC__features__cut_interval_s": "2",
            "DC__http__port": "1",
        },
    )
    found = differences(old, new)
    assert set(found) == {"risk.max_spread_bps", "features.cut_interval_s", "http.port"}
    assert found["risk.max_spread_bps"] == (20.0, 5.0)
    assert effect_of("risk.max_spread_bps") == ()
    assert effect_of("features.cut_interval_s") == ("features",)
    assert effect_of("http.port") is None


def test_every_rule_of_effects_names_settings_that_exist():
    keys = set(flatten(load("demo", environment={})))
    for rule in (*REFUSED, *RESTARTS, *SWITCHES):
        assert any(key == rule or key.startswith(f"{rule}.") for key in keys), rule
