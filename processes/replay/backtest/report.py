"""A backtest as one HTML page that needs nothing else: figures, plots, tables."""

import html
from decimal import Decimal
from typing import Final

from processes import pages
from processes.clock import utc_text
from processes.pages import cards, table
from processes.replay.backtest.plots import plots
from processes.replay.backtest.result import Result

MOST_ROWS: Final = 200
"""Of a table; the JSON has all."""


def page(result: Result) -> str:
    """The page."""
    one = result.summary
    money = " ".join(result.currencies)
    parts = [
        f"<h1>Backtest: {html.escape(result.profile)}</h1>",
        _subtitle(result),
        _cards(result),
        *(f"<figure>{drawn}</figure>" for drawn in plots(result)),
        "<h2>Costs</h2>",
        table(
            ["", money],
            [
                ["gross result", _short(one.gross)],
                ["fees", _short(one.fees)],
                ["spread: middle to best price", _short(one.spread)],
                ["depth: best price to ours", _short(one.depth)],
                ["delay: middle from decision to fill", _short(one.delay)],
                ["turnover", _short(one.turnover)],
            ],
            1,
        ),
        "<p>Spread, depth and delay are in the prices of fills, so in the gross result.</p>",
        "<h2>Hours, UTC</h2>",
        table(
            ["hour", "decisions", "orders", "fills", "turnover", "fees", "realized", "equity"],
            [
                [h.hour.replace("T", " "), f"{h.decisions:,}", str(h.orders), str(h.fills),
                 _short(h.turnover), _short(h.fees), _short(h.realized), _short(h.equity)]
                for h in result.hours
            ],
            1,
        ),
        "<h2>Decisions</h2>",
        table(
            ["action", "reason", "decisions"],
            [[c.action, c.reason, f"{c.decisions:,}"] for c in result.reasons],
            2,
        ),
        *_pulled(result),
        *_lists(result),
        "<h2>Settings in force</h2>",
        table(["setting", "value"], [[k, str(v)] for k, v in sorted(result.settings.items())], 9),
        _footer(result),
    ]  # fmt: skip
    return pages.page(f"Backtest: {result.profile}", parts)


def _subtitle(result: Result) -> str:
    return (
        f"<p>{utc_text(result.from_ns)} to {utc_text(result.to_ns)}, "
        f"{result.events:,} events, {result.decisions:,} decisions, "
        f"model {html.escape(result.model)}</p>"
    )


def _footer(result: Result) -> str:
    return (
        f"<p>Sessions {', '.join(map(str, result.sessions))}. Digest of inputs and decisions: "
        f"<code>{result.digest}</code></p>"
    )


def _short(amount: str) -> str:
    return f"{Decimal(amount):,.4f}"


def _cards(result: Result) -> str:
    one = result.summary
    tone = "up" if Decimal(one.net) > 0 else "down" if Decimal(one.net) < 0 else ""
    shown = [
        (_short(one.net), "net " + " ".join(result.currencies), tone),
        (f"{one.net_bps:.2f} bp", "net of turnover", tone),
        (_short(one.fees), "fees", ""),
        (_short(one.slippage), "slippage", ""),
        (_short(one.max_drawdown), "largest drawdown", ""),
        (f"{one.hit_rate:.0%}", f"of {one.trades} trades won", ""),
        (f"{one.fills}", f"fills of {one.orders} orders", ""),
        (f"{one.time_in_market:.0%}", "of the time in the market", ""),
    ]
    return cards(shown)


def _lists(result: Result) -> list[str]:
    parts = [f"<h2>Trades</h2>{_left_out(len(result.trades))}"]
    parts.append(
        table(
            ["closed", "symbol", "side", "exit", "quantity", "entry", "exit", "fees", "net"],
            [
                [utc_text(t.closed_ns), t.symbol, t.side, t.exit_reason, t.quantity,
                 t.entry_price, t.exit_price, _short(t.fees), _short(t.net)]
                for t in result.trades[:MOST_ROWS]
            ],
            4,
        )
    )  # fmt: skip
    if result.positions:
        parts.append("<h2>Open at the end</h2>")
        parts.append(
            table(
                ["symbol", "quantity", "average price", "mark", "unrealized"],
                [
                    [p.symbol, p.quantity, p.average_price, p.mark, _short(p.unrealized)]
                    for p in result.positions
                ],
                1,
            )
        )
    parts.append(f"<h2>Gaps of the tape</h2>{_left_out(len(result.gaps))}")
    parts.append(
        table(
            ["symbol", "from", "to", "why"],
            [
                [g.symbol, utc_text(g.from_ns), utc_text(g.to_ns), g.why]
                for g in result.gaps[:MOST_ROWS]
            ],
            9,
        )
    )
    return parts


def _pulled(result: Result) -> list[str]:
    if not result.pulled:
        return []
    rows = [[utc_text(p.time_ns), p.code, p.level, p.text] for p in result.pulled[:MOST_ROWS]]
    return [
        "<h2>Triggers</h2>",
        table(["time", "trigger", "kill switch", "why"], rows, 9),
        "<p>Nobody arms the switch again in a backtest.</p>",
    ]


def _left_out(count: int) -> str:
    if not count:
        return "<p>None.</p>"
    return f"<p>The first {MOST_ROWS} of {count:,}.</p>" if count > MOST_ROWS else ""
