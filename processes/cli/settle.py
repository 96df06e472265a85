"""settle and take-over: a person's word on what only a look at the venue can say."""

import re

import typer

from processes.bus import request
from processes.cli.screen import say, say_json
from processes.clock import monotonic_s, nap
from processes.execution.reading import LedgerView
from processes.operations.instance import running_paths
from processes.operations.trading import the_order
from processes.sessions import latest_settings
from schemas.errors import UsageError

ANSWER_S = 5.0
SETTLED_S = 15.0
"""Longer than a venue is left between two questions."""
POLL_S = 0.1
_PRICE = re.compile(r"(?=[0-9.]*[1-9])\d{1,15}(\.\d{1,18})?", re.ASCII)
OPEN = frozenset({"new", "sent", "unknown"})
"""States of an order of which the venue is not known to have anything."""


def settle(order: str, venue_order: str, *, absent: bool, yes: bool, as_json: bool) -> None:
    """Hand the word on to execution, and wait a little for what comes of it.

    Raises:
        OperatorError: execution does not run, or does not take it.
    """
    if bool(venue_order) == absent:
        raise UsageError("either --venue-order ID or --absent: what have you found?")
    paths = running_paths()
    view = LedgerView(latest_settings(paths.data).ledger, paths.data)
    number = the_order(view, order).intent.command_id
    if not yes:
        found = f"the venue's order {venue_order}" if venue_order else "no order of the venue"
        typer.confirm(f"Have you looked, and {number} is {found}?", abort=True)
    arguments = {"order": number, "venue_order": venue_order}
    request(paths.run, "execution", "settle", arguments, timeout_s=ANSWER_S)
    deadline_s = monotonic_s() + SETTLED_S
    while (state := the_order(view, number).state) in OPEN and monotonic_s() < deadline_s:
        nap(POLL_S)
    if as_json:
        say_json({"order": number, "state": state})
    elif state in OPEN:
        say(f"{number}: noted, and still {state}; dcctl logs execution says why")
    else:
        say(f"{number}: {state}; dcctl arm lets entries on")


def take_over(instrument: str, price: str, *, yes: bool, as_json: bool) -> None:
    """Have the book follow the venue in one instrument; without one, say what differs.

    Raises:
        UsageError: the price is none.
        OperatorError: execution does not run, or nothing differs there.
    """
    if price and not _PRICE.fullmatch(price):
        raise UsageError(f"--price {price!r:.40} is no price: say it like 64250.5")
    if instrument and not yes:
        typer.confirm(
            f"Have you looked at the venue, and what it holds of {instrument} is right?", abort=True
        )
    arguments = {"instrument": instrument, "price": price}
    paths = running_paths()
    told = request(paths.run, "execution", "take_over", arguments, timeout_s=ANSWER_S)
    if as_json:
        say_json(told)
        return
    for text in told["differences"] or ["every venue holds what we do"]:
        say(text)
    if instrument:
        say("booked; dcctl positions shows it, dcctl arm lets entries on")
