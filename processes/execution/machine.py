"""The machine: inputs to decisions and effects, and nothing else read, not even the clock.

Every input carries its time. The same inputs in the same order give the same decisions, orders and
positions: that is what a replay checks. What an effect *does* (write the ledger, hand over to a
broker) is `main.py`'s.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Final, NamedTuple

from processes.execution.assets import assets_by_instrument
from processes.execution.beginning import Beginning
from processes.execution.gate import KILL_SWITCH
from processes.execution.orders import Order
from processes.execution.policy import Policy, Prediction, Wish
from processes.execution.positions import ZERO, Book, Position
from processes.execution.risk import Proposal, Situation, denial, limits_of
from processes.execution.routes import NOWHERE, routes_of
from processes.standing import Held, Standing, StandingOrder
from schemas.brokers import PaperAccount
from schemas.instruments import Instrument
from schemas.settings import Settings
from schemas.trading import (
    AccountAlarm,
    AccountAway,
    AccountConnected,
    AccountFact,
    Action,
    AssetHeld,
    BrokerEvent,
    CancelNotSent,
    ExternalSignal,
    Intent,
    KillLevel,
    NotSent,
    OrderFilled,
    OrderSide,
    OrderState,
    Reason,
    Reconciled,
)

AMOUNT_STEP: Final = Decimal("0.00000001")
CLOSED_KEPT: Final = 500
SIGNALS_KEPT: Final = 10_000
"""Ids of outside signals that are remembered; one can come again only while it is young."""
FLATTEN_PAUSE_NS: Final = 1_000_000_000
FLATTEN_PAUSE_MAX_NS: Final = 16_000_000_000
"""Between two attempts to close a position: 1, 2, 4 ... s. A market that has nobody on its other
side would be asked as fast as it can refuse."""


class Attempts(NamedTuple):
    """How often the kill switch has tried to close a position, and when it may try again."""

    made: int
    next_ns: int


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


class Cancel(NamedTuple):
    """Effect: ask the broker to cancel."""

    command_id: str


class CancelAll(NamedTuple):
    """Effect: ask the broker to cancel every order of an account."""

    account: str


class Reconcile(NamedTuple):
    """Effect: ask the broker what became of all that is remembered of an account."""

    account: str


Effect = Send | Cancel | CancelAll | Reconcile


def command_id(session: int, cut: int | str, instrument: int, strategy: str, leg: str) -> str:
    """32 hex digits: the same decision has the same id, however often it is made."""
    text = f"{session} {cut} {instrument} {strategy} {leg}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def no_market(instrument: int) -> Prediction:
    """What a decision about an instrument saw of its market when there was nothing to see."""
    return Prediction(instrument, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, ())


class Machine:
    """All of execution's state.

    Args:
        session: part of every command id.

    Raises:
        ConfigError: two accounts want the same instrument.
    """

    def __init__(self, session: int, instruments: Sequence[Instrument], settings: Settings) -> None:
        self.orders: dict[str, Order] = {}
        self.book = Book(assets_by_instrument(instruments))
        self.kill_level = KillLevel.NONE
        self.reconciled: set[str] = set()
        """Accounts whose venue has answered for all that the ledger has."""
        self._asked_ns: dict[str, int] = {}
        self.holdings: dict[str, dict[str, AssetHeld]] = {}
        """What venues say that accounts have, by account and asset."""
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
        self._policy = Policy(settings)
        self._order_times: deque[int] = deque(maxlen=1000)
        self._last_order_ns: dict[int, int] = {}
        self._flattened: dict[int, Attempts] = {}
        self._swept: set[str] = set()
        """Accounts that were asked to cancel everything since the switch was pulled."""
        self.on_config(settings)

    @property
    def rules_address(self) -> int:
        """Where the policy's rules stand, for a kernel."""
        return self._policy.rules_address

    # ---- inputs

    def on_config(self, settings: Settings) -> None:
        """New settings are in force."""
        self._policy.obey(settings)
        self._limits = limits_of(settings.risk)
        self._notional = Decimal(settings.execution.order_notional)
        self._enabled = settings.execution.enabled
        self._cooldown_ns = int(settings.strategy.cooldown_s * 1e9)
        self._routes = routes_of(settings, self._instruments)
        self._accounts = list(settings.execution.accounts)
        self._ask_every_ns = {
            name: int(account.ask_every_s * 1e9)
            for name, account in settings.execution.accounts.items()
            if not isinstance(account, PaperAccount)
        }

    def on_prediction(
        self, prediction: Prediction, now_ns: int, sequence: int
    ) -> tuple[Decision, list[Effect]]:
        """Decide about one prediction. `sequence` is the input's."""
        instrument = prediction.instrument
        position = self.book.position(instrument)
        self.book.see(instrument, prediction.reference_price)
        wish = self._policy.wish(prediction, position.quantity, position.opened_ns, now_ns)
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
        wish = self._policy.wish_of(signal, market, position.quantity, now_ns)
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
            return self._on_account(event, now_ns)
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
        if order.add(event):
            self.news_of = order
        if isinstance(event, OrderFilled) and len(order.fill_ids) > known:
            self.book.fill(order.intent.instrument, order.intent.side, event)
            self.changed_positions.add(order.intent.instrument)
        if order.state is not before:
            self.changed_orders.append((order, before))
        self._forget_closed()
        return self._obey_kill(now_ns)

    def _on_account(self, fact: AccountFact, now_ns: int) -> list[Effect]:
        match fact:
            case AccountConnected():
                self.reconciled.discard(fact.account)
                return [self._ask(fact.account, now_ns)]
            case AccountAway():
                self.reconciled.discard(fact.account)
            case Reconciled():
                self.reconciled.add(fact.account)
            case AssetHeld():
                self.holdings.setdefault(fact.account, {})[fact.asset] = fact
            case AccountAlarm():
                pass  # told by who wires us; a pause comes back as the switch's own input
        return self._obey_kill(now_ns)

    def unreconciled(self) -> list[str]:
        """Accounts that are waited for."""
        return [name for name in self._accounts if name not in self.reconciled]

    def on_timer(self, now_ns: int) -> list[Effect]:
        """Time has passed."""
        self.book.turn_day(now_ns)
        return self._ask_again(now_ns) + self._obey_kill(now_ns)

    def _ask_again(self, now_ns: int) -> list[Effect]:
        """Venues are compared with the ledger from time to time, nothing to be seen amiss."""
        due = [
            name
            for name, every_ns in self._ask_every_ns.items()
            if name in self.reconciled and now_ns - self._asked_ns.get(name, 0) >= every_ns
        ]
        return [self._ask(name, now_ns) for name in due]

    def _ask(self, account: str, now_ns: int) -> Reconcile:
        self._asked_ns[account] = now_ns
        return Reconcile(account)

    def on_ledger(self, *, away: bool) -> None:
        """The ledger's database has gone, or is back."""
        self.ledger_away = away

    def on_kill(self, level: int, now_ns: int) -> list[Effect]:
        """The kill switch has moved."""
        self.kill_level = KillLevel(level)
        if level == KillLevel.NONE:
            self._flattened.clear()
        return self._obey_kill(now_ns)

    def take_up(self, beginning: Beginning) -> None:
        """Orders and positions of an earlier life."""
        for order in beginning.orders:
            intent = order.intent
            self.orders[intent.command_id] = order
            last_ns = self._last_order_ns.get(intent.instrument, 0)
            self._last_order_ns[intent.instrument] = max(last_ns, intent.decided_ns)
            self._order_times.append(intent.decided_ns)
        self.book.take_up(beginning.positions, beginning.day, beginning.realized_today)

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
        if wish.action == Action.EXIT:
            signed = -position.quantity
        else:
            size = (self._notional / reference).quantize(AMOUNT_STEP, ROUND_DOWN)
            signed = size if wish.action == Action.ENTER_LONG else -size
        proposal = Proposal(
            prediction.instrument,
            signed,
            price or reference,
            reference,
            reduces=wish.action == Action.EXIT,
            now_ns=now_ns,
        )
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
            wish.action,
            wish.reason,
            prediction.instrument,
            wish.strategy,
            wish,
            prediction,
            abs(signed),
            reference,
            number,
            self._seen(prediction.instrument, position),
        )
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
            reduce_only=proposal.reduces,
            strategy=strategy,
            reason=reason,
            decided_ns=now_ns,
            decision_sequence=sequence,
        )
        order = self.orders[number] = Order.of(intent)
        order.sent = True  # or a broker's event will say that it provably was not
        self._order_times.append(now_ns)
        self._last_order_ns[proposal.instrument] = now_ns
        return intent

    def _situation(self, instrument: int) -> Situation:
        route = self._routes.get(instrument, NOWHERE)
        return Situation(
            self.book,
            self._limits,
            self.kill_level,
            route,
            route.account in self.reconciled,
            self.ledger_away,
            self._under_way(),
            self._order_times,
        )

    def _under_way(self) -> Decimal:
        return sum(
            (
                (order.quantity - order.filled) * self.book.mark(order.intent.instrument, ZERO)
                for order in self.open_orders()
                if not order.intent.reduce_only
            ),
            ZERO,
        )

    def _pending(self, instrument: int) -> Order | None:
        for order in self.orders.values():
            if order.intent.instrument == instrument and order.open:
                return order
        return None

    def open_orders(self) -> list[Order]:
        """Orders of which something may still come."""
        return [order for order in self.orders.values() if order.open]

    def standing(self) -> Standing:
        """Positions and open orders, as the killer needs them."""
        return Standing(
            session=self._session,
            orders=[
                StandingOrder(
                    intent=order.intent,
                    venue_order_id=order.venue_order_id,
                    fill_ids=sorted(order.fill_ids),
                )
                for order in self.open_orders()
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

    def remembered(self, account: str, closed: int) -> list[Order]:
        """An account's open orders, and so many of those that were closed last."""
        own = [order for order in self.orders.values() if order.intent.account == account]
        over = [order for order in own if not order.open]
        return over[-closed:] + [order for order in own if order.open]

    def _forget_closed(self) -> None:
        """Closed orders are kept for a while, since late events may come; not for ever."""
        if len(self.orders) > 2 * CLOSED_KEPT:
            closed = [number for number, order in self.orders.items() if not order.open]
            for number in closed[:-CLOSED_KEPT]:
                del self.orders[number]

    # ---- the kill switch

    def _obey_kill(self, now_ns: int) -> list[Effect]:
        """What the level asks for now: cancel what is open, then close what is held."""
        if self.kill_level < KillLevel.CANCEL:
            self._swept.clear()
            return []
        effects: list[Effect] = []
        for order in self.open_orders():
            if not order.cancel_asked and order.intent.strategy != KILL_SWITCH:
                order.cancel_asked = True
                effects.append(Cancel(order.intent.command_id))
        flat = not effects and self.kill_level >= KillLevel.FLATTEN
        # Beside ours there may be orders that a crash or a person left at the venue.
        unswept = sorted(self.reconciled - self._swept)
        self._swept.update(unswept)
        swept: list[Effect] = [CancelAll(account) for account in unswept]
        return swept + effects + (self._flatten(now_ns) if flat else [])

    def _flatten(self, now_ns: int) -> list[Effect]:
        effects: list[Effect] = []
        for instrument in self.book.held():
            if self._pending(instrument) is not None:
                continue
            if self._routes.get(instrument, NOWHERE).account not in self.reconciled:
                continue
            position = self.book.position(instrument)
            attempts = self._flattened.get(instrument, Attempts(0, 0))
            if now_ns < attempts.next_ns:
                continue
            attempt = attempts.made + 1
            pause_ns = min(FLATTEN_PAUSE_NS << attempts.made, FLATTEN_PAUSE_MAX_NS)
            self._flattened[instrument] = Attempts(attempt, now_ns + pause_ns)
            mark = self.book.mark(instrument, position.average_price)
            proposal = Proposal(
                instrument, -position.quantity, mark, mark, reduces=True, now_ns=now_ns
            )
            number = command_id(self._session, now_ns, instrument, KILL_SWITCH, str(attempt))
            intent = self._intent(number, proposal, KILL_SWITCH, Reason.KILL_FLATTEN, now_ns, 0)
            effects.append(Send(intent))
        return effects
