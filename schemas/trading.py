"""The words of trading: actions, reasons, order states, and the events brokers answer with.

Money is decimal text here and everywhere after the strategy: `"0.00150000"`, never a float.
"""

from enum import IntEnum, StrEnum
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace


class Action(IntEnum):
    """What a strategy wants, or what was decided."""

    HOLD = 0
    ENTER_LONG = 1
    ENTER_SHORT = 2
    EXIT = 3


class Reason(IntEnum):
    """Why a decision came out as it did. Codes are for ever: never renumbered, never reused."""

    NO_SIGNAL = 0
    SIGNAL = 1
    EXIT_SIGNAL = 2
    EXIT_HORIZON = 3
    ALREADY_IN_POSITION = 10
    ORDER_PENDING = 11
    EV_TOO_SMALL = 12
    STRATEGY_DISABLED = 13
    EXECUTION_DISABLED = 14
    COOLDOWN = 15
    KILLED = 20
    STALE_DATA = 21
    INVALID_FEATURES = 22
    NO_MODEL = 23
    SPREAD = 24
    NOT_FINITE = 25
    NOT_RECONCILED = 26
    LEDGER_AWAY = 27
    NO_ACCOUNT = 28
    CLOCK = 29
    MAX_ORDER = 30
    MAX_POSITION = 31
    DAILY_LOSS = 32
    ORDER_RATE = 33
    PRICE_BAND = 34
    MIN_SIZE = 35
    DUPLICATE_COMMAND = 36
    SHORT_NOT_ALLOWED = 37
    MAX_TOTAL_POSITION = 38
    MAX_DRAWDOWN = 39
    SIGNAL_STALE = 40
    SIGNAL_DUPLICATE = 41
    NO_MARKET = 42
    NOTHING_TO_EXIT = 43
    LOSING_STREAK = 44
    BALANCE = 45
    MIN_NOTIONAL = 46
    REGIME = 47
    SPREAD_QUANTILE = 48
    DEGRADED = 49
    KILL_CANCEL = 50
    KILL_FLATTEN = 51
    DEGRADED_FLATTEN = 52
    MADE_THERE = 53


REASON_TEXT: dict[Reason, str] = {
    Reason.NO_SIGNAL: "the strategy saw nothing to do",
    Reason.SIGNAL: "the strategy's signal passed every check",
    Reason.EXIT_SIGNAL: "the strategy wants out",
    Reason.EXIT_HORIZON: "the position is older than the strategy's horizon",
    Reason.ALREADY_IN_POSITION: "the position that the signal asks for is already held",
    Reason.ORDER_PENDING: "an order of this instrument is not finished",
    Reason.EV_TOO_SMALL: "expected move after fee, spread and slippage is below the threshold",
    Reason.STRATEGY_DISABLED: "strategy.enabled is false",
    Reason.EXECUTION_DISABLED: "execution.enabled is false: decided, not sent",
    Reason.COOLDOWN: "too soon after the instrument's last order",
    Reason.KILLED: "the kill switch is on",
    Reason.STALE_DATA: "the prediction is older than risk.stale_after_ms",
    Reason.INVALID_FEATURES: "the feature row says that its input cannot be trusted",
    Reason.NO_MODEL: "no model is in force: positions are managed, nothing is entered",
    Reason.SPREAD: "the spread is wider than risk.max_spread_bps",
    Reason.NOT_FINITE: "a number is not finite, or is nothing that it could be",
    Reason.NOT_RECONCILED: "the account's venue and the ledger have not been compared yet",
    Reason.LEDGER_AWAY: "the ledger's database is away, and nothing is sent that is not in it",
    Reason.NO_ACCOUNT: "no account of execution.accounts has the instrument",
    Reason.CLOCK: "it is dated later than now: a clock has jumped",
    Reason.MAX_ORDER: "the order is larger than risk.max_order_notional",
    Reason.MAX_POSITION: "the position would be larger than risk.max_position_notional",
    Reason.DAILY_LOSS: "today's loss has reached risk.max_daily_loss",
    Reason.ORDER_RATE: "more orders in a minute than risk.max_orders_per_minute",
    Reason.PRICE_BAND: "the price is further from the reference than risk.price_band_bps",
    Reason.MIN_SIZE: "the quantity is below the smallest the venue takes",
    Reason.DUPLICATE_COMMAND: "this decision already has an order",
    Reason.SHORT_NOT_ALLOWED: "the account cannot sell what it does not hold",
    Reason.MAX_TOTAL_POSITION: "all positions together would exceed risk.max_total_notional",
    Reason.MAX_DRAWDOWN: "the loss since the highest equity has reached risk.max_drawdown",
    Reason.LOSING_STREAK: "so many trades in a row as risk.max_losing_streak ended with a loss",
    Reason.BALANCE: "the account has not what the order costs, or its venue has not said so",
    Reason.MIN_NOTIONAL: "price times quantity is below the least that the venue takes",
    Reason.REGIME: "the market's regime is none of strategy.regimes, or is not known",
    Reason.SPREAD_QUANTILE: "the spread is wider than strategy.max_spread_quantile allows",
    Reason.DEGRADED: "no prediction could be used for risk.positions_only_s: flat and stopped",
    Reason.SIGNAL_STALE: "the outside signal is older than bridge.signals.max_age_ms",
    Reason.SIGNAL_DUPLICATE: "an outside signal of this id was decided before",
    Reason.NO_MARKET: "nothing is known of the market that the outside signal is about",
    Reason.NOTHING_TO_EXIT: "the outside signal wants out, and no position is held",
    Reason.KILL_CANCEL: "cancelled by the kill switch",
    Reason.KILL_FLATTEN: "closed by the kill switch",
    Reason.DEGRADED_FLATTEN: "closed since no prediction could be used for risk.positions_only_s",
    Reason.MADE_THERE: "made by the bot itself, or by a person at it, in a trade of ours",
}


class Step(IntEnum):
    """How far trading has fallen; `processes/execution/degradation.py`."""

    FULL = 0
    POSITIONS_ONLY = 1
    FLAT = 2


class TriggerCode(StrEnum):
    """What pulls the kill switch by itself: the names of `risk.triggers`."""

    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    LOSING_STREAK = "losing_streak"
    ORDER_REJECTS = "order_rejects"
    UNKNOWN_ORDERS = "unknown_orders"
    ACCOUNTS_AWAY = "accounts_away"
    POSITIONS_DIFFER = "positions_differ"

    @property
    def text(self) -> str:
        """What its reading is."""
        return TRIGGER_TEXT[self]


TRIGGER_TEXT: dict[TriggerCode, str] = {
    TriggerCode.DAILY_LOSS: "loss of the day, open positions included",
    TriggerCode.DRAWDOWN: "loss since the highest equity",
    TriggerCode.LOSING_STREAK: "trades in a row that ended with a loss",
    TriggerCode.ORDER_REJECTS: "orders in a row that a venue rejected",
    TriggerCode.UNKNOWN_ORDERS: "seconds that an order's outcome has been unknown",
    TriggerCode.ACCOUNTS_AWAY: "seconds that no account could be sent to",
    TriggerCode.POSITIONS_DIFFER: "positions that a venue has otherwise than the book",
}


class KillLevel(IntEnum):
    """Levels of the kill switch, each including those before it."""

    NONE = 0
    PAUSE = 1
    CANCEL = 2
    FLATTEN = 3
    SHUTDOWN = 4


class OrderState(IntEnum):
    """Life of an order; see `processes/execution/orders.py` for the table of transitions."""

    NEW = 0
    SENT = 1
    ACKED = 2
    PARTIALLY_FILLED = 3
    FILLED = 4
    CANCELED = 5
    REJECTED = 6
    EXPIRED = 7
    UNKNOWN = 8

    @property
    def final(self) -> bool:
        """Nothing can happen to the order any more."""
        return OrderState.FILLED <= self <= OrderState.EXPIRED


OrderSide = Literal["buy", "sell"]
OrderKind = Literal["market", "limit"]


class Intent(Struct, frozen=True, kw_only=True):
    """An order as decided: in the ledger before anything is sent."""

    command_id: str
    """32 hex digits: hash of session, cut, instrument, strategy and leg."""
    instrument: int
    symbol: str
    account: str = "paper"
    side: OrderSide
    quantity: str
    kind: OrderKind
    limit_price: str = ""
    reference_price: str = ""
    """What the market stood at when it was decided."""
    reduce_only: bool = False
    strategy: str = ""
    reason: int = 0
    decided_ns: int = 0
    decision_sequence: int = 0


class OrderNew(Struct, frozen=True, array_like=True):
    """An order that is about to be sent: the message of an ORDER slot of the decisions ring."""

    command_id: str
    instrument: int
    side: OrderSide
    quantity: str
    kind: OrderKind
    limit_price: str
    reduce_only: bool
    strategy: str


class ExternalSignal(Struct, frozen=True, array_like=True):
    """A signal of a strategy elsewhere, validated: the message of an INPUT_SIGNAL slot."""

    id: str
    """`strategy/id`, at most 97 characters: one outcome each."""
    entry: str
    """The id of the stream entry that brought it."""
    instrument: int
    action: Action
    confidence: float
    price: float
    """What its writer saw; 0.0 = not said."""
    ts_ns: int
    """When its writer says that it was made."""


class OrderAccepted(Struct, frozen=True, tag="accepted"):
    """The venue has the order."""

    command_id: str
    venue_order_id: str
    time_ns: int


class OrderFilled(Struct, frozen=True, tag="filled"):
    """Part of an order was traded. `fill_id` is unique at the venue."""

    command_id: str
    fill_id: str
    price: str
    quantity: str
    fee: str
    fee_currency: str
    time_ns: int


class OrderAdopted(Struct, frozen=True, tag="adopted"):
    """Somebody else made an order in a position of ours: a bot's own rule, or a person at it.

    It is taken into the ledger as it stands at the venue, so that the position stays right; what
    becomes of it is told as of an order of ours. Told again, it changes nothing.
    """

    command_id: str
    """32 hex digits: hash of the account and the venue's name of the order."""
    account: str
    instrument: int
    side: OrderSide
    quantity: str
    time_ns: int
    """When it was made."""


class OrderCanceled(Struct, frozen=True, tag="canceled"):
    """The rest of the order is gone."""

    command_id: str
    time_ns: int
    text: str = ""


class OrderRejected(Struct, frozen=True, tag="rejected"):
    """The venue will not have the order."""

    command_id: str
    time_ns: int
    text: str = ""


class OrderExpired(Struct, frozen=True, tag="expired"):
    """The order was never handed over, or its time ran out."""

    command_id: str
    time_ns: int
    text: str = ""


class OrderUnknown(Struct, frozen=True, tag="unknown"):
    """The outcome of the send is not known; the venue is being asked."""

    command_id: str
    time_ns: int
    text: str = ""


class NotSent(Struct, frozen=True, tag="not_sent"):
    """An order was not sent, and there is none: its intent could not be put down."""

    command_id: str
    time_ns: int
    text: str = ""


class CancelNotSent(Struct, frozen=True, tag="cancel_not_sent"):
    """A cancel could not be handed to the broker; it will be asked for again."""

    command_id: str
    time_ns: int


class AccountConnected(Struct, frozen=True, tag="account_connected"):
    """An account's venue can be asked; it is told which orders to answer for."""

    account: str
    time_ns: int
    is_paper: bool = False
    """Its orders go nowhere: there is no wallet to look into."""


class AccountAway(Struct, frozen=True, tag="account_away"):
    """An account's venue is lost sight of: nothing new goes there until `Reconciled`."""

    account: str
    time_ns: int
    text: str = ""


class Reconciled(Struct, frozen=True, tag="reconciled"):
    """The broker has answered for every order it was asked about; new ones may be sent."""

    account: str
    time_ns: int


class AssetHeld(Struct, frozen=True, tag="asset_held"):
    """What an account has of one asset, as its venue says."""

    account: str
    time_ns: int
    asset: str
    total: str
    available: str
    """Without what open orders hold."""


class PositionHeld(Struct, frozen=True, tag="position_held"):
    """What an account holds of one symbol on margin, as its venue says.

    All that is not flat is told with each reconciliation, before `Reconciled`.
    """

    account: str
    time_ns: int
    symbol: str
    quantity: str
    """Signed: negative is short."""


class AccountAlarm(Struct, frozen=True, tag="account_alarm"):
    """Something about an account that a person must know of.

    An order that is not ours, an answer that fits several orders. With `pause` it latches the kill
    switch's first level.
    """

    account: str
    time_ns: int
    code: str
    text: str
    pause: bool = False


OrderEvent = (
    OrderAdopted
    | OrderAccepted
    | OrderFilled
    | OrderCanceled
    | OrderRejected
    | OrderExpired
    | OrderUnknown
    | NotSent
    | CancelNotSent
)
AccountFact = AccountConnected | AccountAway | Reconciled | AssetHeld | PositionHeld | AccountAlarm
BrokerEvent = OrderEvent | AccountFact
TEXT_BYTES: Final = 120
"""A text of an event is cut to so many bytes, so that every event fits a slot."""


def clipped(event: BrokerEvent) -> BrokerEvent:
    """The event with its text short enough for a slot."""
    text = getattr(event, "text", "")
    if len(text.encode()) <= TEXT_BYTES:
        return event
    return replace(event, text=text.encode()[:TEXT_BYTES].decode(errors="ignore"))
