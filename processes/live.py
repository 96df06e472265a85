"""Whether orders may go where money is: the settings say so, and a person has said so.

`execution.live: true` alone does nothing, and neither does a person alone: `dcctl arm --live`
writes a file that names the accounts as they were then, and an account that is added, or another
address, needs a person again. An account that is not armed is traded on paper under its own name.
"""

import hashlib
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from processes.files import sync_folder, write_whole
from schemas.brokers import Account, FreqtradeAccount, PaperAccount
from schemas.control import Mode
from schemas.settings import Settings

PHRASE: Final = "trade with real money"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Armed(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word."""

    accounts: dict[str, str]
    """Fingerprint of each account, by name."""
    since_ns: int


def armed_path(data: Path) -> Path:
    """Where it is kept."""
    return data / "state" / "live-armed.json"


def is_real(account: Account) -> bool:
    """Whether there may be money behind an account: paper and venues on this machine have none.

    A Freqtrade bot is taken to be real: whether it is in dry-run it says itself, and only then may
    orders go there unarmed.
    """
    if isinstance(account, PaperAccount):
        return False
    if isinstance(account, FreqtradeAccount):
        return True
    return not (_is_loopback(account.socket_url) and _is_loopback(account.rest_url))


def _is_loopback(url: str | None) -> bool:
    return url is not None and urlsplit(url).hostname in LOOPBACK


def fingerprint(account: Account) -> str:
    """Of all that says where orders go and with which key; secrets are named, not held."""
    return hashlib.blake2b(msgspec.json.encode(account), digest_size=8).hexdigest()


def real_accounts(settings: Settings) -> list[str]:
    """Accounts with money behind them."""
    accounts = settings.execution.accounts
    return sorted(name for name, account in accounts.items() if is_real(account))


def may_trade(data: Path, settings: Settings, name: str) -> bool:
    """Whether an account's orders may go to its venue."""
    account = settings.execution.accounts[name]
    if not is_real(account):
        return True
    if not settings.execution.live:
        return False
    return _read(data).accounts.get(name) == fingerprint(account)


def mode_of(data: Path, settings: Settings) -> Mode:
    """What orders are: with money, at venues of this machine or bots that may be dry, on paper."""
    accounts = settings.execution.accounts
    if any(is_real(accounts[name]) and may_trade(data, settings, name) for name in accounts):
        return Mode.LIVE
    at_venues = [account for account in accounts.values() if not isinstance(account, PaperAccount)]
    dry = any(isinstance(one, FreqtradeAccount) or not is_real(one) for one in at_venues)
    return Mode.DRY_RUN if dry else Mode.PAPER


def _read(data: Path) -> Armed:
    try:
        return msgspec.json.decode(armed_path(data).read_bytes(), type=Armed)
    except (OSError, msgspec.DecodeError):
        return Armed(accounts={}, since_ns=0)  # what cannot be read arms nothing


def arm_live(data: Path, settings: Settings, now_ns: int) -> list[str]:
    """Arm all accounts as the settings have them now; which."""
    names = real_accounts(settings)
    marks = {name: fingerprint(settings.execution.accounts[name]) for name in names}
    write_whole(armed_path(data), msgspec.json.encode(Armed(accounts=marks, since_ns=now_ns)))
    return names


def disarm_live(data: Path) -> bool:
    """Back to paper; whether anything was armed."""
    path = armed_path(data)
    if not path.exists():
        return False
    path.unlink()
    sync_folder(path.parent)
    return True
