"""From YAML files and the environment to typed settings.

Later wins: defaults of `schemas/settings.py`, `config/venues/<venue>.yml`, `config/config.yml`,
`config/profiles/<profile>.yml`, a file named with --config, what was changed while it ran
(`processes/changes.py`), then environment variables such as
`DC__http__port=9600` (two underscores between keys, YAML as the value). Nothing is half read:
either all of it is good or a `ConfigError` names the key, its value, and what is allowed.
"""

import difflib
import os
import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, cast, get_args, get_origin

import msgspec
import yaml

from schemas.alerts import check_alerts
from schemas.databases import check_url
from schemas.errors import ConfigError
from schemas.feeds import FeedSettings
from schemas.settings import REFUSED, RESTARTS, SWITCHES, InfluxSettings, Settings
from schemas.stores import parse_store

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PROFILE = "demo"
_PREFIX = "DC__"


def profiles(root: Path = ROOT) -> list[str]:
    """Names of the profiles there are."""
    return sorted(path.stem for path in (root / "config" / "profiles").glob("*.yml"))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML without 1.1's surprises: `on` and `no` are words, `1:30` is text, not 90."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for key, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in (
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$"),
    ("tag:yaml.org,2002:int", r"^[-+]?(?:0|[1-9][0-9_]*)$"),
):
    for _key, _rules in _Loader.yaml_implicit_resolvers.items():
        _Loader.yaml_implicit_resolvers[_key] = [rule for rule in _rules if rule[0] != _tag]
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list("tf-+0123456789"))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not YAML: {_fault(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values, not a {type(content).__name__}")
    return content


_NAMES_SECRET = re.compile(r"(?i)key|secret|pass|token|word|://")
_SECRET_KEY = re.compile(r"(?i)(^|_)(key|secret|pass|password|passphrase|token|word)$")
_LOGIN = re.compile(r"(?<=//)[^/\s]*@")
_QUOTED = re.compile(r"'(?!<)[^']{3,}'|\"[^\"]{3,}\"")


def _fault(error: Exception) -> str:
    """What is wrong with a YAML text, and where, without a word of it: it may hold a secret."""
    text = _QUOTED.sub("'...'", str(getattr(error, "problem", None) or error))
    mark = getattr(error, "problem_mark", None)
    return f"{text}, line {mark.line + 1}, column {mark.column + 1}" if mark else text


def _shown(key: str, value: Any) -> Any:
    """A value as an error may show it: what somebody wrote where a secret is only named, is not."""
    if isinstance(value, dict):
        return {name: _shown(str(name), one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shown(key, one) for one in value]
    if value is not None and _SECRET_KEY.search(key):
        return "(not shown)"
    return _LOGIN.sub("...@", value) if isinstance(value, str) else value


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, Mapping)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(_PREFIX):
            continue
        found = _merge(found, _at(name.removeprefix(_PREFIX).split("__"), _value(name, text)))
    return found


def _value(name: str, text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506
    except (yaml.YAMLError, ValueError) as error:
        told = name if _NAMES_SECRET.search(f"{name} {text}") else f"{name}={text[:80]}"
        raise ConfigError(f"{told} is not YAML: {_fault(error)}") from None


def _at(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return cast("dict[str, Any]", value)


def _explain(error: msgspec.ValidationError, raw: dict[str, Any]) -> str:
    """Msgspec's words with the key, its value, and what may stand there."""
    text, path = str(error), ""
    found = re.fullmatch(r"(.*?) - at (?:`(key)` in )?`\$(.*)`", text, re.DOTALL)
    if found:
        text, path = found[1], found[3]
    keys = [key for key in re.split(r"[.\[\]`]+", path) if key]
    value: Any = raw
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif isinstance(value, list) and key.isdigit():
            value = value[int(key)]
    name = ".".join(keys)
    unknown = re.search(r"contains unknown field `(.*?)`", text)
    if unknown:
        key = unknown[1]
        allowed = _keys_of(keys)
        near = difflib.get_close_matches(key, allowed, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        where = f"{name}.{key}" if name else key
        return f"{where}: no such setting.{hint} Allowed here: {', '.join(sorted(allowed))}"
    choices = _choices(_type_at(keys), of_key=bool(found and found[2]))
    hint = f". Allowed: {', '.join(map(str, choices))}" if choices else ""
    if found and found[2]:
        return f"{name or 'the settings'}: a key is wrong: {text[:1].lower()}{text[1:]}{hint}"
    # What was written among channels of alerts may be an address, and an address is a secret.
    is_hidden = keys[:1] == ["alerts"] and (keys[1:2] or ["channels"])[0] in {
        "channels", "heartbeat",
    }  # fmt: skip
    told = "(not shown)" if is_hidden else _shown(keys[-1] if keys else "", value)
    return f"{name} = {told!r}: {text[:1].lower()}{text[1:]}{hint}"


def _bare(kind: Any) -> Any:
    """A type without its annotations and without None beside it."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is UnionType:
        return _bare(next(part for part in get_args(kind) if part is not type(None)))
    return kind


def _type_at(path: list[str]) -> Any:
    kind: Any = Settings
    for key in path:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = {field.name: field.type for field in msgspec.structs.fields(kind)}.get(key)
        elif get_args(kind):
            kind = get_args(kind)[-1 if get_origin(kind) is dict else 0]
        kind = _bare(kind)
    return kind


def _choices(kind: Any, *, of_key: bool) -> tuple[Any, ...]:
    """What a setting, or a key of it, may be, where that is a list of words."""
    if of_key and get_origin(kind) is dict:
        kind = _bare(get_args(kind)[0])
    return get_args(kind) if get_origin(kind) is Literal else ()


def _keys_of(path: list[str]) -> list[str]:
    kind = _type_at(path)
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return [field.name for field in msgspec.structs.fields(kind)] if is_struct else []


def load(
    profile: str = "",
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    changes: Mapping[str, str] | None = None,
    overlay: Path | None = None,
    root: Path = ROOT,
) -> Settings:
    """The settings in force for a profile.

    Args:
        changes: by dotted key over all the rest; YAML as the value, plain text where a setting is
            text, so that an amount needs no quotes.
        overlay: a file over all others, below the environment.

    Raises:
        ConfigError: something is wrong; the text says what and where.
    """
    names = profiles(root)
    chosen = profile or DEFAULT_PROFILE
    if chosen not in names:
        raise ConfigError(f"profile = {chosen!r}: no such profile. Allowed: {', '.join(names)}")
    raw: dict[str, Any] = {}
    for path in sorted((root / "config" / "venues").glob("*.yml")):
        raw = _merge(raw, {"venues": {path.stem: _read(path)}})
    raw = _merge(raw, _read(root / "config" / "config.yml"))
    raw = _merge(raw, _read(root / "config" / "profiles" / f"{chosen}.yml"))
    if file is not None:
        raw = _merge(raw, _read(file))
    if overlay is not None and overlay.exists():
        raw = _merge(raw, _read(overlay))
    raw = _merge(raw, _from_environment(os.environ if environment is None else environment))
    for key, text in (changes or {}).items():
        keys = key.split(".")
        raw = _merge(raw, _at(keys, text if _type_at(keys) is str else _value(key, text)))
    raw["profile"] = chosen
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, raw)) from None
    _check_numbers(settings)
    _check_whole(settings)
    return settings


def _check_numbers(settings: Settings) -> None:
    for name, value in flatten(settings).items():
        if isinstance(value, float) and not isfinite(value):
            raise ConfigError(f"{name} = {value}: must be a finite number")


_EXAMPLES = {"venues.bitfinex": "tBTCUSD", "venues.kraken": "BTC/USD", "venues.gmo": "BTC_JPY"}


def _check_feed(key: str, feed: FeedSettings) -> None:
    if not feed.symbols:
        raise ConfigError(f"{key}.symbols = []: name at least one, like [{_EXAMPLES[key]}]")
    if len(set(feed.symbols)) != len(feed.symbols):
        raise ConfigError(f"{key}.symbols = {list(feed.symbols)}: a name twice")
    if "books" not in feed.channels:
        raise ConfigError(f"{key}.channels = {list(feed.channels)}: features need books")
    if feed.backoff_first_s > feed.backoff_longest_s:
        raise ConfigError(
            f"{key}.backoff_first_s = {feed.backoff_first_s}: longer than "
            f"backoff_longest_s = {feed.backoff_longest_s}"
        )


_URL = re.compile(
    r"(?:rediss?://(?:[\w.-]*(?::\$\{\w+\})?@)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\])"
    r"(?::\d{1,5})?(?:/\d+)?"
    r"|unix://(?:[\w.-]*(?::\$\{\w+\})?@)?/[^?@]+(?:\?db=\d+)?)"
)


def _check_bridge(settings: Settings) -> None:
    bridge, venues = settings.bridge, list(settings.venues.enabled())
    if not _URL.fullmatch(bridge.url):
        # Not the value: it may hold a password.
        raise ConfigError(
            "bridge.url: must be like redis://host:6379/0, rediss:// or unix:///path; a password "
            "is named, not written: redis://:${REDIS_PASSWORD}@host:6379/0"
        )
    for name in bridge.venues:
        if name not in venues:
            raise ConfigError(
                f"bridge.venues = {list(bridge.venues)}: {name} is not enabled. "
                f"Allowed: {', '.join(venues)}"
            )
    if bridge.backoff_first_s > bridge.backoff_longest_s:
        raise ConfigError(
            f"bridge.backoff_first_s = {bridge.backoff_first_s}: longer than "
            f"backoff_longest_s = {bridge.backoff_longest_s}"
        )


def _check_whole(settings: Settings) -> None:
    """Rules that are about several settings at once."""
    for name, slots in msgspec.to_builtins(settings.rings).items():
        if slots & (slots - 1):
            raise ConfigError(f"rings.{name} = {slots}: must be a power of two, like {1 << 16}")
    check_url("ledger.url", settings.ledger.url)
    check_url("history.url", settings.history.url)
    if not settings.venues.enabled():
        raise ConfigError("venues: no venue is enabled; set venues.bitfinex.enabled to true")
    for name, section in settings.venues.enabled().items():
        _check_feed(f"venues.{name}", section)
    bitfinex = settings.venues.bitfinex
    if bitfinex is not None and bitfinex.enabled:
        if not bitfinex.books:
            raise ConfigError("venues.bitfinex.books = []: name at least one book stream")
        if bitfinex.books[0].precision == "R0":
            raise ConfigError(
                "venues.bitfinex.books[0].precision = 'R0': the first book is the primary one and "
                "must be P0 to P4; put R0 behind it"
            )
    kraken = settings.venues.kraken
    if kraken is not None and kraken.enabled and "raw_books" in kraken.channels:
        raise ConfigError(
            f"venues.kraken.channels = {list(kraken.channels)}: raw_books is level3, which needs a "
            "token, and the collector holds no key to fetch one with; take raw_books out"
        )
    _check_bridge(settings)
    if settings.storage.journal_segment_bytes > settings.storage.journal_max_bytes:
        raise ConfigError(
            f"storage.journal_segment_bytes = {settings.storage.journal_segment_bytes}: larger "
            f"than journal_max_bytes = {settings.storage.journal_max_bytes}"
        )
    _check_influx(settings.influx)
    check_alerts(settings.alerts)
    if settings.lake.store:
        parse_store("lake.store", settings.lake.store)
    horizons = [one.horizon_s for one in settings.training.targets]
    if settings.retraining.families and settings.retraining.horizon_s not in horizons:
        raise ConfigError(
            f"retraining.horizon_s = {settings.retraining.horizon_s:g}: no such target; "
            f"training.targets has {', '.join(f'{one:g}' for one in horizons)}"
        )


def _check_influx(influx: InfluxSettings) -> None:
    if influx.enabled and bool(influx.token) == bool(influx.token_file):
        raise ConfigError(
            f"influx.token = {influx.token!r}: name the variable that holds the token, like "
            "${INFLUX_TOKEN}, or a file of mode 0600 by influx.token_file, and not both"
        )
    names = [influx.buckets.fast.name, influx.buckets.aggregates.name, influx.buckets.logs.name]
    if len(set(names)) < len(names):
        raise ConfigError(f"influx.buckets = {names}: each needs a name of its own")
    if 2 * influx.segment_bytes > influx.spool_bytes:
        raise ConfigError(
            f"influx.segment_bytes = {influx.segment_bytes}: at most half of spool_bytes = "
            f"{influx.spool_bytes}, since whole segments are dropped"
        )


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting by its dotted key."""
    flat: dict[str, Any] = {}
    for key, value in msgspec.to_builtins(settings).items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def differences(old: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ, with both values."""
    before, after = flatten(old), flatten(new)
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def effect_of(key: str) -> tuple[str, ...] | None:
    """Processes that a changed key restarts, () for none, None if it is refused while running."""

    def covers(rule: str) -> bool:
        return key == rule or key.startswith(f"{rule}.")

    # A table stands among the differences by its own name when it was empty, or becomes so.
    if key in SWITCHES or any(covers(rule) for rule in REFUSED):
        return None
    restarts: tuple[str, ...] = ()
    for rule, processes in RESTARTS.items():
        if covers(rule):
            restarts += processes
    return restarts
