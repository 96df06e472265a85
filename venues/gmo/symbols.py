"""GMO Coin's names for things: `BTC` is spot against yen, `BTC_JPY` the leverage product.

The leverage product is `BTC/JPY:PERP`: a contract without expiry, held on margin, of which nothing
is ever delivered. That it costs a daily fee instead of a funding rate is a cost, not another kind.
"""

QUOTE = "JPY"
LEVERAGE = f"_{QUOTE}"


def common_pair(symbol: str) -> str:
    """`BTC` → `BTC/JPY`; `BTC_JPY` → `BTC/JPY:PERP`."""
    if symbol.endswith(LEVERAGE):
        return f"{symbol.removesuffix(LEVERAGE)}/{QUOTE}:PERP"
    return f"{symbol}/{QUOTE}"
