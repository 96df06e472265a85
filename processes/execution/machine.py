"""The machine: inputs to decisions and effects, and nothing else read, not even the clock.

Every input carries its time. The same inputs in the same order give the same decisions, orders and
positions: that is what a replay checks. What an effect *does* (write the ledger, hand over to a
broker) is `main.py`'s.
"""

from collections import deque
from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Final

from processes.execution.accounts import Accounts
from processes.execution.assets import UNKNOWN, assets_by_instrument
from processes.execution.beginning import Beginning
from processes.execution.closing import Closing
from processes.execution.comparison import Comparison, Difference
from processes.execution.degradation import Degradation
from processes.execution.effects import (
    Adopt,
    Decision,
    Effect,
    Seen,
    Send,
    Stepped,
    command_id,
    no_market,
)
from processes.execution.orders import CLOSED_KEPT, Order, lately_over
from processes.execution.policy import Policy, Prediction, Wish
from processes.execution.positions import EXACT, ZERO, Book, Position
from processes.execution.risk import Limits, Proposal, Situation, denial
from processes.execution.routes import NOWHERE, routes_of
from processes.execution.scopes import ONE, rates_of, scoped
from processes.execution.sizes import size_of, sizes_of
from processes.execution.strategies.registry import REGISTRY
from processes.execution.triggers import Triggers
from processes.standing import Held, Standing, StandingOrder, Traded
from schemas.instruments import Instrument
from schemas.settings import Settings
from schemas.trading import (
    AccountFact,
    Action,
    BrokerEvent,
    CancelNotSent,
    ExternalSignal,
    Intent,
    KillLevel,
    NotSent,
    OrderAccepted,
    OrderAdopted,
    OrderFilled,
    OrderSide,
    OrderState,
    Reason,
    Reconciled,
    Step,
)

CLOSED_STANDING: Final = 50
"""So many closed orders stand beside the open ones, and all of the last LIKENESS_NS."""
SIGNALS_KEPT: Final = 10_000
"""Ids of outside signals that are remembered; one can come again only while it is young."""


class Machine:
    """All of execution's state.

    Args:
        session: part of every command id.

    Raises:
        ConfigError: two accounts want the same instrument.
    """

    def __init__(self, session: int, instruments: Sequence[Instrument], settings: Settings) -> None:
        self.orders: dict[str, Order] = {}
        self._assets = assets_by_instrument(instruments)
        self.book = Book(self._assets)
        self.kill_level = KillLevel.NONE
        self.accounts = Accounts()
        self.ledger_away = False
        self.denied = 0
        self.changed_orders: list[tuple[Order, OrderState]] = []
        """Orders that changed state in the last input, with the state before; for who publishes."""
        self.changed_positions: set[int] = set()
        self.news_of: Order | None = None
        """The order of which the last event said something new, whether or not its state moved."""
        self.signals: dict[str, str] = {}
        """Outside signals that were decided: the stream entry that brought each, by id."""
        self._session = session
        self._instruments = list(instruments)
        self._symbols = {item.index: item.symbol for item in instruments}
        self.comparison = Comparison(self.book, self._assets, self._symbols)
        self._policy = Policy()
        self._order_times: deque[tuple[int, int]] = deque(maxlen=1000)
        self._last_order_ns: dict[int, int] = {}
        self._closing = Closing(self, self._close)
        self._triggers = Triggers(self)
        self._degradation = Degradation()
        self.on_config(settings)

    @property
    def rules_address(self) -> int:
        """Where the policy's rules stand, for a kernel."""
        return self._policy.rules_address

    # ---- inputs

    def on_config(self, settings: Settings) -> None:
        """New settings are in force."""
        self._enabled = settings.execution.enabled
        self._cooldown_ns = int(settings.strategy.cooldown_s * 1e9)
        self._routes = routes_of(settings, self._instruments)
        self.accounts.obey(settings)
        self._risk = risk = settings.risk
        self._scoped = scoped(risk, self._instruments, self._routes)
        self._policy.obey(settings, self._routes, self._scoped)
        self._sizes = sizes_of(self._instruments, Decimal(risk.min_quantity))
        self.comparison.obey(settings, self._routes, self._sizes)
        self.book.smallest = {n: size.smallest for n, size in self._sizes.items()}
        self._triggers.obey(risk.triggers)
        needs_network = REGISTRY[settings.strategy.name].needs_network
        self._degradation.obey(risk.positions_only_s, needs_network=needs_network)
        self.book.rates = rates_of(risk, self._instruments)

    def on_prediction(
        self, prediction: Prediction, now_ns: int, sequence: int
    ) -> tuple[Decision, list[Effect]]:
        """Decide about one prediction. `sequence` is the input's."""
        instrument = prediction.instrument
        position = self.book.position(instrument)
        self.book.see(instrument, prediction.reference_price)
        held = self.book.quantity(instrument)
        wish = self._policy.wish(prediction, held, position.opened_ns, now_ns)
        return self._weigh(prediction, wish, position, now_ns, sequence)

    def on_signal(
        self, signal: ExternalSignal, market: Prediction | None, now_ns: int, sequence: int
    ) -> tuple[Decision, list[Effect]]:
        """Decide about a signal from elsewhere: once for each id.

        Args:
            market: the last prediction about its instrument, if there was one.
        """
        position = self.book.position(signal.instrument)
        known = signal.id in self.signals
        self.remember_signal(signal)
        wish = self._policy.wish_of(signal, market, self.book.quantity(signal.instrument), now_ns)
        seen = market or no_market(signal.instrument)
        if known:
            return self._hold(seen, wish, Reason.SIGNAL_DUPLICATE, position), []
        if market is not None:
            self.book.see(signal.instrument, market.reference_price)
        price = Decimal(repr(signal.price)) if signal.price else None
        return self._weigh(seen, wish, position, now_ns, sequence, signal.id, price)

    def remember_signal(self, signal: ExternalSignal) -> None:
        """A signal of this id is decided, whatever comes of it."""
        self.signals.setdefault(signal.id, signal.entry)
        if len(self.signals) > SIGNALS_KEPT:
            del self.signals[next(iter(self.signals))]

    def _weigh(
        self,
        prediction: Prediction,
        wish: Wish,
        position: Position,
        now_ns: int,
        sequence: int,
        key: str = "",
        price: Decimal | None = None,
    ) -> tuple[Decision, list[Effect]]:
        """From a wish to a decision.

        Args:
            key: what the command id is made of, for lack of a cut.
            price: what the wish was made at.
        """
        instrument = prediction.instrument
        if wish.action == Action.HOLD:
            return self._hold(prediction, wish, wish.reason, position), []
        pending = self._pending(instrument)
        if pending is not None:
            return self._hold(prediction, wish, Reason.ORDER_PENDING, position), []
        cooling = now_ns - self._last_order_ns.get(instrument, -(1 << 62)) < self._cooldown_ns
        if cooling and wish.action != Action.EXIT:
            return self._hold(prediction, wish, Reason.COOLDOWN, position), []
        return self._propose(prediction, wish, position, now_ns, sequence, key, price)

    def on_event(self, event: BrokerEvent, now_ns: int) -> list[Effect]:
        """A broker has told something."""
        self.changed_orders.clear()
        self.changed_positions.clear()
        self.news_of = None
        if isinstance(event, AccountFact):
            self.comparison.take(event, now_ns)
            asked = self.accounts.take(event, now_ns)
            if isinstance(event, Reconciled) and event.account not in self.accounts.on_paper:
                asked_ns = self.accounts.asked_ns(event.account)
                self.comparison.compare(event.account, asked_ns, self._pending)
            return asked or self._closing.obey(self.kill_level, now_ns)
        if isinstance(event, OrderAdopted):
            return self._adopt(event)
        if isinstance(event, NotSent):
            self.orders.pop(event.command_id, None)
            return []
        order = self.orders.get(event.command_id)
        if order is None:
            return []
        if isinstance(event, CancelNotSent):
            order.add(event)
            return []  # asked for again when time has passed, not at once and for ever
        before = order.state
        known = len(order.fill_ids)
        self.comparison.moved(order.intent.instrument, now_ns)
        if order.add(event):
            self.news_of = order
            self._count_reject(event, order, before)
        if isinstance(event, OrderFilled) and len(order.fill_ids) > known:
            self.book.fill(order.intent.instrument, order.intent.side, event)
            self.book.follow()
            self.changed_positions.add(order.intent.instrument)
        if order.state is not before:
            self.changed_orders.append((order, before))
        self._forget_closed()
        return [*self._triggers.look(now_ns), *self._closing.obey(self.kill_level, now_ns)]

    def _adopt(self, event: OrderAdopted) -> list[Effect]:
        """An order that somebody else has made is followed as one of ours."""
        if event.command_id in self.orders:
            return []
        order = Order.adopted(event, self._symbols[event.instrument])
        self.orders[event.command_id] = order
        return [Adopt(order.intent)]

    def _count_reject(self, event: BrokerEvent, order: Order, before: OrderState) -> None:
        """Rejects in a row; a venue that takes an order ends them."""
        if isinstance(event, OrderAccepted | OrderFilled):
            self.book.losses.rejects = 0
        elif order.state is OrderState.REJECTED and order.state is not before:
            self.book.losses.rejects += 1

    def on_timer(self, now_ns: int) -> list[Effect]:
        """Time has passed."""
        self.book.turn_day(now_ns)
        self._note_arming()
        self.book.follow()
        asked = self.accounts.due(now_ns, self.comparison.hurry())
        told = self._fall(now_ns)
        closing = self._closing.obey(self.kill_level, now_ns)
        # Venues are asked last, when they have been handed the orders that they are asked about.
        return [*self._triggers.look(now_ns), *told, *closing, *asked]

    @property
    def step(self) -> Step:
        """How far trading has fallen."""
        return self._degradation.step

    def see_rung(self, rung: int, now_ns: int) -> None:
        """A drain of predictions was taken, on this rung at best."""
        self._degradation.see(rung, now_ns)

    def _fall(self, now_ns: int) -> list[Effect]:
        """Fall or climb, and close what the last step asks for; the kill switch goes before it."""
        why = self._degradation.turn(now_ns)
        effects: list[Effect] = [Stepped(self.step, why)] if why else []
        if self.step is Step.FLAT and self.kill_level < KillLevel.CANCEL:
            effects += self._closing.wind_down(now_ns)
        elif why and self.kill_level == KillLevel.NONE:
            self._closing.forget()
        return effects

    def _note_arming(self) -> None:
        """The switch was on and is off, by a person: also if that was while we were not there."""
        losses = self.book.losses
        if self.kill_level != KillLevel.NONE:
            losses.latched = True
        elif losses.latched:
            losses.accept(self.book.equity())

    def on_ledger(self, *, away: bool) -> None:
        """The ledger's database has gone, or is back."""
        self.ledger_away = away

    def on_kill(self, level: int, now_ns: int) -> list[Effect]:
        """The kill switch has moved."""
        self.kill_level = KillLevel(level)
        if level == KillLevel.NONE:
            self._closing.forget()
        self._note_arming()
        return self._closing.obey(self.kill_level, now_ns)

    def take_up(self, beginning: Beginning) -> None:
        """Orders and positions of an earlier life."""
        for order in beginning.orders:
            intent = order.intent
            self.orders[intent.command_id] = order
            last_ns = self._last_order_ns.get(intent.instrument, 0)
            self._last_order_ns[intent.instrument] = max(last_ns, intent.decided_ns)
            self._order_times.append((intent.decided_ns, intent.instrument))
        beginning.give(self.book)

    # ---- deciding

    def _hold(
        self, prediction: Prediction, wish: Wish, reason: Reason, position: Position
    ) -> Decision:
        if wish.action != Action.HOLD:
            self.denied += 1
        instrument = prediction.instrument
        return Decision(
            Action.HOLD, reason, instrument, wish.strategy, wish, prediction,
            seen=self._seen(instrument, position),
        )  # fmt: skip

    def _seen(self, instrument: int, position: Position) -> Seen:
        realized = float(self.book.realized_today)
        if not position.quantity:
            return Seen(0.0, realized, 0.0)
        mark = self.book.mark(instrument, position.average_price)
        return Seen(float(position.quantity), realized, float(position.unrealized(mark)))

    def _propose(
        self,
        prediction: Prediction,
        wish: Wish,
        position: Position,
        now_ns: int,
        sequence: int,
        key: str,
        price: Decimal | None,
    ) -> tuple[Decision, list[Effect]]:
        reference = self.book.mark(prediction.instrument, ZERO)
        size = size_of(self._sizes, prediction.instrument)
        if wish.action == Action.EXIT:
            signed = -size.floored(position.quantity)
        else:
            notional = self._routes.get(prediction.instrument, NOWHERE).notional
            wanted = size.floored(EXACT.divide(notional, reference))
            signed = wanted if wish.action == Action.ENTER_LONG else -wanted
        proposal = Proposal(
            prediction.instrument,
            signed,
            price or reference,
            reference,
            reduces=wish.action == Action.EXIT,
            now_ns=now_ns,
            seen_ns=prediction.cut_ns,
        )
        with localcontext(EXACT):
            denied = denial(proposal, self._situation(prediction.instrument))
        if denied is None and not self._enabled:
            denied = Reason.EXECUTION_DISABLED
        if denied is not None:
            return self._hold(prediction, wish, denied, position), []
        leg = wish.action.name.lower()
        number = command_id(
            self._session, key or prediction.cut, prediction.instrument, wish.strategy, leg
        )
        if number in self.orders:
            return self._hold(prediction, wish, Reason.DUPLICATE_COMMAND, position), []
        intent = self._intent(number, proposal, wish.strategy, wish.reason, now_ns, sequence)
        decision = Decision(
            wish.action, wish.reason, prediction.instrument, wish.strategy, wish, prediction,
            abs(signed), reference, number, self._seen(prediction.instrument, position),
        )  # fmt: skip
        return decision, [Send(intent)]

    def _intent(
        self,
        number: str,
        proposal: Proposal,
        strategy: str,
        reason: Reason,
        now_ns: int,
        sequence: int,
    ) -> Intent:
        side: OrderSide = "buy" if proposal.signed_quantity > 0 else "sell"
        intent = Intent(
            command_id=number,
            instrument=proposal.instrument,
            symbol=self._symbols.get(proposal.instrument, ""),
            account=self._routes.get(proposal.instrument, NOWHERE).account,
            side=side,
            quantity=f"{abs(proposal.signed_quantity):f}",
            kind="market",
            reference_price=f"{proposal.reference_price:f}",
            reduce_only=proposal.reduces,
            strategy=strategy,
            reason=reason,
            decided_ns=now_ns,
            decision_sequence=sequence,
        )
        order = self.orders[number] = Order.of(intent)
        order.sent = True  # or a broker's event will say that it provably was not
        self._order_times.append((now_ns, proposal.instrument))
        self._last_order_ns[proposal.instrument] = now_ns
        return intent

    def _situation(self, instrument: int) -> Situation:
        route = self._routes.get(instrument, NOWHERE)
        limits = self._scoped.get(instrument, self._scoped[-1])
        under_way = self._under_way()
        return Situation(
            self.book,
            Limits(
                limits.max_order,
                limits.max_position,
                limits.price_band_bps,
                Decimal(self._risk.max_drawdown),
                self._risk.max_losing_streak,
                self._risk.stale_after_ms * 1_000_000,
            ),
            limits.scopes,
            size_of(self._sizes, instrument),
            self.book.rates.get(instrument, ONE),
            self.kill_level,
            self.step,
            route,
            route.account in self.accounts.reconciled,
            self.ledger_away,
            under_way,
            self._order_times,
            self._funds(instrument, under_way),
        )

    def _under_way(self) -> dict[int, Decimal]:
        """Value of what open orders may still add, by instrument."""
        found: dict[int, Decimal] = {}
        for order in self.open_orders():
            instrument = order.intent.instrument
            if not order.intent.reduce_only:
                rate = self.book.rates.get(instrument, ONE)
                value = (order.quantity - order.filled) * self.book.mark(instrument, ZERO) * rate
                found[instrument] = found.get(instrument, ZERO) + value
        return found

    def _funds(self, instrument: int, under_way: dict[int, Decimal]) -> Decimal | None:
        """What may be spent on an entry; margin is the venue's to judge."""
        route = self._routes.get(instrument, NOWHERE)
        if route.may_short:
            return None
        quotes = self._assets.get(instrument, UNKNOWN).quotes
        funds = self.accounts.funds(route.account, quotes)
        if funds is None:
            return None
        # What is under way may be in the venue's figure already: then it counts twice, for safety.
        spent = (
            value / self.book.rates.get(n, ONE)
            for n, value in under_way.items()
            if self._routes.get(n, NOWHERE).account == route.account
            and self._assets.get(n, UNKNOWN).quotes & quotes
        )
        return funds - sum(spent, ZERO)

    def _pending(self, instrument: int) -> Order | None:
        for order in self.orders.values():
            if order.intent.instrument == instrument and order.open:
                return order
        return None

    def open_orders(self) -> list[Order]:
        """Orders of which something may still come."""
        return [order for order in self.orders.values() if order.open]

    def standing(self) -> Standing:
        """Positions and orders, as the killer needs them."""
        over = lately_over(list(self.orders.values()), CLOSED_STANDING)
        named = {order.intent.instrument for order in [*over, *self.open_orders()]}
        return Standing(
            session=self._session,
            traded=[self._traded(one) for one in sorted(named | set(self.book.held()))],
            orders=[
                StandingOrder(
                    intent=order.intent,
                    venue_order_id=order.venue_order_id,
                    fill_ids=sorted(order.fill_ids),
                    open=order.open,
                )
                for order in [*over, *self.open_orders()]
            ],
            positions=[
                Held(
                    account=self._routes.get(instrument, NOWHERE).account,
                    instrument=instrument,
                    symbol=self._symbols.get(instrument, ""),
                    quantity=f"{self.book.position(instrument).quantity:f}",
                )
                for instrument in self.book.held()
            ],
        )

    def _traded(self, instrument: int) -> Traded:
        size = size_of(self._sizes, instrument)
        return Traded(
            symbol=self._symbols.get(instrument, ""),
            bases=sorted(self._assets.get(instrument, UNKNOWN).bases),
            step=f"{size.step:f}",
            smallest=f"{size.smallest:f}",
        )

    def difference(self, instrument: int) -> Difference | None:
        """What its venue holds otherwise than the book, seen twice in a row."""
        return self.comparison.of(instrument, self._routes.get(instrument, NOWHERE))

    def remembered(self, account: str, closed: int) -> list[Order]:
        """An account's open orders, and at least so many of those that were closed last."""
        own = [order for order in self.orders.values() if order.intent.account == account]
        return lately_over(own, closed) + [order for order in own if order.open]

    def _forget_closed(self) -> None:
        """Closed orders are kept for a while, since late events may come; not for ever."""
        if len(self.orders) > 2 * CLOSED_KEPT:
            closed = [number for number, order in self.orders.items() if not order.open]
            for number in closed[:-CLOSED_KEPT]:
                del self.orders[number]

    # ---- closing

    def closable(self) -> list[int]:
        """Instruments with a position, no order under way, and an account that may send."""
        return [
            instrument
            for instrument in self.book.held()
            if self._pending(instrument) is None
            and self._routes.get(instrument, NOWHERE).account in self.accounts.reconciled
        ]

    def _closable(self, instrument: int) -> Decimal:
        """What of a position an order can close."""
        held = self.book.position(instrument).quantity
        return size_of(self._sizes, instrument).floored(held)

    def _close(
        self, instrument: int, strategy: str, reason: Reason, leg: str, now_ns: int
    ) -> Intent:
        """The order that closes a position."""
        average = self.book.position(instrument).average_price
        mark = self.book.mark(instrument, average)
        quantity = self._closable(instrument)
        proposal = Proposal(
            instrument, -quantity, mark, mark, reduces=True, now_ns=now_ns, seen_ns=now_ns
        )
        number = command_id(self._session, now_ns, instrument, strategy, leg)
        return self._intent(number, proposal, strategy, reason, now_ns, 0)
