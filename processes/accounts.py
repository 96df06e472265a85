"""From an account's settings to its venue's trading calls: for execution and for the killer."""

import random
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from config.secrets import read_secret
from processes.nonces import Nonces
from schemas.brokers import VenueAccount
from schemas.errors import ConfigError
from schemas.rest import RestSections
from venues.access import make_client, settings_of
from venues.rest import Tools
from venues.trading import Access, Trading
from venues.tradings import TRADINGS


def open_trading(
    name: str,
    account: VenueAccount,
    sections: RestSections,
    data: Path,
    now_ns: Callable[[], int],
) -> Trading:
    """An account's calls, not connected yet. Its secrets are read here and nowhere else.

    Raises:
        ConfigError: a secret is not where the settings say, or the venue cannot be traded at.
    """
    venue = str(account.__struct_config__.tag)
    if venue not in TRADINGS:
        raise ConfigError(f"execution.accounts.{name}: {venue} cannot be traded at yet")
    if account.rest_url:
        section = settings_of(venue, sections)
        changed = {"url": account.rest_url, "private_url": account.rest_url}
        own = {key: value for key, value in changed.items() if hasattr(section, key)}
        sections = replace(sections, **{venue: replace(section, **own)})
    tools = Tools(utc_ns=now_ns, uniform=random.SystemRandom().random)
    access = Access(
        key=read_secret(f"execution.accounts.{name}.key", account.key),
        secret=read_secret(f"execution.accounts.{name}.secret", account.secret),
        rest=make_client(venue, sections, data / "state", tools),
        socket_url=account.socket_url or "",
        next_nonce=Nonces(data / "state" / "nonces" / name, now_ns).next,
        now_ns=now_ns,
    )
    return TRADINGS[venue](access)
