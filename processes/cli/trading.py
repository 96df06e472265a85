"""positions, orders, fills and pnl: what the ledger has, marked to our own books."""

from decimal import Decimal

import msgspec

from processes.cli.screen import say, say_json, table
from processes.clock import utc_text
from processes.operations.instance import find_paths
from processes.operations.trading import (
    marks,
    position_records,
    profit_record,
    the_order,
    view_of,
)

ID_SHOWN = 12


# ---- commands


def positions(*, everything: bool, as_json: bool) -> None:
    """What is held, and what it is worth now."""
    paths = find_paths()
    rows = position_records(view_of(paths), marks(paths), everything=everything)
    if as_json:
        say_json(rows)
        return
    if not rows:
        say("nothing is held")
        return
    head = ["symbol", "quantity", "average price", "mark", "unrealized", "realized", "fees"]
    names = ("symbol", "quantity", "average_price", "mark", "unrealized", "realized", "fees")
    lines = [[_shown(row[name]) for name in names] for row in rows]
    say(table(head, lines, right=tuple(range(1, 7))))


def _shown(text: str | None) -> str:
    """Amounts to eight places; all of them are in --json."""
    if text is None:
        return "?"
    try:
        number = Decimal(text)
    except ArithmeticError:
        return text
    return f"{number.quantize(Decimal('0.00000001')).normalize():f}"


def orders(*, open_only: bool, limit: int, as_json: bool) -> None:
    """The newest orders."""
    found = view_of(find_paths()).orders(open_only=open_only, limit=limit)
    if as_json:
        say_json([msgspec.to_builtins(one) for one in found])
        return
    if not found:
        say("no open order" if open_only else "no order yet")
        return
    rows = [
        [
            one.intent.command_id[:ID_SHOWN], utc_text(one.intent.decided_ns), one.intent.account,
            one.intent.symbol, one.intent.side, one.intent.quantity,
            one.intent.limit_price or one.intent.kind, one.state, one.intent.strategy,
        ]
        for one in found
    ]  # fmt: skip
    head = ["order", "decided", "account", "symbol", "side", "quantity", "price", "state",
            "strategy"]  # fmt: skip
    say(table(head, rows, right=(5,)))


def fills(*, order: str, limit: int, as_json: bool) -> None:
    """The newest fills, or those of one order."""
    view = view_of(find_paths())
    number = ""
    if order:
        number = the_order(view, order).intent.command_id
    found = view.fills(limit=limit, command_id=number)
    if as_json:
        say_json([msgspec.to_builtins(one) for one in found])
        return
    if not found:
        say("no fill yet")
        return
    rows = [
        [
            utc_text(one.time_ns), one.account, one.symbol, one.side, one.quantity, one.price,
            f"{one.fee} {one.fee_currency}".strip(), one.command_id[:ID_SHOWN],
        ]
        for one in found
    ]  # fmt: skip
    head = ["time", "account", "symbol", "side", "quantity", "price", "fee", "order"]
    say(table(head, rows, right=(4, 5)))


def pnl(*, days: int, as_json: bool) -> None:
    """Profit and loss by day, and what is not realized yet, marked to our own books."""
    paths = find_paths()
    view, known = view_of(paths), marks(paths)
    told = profit_record(view, known, days)
    held = position_records(view, known)
    if as_json:
        say_json(told)
        return
    rows = told["instruments"]
    if not rows and not held:
        say("nothing was traded yet")
        return
    lines = [
        [row["day"], row["symbol"], _shown(row["realized_day"]), _shown(row["fees"])]
        for row in rows
    ]
    if lines:
        say(table(["day", "symbol", "realized", "fees so far"], lines, right=(2, 3)))
    for day, amount in told["days"].items():
        say(f"{day}: {_shown(amount)} in all")
    for one in held:
        amounts = _shown(one["quantity"]), _shown(one["unrealized"])
        say(f"{one['symbol']}: {amounts[0]} held, {amounts[1]} unrealized")
