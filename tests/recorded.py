"""A recorded session without processes: a simulated market through the real decoder, cutter, model
chain and execution machine, each with its restarts, and storage's own lake writer."""

import ctypes
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from config.loader import ROOT, load
from processes.execution.beginning import Beginning
from processes.execution.effects import Send
from processes.execution.journal import InputJournal
from processes.execution.machine import Machine
from processes.execution.screen import Screen
from processes.execution.signals import SignalDesk
from processes.features.cutter import Cutter
from processes.inference.chain import Chain
from processes.places import Resolved
from processes.sessions import SessionFolder
from processes.simulator.bitfinex import Connection, History
from processes.simulator.flow import Flow, make_market
from processes.storage.store import Lake, Split, TableView
from processes.training.simulated import START_NS
from schemas import decisions, features, predictions
from schemas.decisions import SlotKind
from schemas.instruments import Instrument, Tables
from schemas.layout import join
from schemas.settings import Settings
from schemas.trading import (
    Action,
    ExternalSignal,
    KillLevel,
    OrderFilled,
    OrderUnknown,
    Reconciled,
)
from tests.feeding import Feed
from tests.helpers import QuietLog

SECOND = 10**9
SESSION = 1_760_000_000_000
SYMBOLS = ("tBTCUSD", "tETHUSD")


def simulated_tape(
    seed: int, seconds: float, symbols: tuple[str, ...] = SYMBOLS, events_per_s: float = 60.0
) -> tuple[np.ndarray, Feed]:
    """A simulated market's tape, through the real decoder."""
    markets = {symbol: make_market(symbol, 1) for symbol in symbols}
    histories = {symbol: History(market) for symbol, (market, _) in markets.items()}
    flows = []
    for place, (symbol, (market, ticks)) in enumerate(markets.items()):
        market.on_trade = histories[symbol].add
        flows.append(Flow(market, ticks, seed + place, events_per_s))
    frames: list[str] = []
    now_ns = START_NS
    connection = Connection(histories, frames.append, now_ns)
    feed = Feed()
    connection.receive('{"event":"conf","flags":537100288}', now_ns)
    for symbol in symbols:
        for channel in ('book","len":"25', "trades", "ticker"):
            asked = f'{{"event":"subscribe","channel":"{channel}","symbol":"{symbol}"}}'
            connection.receive(asked, now_ns)
    while now_ns < START_NS + seconds * SECOND:
        now_ns += 37_000_000
        for flow in flows:
            flow.advance((now_ns - START_NS) / 1e9, START_NS)
        connection.tick(now_ns)
        feed.frames(frames, recv_ns=now_ns)
        frames.clear()
    slots = feed.slots
    slots["sequence"] = np.arange(1, len(slots) + 1)
    return slots, feed


class Ring:
    """Takes what a stage publishes, as its ring would."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.committed = 0
        self.blocks: list[np.ndarray] = []

    @property
    def capacity(self) -> int:
        return 1 << 16

    def recent(self, count: int) -> np.ndarray:
        return self.slots[-count:]

    def append(self, slots: np.ndarray, count: int | None = None) -> None:
        self._add(slots[:count].copy())

    def append_at(self, address: int, count: int) -> None:
        slots = np.zeros(count, self.dtype)
        if count:
            ctypes.memmove(slots.ctypes.data, address, slots.nbytes)
            self._add(slots)

    def _add(self, slots: np.ndarray) -> None:
        slots["sequence"] = np.arange(self.committed + 1, self.committed + 1 + len(slots))
        self.committed += len(slots)
        self.blocks.append(slots)

    @property
    def slots(self) -> np.ndarray:
        return join(self.blocks, self.dtype)


class Recorder:
    """Makes the session. `data` is its folder afterwards."""

    def __init__(self, data: Path, seed: int = 1, seconds: float = 40.0, **changed: Any) -> None:
        self.data = data
        self.draw = np.random.default_rng(seed)
        self._changed = changed
        self.settings = self._settings(**changed)
        tape, feed = simulated_tape(seed, seconds)
        venues = list(self.settings.venues.enabled())
        known = list(feed.tables.instruments.values())
        self.tapes = {venues[0]: tape}
        for number, venue in enumerate(venues[1:], start=1):  # the same market once more
            other = tape.copy()
            mine = other["instrument"] < len(known)
            other["instrument"][mine] += number * len(known)
            other["recv_ns"] += number * 1_000_003
            self.tapes[venue] = other
        self.tables = Tables(
            instruments=[
                Instrument(
                    index=number * len(known) + item.index,
                    venue=venue,
                    symbol=item.symbol,
                    pair=item.pair,
                    tick_size=0.1,
                )
                for number, venue in enumerate(venues)
                for item in known
            ],
            streams=list(feed.tables.streams.values()),
        )
        self.folder = SessionFolder(data, SESSION)
        self.keep(1, self.settings)
        self.now_ns = START_NS
        self.features = Ring(features.SLOT)
        self.predictions = Ring(predictions.SLOT)
        self.decisions = Ring(decisions.SLOT)

    @staticmethod
    def _settings(**changed: Any) -> Settings:
        return load(
            "demo", environment={f"DC__{key}": str(value) for key, value in changed.items()}
        )

    def keep(self, generation: int, settings: Settings) -> None:
        self.folder.keep(
            Resolved(generation=generation, folders={}, settings=settings), self.tables
        )

    # ---- stages

    def build(self, *, restarts: int = 2) -> None:
        """Rows of the tapes, by builders that die and begin anew."""
        starts = dict.fromkeys(self.tapes, 0)
        deaths = sorted(int(self.draw.integers(10, 30)) * SECOND for _ in range(restarts))
        for number, death in enumerate([*deaths, 1 << 62]):
            self._build_life(starts, START_NS + death, silent=number > 0)
            for venue, tape in self.tapes.items():
                # The next one warms itself from what the ring still holds.
                ahead = int(np.searchsorted(tape["recv_ns"], self.now_ns))
                starts[venue] = max(ahead - int(self.draw.integers(100, 2000)), 0)

    def _build_life(self, starts: dict[str, int], death_ns: int, *, silent: bool) -> None:
        cutter = Cutter(
            self.tables.instruments, len(self.tapes), self.settings.features,
            lambda address, count, _: self.features.append_at(address, count), lambda: self.now_ns,
        )  # fmt: skip
        cutter.stamp(1)
        at = dict(starts)
        if silent:
            for number, (venue, tape) in enumerate(self.tapes.items()):
                end = int(np.searchsorted(tape["recv_ns"], self.now_ns))
                block = np.ascontiguousarray(tape[starts[venue] : end])
                cutter.warm(number, block, int(block.ctypes.data))
                cutter.place(number, end)
                at[venue] = end
        if self.features.committed:
            cutter.number_from(int(self.features.blocks[-1]["cut"][-1]))
        self.features.append(cutter.warm_marker(list(starts.values())))
        cutter.begin(self.now_ns)
        last_ns = max(int(tape["recv_ns"][-1]) for tape in self.tapes.values())
        while self.now_ns < min(death_ns, last_ns):
            self.now_ns += int(self.draw.integers(1, 200)) * 1_000_000
            for number, (venue, tape) in enumerate(self.tapes.items()):
                late_ns = int(self.draw.integers(0, 40)) * 1_000_000
                end = int(np.searchsorted(tape["recv_ns"], self.now_ns - late_ns))
                if end > at[venue]:
                    block = np.ascontiguousarray(tape[at[venue] : end])
                    at[venue] = end
                    cutter.take(number, block, int(block.ctypes.data))
            cutter.turn()

    def predict(self, *, falls: bool = True) -> None:
        """Predictions about the rows, with falls, restarts and drains of any size."""
        rows = self.features.slots
        folder = ROOT / self.settings.inference.model
        chain = Chain(
            self.settings.inference, folder, len(self.tables.instruments),
            lambda address, count, _: self.predictions.append_at(address, count),
            lambda: self.now_ns, QuietLog(), lambda *_: None,
            keep=lambda lineup: self.folder.keep_lineup(lineup.version, lineup.encode()),
        )  # fmt: skip
        chain.load()
        chain.compile()
        chain.generation = 1
        at = 0
        while at < len(rows):
            self.now_ns += 1_000_003
            what = self.draw.integers(0, 40)
            if falls and what == 0:
                chain.fall("drawn")
            elif falls and what == 1:
                chain.retry()
            elif falls and what == 2:
                at = min(at + int(self.draw.integers(0, 9)), len(rows))  # a restart passes rows by
                chain.cold = True
            if chain.cold and at:
                chain.forget()
                before = np.ascontiguousarray(rows[:at])
                chain.warm(before, int(before.ctypes.data))
            end = min(at + int(self.draw.choice([1, 1, 1, 2, 3, 30])), len(rows))
            drain = np.ascontiguousarray(rows[at:end])
            if len(drain):
                chain.take(drain, int(drain.ctypes.data))
            at = end

    def decide(self, *, restarts: int = 2) -> None:
        """Decisions about the predictions: fills, the switch, new settings, restarts."""
        told = self.predictions.slots

        lives = sorted(int(n) for n in self.draw.integers(0, len(told), restarts))
        machine, journal, screen = self._begin_execution(None, 1)
        at, generation, self.now_ns = 0, 1, START_NS
        while at < len(told):
            self.now_ns = max(self.now_ns, int(told["cut_ns"][at])) + 1_000_007
            what = self.draw.integers(0, 12)
            if lives and at >= lives[0]:
                lives.pop(0)
                machine, journal, screen = self._begin_execution(machine, generation)
            elif what == 0:
                level = int(self.draw.choice([0, 0, 1, 3]))
                journal.kill_level = KillLevel(level)
                journal.message(SlotKind.INPUT_COMMAND, self.now_ns, {"kill_level": level})
                self._obey(machine, journal, machine.on_kill(level, self.now_ns))
            elif what == 1 and generation < 4:
                generation += 1
                threshold = {"strategy__enter_threshold": 0.02 * generation}
                settings = self._settings(**self._changed | threshold)
                self.keep(generation, settings)
                journal.generation = generation
                told_of = {"generation": generation}
                journal.message(SlotKind.INPUT_CONFIG, self.now_ns, told_of)
                machine.on_config(settings)
            elif what == 2:
                journal.message(SlotKind.INPUT_TIMER, self.now_ns, {})
                self._obey(machine, journal, machine.on_timer(self.now_ns))
            elif what == 3:
                self._signal(machine, journal)
            count = min(int(self.draw.integers(1, 8)), len(told) - at)
            drain = np.ascontiguousarray(told[at : at + count])
            effects = screen.decide(int(drain.ctypes.data), count, self.now_ns)
            self._obey(machine, journal, effects)
            at += count

    def _begin_execution(
        self, before: Machine | None, generation: int
    ) -> tuple[Machine, InputJournal, Screen]:
        settings = self.folder.settings(generation)
        machine = Machine(SESSION, self.tables.instruments, settings)
        orders = list(before.orders.values()) if before is not None else []
        book = before.book if before is not None else machine.book
        kept = Beginning.of(orders, book).encode()
        machine.take_up(Beginning.decode(kept))
        journal = InputJournal(self.decisions, lambda: self.now_ns)
        journal.generation = generation
        state = {"state": self.folder.keep_state(kept)}
        journal.message(SlotKind.INPUT_START, self.now_ns, state)
        journal.event(Reconciled("paper", self.now_ns), self.now_ns)
        self._obey(
            machine, journal, machine.on_event(Reconciled("paper", self.now_ns), self.now_ns)
        )
        return machine, journal, Screen(journal, machine)

    def _signal(self, machine: Machine, journal: InputJournal) -> None:
        """One from outside, now and then stale, doubled, or of nothing that is known."""
        number = int(self.draw.integers(0, 30))
        action = ("enter_long", "enter_short", "exit", "hold")[number % 4]
        signal = ExternalSignal(
            id=f"signal-{number}",
            entry=f"{self.now_ns}-0",
            instrument=int(self.draw.choice([0, 1, 1, 40_000])),
            action=Action[action.upper()],
            confidence=0.9,
            ts_ns=self.now_ns - int(self.draw.choice([1_000_000, 60_000_000_000])),
            price=float(self.draw.choice([0.0, 86_700.0])),
        )
        desk = SignalDesk(
            cast("Any", self.decisions), journal, machine, lambda: self.now_ns,
            lambda effects: self._obey(machine, journal, effects),
        )  # fmt: skip
        desk.enabled = True
        desk.take({"signals": [msgspec.to_builtins(signal)]})

    def _obey(self, machine: Machine, journal: InputJournal, effects: list[Any]) -> None:
        """Fill most orders, at once or as a venue does that is not sure."""
        for effect in effects:
            if not isinstance(effect, Send):
                continue
            self.now_ns += 1009
            intent = effect.intent
            events: list[Any] = [
                OrderFilled(
                    intent.command_id, f"{intent.command_id}-1", "100.5", intent.quantity, "0.01",
                    "USD", self.now_ns,
                )
            ]  # fmt: skip
            if self.draw.integers(0, 4) == 0:
                events.insert(0, OrderUnknown(intent.command_id, self.now_ns, "drawn"))
            for event in events:
                journal.event(event, self.now_ns)
                self._obey(machine, journal, machine.on_event(event, self.now_ns))

    # ---- the lake

    def store(self) -> None:
        """Write all rings as storage does, in drains of any size."""
        rings = {f"tape.{venue}": tape for venue, tape in self.tapes.items()}
        for name in ("features", "predictions", "decisions"):
            rings[name] = getattr(self, name).slots
        for ring, slots in rings.items():
            split = Split(ring, TableView(self.tables))
            lake = Lake(self.data / "lake", split, SESSION, self.settings.storage)
            at = 0
            while at < len(slots):
                end = at + int(self.draw.integers(1, 3000))
                lake.write(slots[at:end])
                at = end
            lake.seal_all()


def record(data: Path, seed: int = 1, **options: Any) -> Recorder:
    """A whole session in `data`."""
    made = Recorder(data, seed, **options)
    made.build()
    made.predict()
    made.decide()
    made.store()
    return made
