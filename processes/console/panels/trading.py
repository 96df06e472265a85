"""Positions, orders, fills, decisions with their why, limits and how much of them is used."""

from typing import Final

from processes.console.drawing import act, ago, amount, clock, dot, number, price, table, text
from processes.console.view import Decision, View

IDS: Final = 10
ACTIONS: Final = {"enter_long": "enter long", "enter_short": "enter short"}


def _fault(view: View) -> str:
    error = view.trading.error
    return f'<p class="fault">{text(error)}</p>' if error else ""


def positions(view: View, _: str) -> str:
    """What is held, marked to our own books."""
    rows = []
    for one in view.trading.positions:
        held_s = (view.at_ns - one["opened_ns"]) / 1e9
        rows.append(
            [
                f"<b>{text(one['symbol'])}</b>",
                amount(one["quantity"]),
                amount(one["average_price"], 5),
                amount(one["mark"], 5),
                amount(one["unrealized"], 4),
                amount(one["realized"], 4),
                amount(one["fees"], 4),
                ago(held_s),
            ]
        )
    heads = ["symbol", "quantity", "average", "mark", "open", "realized", "fees", "held"]
    return _fault(view) + table(heads, rows, right=tuple(range(1, 8)), empty="nothing is held")


def orders(view: View, _: str) -> str:
    """The newest orders."""
    rows = []
    for one in view.trading.orders[:40]:
        intent = one.intent
        rows.append(
            [
                f'<span class="faint">{clock(intent.decided_ns, millis=True)}</span>',
                text(intent.account),
                f"<b>{text(intent.symbol)}</b>",
                f'<span class="{text(intent.side)}">{text(intent.side)}</span>',
                amount(intent.quantity),
                amount(intent.limit_price, 5) if intent.limit_price else text(intent.kind),
                dot(one.state),
                text(intent.strategy),
                act("why", intent.command_id[:IDS], of=intent.command_id),
            ]
        )
    heads = ["decided", "account", "symbol", "side", "quantity", "price", "state", "strategy",
             "why"]  # fmt: skip
    return table(heads, rows, right=(4, 5), empty="no order yet")


def fills(view: View, _: str) -> str:
    """The newest fills."""
    rows = [
        [
            f'<span class="faint">{clock(one.time_ns, millis=True)}</span>',
            text(one.account),
            f"<b>{text(one.symbol)}</b>",
            f'<span class="{text(one.side)}">{text(one.side)}</span>',
            amount(one.quantity),
            amount(one.price, 5),
            f"{amount(one.fee, 6)} {text(one.fee_currency)}",
            f"<code>{text(one.command_id[:IDS])}</code>",
        ]
        for one in view.trading.fills[:40]
    ]
    heads = ["time", "account", "symbol", "side", "quantity", "price", "fee", "order"]
    return table(heads, rows, right=(4, 5, 6), empty="no fill yet")


def decisions(view: View, choice: str) -> str:
    """The newest decisions and the reason of each; `acted` leaves out those that did nothing."""
    shown = [one for one in view.decisions if choice != "acted" or one.action != "hold"]
    rows = []
    for one in shown[:40]:
        numbers = one.numbers
        rows.append(
            [
                f'<span class="faint">{clock(one.time_ns, millis=True)}</span>',
                f"<b>{text(one.symbol)}</b>",
                text(ACTIONS.get(one.action, one.action)),
                _reason(one),
                number(numbers.get("confidence", 0.0), 2),
                number(numbers.get("expected_value_bps", 0.0), 2),
                text(one.strategy.replace("_", " ")),
                act("why", str(one.sequence), of=str(one.sequence)),
            ]
        )
    heads = ["time", "symbol", "action", "reason", "confidence", "EV, bp", "strategy", "why"]
    return table(heads, rows, right=(4, 5), empty="no such decision yet")


def _reason(one: Decision) -> str:
    words = text(one.reason.replace("_", " "))
    return f'<b>{words}</b> <span class="faint">{text(one.reason_text)}</span>'


def reasons(view: View, _: str) -> str:
    """How often each reason came among the last decisions."""
    most = max(view.reasons.values(), default=1)
    rows = [
        [
            text(name.replace("_", " ")),
            f'<span class="bar"><u style="width:{100 * number_ / most:.0f}%"></u></span>',
            str(number_),
        ]
        for name, number_ in list(view.reasons.items())[:12]
    ]
    return table(["reason", "", "of the last 400"], rows, right=(2,), classes="bars")


def limits(view: View, _: str) -> str:
    """Limits of risk and their use."""
    rows = []
    for one in view.trading.limits:
        has = float(one.limit) > 0
        share = min(100 * one.share, 100)
        kind = "bad" if has and one.share >= 0.9 else ""
        rows.append(
            [
                text(one.name),
                f'<span class="bar {kind}"><u style="width:{share:.0f}%"></u></span>',
                amount(one.used, 2),
                amount(one.limit, 2) if has else "no limit",
            ]
        )
    return table(["limit", "", "used", "of"], rows, right=(2, 3), classes="bars")


def days(view: View, _: str) -> str:
    """What each day has realized."""
    rows = [[text(day), amount(value, 2)] for day, value in view.trading.days.items()]
    return table(["day", "realized"], rows[:14], right=(1,), empty="nothing was realized yet")


def held(view: View, _: str) -> str:
    """One line for the overview: what is held."""
    if not view.trading.positions:
        return '<p class="none">nothing is held</p>'
    rows = [
        [f"<b>{text(one['symbol'])}</b>", amount(one["quantity"]),
         price(float(one["average_price"])), amount(one["unrealized"], 2)]
        for one in view.trading.positions
    ]  # fmt: skip
    return table(["held", "quantity", "average", "open"], rows, right=(1, 2, 3))
