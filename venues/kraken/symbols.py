"""Kraken's names for things: v2 symbols (`BTC/USD`) are the common form already; REST's are not.

REST knows a pair by a key (`XXBTZUSD`), an altname (`XBTUSD`) and a v1 name (`XBT/USD`); it says
XBT and XDG where everybody, v2 included, says BTC and DOGE. Old assets carry an X or Z in front.
"""

CURRENCIES: dict[str, str] = {"XBT": "BTC", "XDG": "DOGE"}
"""Codes of REST and v1 that differ from the common ones."""

LEGACY: dict[str, str] = {
    "XETC": "ETC", "XETH": "ETH", "XLTC": "LTC", "XMLN": "MLN", "XREP": "REP", "XXBT": "BTC",
    "XXDG": "DOGE", "XXLM": "XLM", "XXMR": "XMR", "XXRP": "XRP", "XZEC": "ZEC", "ZAUD": "AUD",
    "ZCAD": "CAD", "ZEUR": "EUR", "ZGBP": "GBP", "ZJPY": "JPY", "ZUSD": "USD",
}  # fmt: skip
"""Assets whose REST name has a class letter in front; a rule would take XTZ for TZ."""

_BACK = {common: code for code, common in CURRENCIES.items()}


def common_currency(code: str) -> str:
    """The common name of an asset, whichever of Kraken's names is given."""
    return LEGACY.get(code) or CURRENCIES.get(code, code)


def common_pair(symbol: str) -> str:
    """The common form, which is v2's, of a v1 or v2 symbol: `XBT/USD` → `BTC/USD`."""
    base, _, quote = symbol.partition("/")
    return f"{common_currency(base)}/{common_currency(quote)}"


def rest_name(symbol: str) -> str:
    """The altname by which REST takes a v2 symbol: `BTC/USD` → `XBTUSD`; others as they are."""
    base, slash, quote = symbol.partition("/")
    return f"{_BACK.get(base, base)}{_BACK.get(quote, quote)}" if slash else symbol
