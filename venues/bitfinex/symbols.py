"""Bitfinex's names for things, and the common form of them: `tBTCF0:USTF0` is `BTC/USDT:PERP`."""

from collections.abc import Mapping

CURRENCIES: dict[str, str] = {
    "UST": "USDT", "UDC": "USDC", "DSH": "DASH", "IOT": "IOTA", "ALG": "ALGO", "ATO": "ATOM",
    "QTM": "QTUM", "MNA": "MANA", "DAT": "DATA", "BAB": "BCH", "EUT": "EURT", "CNHT": "CNHT",
    "AMP": "AMPL", "B21X": "B21", "TESTBTC": "TESTBTC", "TESTUSD": "TESTUSD",
    "EUS": "EURS", "QSH": "QASH", "RBT": "RBTC", "SNG": "SNGLS", "STJ": "STORJ", "TSD": "TUSD",
    "VSY": "VSYS", "WBT": "WBTC", "XCH": "XCHF", "YYW": "YOYOW",
}  # fmt: skip
"""Codes that differ from the common ones (conf pub:map:currency:sym, and the venue's symbol
page)."""


LIQUIDATIONS_PAIR = "ALL:LIQUIDATIONS"
"""The pair of the stream that tells of all symbols' liquidations."""


def split_pair(symbol: str) -> tuple[str, str]:
    """The two codes of a trading symbol: `tBTCUSD` → BTC, USD; `tDOGE:USD` → DOGE, USD."""
    body = symbol[1:]
    if ":" in body:
        base, _, quote = body.partition(":")
        return base, quote
    return body[:-3], body[-3:]


def currency_names(symbols: Mapping[str, object]) -> dict[str, str]:
    """Common names by code: the venue's table (conf pub:map:currency:sym), ours over it.

    The venue writes some in mixed case (`USDt`); a few of its entries only repeat a derivative's
    code. What `CURRENCIES` says stays, so that a pair never changes its name under recordings.
    """
    told = {code: name.upper() for code, name in symbols.items() if isinstance(name, str) and name}
    return {**told, **CURRENCIES}


def common_pair(symbol: str, names: Mapping[str, str] = CURRENCIES) -> str:
    """`BASE/QUOTE`, with `:PERP` for a derivative; `CODE:FUNDING` for a funding currency."""
    if symbol == "liq:global":
        return LIQUIDATIONS_PAIR
    if symbol.startswith("f"):
        code = symbol[1:]
        return f"{names.get(code, code)}:FUNDING"
    base, quote = split_pair(symbol)
    perpetual = base.endswith("F0") and quote.endswith("F0")
    if perpetual:
        base, quote = base[:-2], quote[:-2]
    pair = f"{names.get(base, base)}/{names.get(quote, quote)}"
    return f"{pair}:PERP" if perpetual else pair
