"""What happens to the account while a backtest runs, kept small: sums, fills, trades, a curve.

Fills count at the time they happened at the venue. Fills and trades are bounded by the risk limit
of orders a minute; the curve by MOST_POINTS.
"""

import ctypes
import hashlib
from decimal import Decimal
from typing import Final

import numpy as np
from msgspec import Struct

from processes.clock import utc_text
from processes.execution.effects import Pull
from processes.execution.fills import CENT
from processes.execution.positions import ZERO, Book, Position
from processes.replay.backtest.broker import Execution
from processes.replay.backtest.result import (
    Count,
    Fill,
    Held,
    Hour,
    Money,
    Point,
    Pulled,
    Summary,
    Trade,
)
from processes.replay.backtest.tops import Tops
from schemas import decisions
from schemas.decisions import SlotKind
from schemas.instruments import Instrument
from schemas.trading import Action, Intent, Reason

MOST_POINTS: Final = 4000
HOUR_NS: Final = 3_600_000_000_000
_DECISION: Final = int(SlotKind.DECISION)
_REASONS: Final = 64
assert max(Reason) < _REASONS


def money(amount: Decimal) -> Money:
    """To eight digits, as money is told; zero has no sign."""
    return f"{amount.quantize(CENT) or abs(amount.quantize(CENT)):f}"


class Sums(Struct):
    """What happened within an hour."""

    decisions: int = 0
    orders: int = 0
    fills: int = 0
    turnover: Decimal = ZERO
    fees: Decimal = ZERO
    realized: Decimal = ZERO
    equity: Decimal = ZERO


class Journal:
    """Takes the inputs and decisions of the machine in place of the ring; counts, keeps none."""

    def __init__(self, record: "Record") -> None:
        self.committed = 0
        self._record = record
        self._slots = np.zeros(1, decisions.SLOT)

    def append(self, slots: np.ndarray, count: int | None = None) -> None:
        """Take slots."""
        self._take(np.ascontiguousarray(slots[:count]))

    def append_at(self, address: int, count: int) -> None:
        """As `append`, by address."""
        if count > len(self._slots):
            self._slots = np.zeros(count, decisions.SLOT)
        if count:
            mine = self._slots[:count]
            ctypes.memmove(mine.ctypes.data, address, mine.nbytes)
            self._take(mine)

    def _take(self, slots: np.ndarray) -> None:
        self.committed += len(slots)
        self._record.take_slots(slots)


class Open(Struct):
    """A trade that is not closed yet."""

    side: str
    opened_ns: int
    strategy: str
    entered: Decimal = ZERO
    paid: Decimal = ZERO
    left: Decimal = ZERO
    got: Decimal = ZERO
    fees: Decimal = ZERO
    net: Decimal = ZERO


class Record:
    """The account over a whole backtest, over sessions too."""

    def __init__(self, instruments: list[Instrument]) -> None:
        self.fills: list[Fill] = []
        self.trades: list[Trade] = []
        self.pulled: list[Pulled] = []
        self._hours: dict[int, Sums] = {}
        self.points: list[Point] = []
        self.orders = 0
        self.decisions = 0
        self.book = Book()
        self.tops: Tops | None = None
        """Of the session that runs."""
        self._symbols = {item.index: item.symbol for item in instruments}
        self._counts = np.zeros((len(Action), _REASONS), np.int64)
        self._digest = hashlib.blake2b(digest_size=16)
        self._sent: dict[str, Decimal] = {}
        self._open: dict[int, Open] = {}
        self._equity = self._exposure = self._peak = ZERO
        self._peak_ns = self._last_ns = self._began_ns = 0
        self._drawdown = (ZERO, 0, 0)
        self._exposed = ZERO
        """Exposure times seconds."""
        self._held_ns = self._ran_ns = 0
        self._max_exposure = ZERO
        self._every, self._turn = 1, 0

    # ---- what happens

    def begin(self, now_ns: int, tops: Tops) -> None:
        """A session begins."""
        self.tops = tops
        self._last_ns = now_ns

    def take_slots(self, slots: np.ndarray) -> None:
        """Inputs, or decisions about a drain of them."""
        self._digest.update(slots.view(np.uint8).data)
        if not len(slots) or int(slots["kind"][0]) != _DECISION:
            return
        if len(slots) == 1:
            self._counts[slots["action"][0], slots["reason"][0]] += 1
        else:
            np.add.at(self._counts, (slots["action"], slots["reason"]), 1)
        self.decisions += len(slots)
        self._hour(int(slots["time_ns"][0])).decisions += len(slots)

    def on_send(self, intent: Intent, mark: Decimal) -> None:
        """An order was decided at this mark."""
        self.orders += 1
        self._sent[intent.command_id] = mark
        self._hour(intent.decided_ns).orders += 1

    def on_fill(self, made: Execution) -> None:
        """An order was filled."""
        intent, told = made.intent, made.told
        price, quantity, fee = Decimal(told.price), Decimal(told.quantity), Decimal(told.fee)
        sign = quantity if intent.side == "buy" else -quantity
        middle = Decimal(repr(made.middle))
        decided = self._sent.get(intent.command_id) or middle
        self.fills.append(
            Fill(
                time_ns=told.time_ns,
                instrument=intent.instrument,
                symbol=intent.symbol,
                side=intent.side,
                price=told.price,
                quantity=told.quantity,
                fee=told.fee,
                maker=made.maker,
                command_id=intent.command_id,
                spread=money((made.best - middle) * sign),
                depth=money((price - made.best) * sign),
                delay=money((middle - decided) * sign),
            )
        )
        position = self.book.position(intent.instrument)
        before = position.quantity
        gained = position.add(intent.side, told)
        hour = self._hour(told.time_ns)
        hour.fills += 1
        hour.turnover += price * quantity
        hour.fees += fee
        hour.realized += gained
        self._follow(made, before, position, gained)
        self.sample(told.time_ns)

    def on_pull(self, pull: Pull, now_ns: int) -> None:
        """A trigger of risk has fired."""
        level = pull.level.name.lower()
        self.pulled.append(
            Pulled(time_ns=now_ns, code=pull.code.value, level=level, text=pull.text)
        )

    def _follow(
        self, made: Execution, before: Decimal, position: Position, gained: Decimal
    ) -> None:
        """Which trade a fill belongs to, and whether that is over."""
        intent, told = made.intent, made.told
        instrument, after = intent.instrument, position.quantity
        price, quantity = Decimal(told.price), Decimal(told.quantity)
        trade = self._open.get(instrument)
        if trade is None:
            trade = self._open[instrument] = Open(intent.side, told.time_ns, intent.strategy)
        trade.net += gained
        trade.fees += Decimal(told.fee)
        if intent.side == trade.side:
            trade.entered += quantity
            trade.paid += quantity * price
            return
        closed = min(quantity, abs(before))
        trade.left += closed
        trade.got += closed * price
        if after != 0 and (after > 0) == (before > 0):
            return
        del self._open[instrument]
        self.trades.append(self._closed(trade, made))
        if after != 0:  # turned around
            rest = abs(after)
            self._open[instrument] = Open(
                intent.side, told.time_ns, intent.strategy, entered=rest, paid=rest * price
            )

    def _closed(self, trade: Open, made: Execution) -> Trade:
        return Trade(
            instrument=made.intent.instrument,
            symbol=made.intent.symbol,
            side="long" if trade.side == "buy" else "short",
            opened_ns=trade.opened_ns,
            closed_ns=made.told.time_ns,
            quantity=f"{trade.entered:f}",
            entry_price=money(trade.paid / trade.entered),
            exit_price=money(trade.got / trade.left),
            gross=money(trade.net + trade.fees),
            fees=money(trade.fees),
            net=money(trade.net),
            strategy=trade.strategy,
            exit_reason=Reason(made.intent.reason).name.lower(),
        )

    # ---- the curve

    def on_time(self, now_ns: int) -> None:
        """The timer has turned."""
        self.sample(now_ns)
        self._turn += 1
        if self._turn % self._every:
            return
        self.points.append(Point(now_ns, money(self._equity), money(self._exposure)))
        if len(self.points) >= MOST_POINTS:
            self.points = self.points[1::2]
            self._every *= 2

    def sample(self, now_ns: int) -> None:
        """Value the account at the middle prices of now."""
        passed_ns = max(now_ns - self._last_ns, 0)
        self._ran_ns += passed_ns
        self._last_ns = max(now_ns, self._last_ns)
        if self._exposure:
            self._held_ns += passed_ns
            self._exposed += self._exposure * passed_ns
        held = self.book.held()
        if held and self.tops is not None:
            self.tops.advance(now_ns)
            for instrument in held:
                self.book.see(instrument, self.tops.middle(instrument))
        elif not held and not self._exposure and self._is_same():
            return
        self._equity = self._realized() + self.book.unrealized()
        self._exposure = self.book.exposure()
        self._max_exposure = max(self._max_exposure, self._exposure)
        self._hour(now_ns).equity = self._equity
        if self._equity > self._peak:
            self._peak, self._peak_ns = self._equity, now_ns
        if self._peak - self._equity > self._drawdown[0]:
            self._drawdown = (self._peak - self._equity, self._peak_ns, now_ns)

    def _is_same(self) -> bool:
        return self._equity == self._realized()

    def _realized(self) -> Decimal:
        return sum((one.realized for one in self.book.positions.values()), ZERO)

    def _hour(self, time_ns: int) -> Sums:
        number = time_ns // HOUR_NS
        found = self._hours.get(number)
        if found is None:
            found = self._hours[number] = Sums(equity=self._equity)
        return found

    # ---- what it comes to

    def digest(self) -> str:
        """Of all slots taken."""
        return self._digest.hexdigest()

    def reasons(self) -> list[Count]:
        """How decisions came out, most frequent first."""
        found = [
            Count(
                action=Action(action).name.lower(),
                reason=Reason(reason).name.lower(),
                decisions=int(self._counts[action, reason]),
            )
            for action, reason in np.argwhere(self._counts).tolist()
        ]
        return sorted(found, key=lambda one: (-one.decisions, one.action, one.reason))

    def hours(self) -> list[Hour]:
        """Every hour in which something was decided or done."""
        return [
            Hour(
                hour=utc_text(number * HOUR_NS)[:13],
                decisions=sums.decisions,
                orders=sums.orders,
                fills=sums.fills,
                turnover=money(sums.turnover),
                fees=money(sums.fees),
                realized=money(sums.realized),
                equity=money(sums.equity),
            )
            for number, sums in sorted(self._hours.items())
        ]

    def held(self) -> list[Held]:
        """Open positions."""
        found = []
        for instrument in self.book.held():
            position = self.book.position(instrument)
            mark = self.book.mark(instrument, position.average_price)
            found.append(
                Held(
                    instrument=instrument,
                    symbol=self._symbols[instrument],
                    quantity=f"{position.quantity:f}",
                    average_price=money(position.average_price),
                    mark=f"{mark:f}",
                    unrealized=money(position.unrealized(mark)),
                )
            )
        return found

    def summary(self) -> Summary:
        """The figures."""
        fees, spread, depth, delay = (
            sum((Decimal(getattr(fill, name)) for fill in self.fills), ZERO)
            for name in ("fee", "spread", "depth", "delay")
        )
        turnover = sum((Decimal(one.price) * Decimal(one.quantity) for one in self.fills), ZERO)
        results = [Decimal(trade.net) for trade in self.trades]
        won = sum(result > 0 for result in results)
        count = len(self.trades)
        net = self._equity
        lasted = sum(trade.closed_ns - trade.opened_ns for trade in self.trades)
        fallen, from_ns, to_ns = self._drawdown
        return Summary(
            net=money(net),
            realized=money(self._realized()),
            unrealized=money(self.book.unrealized()),
            gross=money(net + fees),
            fees=money(fees),
            spread=money(spread),
            depth=money(depth),
            delay=money(delay),
            slippage=money(depth + delay),
            turnover=money(turnover),
            net_bps=round(float(net / turnover) * 1e4, 4) if turnover else 0.0,
            orders=self.orders,
            fills=len(self.fills),
            maker_fills=sum(fill.maker for fill in self.fills),
            trades=count,
            won=won,
            hit_rate=round(won / count, 6) if count else 0.0,
            mean_trade=money(sum(results, ZERO) / max(count, 1)),
            mean_held_s=round(lasted / count / 1e9, 3) if count else 0.0,
            max_drawdown=money(fallen),
            drawdown_from_ns=from_ns,
            drawdown_to_ns=to_ns,
            mean_exposure=money(self._exposed / max(self._ran_ns, 1)),
            max_exposure=money(self._max_exposure),
            time_in_market=round(self._held_ns / self._ran_ns, 6) if self._ran_ns else 0.0,
        )
