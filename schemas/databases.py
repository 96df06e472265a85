"""The address of a database as a setting: what it may be, and where its password comes from.

Empty stands for a SQLite file in the data folder. A password is never in a file or a log: the
setting names an environment variable, and only the process that connects looks at it.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from schemas.errors import ConfigError

SCHEMES: Final = ("postgresql", "postgres")
FORM: Final = "postgresql://USER:${NAME}@HOST:5432/DATABASE"
_NAME: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def check_url(key: str, url: str) -> None:
    """Refuse an address that is of no known form, or that holds a password in clear.

    Raises:
        ConfigError: with what to type; never with the password.
    """
    if not url:
        return
    try:
        parts = urlsplit(url)
        password, host, _ = parts.password, parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{key} is no address ({error}): write {FORM}, or nothing") from None
    if parts.scheme not in SCHEMES:
        raise ConfigError(f"{key} must begin with postgresql:// (like {FORM}), or be empty: SQLite")
    query = dict(parse_qsl(parts.query))
    if not (host or "host" in query or "service" in query) or not parts.path.strip("/"):
        raise ConfigError(f"{key} names no host or no database: write {FORM}")
    for secret in (password, query.get("password")):
        if secret and not _NAME.fullmatch(secret):
            raise ConfigError(
                f"{key} holds a password in clear: write ${{NAME}} in its place, like {FORM}, and "
                "set NAME in the environment (or leave it out and use a ~/.pgpass file)"
            )


def with_secrets(key: str, url: str, environment: Mapping[str, str]) -> str:
    """The address with each `${NAME}` taken from the environment. Not to be logged.

    Raises:
        ConfigError: a name is not set.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in environment:
            raise ConfigError(
                f"{key} needs the environment variable {name}: export {name}=... before dcctl start"
            )
        return quote(environment[name], safe="")

    return _NAME.sub(value, url)


def shown(url: str) -> str:
    """The address as people may see it: without user, password and options."""
    parts = urlsplit(url)
    where = parts.hostname or dict(parse_qsl(parts.query)).get("host", "")
    port = f":{parts.port}" if parts.port else ""
    return f"postgresql://{where}{port}{parts.path}"
