"""Decisions as the ring tells them, and how much of each limit is used."""

from collections import Counter, deque
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import numpy as np

from processes.console.view import Decision, Limit, View
from processes.execution.reading import LedgerView
from schemas.decisions import NUMBERS, STRATEGIES, SlotKind
from schemas.predictions import Rung
from schemas.settings import RiskSettings
from schemas.trading import REASON_TEXT, Action, KillLevel, Reason

KEPT: Final = 400
SHOWN: Final = 120
MINUTE_NS: Final = 60 * 10**9


class Decided:
    """The newest decisions, and how often each reason came among them."""

    def __init__(self, symbol: Callable[[int], str]) -> None:
        self._symbol = symbol
        self._kept: deque[Decision] = deque(maxlen=KEPT)

    def take(self, slots: np.ndarray) -> None:
        """A block of the decisions ring."""
        for slot in slots[slots["kind"] == SlotKind.DECISION][-KEPT:]:
            self._kept.appendleft(self._made(slot))

    def _made(self, slot: np.void) -> Decision:
        reason = Reason(int(slot["reason"]))
        low, high = int(slot["command_low"]), int(slot["command_high"])
        numbers = slot["numbers"].tolist()
        newest_ns = int(slot["newest_recv_ns"])
        return Decision(
            sequence=int(slot["sequence"]),
            time_ns=int(slot["time_ns"]),
            instrument=int(slot["instrument"]),
            symbol=self._symbol(int(slot["instrument"])),
            action=Action(int(slot["action"])).name.lower(),
            reason=reason.name.lower(),
            reason_text=REASON_TEXT[reason],
            strategy=STRATEGIES[int(slot["strategy"])],
            rung=Rung(int(slot["rung"])).name.lower(),
            kill_level=KillLevel(int(slot["kill_level"])).name.lower(),
            command_id=f"{high:016x}{low:016x}" if low or high else "",
            latency_us=round((int(slot["made_ns"]) - newest_ns) / 1e3, 1) if newest_ns else 0.0,
            numbers={
                name: value
                for name, value in zip(NUMBERS, numbers, strict=False)
                if np.isfinite(value)
            },
        )

    def newest(self) -> list[Decision]:
        """Newest first."""
        return [one for _, one in zip(range(SHOWN), self._kept, strict=False)]

    def reasons(self) -> dict[str, int]:
        """Of all that are kept, the most frequent first."""
        return dict(Counter(one.reason for one in self._kept).most_common())


def limits_of(
    risk: RiskSettings, view: LedgerView, marks: dict[int, float], seen: View
) -> list[Limit]:
    """How much of the limits of all accounts together is used."""
    held = [
        abs(Decimal(row.quantity)) * Decimal(repr(marks.get(row.instrument, 0.0)))
        for row in view.positions()
    ]
    newest_ns = seen.at_ns - MINUTE_NS
    recent = [one for one in view.orders(limit=200) if one.intent.decided_ns >= newest_ns]
    rows = [
        ("all positions", sum(held, Decimal(0)), risk.max_total_notional),
        ("largest position", max(held, default=Decimal(0)), risk.max_position_notional),
        ("loss today", Decimal(repr(max(-seen.realized, 0.0))), risk.max_daily_loss),
        ("drawdown", Decimal(repr(seen.drawdown)), risk.max_drawdown),
        ("orders in a minute", Decimal(len(recent)), str(risk.max_orders_per_minute)),
        ("losses in a row", Decimal(seen.losing_streak), str(risk.max_losing_streak)),
    ]
    return [
        Limit(
            name=name,
            used=f"{used.quantize(Decimal('0.01')).normalize():f}",
            limit=most,
            share=float(used / Decimal(most)) if Decimal(most) else 0.0,
        )
        for name, used, most in rows
    ]
