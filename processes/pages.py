"""Reports for people: one HTML page that needs nothing else, its plots in it as SVG.

Nothing of the moment it is made at is in a page: one result is one page, to the byte. Colours are
variables of the page, which follow the reader's light or dark screen; in drawings, which matplotlib
makes with a fixed salt and no date, stand-ins become those variables.
"""

import html
import io
from collections.abc import Callable, Sequence
from typing import Any, Final

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
INK, FAINT, UP, DOWN, LINE, FILL = (f"#01020{n}" for n in range(3, 9))
"""Stand-ins that become the page's variables."""
_VARIABLES: Final = {
    INK: "ink", FAINT: "faint", UP: "up", DOWN: "down", LINE: "line", FILL: "fill",
}  # fmt: skip

Draw = Callable[[Any], None]
"""Draws on axes of matplotlib."""


def page(title: str, parts: Sequence[str]) -> str:
    """A page of these elements; those that are empty are left out."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )


def cards(shown: Sequence[tuple[str, str, str]]) -> str:
    """Figures large enough to be seen first: value, what it is, and up, down or nothing."""
    made = "".join(
        f'<div class="card"><b class="{tone}">{html.escape(value)}</b>'
        f"<span>{html.escape(what)}</span></div>"
        for value, what, tone in shown
    )
    return f'<div class="cards">{made}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
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


def figure(title: str, draw: Draw, *, height: float = 2.5, width: float = 9.6) -> str:
    """An SVG element with its title, in inches."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    style: dict[Any, Any] = {
        "svg.hashsalt": "report", "svg.fonttype": "none", "font.family": "sans-serif",
        "font.size": 9, "text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK,
        "xtick.color": FAINT, "ytick.color": FAINT, "axes.spines.top": False,
        "axes.spines.right": False, "axes.grid": True, "grid.color": FAINT, "grid.alpha": 0.25,
        "grid.linewidth": 0.5, "axes.titlesize": 10, "axes.titleweight": "bold",
        "axes.titlelocation": "left", "axes.titlecolor": INK,
    }  # fmt: skip
    with mpl.rc_context({**mpl.rcParamsDefault, **style}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes)
        out = io.StringIO()
        nothing: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    for colour, name in _VARIABLES.items():
        drawn = drawn.replace(colour, f"var(--{name})")
    return drawn
