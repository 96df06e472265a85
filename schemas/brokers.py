"""Accounts as settings: which broker, which key, which instruments.

One account is one broker and one key; one instrument goes to one account. A key, a secret or a
password is never written here, only where it is found:

    ${NAME}               an environment variable
    file:/path            a file of mode 0600, its first line
    keychain:SERVICE      the macOS Keychain
    command:PROGRAM ...   what a program prints, such as a secret manager's client
"""

from typing import Annotated

from msgspec import Meta, Struct

Secret = Annotated[str, Meta(pattern=r"^(\$\{\w+\}|file:/.+|keychain:[\w.@-]+|command:\S.*)$|^$")]
"""Where a secret is found; empty = not given."""
SocketUrl = Annotated[str, Meta(pattern=r"^wss?://[^/\s]+(/[^\s]*)?$")]
LoopbackUrl = Annotated[str, Meta(pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?$")]
InstrumentPattern = Annotated[str, Meta(pattern=r"^(\*|[a-z]+:(\*|\S+))$")]
"""`*`, `kraken:*` or `kraken:BTC/USD`; the more exact one goes before."""
BasisPoints = Annotated[float, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class AccountSettings(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="broker"
):
    """What every account has."""

    instruments: tuple[InstrumentPattern, ...] = ("*",)
    """Whose orders go here; an instrument of no account is not traded."""
    taker_bps: BasisPoints | None = None
    """Fee that expected value is weighed with; none = `execution.paper.fee_bps`."""
    order_notional: Annotated[str, Meta(pattern=r"^\d+(\.\d+)?$")] | None = None
    """Size of an entry, in quote currency; none = `execution.order_notional`. Accounts in dollars
    and in yen need one each."""


class PaperAccount(AccountSettings, frozen=True, kw_only=True, tag="paper"):
    """Fills from our own tape; `execution.paper` says how. Any venue's instruments."""


class VenueAccount(AccountSettings, frozen=True, kw_only=True):
    """A key at a venue. Addresses are the venue's where none stands here."""

    key: Secret
    secret: Secret
    socket_url: SocketUrl | None = None
    """Of the private socket."""
    rest_url: str | None = None
    dead_man_s: Annotated[float, Meta(ge=15, le=3600)] = 60.0
    """The venue cancels all orders when it has not heard of us for so long, where it can."""
    ask_every_s: Seconds = 30.0
    """How often venue and ledger are compared with nothing to be seen amiss."""


class BitfinexAccount(VenueAccount, frozen=True, kw_only=True, tag="bitfinex"):
    """Authenticated WebSocket. Spot (exchange wallet)."""


class KrakenAccount(VenueAccount, frozen=True, kw_only=True, tag="kraken"):
    """WebSocket v2. Spot."""


class GmoAccount(VenueAccount, frozen=True, kw_only=True, tag="gmo"):
    """REST and private WebSocket. Spot, and leverage for symbols like BTC_JPY."""


class FreqtradeAccount(AccountSettings, frozen=True, kw_only=True, tag="freqtrade"):
    """A Freqtrade bot on this machine, driven over its REST interface; spot."""

    url: LoopbackUrl
    username: str
    password: Secret
    ws_token: Secret
    venue: Annotated[str, Meta(pattern=r"^(bitfinex|kraken)$")] = "kraken"
    """Whose instruments the bot trades."""
    config_file: str = ""
    """The bot's own configuration, for changing its strategy; empty = cannot be changed."""
    strategies: str = ""
    """The folder of its strategies; empty = as its own configuration says."""
    command: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """Starts the bot, word by word; it is then kept alive and stopped with everything else, and is
    given username, password and token. Read at `dcctl start`; empty = somebody else starts it."""
    ask_every_s: Seconds = 5.0


Account = PaperAccount | BitfinexAccount | KrakenAccount | GmoAccount | FreqtradeAccount
