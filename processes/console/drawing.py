"""Pictures as SVG text, and figures as people read them. Colours are the page's variables."""

import html
from collections.abc import Sequence
from decimal import Decimal
from math import isfinite
from typing import Final

from processes.operations import figures

WIDTH: Final = 640.0


def text(value: object) -> str:
    """Anything as text of a page."""
    return html.escape(str(value), quote=True)


def number(value: float, digits: int = 2) -> str:
    """With a true minus sign and thin groups."""
    if not isfinite(value):
        return "–"
    shown = f"{value:,.{digits}f}".replace(",", "\u202f")
    return shown.replace("-", "\u2212") if float(f"{value:.{digits}f}") else shown.lstrip("-")


def amount(value: str | float | None, digits: int = 8) -> str:
    """Decimal text to so many places, without zeros behind."""
    if value is None:
        return "–"
    try:
        exact = Decimal(value) if isinstance(value, str) else Decimal(repr(value))
        rounded = exact.quantize(Decimal(1).scaleb(-digits)).normalize()
    except ArithmeticError:
        return text(value)
    return f"{rounded:,f}".replace(",", "\u202f").replace("-", "\u2212")


def price(value: float) -> str:
    """A price to as many places as its size asks for."""
    digits = 2 if value >= 1000 else 3 if value >= 10 else 5
    return number(value, digits)


def count(value: float) -> str:
    """A count, short."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.1f}\u202f{unit}"
    return number(value, 0)


def size(value: float) -> str:
    """Bytes."""
    return _tight(figures.size(value))


def micros(value: float) -> str:
    """Microseconds."""
    return _tight(figures.micros(value))


def _tight(figure: str) -> str:
    """Its unit a thin space away, so that no line breaks between them."""
    return figure.replace(" ", "\u202f")


def ago(seconds: float) -> str:
    """How long since."""
    if seconds < 0.95:
        return "now"
    if seconds < 60:
        return f"{seconds:.0f}\u202fs"
    if seconds < 3600:
        return f"{seconds // 60:.0f}\u202fmin"
    if seconds < 86_400:
        return f"{seconds // 3600:.0f}\u202fh {seconds % 3600 // 60:.0f}\u202fmin"
    return f"{seconds // 86_400:.0f}\u202fd {seconds % 86_400 // 3600:.0f}\u202fh"


def clock(time_ns: int, *, millis: bool = False) -> str:
    """A time of day, UTC."""
    seconds = time_ns // 10**9 % 86_400
    shown = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{shown}.{time_ns // 10**6 % 1000:03d}" if millis else shown


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), empty: str = "",
    classes: str = "",
) -> str:  # fmt: skip
    """A table of cells that are HTML already; columns in `right` are set to the right."""
    if not rows:
        return f'<p class="none">{empty or "nothing yet"}</p>'

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if at in right else ''}>{cell}</{tag}>"
            for at, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="table"><table class="{classes}">'
        f"<thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def dot(state: str) -> str:
    """A state as a mark and its word: shape and word say it, not colour alone."""
    kind = {
        "ready": "good", "running": "good", "live": "good", "connected": "good",
        "failed": "bad", "backing_off": "bad", "refused": "bad", "degraded": "bad",
    }.get(state, "wait")  # fmt: skip
    return f'<span class="dot {kind}"></span>{text(state.replace("_", " "))}'


def act(name: str, label: str, /, **more: object) -> str:
    """A button of a panel: what it does is said by its data."""
    data = "".join(f' data-{key.replace("_", "-")}="{text(value)}"' for key, value in more.items())
    key = "-".join([name, *(str(value) for value in more.values())])
    return (
        f'<button type="button" class="small" data-act="{text(name)}" data-key="{text(key)}"{data}>'
        f"{text(label)}</button>"
    )


class Scale:
    """From values to places of a picture."""

    def __init__(self, values: Sequence[float], height: float, margin: float = 6.0) -> None:
        known = [value for value in values if isfinite(value)]
        self.low = min(known, default=0.0)
        self.high = max(known, default=1.0)
        if self.high - self.low < 1e-12:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        self._height = height - 2 * margin
        self._margin = margin

    def __call__(self, value: float) -> float:
        """Distance from the top."""
        share = (self.high - value) / (self.high - self.low)
        return round(self._margin + share * self._height, 1)


def svg(body: str, height: float, title: str, width: float = WIDTH) -> str:
    """A picture with its name for who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{text(title)}" '
        f'preserveAspectRatio="none">{body}</svg>'
    )


def path(xs: Sequence[float], ys: Sequence[float], kind: str) -> str:
    """A line through points."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return f'<polyline class="{kind}" points="{points}"/>'


def spread_xs(length: int, width: float = WIDTH) -> list[float]:
    """Places of so many points from left to right."""
    return [width * at / max(length - 1, 1) for at in range(length)]


def sparkline(values: Sequence[float], title: str, height: float = 30.0) -> str:
    """A small line without axes."""
    known = [value if isfinite(value) else 0.0 for value in values]
    if len(known) < 2:
        return svg("", height, title, 120)
    scale = Scale(known, height, 3)
    return svg(path(spread_xs(len(known), 120), [scale(v) for v in known], "line"), height, title,
               120)  # fmt: skip


def labelled(picture: str, high: str, low: str, foot: str = "") -> str:
    """A picture with its highest and lowest value beside it."""
    foot = f'<figcaption class="foot">{foot}</figcaption>' if foot else ""
    return (
        f'<figure class="plot">{picture}<span class="axis top">{high}</span>'
        f'<span class="axis bottom">{low}</span>{foot}</figure>'
    )
