"""A venue, an instance's memory, and lives of execution in it that end when a test says.

The venue is the simulator on real sockets, its market standing still; for the paper account it is
the tape, and its truth the broker's own file. Predictions are written into the real ring: "up"
until the venue has a position, then "down". What the ledger says in the end is held against
the venue's truth to the last unit.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct

from processes.clock import Clock
from processes.execution.orders import Order
from processes.killswitch import pull
from processes.latch import Pulled
from processes.places import Paths, Resolved
from processes.rings import ring_layout
from processes.runtime import SignallingWriter
from processes.sessions import SessionFolder
from processes.standing import read_standing
from processes.supervisor.tables import Allotment
from schemas import predictions
from schemas.control import ProcessState, Word
from schemas.settings import SimulatorAccount
from schemas.tape import LEVELS, Flag, Kind
from schemas.trading import KillLevel, OrderFilled
from shm.doorbell import DatagramRinger
from shm.identity import pid_of
from shm.readers import ReadersPage
from shm.ring import RingWriter
from shm.segment import Segment
from tests.conformance.agreement import disagreement
from tests.conformance.brokers import (
    BITFINEX,
    GMO,
    GMO_LEVERAGE,
    KEY,
    KRAKEN,
    SECRET,
    BrokerSubject,
)
from tests.exchange import StandingExchange, standing_exchange
from tests.helpers import ROOT, wait_until
from tests.instances import Bare, bare_instance
from tests.ledgers import kept_ledger

ACCOUNT: Final = "one"
LOOP_TURNS: Final = 20
LATER_S: Final = 90.0
LIFE_S: Final = 20.0
LATEST_S: Final = 75.0
"""A request that was lost in silence is known to be lost after 32 s at Bitfinex, and sent anew."""
PAPER: Final = BrokerSubject(
    name="paper", symbol="tBTCUSD", base="BTC", quote="USD", served="", socket="", rest="",
    quantity="0.25", too_small="0", balances={},
)  # fmt: skip
SUBJECTS: Final = (PAPER, KRAKEN, BITFINEX, GMO, GMO_LEVERAGE)


class Conduct(Struct, frozen=True, kw_only=True):
    """How the venue answers an order: before, during or never."""

    faults: tuple[tuple[str, dict[str, Any]], ...] = ()
    releases: bool = False
    """What is held back is let go when part of it was seen, or the life has ended."""
    flattens: bool = False
    """The kill switch is pulled when the venue has part of the order."""


CONDUCTS: Final[dict[str, Conduct]] = {
    "prompt": Conduct(),
    "late answer": Conduct(faults=(("late_answer", {"count": 3, "seconds": 0.4}),)),
    "lost answer": Conduct(
        faults=(("lose_answer", {"count": 1, "how": "silent", "command": "order"}),)
    ),
    "cut answer": Conduct(faults=(("lose_answer", {"count": 1, "command": "order"}),)),
    "lost request": Conduct(
        faults=(("lose_request", {"count": 1, "how": "silent", "command": "order"}),)
    ),
    "late fills": Conduct(faults=(("late_fills", {"count": 3, "seconds": 0.4}),)),
    "partly": Conduct(faults=(("hold_fills", {"share": "0.4"}),), releases=True),
    "switch": Conduct(faults=(("hold_fills", {"share": "0.4"}),), releases=True, flattens=True),
}


class Mortals:
    """The process that lives of execution are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mortal"], cwd=ROOT, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def ask(self, told: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def close(self) -> None:
        """End it, and what lives still."""
        self._process.communicate(timeout=LATEST_S)
        assert self._process.returncode == 0


class Life:
    """One life of execution."""

    def __init__(self, mortals: Mortals, folder: Path, **told: Any) -> None:
        self._mortals = mortals
        self.steps_path = folder / "steps"
        self.errors_path = folder / "errors"
        self.steps_path.unlink(missing_ok=True)
        paths = {"steps": str(self.steps_path), "errors": str(self.errors_path)}
        self.pid = int(mortals.ask({**told, **paths})["pid"])
        self.ended: dict[str, Any] | None = None

    def is_over(self, *, wait: bool = False) -> bool:
        """Whether it has ended."""
        if self.ended is None:
            answer = self._mortals.ask({"pid": self.pid, "wait": wait})
            self.ended = answer if answer["ended"] else None
        return self.ended is not None

    def end(self, number: int) -> None:
        """Send it a signal, and return when it has ended."""
        if not self.is_over():
            os.kill(self.pid, number)
            self.is_over(wait=True)

    def check(self) -> None:
        """It was killed, or has ended as it should."""
        assert self.ended is not None
        good = self.ended["signal"] == signal.SIGKILL or self.ended["code"] == 0
        text = self.errors_path.read_text(errors="replace") if self.errors_path.exists() else ""
        assert good, (self.ended, text)

    @property
    def steps(self) -> list[str]:
        """The steps that it took."""
        if not self.steps_path.exists():
            return []
        return self.steps_path.read_text().split("\n")[:-1]


class CrashWorld:
    """One schedule's venue and folders."""

    def __init__(
        self,
        subject: BrokerSubject,
        mortals: Mortals,
        instance: Bare,
        exchange: StandingExchange | None,
    ) -> None:
        self.subject = subject
        self._mortals = mortals
        self._instance = instance
        self._exchange = exchange
        self._run = instance.paths.run
        self._closing = ExitStack()
        self._writer = self._ring("predictions")
        assert instance.memory is not None
        self._control = instance.memory.control
        self._control.set(Word.CONFIG_GENERATION, 1)
        self._clock = Clock(instance.memory.registry.clock_offset_ns)
        self._conduct = CONDUCTS["prompt"]
        self._cut = 0
        self._flattened = False
        self._seen_s = 0.0
        if exchange is None:
            self._show_book()

    def close(self) -> None:
        """Give the rings up."""
        self._closing.close()

    def _ring(self, name: str) -> SignallingWriter:
        """A ring, to be written by the test."""
        memory = self._instance.memory
        assert memory is not None
        segments = []
        for kind in ("ring", "readers"):
            entry = memory.registry.find(kind, name)  # type: ignore[arg-type]
            assert entry is not None
            segments.append(Segment.attach(entry.name))
            self._closing.callback(segments[-1].close)
        ringer = DatagramRinger(self._run, ReadersPage(segments[1]))
        self._closing.callback(ringer.close)
        return SignallingWriter(RingWriter(*segments, *ring_layout(name)), ringer)

    # ---- the market

    def _show_book(self) -> None:
        """A book on the tape, for the paper broker."""
        slot = np.zeros(1, ring_layout("tape.bitfinex")[0])
        slot["kind"], slot["flags"], slot["reference_price"] = Kind.BOOK_LEVEL, Flag.FRAME_END, 100
        for base, sign in ((0, -1), (2 * LEVELS, 1)):
            slot["book"][0, base : base + 3] = [sign * 0.5, sign * 1.0, sign * 1.5]
            slot["book"][0, base + LEVELS : base + LEVELS + 3] = 0.1
        self._ring("tape.bitfinex").append(slot)

    def _predict(self, *, up: bool) -> None:
        self._cut += 1
        slot = np.zeros(1, predictions.SLOT)
        now_ns = self._clock.now_ns()
        slot["cut"], slot["made_ns"], slot["cut_ns"] = self._cut, now_ns, now_ns
        slot["newest_recv_ns"], slot["feature_sequence"] = now_ns, self._cut
        slot["reference_price"], slot["spread_bps"] = 100.0, 1.0
        slot["outputs"][:, :] = (0.9, 0.1, 0.0, 50.0, 9.0) if up else (0.0, 0.1, 0.9, -50.0, 9.0)
        self._writer.append(slot)

    def behave(self, name: str) -> None:
        """From now on the venue conducts itself so."""
        self._conduct = CONDUCTS[name]
        self._seen_s = 0.0
        for kind, arguments in self._conduct.faults:
            self._fault(kind, **arguments)

    def _fault(self, kind: str, **more: Any) -> None:
        if self._exchange is not None:
            self._exchange.fault(kind, venue=self.subject.name, account=KEY, **more)

    def _release(self) -> None:
        if self._conduct.releases:
            self._fault("release_fills")

    def predict_for(self, done: Callable[[], object], deadline_s: float = LATEST_S) -> None:
        """Bring predictions as fast as they are taken, until something holds."""

        def over() -> bool:
            self._predict(up=not self.true_position())
            return bool(done())

        wait_until(over, deadline_s)

    def hold_back(self) -> None:
        """From now on the venue fills no more than a part of each order."""
        self._fault("hold_fills", share="0.4")

    def let_go(self) -> None:
        """The end of it."""
        self._fault("release_fills")

    def turn_venue(self) -> None:
        """Have the venue take what had reached its machine before this."""
        if self._exchange is not None:
            for _ in range(LOOP_TURNS):
                self._exchange.call(lambda: None)

    # ---- lives

    def keep_session(self) -> None:
        """Keep the settings in force where the killer finds them, as the supervisor does."""
        instance = self._instance
        assert instance.memory is not None
        folders = {name: str(path) for name, path in msgspec.structs.asdict(instance.paths).items()}
        resolved = Resolved(generation=1, folders=folders, settings=instance.settings)
        tables = Allotment.load(instance.paths.data).tables
        SessionFolder(instance.paths.data, instance.memory.registry.session).keep(resolved, tables)

    def pull(self, level: KillLevel) -> Pulled:
        """Pull the switch as dcctl does without a supervisor."""
        self._flattened |= level >= KillLevel.FLATTEN
        assert self._instance.memory is not None
        registry = self._instance.memory.registry
        return pull(registry, self._instance.paths, level, "a test", self._clock.now_ns())

    @property
    def paths(self) -> Paths:
        """The instance's folders."""
        return self._instance.paths

    def begin(self, at: int = 0, *, from_birth: bool = False, ahead_s: float = 0.0) -> Life:
        """A life that dies at step `at`; 0 = at none."""
        return Life(
            self._mortals, self._instance.folder, run=str(self._run), at=at,
            from_birth=from_birth, ahead_s=ahead_s,
            environment={"DC_TEST_KEY": KEY, "DC_TEST_SECRET": SECRET},
        )  # fmt: skip

    def trade(self, life: Life, orders: int, deadline_s: float = LIFE_S) -> bool:
        """Bring predictions until the venue has filled so many orders and is flat; whether it did.

        A life that has not ended by itself when that is done, or at the deadline, is killed.
        """
        end_s = time.monotonic() + deadline_s
        done = False

        def over() -> bool:
            nonlocal done
            rows = list(self.true_orders().values())
            held = self.true_position()
            over = [row for row in rows if row["status"] != "open"]
            done = held == 0 and len(rows) == len(over) >= orders
            if life.is_over() or done or time.monotonic() > end_s:
                return True
            self._predict(up=not held)
            if any(Decimal(row["filled"]) for row in rows if row["status"] == "open"):
                self._on_part()
            return False

        wait_until(over, deadline_s + LATEST_S)
        life.end(signal.SIGKILL)
        life.check()
        self._release()
        return done

    def _on_part(self) -> None:
        """Part of an order is filled, and the rest is held back."""
        now_s = time.monotonic()
        self._seen_s = self._seen_s or now_s
        if self._conduct.flattens:
            self._pull()
        elif now_s - self._seen_s > 0.1:
            self._release()

    def _pull(self) -> None:
        if not self._flattened:
            self._flattened = True
            self._control.raise_to(Word.KILL_LEVEL, KillLevel.FLATTEN)

    def conclude(self) -> Life:
        """The last life, a minute and more later: everything is known, and ledger is venue."""
        self._release()
        if self._exchange is not None:
            self._exchange.ahead_ns = int(LATER_S * 1e9)
        life = self.begin(ahead_s=LATER_S)

        def settled() -> bool:
            assert not life.is_over(), life.check()
            return self._is_ready(life) and not self.difference()

        try:
            wait_until(settled, LATEST_S)
        except AssertionError:
            raise AssertionError(f"{self.difference()}; {self.last_words()}") from None
        finally:
            life.end(signal.SIGTERM)
        life.check()
        assert life.ended is not None
        assert life.ended["code"] == 0 == life.ended["signal"]
        # What was told in the last moment changes nothing.
        assert not self.difference()
        return life

    def _is_ready(self, life: Life) -> bool:
        """Whether a life has had an answer for everything from its venue."""
        row = self._control.row(self._control.find("execution"))
        return pid_of(row.owner) == life.pid and row.state == ProcessState.READY

    def last_words(self) -> str:
        """The end of execution's log."""
        lines = (self._instance.paths.logs / "execution.jsonl").read_text().splitlines()
        return "\n".join(lines[-25:])

    # ---- what is so

    def truth(self) -> dict[str, Any]:
        """All of the account, as the venue has it."""
        if self._exchange is None:
            return paper_truth(self._instance.paths.data / f"{ACCOUNT}.sqlite")
        return self._exchange.account(self.subject.name, KEY)

    def true_orders(self) -> dict[str, dict[str, Any]]:
        """The venue's orders, by the venue's id."""
        return {self.subject.order_id(row["id"]): row for row in self.truth()["orders"]}

    def true_position(self) -> Decimal:
        """What the venue's fills come to, less the fees that were taken of it."""
        total = Decimal(0)
        for fill in self.truth()["fills"]:
            total += Decimal(fill["quantity"]) * (1 if fill["side"] == "buy" else -1)
            if fill["fee_asset"] == self.subject.base:
                total -= Decimal(fill["fee"])
        return total

    def ledger(self) -> tuple[dict[str, Order], dict[str, list[OrderFilled]], Decimal]:
        """Orders and fills by command id, and the position, as they are on disk."""
        kept = kept_ledger(self._instance.paths.data / "ledger.sqlite")
        return kept.orders, kept.fills, sum(kept.held.values(), Decimal(0))

    def difference(self) -> str:
        """What the ledger has otherwise than the venue; nothing if all is known and the same."""
        orders, fills, position = self.ledger()
        truth = self.truth()
        rows = {self.subject.order_id(row["id"]): row for row in truth["orders"]}
        if is_open := [number for number, order in orders.items() if order.open]:
            return f"{is_open} are open in the ledger"
        if different := disagreement(
            self.subject, rows, truth["fills"], list(orders.values()), fills
        ):
            return different
        # However many lives: what was decided was sent once at the most.
        sent = truth["commands"].get("order", 0)
        assert sent <= len(orders), f"{sent} orders were sent, and {len(orders)} decided"
        if position != self.true_position():
            return f"the ledger holds {position}, the venue {self.true_position()}"
        if self._flattened and self.true_position():
            return f"the switch is at flatten, and {self.true_position()} are held"
        standing = read_standing(self._instance.paths.data)
        stands = [Decimal(held.quantity) for held in standing.positions]
        if any(one.open for one in standing.orders) or sum(stands, Decimal(0)) != position:
            return f"{standing} stands, and {position} is held"
        return ""


def paper_truth(path: Path) -> dict[str, Any]:
    """What the paper broker's file says, in the simulator's words."""
    if not path.exists():
        return {"orders": [], "fills": [], "commands": {}}
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as venue:
        try:
            bodies = venue.execute("SELECT body FROM orders").fetchall()
            told = venue.execute("SELECT command_id, body FROM events ORDER BY number").fetchall()
        except sqlite3.OperationalError:
            bodies, told = [], []  # it was not made yet
    venue.close()
    orders: list[dict[str, Any]] = []
    fills: list[dict[str, Any]] = []
    for (body,) in bodies:
        intent = json.loads(body)
        name = f"paper-{intent['command_id'][:12]}"
        events = [json.loads(event) for number, event in told if number == intent["command_id"]]
        own = [
            {
                **event, "order_id": name, "side": intent["side"],
                "fee_asset": event["fee_currency"],
            }
            for event in events if event["type"] == "filled"
        ]  # fmt: skip
        filled = sum((Decimal(fill["quantity"]) for fill in own), Decimal(0))
        canceled = any(event["type"] == "canceled" for event in events)
        status = "filled" if filled == Decimal(intent["quantity"]) else "open"
        orders.append(
            {
                "id": name, "status": "canceled" if canceled else status, "filled": f"{filled:f}",
                "cause": "user", "side": intent["side"], "quantity": intent["quantity"],
            }
        )  # fmt: skip
        fills += own
    return {"orders": orders, "fills": fills, "commands": {"order": len(orders)}}


def account_settings(subject: BrokerSubject, port: int) -> dict[str, Any]:
    """An account at the simulator, or on paper."""
    if subject is PAPER:
        return {"broker": "paper", "instruments": ["*"]}
    return {
        "broker": subject.name,
        "key": "${DC_TEST_KEY}",
        "secret": "${DC_TEST_SECRET}",
        "socket_url": f"ws://127.0.0.1:{port}{subject.socket}",
        "rest_url": f"http://127.0.0.1:{port}{subject.rest}",
        "instruments": [f"{subject.name}:{subject.symbol}"],
    }


def venue_settings(subject: BrokerSubject) -> dict[str, Any]:
    """The venue's instruments, alone; nobody connects to its feed."""
    if subject.name in {"paper", "bitfinex"}:
        return {}
    return {
        "venues__bitfinex__enabled": False,
        f"venues__{subject.name}__enabled": True,
        f"venues__{subject.name}__url": "ws://127.0.0.1:9/",
        f"venues__{subject.name}__symbols": [subject.symbol],
    }


@contextmanager
def crash_world(subject: BrokerSubject, mortals: Mortals, **settings: Any) -> Iterator[CrashWorld]:
    """A venue and an instance's folders and memory, for one schedule."""
    with ExitStack() as stack:
        exchange = None
        if subject is not PAPER:
            account = SimulatorAccount(
                venue=subject.name,  # type: ignore[arg-type]
                key=KEY,
                secret=SECRET,
                balances=subject.balances,
            )
            options: dict[str, Any] = {"symbols": (), subject.served: (subject.symbol,)}
            exchange = stack.enter_context(
                standing_exchange(
                    past_s=5.0, kraken_tier="unlimited", accounts=(account,), **options
                )
            )
        instance = stack.enter_context(
            bare_instance(
                execution__accounts={
                    ACCOUNT: account_settings(subject, exchange.port if exchange else 0)
                },
                execution__order_notional="25",
                execution__timer_s=0.2,
                execution__paper__latency_ms=5.0,
                strategy__cooldown_s=0.0,
                strategy__min_expected_value_bps=-1000.0,
                risk__max_orders_per_minute=10_000,
                risk__max_daily_loss="1000000000",
                risk__max_drawdown="0",
                risk__triggers={
                    name: {"at": "0", "again_below": "0"} for name in ("daily_loss", "drawdown")
                },
                rest__bitfinex__rates__private=6000.0,
                rest__kraken__rates__private=6000.0,
                rest__kraken__rates__public=6000.0,
                **venue_settings(subject),
                **settings,
            )
        )
        instance.put_in_force()
        instance.open()
        world = CrashWorld(subject, mortals, instance, exchange)
        stack.callback(world.close)
        yield world
