"""The pipeline as it is, its rates and latencies, and what needs attention."""

from typing import Final

from processes.console.drawing import (
    Scale,
    act,
    ago,
    amount,
    clock,
    count,
    dot,
    labelled,
    micros,
    number,
    path,
    size,
    spread_xs,
    svg,
    table,
    text,
)
from processes.console.view import Ring, View
from schemas.messages import ProcessStatus

MODES: Final = {"paper": "on paper", "dry_run": "without money", "live": "with money"}
HOPS: Final = {
    "recv_to_tape": "received → tape",
    "recv_to_feature": "→ features",
    "recv_to_prediction": "→ prediction",
    "recv_to_decision": "→ decision",
}
RUNGS: Final = {"mlx": "MLX", "cpu": "CPU", "positions_only": "positions only"}
STAGES: Final = ("features", "inference", "execution")
BESIDE: Final = frozenset({"storage", "bridge", "influx", "archive", "retraining", "alerts",
                           "console", "simulator"})  # fmt: skip
_LANES: Final = {"features": "features", "inference": "predictions", "execution": "decisions"}


def head(view: View, _: str) -> str:
    """The strip above every page."""
    state = view.status.state if view.status else "not answering"
    profile = view.status.profile if view.status else ""
    profit = view.realized + view.unrealized
    critical = sum(one.severity == "critical" for one in view.alerts)
    alerts = f"{len(view.alerts)} to look at" if view.alerts else "nothing to look at"
    tone = "bad" if critical else ""
    return (
        f'<span class="fact"><b>{dot(state)}</b><i>{text(profile)}</i></span>'
        f'<span class="fact"><b class="mode {text(view.mode)}">'
        f"{text(MODES.get(view.mode, view.mode))}</b><i>orders</i></span>"
        f'<span class="fact"><b>{number(profit)}</b><i>today</i></span>'
        f'<span class="fact wide-only"><b>{text(RUNGS.get(view.rung, view.rung))}</b>'
        "<i>models</i></span>"
        f'<span class="fact wide-only"><b class="{tone}">{alerts}</b><i>attention</i></span>'
        f'<span class="fact wide-only"><b>{clock(view.at_ns)}</b><i>UTC</i></span>'
    )


def switch(view: View, _: str) -> str:
    """The kill switch: whether it is pulled, on every page."""
    if view.kill_level == "none":
        return ""
    since = f" since {clock(view.kill_since_ns)} UTC" if view.kill_since_ns else ""
    by = f" by {text(view.kill_by)}" if view.kill_by else ""
    word = "obeyed" if view.kill_acknowledged else "not yet obeyed"
    return (
        f'<div class="pulled" role="alert"><b>Kill switch: {text(view.kill_level)}</b>'
        f"<span>pulled{by}{since}, {word}; no new order is sent</span></div>"
    )


def pipeline(view: View, _: str) -> str:
    """Processes and the rings between them, as they are."""
    known = {one.name: one for one in (view.status.processes if view.status else [])}
    rings = {one.name: one for one in view.rings}
    collectors = [name for name in known if name.startswith("collector.")]
    cells = ['<div class="stage">' + "".join(_box(known[name]) for name in collectors) + "</div>"]
    tapes = [rings[name] for name in rings if name.startswith("tape.")]
    cells.append(_lane(tapes, "features"))
    for name in STAGES:
        box = _box(known[name]) if name in known else ""
        cells.append(f'<div class="stage">{box}</div>')
        ring = rings.get(_LANES[name])
        follower = {"features": "inference", "inference": "execution"}.get(name, "storage")
        if ring is not None:
            cells.append(_lane([ring], follower))
    cells.append('<div class="stage">' + _brokers(view) + "</div>")
    beside = [_box(one, rings) for name, one in known.items() if name in BESIDE]
    return (
        f'<div class="flow">{"".join(cells)}</div>'
        f'<div class="beside" aria-label="processes beside the way of an order">'
        f"{''.join(beside)}</div>"
    )


def _box(one: ProcessStatus, rings: dict[str, Ring] | None = None) -> str:
    lag = ""
    if rings is not None:
        lags = [r[1] for ring in rings.values() for r in ring.readers if r[0] == one.name]
        lag = f"<i>{count(max(lags))} behind</i>" if lags else ""
    told = f" title='{text(one.detail)}'" if one.detail else ""
    name = _broken(one.name)
    restarts = f"<i>restarted {one.restarts}×</i>" if one.restarts else ""
    return (
        f'<div class="box {text(one.state)}"{told}><b>{name}</b>'
        f"<span>{dot(one.state)}</span><i>{size(one.rss_bytes)}</i>{lag}{restarts}</div>"
    )


def _broken(name: str) -> str:
    """A name that may be broken behind its dot."""
    return text(name).replace(".", ".<wbr>")


def _lane(rings: list[Ring], reader: str) -> str:
    """An arrow: what flows along it and how far its next reader is behind."""
    parts = []
    for ring in rings:
        lags = [lag for name, lag, _ in ring.readers if name == reader]
        lost = sum(lost for name, _, lost in ring.readers if name == reader)
        gone = f'<em class="bad">{count(lost)} lost</em>' if lost else ""
        parts.append(
            f"<div><b>{count(ring.per_s)}</b><i>/s</i><em>{_broken(ring.name)}</em>"
            f"<em>lag {count(max(lags, default=0))}</em>{gone}</div>"
        )
    return f'<div class="lane">{"".join(parts)}</div>'


def _brokers(view: View) -> str:
    words = f"{view.open_orders} open orders"
    return (
        f'<div class="box"><b>brokers</b><span>{text(MODES.get(view.mode, view.mode))}</span>'
        f"<i>{words}</i></div>"
    )


def hops(view: View, _: str) -> str:
    """Latencies of the last ten seconds."""
    longest = max((hop.p99 for hop in view.hops), default=0.0) or 1.0
    rows = []
    for hop in view.hops:
        bar = (
            f'<span class="bar"><i style="width:{100 * hop.p99 / longest:.0f}%"></i>'
            f'<u style="width:{100 * hop.p50 / longest:.0f}%"></u></span>'
        )
        shown = (micros(hop.p50), micros(hop.p99)) if hop.count else ("–", "–")
        rows.append([text(HOPS[hop.name]), bar, *shown])
    return table(["", "", "p50", "p99"], rows, right=(2, 3), classes="bars")


def attention(view: View, _: str) -> str:
    """What lasts and somebody should look at."""
    if not view.alerts:
        return '<p class="none calm">Nothing needs attention.</p>'
    ranks = {"critical": 0, "warning": 1, "info": 2}
    parts = []
    for one in sorted(view.alerts, key=lambda alert: ranks.get(alert.severity, 3)):
        button = ""
        if one.can_acknowledge and not one.acknowledged:
            button = act("ack", "Acknowledge", name=one.name)
        told = f"acknowledged {text(one.acknowledged[11:19])}" if one.acknowledged else ""
        todo = f"<p>{text(one.todo)}</p>" if one.todo else ""
        parts.append(
            f'<li class="{text(one.severity)}"><b>{text(one.means)}</b>'
            f"<span>{text(one.text)}</span>{todo}<i>{text(one.severity)} · {text(one.name)} {told}"
            f"</i>{button}</li>"
        )
    return f'<ul class="alerts">{"".join(parts)}</ul>'


def profit(view: View, _: str) -> str:
    """Today's profit as a line, and its parts."""
    total = view.realized + view.unrealized
    figures = (
        '<div class="figures">'
        f"<span><b>{number(total)}</b><i>today</i></span>"
        f"<span><b>{number(view.realized)}</b><i>realized</i></span>"
        f"<span><b>{number(view.unrealized)}</b><i>open</i></span>"
        f"<span><b>{number(view.drawdown)}</b><i>below its height</i></span></div>"
    )
    return figures + equity(view, "")


def equity(view: View, _: str) -> str:
    """Realized and unrealized profit since the console has looked."""
    values = [one.realized + one.unrealized for one in view.equity][-900:]
    if len(values) < 2:
        return '<p class="none">the line begins as soon as there is more than one moment</p>'
    height = 120.0
    scale = Scale([*values, 0.0], height)
    xs, ys = spread_xs(len(values)), [scale(value) for value in values]
    body = f'<line class="rule" x1="0" x2="640" y1="{scale(0.0)}" y2="{scale(0.0)}"/>'
    body += path(xs, ys, "line strong")
    minutes = (view.equity[-1].time_ns - view.equity[-len(values)].time_ns) / 6e10
    picture = svg(body, height, f"profit of the last {minutes:.0f} minutes, now {values[-1]:.2f}")
    return labelled(picture, number(scale.high), number(scale.low), f"last {minutes:.0f} min")


def rings(view: View, _: str) -> str:
    """Rings and who reads them."""
    rows = []
    for ring in view.rings:
        readers = ", ".join(
            f"{text(name)} {count(lag)}"
            + (f' <span class="bad">{count(lost)} lost</span>' if lost else "")
            for name, lag, lost in ring.readers
        )
        rows.append([text(ring.name), count(ring.committed), number(ring.per_s, 1), readers])
    return table(["ring", "slots", "a second", "readers, slots behind"], rows, right=(1, 2))


def processes(view: View, _: str) -> str:
    """Every process as the supervisor sees it."""
    if view.status is None:
        return '<p class="none">the supervisor does not answer</p>'
    rows = [
        [
            f"<b>{text(one.name)}</b>",
            dot(one.state),
            str(one.pid or "–"),
            ago(one.uptime_s) if one.pid else "–",
            str(one.restarts),
            size(one.rss_bytes) if one.rss_bytes else "–",
            f"{max(one.heartbeat_age_ms, 0):.0f}\u202fms" if one.pid else "–",
            f'<span class="faint">{text(one.detail)}</span>',
        ]
        for one in view.status.processes
    ]
    heads = ["process", "state", "pid", "up", "restarts", "memory", "heartbeat", "says"]
    return table(heads, rows, right=(2, 3, 4, 5, 6))


def own(view: View, _: str) -> str:
    """What the console itself costs."""
    told = view.own
    return (
        f"session {view.session}, settings {view.generation} · this page: "
        f"{told.get('browsers', 0):.0f} browsers, {size(told.get('rss_bytes', 0))}, a look takes "
        f"{amount(told.get('look_ms', 0), 1)}\u202fms"
    )
