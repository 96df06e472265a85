"""doctor's checks of what is not ours: venues and bots. They warn: others' absence is no fault."""

import socket
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from processes.cli.findings import Finding, Look, warned
from processes.clock import Clock, measure_offset_ns
from schemas.brokers import FreqtradeAccount

CONNECT_S: Final = 3.0
SKEW_S: Final = 3.0
PORTS: Final = {"wss": 443, "https": 443, "ws": 80, "http": 80}


def answers(url: str) -> str:
    """Why nobody listens at an address; empty if somebody does."""
    parts = urlsplit(url)
    where = (parts.hostname or "", parts.port or PORTS.get(parts.scheme, 443))
    try:
        socket.create_connection(where, CONNECT_S).close()
    except OSError as error:
        return str(error.strerror or error)
    return ""


def check_venues(look: Look) -> Finding:
    """Each venue that is switched on can be reached."""
    live = _live(look)
    if not live:
        return Finding("venues", "well", "the local exchange only; no network is needed")
    away = {name: why for name, url in live.items() if (why := answers(url))}
    text = ", ".join(f"{name} does not answer ({why})" for name, why in away.items())
    hint = "nothing, if you are offline: collectors go on trying; else look at the network"
    return warned("venues", not away, text or f"{', '.join(live)} can be reached", hint)


def skew_s(url: str) -> float | None:
    """How far our clock is ahead of a server's, to a second; None if it does not say."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme in {"wss", "https"} else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=CONNECT_S)
    try:
        connection.request("HEAD", "/")
        told = connection.getresponse().getheader("Date", "")
        theirs_s = parsedate_to_datetime(told).timestamp()
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return Clock(measure_offset_ns()).now_ns() / 1e9 - theirs_s


def check_skew(look: Look) -> Finding:
    """The machine's clock against the venues': requests of accounts are signed with a time."""
    live = _live(look)
    found = {name: away_s for name, url in live.items() if (away_s := skew_s(url)) is not None}
    off = {name: away_s for name, away_s in found.items() if abs(away_s) > SKEW_S}
    text = ", ".join(
        f"{abs(away_s):.0f} s {'ahead of' if away_s > 0 else 'behind'} {name}"
        for name, away_s in off.items()
    )
    good = f"as {', '.join(found)} has it, to {SKEW_S:g} s" if found else "no venue was asked"
    return warned("time", not off, text or good, "have the system set its clock by network time")


def _live(look: Look) -> dict[str, str]:
    """Addresses of the venues that are switched on, without the local exchange."""
    enabled = look.settings.venues.enabled()
    return {
        name: one.url for name, one in enabled.items() if one.url.startswith(("ws://", "wss://"))
    }


def check_bots(look: Look) -> Finding:
    """Each Freqtrade bot of an account listens."""
    accounts = look.settings.execution.accounts
    bots = {name: one.url for name, one in accounts.items() if isinstance(one, FreqtradeAccount)}
    if not bots:
        return Finding("freqtrade", "well", "no account has a bot")
    away = {name: why for name, url in bots.items() if (why := answers(url))}
    text = ", ".join(f"the bot of {name} does not answer ({why})" for name, why in away.items())
    return warned(
        "freqtrade", not away, text or f"{', '.join(bots)}: reachable", "start it, or dcctl "
        "freqtrade status",
    )  # fmt: skip


CHECKS: Final[tuple[Callable[[Look], Finding], ...]] = (
    check_venues, check_skew, check_bots,
)  # fmt: skip
