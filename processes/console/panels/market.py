"""An instrument as pictures: ladder, depth, trades, bars, what models see and expect."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import isfinite
from typing import Final

from processes.console.drawing import (
    Scale,
    ago,
    amount,
    clock,
    labelled,
    number,
    path,
    price,
    sparkline,
    spread_xs,
    svg,
    table,
    text,
)
from processes.console.view import Bar, Level, Market, View
from schemas.features import CATALOGUE
from schemas.predictions import RULE

NO_MARKET: Final = '<p class="none">no book has come yet</p>'
HEIGHT: Final = 190.0
WIDTH: Final = 640.0
LOPSIDED: Final = 3.0
"""A side of the depth is shown so many times as far out as the nearer one goes."""
LEAST_BARS: Final = 30
"""Fewer leave room on the left."""


def of_one(draw: Callable[[View, Market], str]) -> Callable[[View, str], str]:
    """A panel of the instrument that the page has chosen; of the first while it has chosen none."""

    def panel(view: View, choice: str) -> str:
        found = chosen(view, choice)
        return NO_MARKET if found is None else draw(view, found)

    panel.__doc__ = draw.__doc__
    return panel


def chosen(view: View, choice: str) -> Market | None:
    """The market that a page has chosen, as venue/symbol."""
    for one in view.markets:
        if f"{one.venue}/{one.symbol}" == choice:
            return one
    return view.markets[0] if view.markets else None


def symbols(view: View, choice: str) -> str:
    """All instruments, to choose one."""
    current = chosen(view, choice)
    parts = []
    for one in view.markets:
        mark = ' aria-current="true"' if one is current else ""
        name = text(f"{one.venue}/{one.symbol}")
        parts.append(
            f'<button type="button" class="symbol" data-act="choose" data-name="{name}" '
            f'data-key="choose-{name}"{mark}><b>{text(one.pair or one.symbol)}</b>'
            f"<i>{text(one.venue)}</i><span>{price(one.middle)}</span>"
            f"<em>{number(one.change_bps, 1)}\u202fbp</em></button>"
        )
    return "".join(parts) or NO_MARKET


@of_one
def top(view: View, market: Market) -> str:
    """The figures of the moment."""
    age_s = max(view.at_ns - market.book_ns, 0) / 1e9 if market.book_ns else 0.0
    invalid = ", ".join(market.invalid)
    parts = [
        (price(market.middle), "middle"),
        (f"{number(market.spread_bps, 2)}\u202fbp", "spread"),
        (f"{number(market.change_bps, 1)}\u202fbp", "in 3 minutes"),
        (price(market.last) if market.last else "–", f"last, {market.last_side or 'none'}"),
        (ago(age_s), "book's age"),
        (text(invalid or "trusted"), "feature row"),
    ]
    if "volume" in market.ticker:
        parts.append((number(market.ticker["volume"], 1), "day's volume"))
    spans = "".join(f"<span><b>{shown}</b><i>{text(what)}</i></span>" for shown, what in parts)
    return f'<div class="figures">{spans}</div>'


@of_one
def ladder(_: View, market: Market) -> str:
    """Ten levels a side, sizes as bars: asks above, bids below."""
    most = max((level.size for level in [*market.bids, *market.asks]), default=1.0) or 1.0

    def row(level: Level, side: str) -> str:
        share = 100 * level.size / most
        return (
            f'<tr class="{side}"><td class="n">{price(level.price)}</td>'
            f'<td class="n">{amount(round(level.size, 5))}</td><td class="size">'
            f'<i style="width:{share:.0f}%"></i></td></tr>'
        )

    asks = "".join(row(level, "ask") for level in market.asks[::-1])
    bids = "".join(row(level, "bid") for level in market.bids)
    middle = (
        f'<tr class="middle"><td class="n">{price(market.middle)}</td>'
        f'<td colspan="2">{number(market.spread_bps, 2)}\u202fbp spread</td></tr>'
    )
    return (
        '<table class="ladder"><thead><tr><th class="n">price</th><th class="n">size</th>'
        f"<th></th></tr></thead><tbody>{asks}{middle}{bids}</tbody></table>"
    )


@of_one
def depth(_: View, market: Market) -> str:
    """Cumulated sizes on both sides of the middle."""
    if not market.bids or not market.asks:
        return NO_MARKET
    bids = list(accumulate(level.size for level in market.bids))
    asks = list(accumulate(level.size for level in market.asks))
    below = market.middle - market.bids[-1].price
    above = market.asks[-1].price - market.middle
    # The middle is in the middle; one level far out does not press all others together.
    reach = max(min(max(below, above), LOPSIDED * min(below, above)), 1e-12)
    low, high = market.middle - reach, market.middle + reach
    most = max(bids[-1], asks[-1]) or 1.0

    def place(at: float) -> float:
        return min(max(WIDTH * (at - low) / (high - low), 0.0), WIDTH)

    def area(levels: Sequence[Level], sums: Sequence[float], side: str) -> str:
        points = [(place(levels[0].price), HEIGHT)]
        before = 0.0
        for level, total in zip(levels, sums, strict=True):
            x = place(level.price)
            points += [(x, HEIGHT - before / most * (HEIGHT - 12))]
            points += [(x, HEIGHT - total / most * (HEIGHT - 12))]
            before = total
        points.append((points[-1][0], HEIGHT))
        told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        return f'<polygon class="{side}" points="{told}"/>'

    body = area(market.bids, bids, "bid") + area(market.asks, asks, "ask")
    title = f"depth: {bids[-1]:.4g} bid, {asks[-1]:.4g} asked within ten levels"
    foot = f"{price(low)} … {price(market.middle)} … {price(high)}"
    return labelled(svg(body, HEIGHT, title), amount(round(most, 4)), "0", foot)


@of_one
def trades(_: View, market: Market) -> str:
    """The newest trades."""
    rows = [
        [
            f'<span class="faint">{clock(one.time_ns, millis=True)}</span>',
            f'<span class="{text(one.side)}">{text(one.side)}</span>',
            price(one.price),
            amount(round(one.size, 6)),
        ]
        for one in market.trades[:22]
    ]
    return table(["time", "side", "price", "size"], rows, right=(2, 3), empty="no trade yet")


def _candlesticks(bars: Sequence[Bar], title: str, foot: str) -> str:
    if len(bars) < 2:
        return '<p class="none">there are bars as soon as there were trades</p>'
    body_height, volume_height = HEIGHT - 40, 34.0
    scale = Scale([v for bar in bars for v in (bar.high, bar.low)], body_height)
    most = max(bar.volume for bar in bars) or 1.0
    step = WIDTH / max(len(bars), LEAST_BARS)
    parts = []
    for at, bar in enumerate(bars, max(LEAST_BARS - len(bars), 0)):
        x = step * (at + 0.5)
        kind = "rise" if bar.close >= bar.open else "drop"
        high, low = scale(bar.high), scale(bar.low)
        begin, end = sorted((scale(bar.open), scale(bar.close)))
        tall = bar.volume / most * volume_height
        parts.append(
            f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{high}" y2="{low}"/>'
            f'<rect class="{kind}" x="{x - step * 0.32:.1f}" y="{begin}" '
            f'width="{step * 0.64:.1f}" height="{max(end - begin, 1):.1f}"/>'
            f'<rect class="volume" x="{x - step * 0.32:.1f}" y="{HEIGHT - tall:.1f}" '
            f'width="{step * 0.64:.1f}" height="{tall:.1f}"/>'
        )
    return labelled(svg("".join(parts), HEIGHT, title), price(scale.high), price(scale.low), foot)


@of_one
def bars(_: View, market: Market) -> str:
    """Bars of five seconds, of the trades on our tape."""
    span = f"{len(market.bars)} bars of 5 s, last at {price(market.bars[-1].close)}" if (
        market.bars
    ) else "bars"  # fmt: skip
    begin = clock(market.bars[0].start_ns) if market.bars else ""
    return _candlesticks(market.bars, span, f"5 s, since {begin} UTC")


@of_one
def candles(_: View, market: Market) -> str:
    """Candles as the venue sends them."""
    return _candlesticks(market.candles, f"{len(market.candles)} candles of the venue",
                         "as the venue sends them")  # fmt: skip


@of_one
def forecasts(_: View, market: Market) -> str:
    """What each model expects now."""
    rows = []
    for one in market.forecasts:
        bar = (
            '<span class="share">'
            f'<i class="up" style="width:{100 * one.up:.0f}%"></i>'
            f'<i class="flat" style="width:{100 * one.flat:.0f}%"></i>'
            f'<i class="down" style="width:{100 * one.down:.0f}%"></i></span>'
        )
        name = "rule" if one.model == RULE else one.model
        rows.append(
            [f"<b>{text(name)}</b>", bar, f"{one.up:.0%}", f"{one.flat:.0%}", f"{one.down:.0%}",
             number(one.move_bps, 2)]
        )  # fmt: skip
    late = '<p class="none">the last prediction came after its deadline</p>' if market.late else ""
    heads = ["model", "", "up", "flat", "down", "move, bp"]
    return table(heads, rows, right=(2, 3, 4, 5), empty="no prediction yet") + late


@of_one
def predictions(_: View, market: Market) -> str:
    """Up less down of the blend against the middle price, over three minutes."""
    past = [one for one in market.past if isfinite(one.up) and one.middle > 0]
    if len(past) < 2:
        return '<p class="none">the picture begins with the second prediction</p>'
    xs = spread_xs(len(past))
    middles = Scale([one.middle for one in past], HEIGHT * 0.62)
    body = path(xs, [middles(one.middle) for one in past], "line strong")
    base = HEIGHT * 0.82
    step = WIDTH / len(past)
    for x, one in zip(xs, past, strict=True):
        lean = one.up - one.down
        tall = abs(lean) * HEIGHT * 0.17
        kind = "rise" if lean >= 0 else "drop"
        top_y = base - tall if lean >= 0 else base
        body += (
            f'<rect class="{kind}" x="{x - step * 0.4:.1f}" y="{top_y:.1f}" '
            f'width="{step * 0.8:.1f}" height="{max(tall, 0.5):.1f}"/>'
        )
    body += f'<line class="rule" x1="0" x2="{WIDTH}" y1="{base}" y2="{base}"/>'
    title = f"middle price and the blend's lean, now {past[-1].up - past[-1].down:+.2f}"
    foot = f"{len(past)} cuts · above: middle price · below: up less down"
    return labelled(svg(body, HEIGHT, title), price(middles.high), "", foot)


class FeatureCells:
    """Every column of the feature row with its last minute; drawn anew with each cut."""

    def __init__(self) -> None:
        self._drawn: dict[int, tuple[int, str]] = {}

    def __call__(self, view: View, choice: str) -> str:
        """The cells of the instrument that is chosen."""
        market = chosen(view, choice)
        if market is None or not market.features:
            return '<p class="none">no feature row yet</p>'
        cut_ns, drawn = self._drawn.get(market.index, (0, ""))
        if cut_ns != market.cut_ns:
            drawn = f'<div class="cells">{"".join(self._cells(market))}</div>'
            self._drawn[market.index] = (market.cut_ns, drawn)
        return drawn

    def _cells(self, market: Market) -> Iterator[str]:
        for feature in CATALOGUE:
            value = market.features[feature.name]
            unit = "" if feature.unit == "1" else f" {feature.unit}"
            line = sparkline(market.feature_past.get(feature.name, []), feature.name)
            yield (
                f'<div class="cell" title="{text(feature.formula)}"><b>{number(value, 3)}'
                f"<i>{text(unit)}</i></b><span>{text(feature.name)}</span>{line}</div>"
            )
