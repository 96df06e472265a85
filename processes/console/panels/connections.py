"""Connections to venues, and every stream on them."""

from typing import Any, Final

from processes.console.drawing import act, ago, clock, dot, number, price, size, table, text
from processes.console.view import Market, View

TABS: Final = {
    "ticker": ("ticker",),
    "trades": ("trades",),
    "books": ("books", "raw_books"),
    "candles": ("candles",),
    "status": ("status", "liquidations"),
}


def feeds(view: View, _: str) -> str:
    """Each connection: how full it is, its flags, its last error; to be closed and opened."""
    parts = []
    for feed in view.feeds:
        if feed["error"]:
            parts.append(f'<p class="fault">{text(feed["venue"])}: {text(feed["error"])}</p>')
        parts += [_connection(feed, one) for one in feed["connections"]]
    return f'<div class="cards">{"".join(parts)}</div>' if parts else '<p class="none">none</p>'


def _connection(feed: dict[str, Any], one: dict[str, Any]) -> str:
    most = one["named_limit"] or feed.get("limit", 0)
    room = f"{one['wanted']} / {most}" if most else str(one["wanted"])
    share = 100 * one["wanted"] / most if most else 0
    closed = one["state"] == "disconnected"
    what, label = ("connect", "Connect") if closed else ("disconnect", "Disconnect")
    button = act(what, label, venue=feed["venue"], connection=one["connection"])
    error = "none since it began"
    if one["last_error"]:
        error = f"{text(one['last_error'])} <i>{clock(one['last_error_ns'])} UTC</i>"
    flags = ", ".join(feed.get("flags", [])) or "none"
    return (
        f'<article class="card"><h3>{text(feed["venue"])} <i>{one["connection"]}</i>'
        f"<span>{dot(one['state'])}</span></h3><dl>"
        f'<dt>subscriptions</dt><dd>{room}<span class="bar"><u style="width:{share:.0f}%"></u>'
        f"</span></dd><dt>live, refused</dt><dd>{one['live']}, {one['refused']}</dd>"
        f"<dt>received</dt><dd>{size(one['bytes'])}</dd>"
        f"<dt>opened, gaps, resyncs</dt><dd>{one['opened']}, {one['gaps']}, {one['resyncs']}</dd>"
        f"<dt>flags</dt><dd>{text(flags)}</dd><dt>last error</dt><dd>{error}</dd>"
        f'<dt>address</dt><dd class="faint">{text(one["url"])}</dd></dl>{button}</article>'
    )


def streams(view: View, choice: str) -> str:
    """The streams of a tab."""
    wanted = TABS.get(choice or "ticker", ())
    markets = {(one.venue, one.symbol): one for one in view.markets}
    rows = []
    for feed in view.feeds:
        for connection in feed["connections"]:
            rows += [
                _stream(feed, connection, one, markets, view.at_ns)
                for one in connection["streams"]
                if one["channel"] in wanted
            ]
    heads = ["venue", "symbol", "stream", "state", "last data", "now", ""]
    return table(heads, rows, right=(4,), empty="no such stream is subscribed")


def _stream(
    feed: dict[str, Any],
    connection: dict[str, Any],
    one: dict[str, Any],
    markets: dict[tuple[str, str], Market],
    at_ns: int,
) -> list[str]:
    age_s = max(at_ns - one["data_ns"], 0) / 1e9 if one["data_ns"] else None
    limit_s = feed["stale_s"].get(one["channel"], 0.0)
    stale = age_s is not None and limit_s and age_s > limit_s
    shown = "–" if age_s is None else ago(age_s)
    state = dot(one["state"]) + (f' <span class="bad">{text(one["text"])}</span>' if one["text"]
                                 else "")  # fmt: skip
    market = markets.get((feed["venue"], one["symbol"]))
    what = f"{one['channel']} {one['suffix']}".strip()
    primary = ' <span class="tag">primary</span>' if one["primary"] else ""
    end = ""
    if one["channel"] == "books" and one["primary"]:
        end = act("unsubscribe", "Unsubscribe", venue=feed["venue"], symbol=one["symbol"])
    return [
        f"{text(feed['venue'])} <i>{connection['connection']}</i>",
        f"<b>{text(one['symbol'])}</b>",
        f"{text(what)}{primary}",
        state,
        f'<span class="{"bad" if stale else ""}">{shown}</span>',
        _now(one["channel"], market),
        end,
    ]


def _now(channel: str, market: Market | None) -> str:
    """What the stream says now."""
    if market is None:
        return ""
    if channel == "ticker" and "bid" in market.ticker:
        told = market.ticker
        return f"{price(told['bid'])} / {price(told['ask'])}"
    if channel == "trades" and market.trades:
        one = market.trades[0]
        side = text(one.side)
        return f'<span class="{side}">{side}</span> {price(one.price)}'
    if channel == "books" and market.middle:
        return f"{price(market.middle)}, {number(market.spread_bps, 2)}\u202fbp"
    if channel == "candles" and market.candles:
        return f"close {price(market.candles[-1].close)}"
    if channel == "status" and "mark_price" in market.status:
        return f"mark {price(market.status['mark_price'])}"
    return ""
