"""What venues hold against the book: when it is compared, what is told, what a person can say."""

from decimal import Decimal
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.execution.comparison import AGAIN_NS, adjustment
from processes.execution.effects import Pull, Reconcile, Send
from processes.execution.machine import Machine
from schemas.errors import OperatorError
from schemas.instruments import Instrument
from schemas.settings import Settings
from schemas.trading import (
    AccountConnected,
    AccountFact,
    AssetHeld,
    KillLevel,
    OrderAccepted,
    OrderFilled,
    PositionHeld,
    Reconciled,
    TriggerCode,
)
from tests.unit.execution.test_machine import T0
from tests.unit.execution.test_risk import SECOND, settings
from tests.unit.execution.test_triggers import only

ADA, ADA_EUR, COIN, SWAP = range(4)
INSTRUMENTS = [
    Instrument(index=ADA, venue="kraken", symbol="ADA/USD", pair="ADA/USD"),
    Instrument(index=ADA_EUR, venue="kraken", symbol="ADA/EUR", pair="ADA/EUR"),
    Instrument(index=COIN, venue="gmo", symbol="BTC", pair="BTC/JPY"),
    Instrument(index=SWAP, venue="gmo", symbol="BTC_JPY", pair="BTC/JPY:JPY"),
]
ACCOUNTS = {
    "sea": {"broker": "kraken", "key": "${K}", "secret": "${S}", "instruments": ["kraken:*"]},
    "yen": {"broker": "gmo", "key": "${K}", "secret": "${S}", "instruments": ["gmo:*"]},
}
ACCOUNT = {ADA: "sea", ADA_EUR: "sea", COIN: "yen", SWAP: "yen"}


@cache
def told_settings() -> Settings:
    return settings(
        execution__accounts=msgspec.json.encode(ACCOUNTS).decode(), risk__allow_short="true",
        **only(TriggerCode.POSITIONS_DIFFER, "1", "1"),
    )  # fmt: skip


class World:
    """A machine, and time that passes with each look at a venue."""

    def __init__(self) -> None:
        self.now_ns = T0
        self.machine = Machine(7, INSTRUMENTS, told_settings())
        self.numbers = 0
        self.wallet: dict[str, Decimal] = {}
        """What venues hold, as long as nobody else takes it."""

    def tell(self, *events) -> list:
        self.now_ns += SECOND
        return [one for event in events for one in self.machine.on_event(event, self.now_ns)]

    def open(self, instrument: int, signed: str) -> OrderFilled:
        """An order of ours; the fill that the venue has not told yet."""
        self.numbers += 1
        number, amount = f"{self.numbers:032x}", Decimal(signed)
        intent = self.machine._intent(
            number, _Wanted(instrument, amount, Decimal(100)), "none", 0, self.now_ns, 0
        )
        name = INSTRUMENTS[instrument].symbol if instrument == SWAP else _asset(instrument)
        self.wallet[name] = self.wallet.get(name, Decimal(0)) + amount
        return OrderFilled(
            intent.command_id, f"f{number}", "100", intent.quantity, "0", "", self.now_ns
        )

    def trade(self, instrument: int, signed: str) -> None:
        self.tell(self.open(instrument, signed))

    def facts(self, account: str) -> list[AccountFact]:
        """What its venue holds now; what is nothing is left out, as venues do."""
        found: list[AccountFact] = []
        for name, amount in self.wallet.items():
            if not amount or ("BTC" in name) != (account == "yen"):
                continue
            if "_" in name:
                found.append(PositionHeld(account, self.now_ns, name, f"{amount:f}"))
            else:
                found.append(AssetHeld(account, self.now_ns, name, f"{amount:f}", f"{amount:f}"))
        return found

    def ask(self, account: str) -> None:
        """The venue is asked, with the next turn of the timer that asks it."""
        effects: list = []
        while Reconcile(account) not in effects:
            self.now_ns += 5 * SECOND
            effects = self.machine.on_timer(self.now_ns)

    def look(self, account: str) -> list[Pull]:
        """A whole look at a venue, and what it fires."""
        self.ask(account)
        self.tell(*self.facts(account), Reconciled(account, self.now_ns))
        return self.fired()

    def fired(self) -> list[Pull]:
        return [one for one in self.machine.on_timer(self.now_ns) if isinstance(one, Pull)]


class _Wanted(msgspec.Struct):
    """As much of a proposal as an intent is made of."""

    instrument: int
    signed_quantity: Decimal
    reference_price: Decimal
    reduces: bool = False


def _asset(instrument: int) -> str:
    return INSTRUMENTS[instrument].pair.partition("/")[0]


@pytest.fixture
def world() -> World:
    made = World()
    made.tell(*(Reconciled(name, T0) for name in ACCOUNTS))
    return made


@pytest.mark.parametrize("instrument", [ADA, COIN, SWAP])
def test_what_agrees_is_no_news(world, instrument):
    world.trade(instrument, "2")
    for _ in range(3):
        assert world.look(ACCOUNT[instrument]) == []


@pytest.mark.parametrize("instrument", [ADA, COIN, SWAP])
def test_what_the_venue_lacks_twice_in_a_row_pauses(world, instrument):
    world.trade(instrument, "2")
    world.wallet.clear()
    assert world.look(ACCOUNT[instrument]) == []
    (pull,) = world.look(ACCOUNT[instrument])
    assert (pull.level, pull.code) == (KillLevel.PAUSE, TriggerCode.POSITIONS_DIFFER)
    name = "BTC_JPY" if instrument == SWAP else _asset(instrument)
    assert f"{name} of {ACCOUNT[instrument]}: 2 here, 0 there" in pull.text
    assert world.look(ACCOUNT[instrument]) == [], "told once"


def test_after_the_first_look_that_differs_the_next_one_is_soon(world):
    world.trade(ADA, "2")
    world.look("sea")
    quiet_ns = world.now_ns
    world.ask("sea")
    assert world.now_ns - quiet_ns > 2 * AGAIN_NS
    world.wallet.clear()
    world.tell(Reconciled("sea", world.now_ns))
    seen_ns = world.now_ns
    world.ask("sea")
    assert world.now_ns - seen_ns <= 2 * AGAIN_NS


def test_a_wallet_may_hold_more_and_a_margin_position_may_not(world):
    world.trade(COIN, "2")
    world.trade(SWAP, "-1")
    world.wallet["BTC"] += 5
    assert [world.look("yen") for _ in range(3)] == [[]] * 3
    world.wallet["BTC_JPY"] -= 5
    assert world.look("yen") == []
    assert "BTC_JPY of yen: -1 here, -6 there" in world.look("yen")[0].text


def test_two_instruments_share_a_wallet_and_what_earns_interest_counts(world):
    world.trade(ADA, "2")
    world.trade(ADA_EUR, "3")
    world.wallet = {"ADA": Decimal(1), "ADA.F": Decimal(4)}
    assert [world.look("sea") for _ in range(2)] == [[]] * 2
    world.wallet["ADA.F"] -= 1
    world.look("sea")
    assert "ADA of sea: 5 here, 4 there" in world.look("sea")[0].text


def test_an_order_under_way_is_no_difference(world):
    world.trade(ADA, "2")
    world.open(ADA, "1")
    assert [world.look("sea") for _ in range(4)] == [[]] * 4


def test_what_moved_since_the_question_is_not_compared(world):
    world.trade(ADA, "2")
    for _ in range(4):
        world.ask("sea")
        before = world.facts("sea")
        late = world.open(ADA, "1")
        world.tell(OrderAccepted(late.command_id, "V", world.now_ns), late)
        world.tell(*before, Reconciled("sea", world.now_ns))
        assert world.fired() == []


def test_two_looks_that_differ_otherwise_are_no_finding(world):
    world.trade(ADA, "9")
    for left in (1, 2, 3, 4):
        world.wallet["ADA"] = Decimal(left)
        assert world.look("sea") == []
    assert len(world.look("sea")) == 1


def test_on_paper_there_is_nothing_to_compare(world):
    world.tell(AccountConnected("sea", T0, is_paper=True), Reconciled("sea", T0))
    world.trade(ADA, "2")
    world.wallet.clear()
    assert [world.look("sea") for _ in range(3)] == [[]] * 3


def test_it_can_fire_again_after_it_agreed_and_a_person_armed(world):
    world.trade(ADA, "2")
    for _ in range(2):
        kept, world.wallet = world.wallet, {}
        world.look("sea")
        assert len(world.look("sea")) == 1
        world.machine.on_kill(KillLevel.PAUSE, world.now_ns)
        world.wallet = kept
        world.look("sea")
        world.machine.on_kill(KillLevel.NONE, world.now_ns)
        world.look("sea")


def test_a_venue_is_asked_after_it_was_handed_the_orders_it_is_asked_about(world):
    """Else one that is about to be sent is taken for lost."""
    world.trade(ADA, "2")
    world.look("sea")
    world.machine.kill_level = KillLevel.FLATTEN
    world.now_ns += 600 * SECOND
    kinds = [type(one) for one in world.machine.on_timer(world.now_ns)]
    assert kinds.index(Send) < kinds.index(Reconcile)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ADA, ADA_EUR, COIN, SWAP]),
            st.integers(1, 5),
            st.booleans(),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_an_honest_venue_is_never_accused(steps):
    """Whatever is traded, told late or at once, between looks or during one."""
    world = World()
    world.tell(*(Reconciled(name, T0) for name in ACCOUNTS))
    late: list[OrderFilled] = []
    for instrument, amount, sells, is_late in steps:
        held = world.machine.book.quantity(instrument)
        signed = -amount if sells and (instrument == SWAP or held >= amount) else amount
        fill = world.open(instrument, str(signed))
        late.append(fill)
        if not is_late:
            world.tell(*late)
            late.clear()
        for account in ACCOUNTS:
            assert world.look(account) == []
    world.tell(*late)
    for account in ACCOUNTS:
        assert world.look(account) == []
        assert world.look(account) == []


# ---- a person's word


def differing(world: World, instrument: int, name: str, there: str) -> None:
    world.wallet[name] = Decimal(there)
    account = ACCOUNT[instrument]
    world.look(account)
    world.look(account)
    assert world.machine.difference(instrument) is not None


@pytest.mark.parametrize(("signed", "there"), [("2", "0"), ("-2", "0"), ("2", "5"), ("-2", "1")])
def test_the_book_follows_the_venue_at_a_price(world, signed, there):
    world.trade(SWAP, signed)
    differing(world, SWAP, "BTC_JPY", there)
    book = world.machine.book
    events = adjustment(SWAP, world.machine.difference(SWAP), book, "110", world.now_ns)
    world.tell(*events)
    position = book.position(SWAP)
    assert position.quantity == Decimal(there)
    closed = Decimal(signed) if Decimal(signed) * Decimal(there) <= 0 else Decimal(0)
    assert position.realized == closed * 10
    world.look("yen")
    assert world.machine.difference(SWAP) is None
    order = world.machine.orders[events[0].command_id]
    assert not order.open


def test_without_a_price_it_is_the_mark(world):
    world.trade(SWAP, "2")
    differing(world, SWAP, "BTC_JPY", "0")
    world.machine.book.see(SWAP, 90.0)
    _, fill = adjustment(SWAP, world.machine.difference(SWAP), world.machine.book, "", 1)
    assert Decimal(fill.price) == 90


def test_of_a_shared_wallet_no_instrument_loses_more_than_it_has(world):
    world.trade(ADA, "2")
    world.trade(ADA_EUR, "3")
    differing(world, ADA, "ADA", "1")
    book = world.machine.book
    world.tell(*adjustment(ADA, world.machine.difference(ADA), book, "100", world.now_ns))
    assert (book.quantity(ADA), book.quantity(ADA_EUR)) == (0, 3)
    world.look("sea")
    world.look("sea")
    with pytest.raises(OperatorError, match="name the other"):
        adjustment(ADA, world.machine.difference(ADA), book, "100", world.now_ns)
    world.tell(*adjustment(ADA_EUR, world.machine.difference(ADA_EUR), book, "100", 5))
    assert book.quantity(ADA_EUR) == 1
    world.look("sea")
    assert world.machine.difference(ADA) is None
