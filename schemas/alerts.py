"""Alerts as settings: which channels there are, what each is told, and when.

An address may hold tokens and passwords, so none is ever shown: an error names the setting. What is
secret in it stands as `${NAME}`, or all of it is found elsewhere, as `schemas/brokers.py` has it.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit

from msgspec import Meta, Struct

from schemas.alert_rules import RULES, Severity
from schemas.errors import ConfigError

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
ChannelName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
QuietHours = Annotated[str, Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$")]
VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
ELSEWHERE: Final = ("file:", "keychain:", "command:")
OPEN_SCHEMES: Final = frozenset(
    {
        "json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos", "dbus", "qt", "glib",
        "gnome", "macosx", "windows", "syslog", "rsyslog",
    }
)  # fmt: skip
"""Of channels whose address need hold no secret; that of any other is one by itself."""
SECRET_OPTION: Final = re.compile(r"(?i)key|secret|pass|token|auth")


class ChannelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to a person."""

    url: str
    """As Apprise writes them, `slack://${TOKEN}/#ops`; or all of it as `${NAME}`, `file:/path`,
    `keychain:SERVICE` or `command:PROGRAM`. A secret is named, never written."""
    severity: Severity = "warning"
    """The least that is told here."""
    quiet: QuietHours = ""
    """Hours of UTC like 22:00-07:00 in which only what is critical is told; the rest waits."""
    escalation: bool = False
    """Told only what is critical and was not acknowledged for `alerts.escalate_s`."""
    ends: bool = True
    """Say also when an alert is over."""
    per_hour: Annotated[int, Meta(ge=1, le=1000)] = 20
    """Most messages in any hour; what is held back comes in one of them."""
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 20.0
    """A delivery that takes longer is ended, and tried again later."""


class HeartbeatSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address that is fetched while all is well, so that somebody outside notices silence."""

    url: str = ""
    """http:// or https://, secrets as in a channel's; empty = none."""
    every_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0


class AlertSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is told, to whom and how often; docs/alerts.md."""

    channels: dict[ChannelName, ChannelSettings] = {}
    """By a name of yours; none = nobody is told, and the process is not started."""
    label: Annotated[str, Meta(max_length=64)] = ""
    """Which instance this is, at the head of each message; empty = profile and host."""
    check_s: Annotated[float, Meta(ge=0.1, le=60)] = 2.0
    """How often the rules are looked at."""
    again_s: Annotated[float, Meta(ge=0)] = 900.0
    """What is critical is told again so long after, until it ends or is acknowledged; 0 = never."""
    escalate_s: Annotated[float, Meta(ge=0)] = 600.0
    """After so long without `dcctl alert ack` channels of escalation are told too."""
    backoff_first_s: Seconds = 5.0
    backoff_longest_s: Seconds = 300.0
    """Between two tries at a channel that does not take a message."""
    stale_s: Seconds = 30.0
    """A tape without a new slot for so long is stale."""
    disk_low_bytes: Annotated[int, Meta(ge=0)] = 5_000_000_000
    severities: dict[str, Severity] = {}
    """By the name of a rule, where another severity suits better."""
    mute: tuple[str, ...] = ()
    """Names of rules that are not looked at."""
    heartbeat: HeartbeatSettings = HeartbeatSettings()


def check_alerts(alerts: AlertSettings) -> None:
    """Rules that are about several of these settings.

    Raises:
        ConfigError: with what to type; never with an address.
    """
    for key, channel in alerts.channels.items():
        check_address(f"alerts.channels.{key}.url", channel.url)
    if alerts.heartbeat.url:
        check_address("alerts.heartbeat.url", alerts.heartbeat.url, ("http", "https"))
    known = {rule.name for rule in RULES}
    for setting, names in (("mute", alerts.mute), ("severities", tuple(alerts.severities))):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"alerts.{setting}: {name}: no such rule. Allowed: {', '.join(sorted(known))}"
                )
    if alerts.channels and all(one.escalation for one in alerts.channels.values()):
        raise ConfigError(
            "alerts.channels: all are for escalation, so nobody is told first; set escalation to "
            "false in one of them"
        )
    if alerts.backoff_first_s > alerts.backoff_longest_s:
        raise ConfigError(
            f"alerts.backoff_first_s = {alerts.backoff_first_s:g}: longer than "
            f"backoff_longest_s = {alerts.backoff_longest_s:g}"
        )


def check_address(key: str, url: str, schemes: tuple[str, ...] = ()) -> None:
    """Refuse what is no address, or holds a secret in clear.

    Args:
        schemes: those that it may have; none = any.

    Raises:
        ConfigError: it does. It is not quoted: it may hold the secret.
    """
    if url.startswith(ELSEWHERE) or VARIABLE.fullmatch(url):
        return
    bare = VARIABLE.sub("x", url)
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        raise ConfigError(f"{key}: is no address") from None
    scheme, found, _ = bare.partition("://")
    if not found or (schemes and scheme not in schemes):
        like = " or ".join(f"{one}://..." for one in schemes) or "slack://${TOKEN}/#ops"
        raise ConfigError(
            f"{key}: must be like {like}, ${{NAME}}, file:/path, keychain: or command:"
        )
    clear = [password, *(v for k, v in parse_qsl(parts.query) if SECRET_OPTION.search(k))]
    if any(one and not VARIABLE.fullmatch(one) for one in clear):
        raise ConfigError(
            f"{key}: holds a secret in clear: write ${{NAME}} in its place and export NAME before "
            "dcctl start"
        )
    if not schemes and scheme not in OPEN_SCHEMES and bare == url:
        raise ConfigError(
            f"{key}: an address of {scheme}:// holds a token: write ${{NAME}} in its place and "
            "export NAME before dcctl start"
        )


def addresses(alerts: AlertSettings) -> dict[str, str]:
    """Every address by the setting that holds it."""
    found = {f"alerts.channels.{name}.url": one.url for name, one in alerts.channels.items()}
    if alerts.heartbeat.url:
        found["alerts.heartbeat.url"] = alerts.heartbeat.url
    return found


def check_secrets(alerts: AlertSettings, environment: Mapping[str, str]) -> None:
    """Refuse to begin without a variable that an address names.

    Raises:
        ConfigError: one is not set.
    """
    for key, url in addresses(alerts).items() if alerts.channels else ():
        for name in VARIABLE.findall(url):
            if not environment.get(name):
                raise ConfigError(
                    f"{key} needs the environment variable {name}: export {name}=... before "
                    "dcctl start"
                )
