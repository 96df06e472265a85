"""A backtest as one HTML page that needs nothing else: figures, plots, tables.

Nothing of the moment it is made at is in it: one result is one page, to the byte. Colours are
variables of the page, which follow the reader's light or dark screen.
"""

import html
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from processes.clock import utc_text
from processes.replay.backtest.plots import plots
from processes.replay.backtest.result import Result

MOST_ROWS: Final = 200
"""Of a table; the JSON has all."""
STYLE: Final = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #ffffff; --ink: #1d2327;
  --faint: #8a939b; --rule: #e3e6e8; --up: #1a7f4b; --down: #c0362c; --line: #2463b4;
  --fill: #c9dcf3; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181b; --card: #1b2024;
  --ink: #e4e8ea; --faint: #8b969e; --rule: #2c343a; --up: #4cc38a; --down: #ef6a5f;
  --line: #6aa5ee; --fill: #263f5c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 28px 20px 60px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 17px; margin: 36px 0 10px; }
p, .note { color: var(--faint); margin: 0 0 8px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 10px;
  margin: 20px 0 8px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 10px 14px; }
.card b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; font-weight: 600; }
.card span { color: var(--faint); font-size: 13px; }
.up { color: var(--up); } .down { color: var(--down); }
figure { margin: 0 0 14px; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; padding: 12px 12px 4px; } figure svg { width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--faint); font-weight: 500; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
td.n, th.n { text-align: right; } code { font-size: 12.5px; }
"""


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
        _table(
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
        _table(
            ["hour", "decisions", "orders", "fills", "turnover", "fees", "realized", "equity"],
            [
                [h.hour.replace("T", " "), f"{h.decisions:,}", str(h.orders), str(h.fills),
                 _short(h.turnover), _short(h.fees), _short(h.realized), _short(h.equity)]
                for h in result.hours
            ],
            1,
        ),
        "<h2>Decisions</h2>",
        _table(
            ["action", "reason", "decisions"],
            [[c.action, c.reason, f"{c.decisions:,}"] for c in result.reasons],
            2,
        ),
        *_pulled(result),
        *_lists(result),
        "<h2>Settings in force</h2>",
        _table(["setting", "value"], [[k, str(v)] for k, v in sorted(result.settings.items())], 9),
        _footer(result),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Backtest: {html.escape(result.profile)}</title><style>{STYLE}</style></head>"
        f"<body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )


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
    cards = "".join(
        f'<div class="card"><b class="{tone}">{html.escape(value)}</b>'
        f"<span>{html.escape(what)}</span></div>"
        for value, what, tone in shown
    )
    return f'<div class="cards">{cards}</div>'


def _lists(result: Result) -> list[str]:
    parts = [f"<h2>Trades</h2>{_left_out(len(result.trades))}"]
    parts.append(
        _table(
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
            _table(
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
        _table(
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
        _table(["time", "trigger", "kill switch", "why"], rows, 9),
        "<p>Nobody arms the switch again in a backtest.</p>",
    ]


def _left_out(count: int) -> str:
    if not count:
        return "<p>None.</p>"
    return f"<p>The first {MOST_ROWS} of {count:,}.</p>" if count > MOST_ROWS else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Columns from `numbers` on are set to the right."""
    if not rows:
        return ""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if n >= numbers else ''}>{html.escape(text)}</{tag}>"
            for n, text in enumerate(cells)
        )

    body = "\n".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{line(head, "th")}</tr>\n{body}\n</table></div>'
