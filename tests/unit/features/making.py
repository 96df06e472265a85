"""Slots made by hand, a cutter under a clock that stands where it is put, and rows compared."""

from collections.abc import Sequence

import numpy as np

from processes.features.cutter import Cutter
from processes.training.simulated import START_NS
from schemas import features, tape
from schemas.features import CATALOGUE, COLUMN
from schemas.instruments import Instrument
from schemas.layout import join
from schemas.settings import FeatureSettings
from schemas.tape import Flag, Kind, Marker
from tests.unit.features.reference import Reference

SECOND = 10**9
TWO = [
    Instrument(index=0, venue="bitfinex", symbol="tETHUSD", pair="ETH/USD"),
    Instrument(index=1, venue="bitfinex", symbol="tXRPUSD", pair="XRP/USD"),
]
SUMS_OFF_BY = 1e-7
"""What a sum in another order, or one that was added to and taken from, may differ by; in the
column's own unit, where a float32 is finer than that."""


class Cuts:
    """A cutter under a clock that stands where it is put."""

    def __init__(
        self, tapes: int = 1, instruments: Sequence[Instrument] = TWO, **settings: object
    ) -> None:
        self.now_ns = START_NS
        self.rows: list[np.ndarray] = []
        self.cutter = Cutter(
            instruments,
            tapes,
            FeatureSettings(**settings),
            lambda address, count, cut_ns: self.rows.append(self.cutter._rows[:count].copy()),
            lambda: self.now_ns,
        )
        self.cutter.begin(self.now_ns)

    def take(self, slots: np.ndarray, tape_number: int = 0) -> None:
        block = np.ascontiguousarray(slots)
        self.now_ns = max(self.now_ns, int(block["recv_ns"][-1]))
        self.cutter.take(tape_number, block, int(block.ctypes.data))
        self.cutter.turn()

    @property
    def made(self) -> np.ndarray:
        return join(self.rows, features.SLOT)


def masked_names(row: np.void) -> set[str]:
    """Columns of a row that are masked."""
    return {name for name, at in COLUMN.items() if int(row["masked"]) >> at & 1}


def compare(rows: np.ndarray, reference: Reference) -> set[str]:
    """Assert that rows are what the reference says, bit by bit of `masked` and to one float32
    step of each column; the columns that were there."""
    seen: set[str] = set()
    for row in rows:
        wanted = reference.row(int(row["cut_ns"]))
        masked = masked_names(row)
        assert masked == set(COLUMN) - set(wanted), row["cut"]
        for name, value in wanted.items():
            got = float(row["values"][COLUMN[name]])
            step = float(np.spacing(np.float32(abs(value))))
            assert abs(got - value) <= max(step, SUMS_OFF_BY), (name, row["cut"], got, value)
        for name in masked:
            assert row["values"][COLUMN[name]] == np.float32(CATALOGUE[COLUMN[name]].neutral)
        seen |= set(wanted)
    return seen


def blank(kind: Kind, recv_ns: int, instrument: int = 0) -> np.ndarray:
    slot = np.zeros(1, tape.SLOT)
    slot["kind"], slot["recv_ns"], slot["instrument"] = kind, recv_ns, instrument
    slot["epoch"] = 1
    return slot


def book(
    recv_ns: int, mid: float, sizes: Sequence[float] | np.ndarray = (1.0,) * 20, *,
    instrument: int = 0, tick: float = 0.1, half: int = 1, snapshot: bool = False,
) -> np.ndarray:  # fmt: skip
    """A frame's last slot: ten levels a side, `half` ticks and more from mid."""
    slot = blank(Kind.BOOK_LEVEL, recv_ns, instrument)
    slot["flags"] = Flag.FRAME_END | Flag.PRIMARY | (Flag.SNAPSHOT if snapshot else 0)
    slot["reference_price"] = mid
    away = (half + np.arange(10)) * tick
    slot["book"] = np.concatenate([-away, sizes[:10], away, sizes[10:]])
    return slot


def trade(recv_ns: int, price: float, size: float, *, buys: bool, instrument: int = 0):
    slot = blank(Kind.TRADE, recv_ns, instrument)
    slot["price"], slot["size"], slot["side"] = price, size, 1 if buys else 2
    return slot


def status(recv_ns: int, instrument: int, **told: float) -> np.ndarray:
    slot = blank(Kind.STATUS, recv_ns, instrument)
    view = slot.view(tape.STATUS)
    for name in tape.STATUS_COLUMNS:
        view[name] = told.get(name, np.nan)
    return slot


def liquidation(
    recv_ns: int, instrument: int, symbol: str, amount: float, *, is_match: bool = False
) -> np.ndarray:
    slot = blank(Kind.STATUS, recv_ns, instrument)
    slot["flags"] = Flag.LIQUIDATION
    view = slot.view(tape.LIQUIDATION)
    view["amount"], view["size"], view["side"] = amount, abs(amount), 1 if amount > 0 else 2
    view["symbol"], view["is_match"] = symbol.encode(), float(is_match)
    view["acquired_price"] = np.nan
    return slot


def marker(recv_ns: int, what: Marker, instrument: int = 0) -> np.ndarray:
    slot = blank(Kind.MARKER, recv_ns, instrument)
    slot["flags"] = Flag.PRIMARY
    slot.view(tape.MARKER)["marker"] = what
    return slot


def in_order(slots: Sequence[np.ndarray]) -> np.ndarray:
    """Slots by receive time, numbered."""
    whole = join(slots, tape.SLOT)
    whole = np.ascontiguousarray(whole[np.argsort(whole["recv_ns"], kind="stable")])
    whole["sequence"] = np.arange(1, len(whole) + 1)
    return whole
