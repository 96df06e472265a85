"""What stands at venues: positions and open orders, for who must end it without execution.

Execution rewrites one small file whenever an order or a position changes, before an order is
handed to its broker: the killer, which comes when execution is dead, knows no more than this and
what the venues say. Not synced: it outlives every process, and after a loss of power the ledger
says the same.
"""

import fcntl
import os
from pathlib import Path
from typing import IO

import msgspec

from processes.locks import hold
from schemas.errors import OperatorError
from schemas.trading import Intent

KILLER_FOLDER = "killer"


class StandingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that may be open at its venue, or was lately."""

    intent: Intent
    venue_order_id: str = ""
    fill_ids: list[str] = []
    open: bool = True
    """False: over, as far as execution knew. Where orders have no names of ours, those that are
    known by the venue's id are what an unknown one is told apart from."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A position."""

    account: str
    instrument: int
    symbol: str
    quantity: str
    """Signed decimal text; negative = short."""


class Traded(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known of an instrument to close a position in it."""

    symbol: str
    bases: list[str] = []
    """Names of what is bought: a fee that is taken of it makes what is held smaller."""
    step: str = "0.00000001"
    smallest: str = "0"
    """Less than this the venue does not take back."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    session: int = 0
    orders: list[StandingOrder] = []
    positions: list[Held] = []
    traded: list[Traded] = []
    """Of all orders and positions here."""


def standing_path(data: Path) -> Path:
    """Where it is kept."""
    return data / "state" / "standing.json"


def write_standing(data: Path, standing: Standing) -> None:
    """Keep it, whole."""
    path = standing_path(data)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(msgspec.json.encode(standing))
    beside.replace(path)


def read_standing(data: Path) -> Standing:
    """What execution left; nothing where there never was one.

    Raises:
        OperatorError: the file is damaged.
    """
    path = standing_path(data)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Standing)
    except FileNotFoundError:
        return Standing()
    except msgspec.DecodeError as error:
        raise OperatorError(f"{path} cannot be read: {error}") from None


def hold_orders(data: Path) -> IO[str]:
    """The right to send orders of this data folder: execution's for its life, or the killer's.

    Raises:
        OperatorError: somebody else has it.
    """
    return hold(
        data / "state" / "orders.lock",
        lambda owner: OperatorError(f"process {owner} may send orders of {data} now"),
    )


# ---- what a killer has sent


def note_order(data: Path, intent: Intent, venue_order_id: str = "") -> None:
    """Put down an order of the killer's, synced: before it is sent, and again with its id."""
    folder = data / "state" / KILLER_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    line = msgspec.json.encode(StandingOrder(intent=intent, venue_order_id=venue_order_id))
    with (folder / f"{intent.account}.jsonl").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def noted_orders(data: Path) -> list[StandingOrder]:
    """The orders of killers that the ledger has not taken yet, oldest first in each account."""
    found: dict[str, StandingOrder] = {}
    for path in sorted((data / "state" / KILLER_FOLDER).glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            try:
                one = msgspec.json.decode(line, type=StandingOrder)
            except msgspec.DecodeError:
                continue  # the end of a line that was never whole: its order was never sent
            found[one.intent.command_id] = one
    return list(found.values())


def orders_of_all(data: Path, standing: Standing) -> list[StandingOrder]:
    """Execution's orders and those of killers before, each once.

    A killer that knew nothing of the one before it would close again what that one has closed.
    """
    known = {one.intent.command_id for one in standing.orders}
    noted = [one for one in noted_orders(data) if one.intent.command_id not in known]
    return [*standing.orders, *noted]


def forget_noted(data: Path) -> None:
    """The ledger has them."""
    for path in (data / "state" / KILLER_FOLDER).glob("*.jsonl"):
        path.unlink()
