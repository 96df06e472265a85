"""Settings of alerts: what is refused, with what to type and never with an address."""

import json

import msgspec
import pytest

from config.loader import differences, effect_of, load
from config.secrets import read_address
from processes.supervisor.main import child_specs
from schemas.alerts import AlertSettings, check_address, check_secrets
from schemas.errors import ConfigError
from tests.planted import plant


def with_alerts(**alerts):
    text = msgspec.json.encode(alerts).decode()
    return load("demo", environment={"DC__alerts": text})


def channels(url, **more):
    return {"channels": {"phone": {"url": url, **more}}}


GOOD = [
    "slack://${A}/${B}/${C}/#ops", "json://127.0.0.1:9/hook", "mailto://me:${P}@example.org",
    "${WHOLE}", "file:/etc/dc/slack", "keychain:dc-slack", "command:pass show slack",
    "https://hooks.slack.com/services/${A}/${B}/${C}", "macosx://", "dbus://",
    "jsons://example.org/hook?+X-Token=${T}",
]  # fmt: skip


@pytest.mark.parametrize("url", GOOD)
def test_addresses_that_may_be(url):
    assert with_alerts(**channels(url)).alerts.channels["phone"].url == url


SECRET = plant("alert-url")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("slack://SECRET/B/C", "an address of slack:// holds a token"),
        ("https://hooks.slack.com/services/SECRET", "an address of https:// holds a token"),
        ("mailto://me:SECRET@example.org", "holds a secret in clear"),
        ("json://example.org/?+X-Token=SECRET", "holds a secret in clear"),
        ("json://example.org/?password=SECRET", "holds a secret in clear"),
        ("SECRET", "must be like slack://"),
        ("json://[SECRET", "is no address"),
        ("", "must be like"),
    ],
)
def test_addresses_that_hold_a_secret_or_are_none(url, said):
    with pytest.raises(ConfigError, match=r"alerts\.channels\.phone\.url") as raised:
        with_alerts(**channels(url.replace("SECRET", SECRET)))
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "alerts",
    [
        {"channels": {"phone": "slack://SECRET"}},
        {"channels": {"phone": {"url": ["slack://SECRET"]}}},
        {"channels": ["slack://SECRET"]},
        {"heartbeat": "https://SECRET"},
        {"heartbeat": {"url": ["https://SECRET"]}},
    ],
)
def test_what_is_of_the_wrong_form_is_not_shown(alerts):
    with pytest.raises(ConfigError, match="alerts") as raised:
        with_alerts(**json.loads(json.dumps(alerts).replace("SECRET", SECRET)))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        (channels("json://a", quiet="25:00-01:00"), "quiet"),
        (channels("json://a", severity="bad"), "severity"),
        (channels("json://a", escalation=True), "nobody is told first"),
        ({"mute": ["moon"]}, "alerts.mute: moon: no such rule. Allowed: account_alarm"),
        ({"severities": {"moon": "info"}}, "alerts.severities: moon"),
        ({"backoff_first_s": 10, "backoff_longest_s": 5}, "longer than"),
        ({"heartbeat": {"url": "ftp://x"}}, "must be like http://... or https://..."),
        ({"chanels": {}}, "Did you mean channels?"),
    ],
)
def test_other_settings_that_are_wrong(alerts, said):
    with pytest.raises(ConfigError) as raised:
        with_alerts(**alerts)
    assert said in str(raised.value)


def test_the_process_is_there_if_there_is_a_channel():
    names = [one.name for one in child_specs(with_alerts(**channels("json://a")))]
    assert "alerts" in names
    assert "alerts" not in [one.name for one in child_specs(load("demo", environment={}))]


def test_a_reload_may_change_channels_but_not_make_the_first():
    none, one = load("demo", environment={}), with_alerts(**channels("json://a"))
    other = with_alerts(channels={"phone": {"url": "json://b"}, "desk": {"url": "dbus://"}})
    assert None in [effect_of(key) for key in differences(none, one)]
    assert None in [effect_of(key) for key in differences(one, none)]
    assert {effect_of(key) for key in differences(one, other)} == {("alerts",)}


def test_a_variable_that_is_not_set_stops_a_start():
    alerts = with_alerts(**channels("slack://${A_TOKEN}/b/c")).alerts
    with pytest.raises(ConfigError, match=r"phone\.url needs .* A_TOKEN: export A_TOKEN="):
        check_secrets(alerts, {})
    check_secrets(alerts, {"A_TOKEN": "x"})
    check_secrets(AlertSettings(), {})


def test_secrets_come_into_the_address(tmp_path):
    kept = tmp_path / "address"
    kept.write_text("json://a/whole\n")
    kept.chmod(0o600)
    environment = {"P": "a/b@c", "WHOLE": "json://a/b"}
    assert read_address("k", "mailto://me:${P}@x", environment) == "mailto://me:a%2Fb%40c@x"
    assert read_address("k", "${WHOLE}", environment) == "json://a/b"
    assert read_address("k", f"file:{kept}", environment) == "json://a/whole"
    with pytest.raises(ConfigError, match="export it"):
        read_address("k", "json://${MISSING}", environment)


def test_a_heartbeat_may_name_its_secret():
    check_address("k", "https://example.org/ping/${ID}", ("http", "https"))
