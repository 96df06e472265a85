"""What the machine answers with: decisions for the record, and effects for who wires it.

Plain values. What an effect does (write the ledger, hand over to a broker) is `main.py`'s.
"""

import hashlib
from decimal import Decimal
from typing import Final, NamedTuple

from processes.execution.policy import Prediction, Wish
from schemas.trading import Action, Intent, KillLevel, Reason, Step, TriggerCode


class Seen(NamedTuple):
    """What a decision saw of the books: for the record, money is never computed from it."""

    position: float
    realized: float
    """Of the day, all instruments."""
    unrealized: float
    """Of the instrument."""


NOTHING_SEEN: Final = Seen(0.0, 0.0, 0.0)


class Decision(NamedTuple):
    """What was decided of one input, and why."""

    action: Action
    reason: Reason
    instrument: int
    strategy: str
    wish: Wish | None = None
    prediction: Prediction | None = None
    quantity: Decimal = Decimal(0)
    price: Decimal = Decimal(0)
    command_id: str = ""
    seen: Seen = NOTHING_SEEN


class Send(NamedTuple):
    """Effect: record the intent, then hand it to the broker."""

    intent: Intent


class Adopt(NamedTuple):
    """Effect: record the intent of an order that somebody else has made."""

    intent: Intent


class Cancel(NamedTuple):
    """Effect: ask the broker to cancel."""

    command_id: str


class CancelAll(NamedTuple):
    """Effect: ask the broker to cancel every order of an account."""

    account: str


class Reconcile(NamedTuple):
    """Effect: ask the broker what became of all that is remembered of an account."""

    account: str


class Pull(NamedTuple):
    """Effect: a trigger has fired: tell it, and pull the kill switch to this level, if any."""

    level: KillLevel
    code: TriggerCode
    text: str


class Stepped(NamedTuple):
    """Effect: tell that trading fell or climbed back."""

    step: Step
    text: str


Effect = Pull | Stepped | Adopt | Send | Cancel | CancelAll | Reconcile


def command_id(session: int, cut: int | str, instrument: int, strategy: str, leg: str) -> str:
    """32 hex digits: the same decision has the same id, however often it is made."""
    text = f"{session} {cut} {instrument} {strategy} {leg}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def no_market(instrument: int) -> Prediction:
    """What a decision about an instrument saw of its market when there was nothing to see."""
    return Prediction(instrument, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, ())
