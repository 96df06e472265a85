"""One look at everything for all who watch: the only part of the console that reads the instance.

Rings are mapped read-only and read without a row, so that not even their readers' page knows of us.
What must be asked for (the supervisor's status, collectors' connections, the ledger) is asked once
a second by one thread, so a supervisor that hangs costs a page its freshness and nothing else. May
fail with SharedMemoryError where the instance's memory is not what this code reads.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
import psutil

from processes.alerts.finders import find_all
from processes.alerts.sight import Watch
from processes.bus import request
from processes.clock import Clock, measure_offset_ns, monotonic_s, utc_text
from processes.console.decided import Decided, limits_of
from processes.console.market import Markets
from processes.console.view import AlertLine, Equity, Hop, Ring, Trading, View
from processes.execution.ledger import LedgerError
from processes.execution.reading import LedgerView
from processes.latch import read_latch
from processes.operations.instance import SUPERVISOR
from processes.operations.steering import connections
from processes.operations.trading import position_records, profit_record
from processes.rings import ring_layout
from processes.runtime import Context
from schemas import metrics
from schemas.alert_rules import BY_NAME
from schemas.control import Mode, Word
from schemas.errors import DataControllerError, OperatorError
from schemas.messages import Status
from schemas.predictions import SPEAKERS, Rung
from schemas.trading import KillLevel
from shm.control import ROWS
from shm.identity import is_alive
from shm.readers import Onlooker, ReadersPage
from shm.segment import Segment

BLOCKS: Final = {"tape": 16_384, "features": 2048, "predictions": 2048, "decisions": 8192}
"""Slots of each kind of ring that a look takes at most."""
ASK_S: Final = 1.0
ASK_TIMEOUT_S: Final = 1.0
EQUITY_POINTS: Final = 3600
RATE_LOOKS: Final = 12
LATENCY_S: Final = 10.0
ORDERS: Final = 60
HOPS: Final = (
    "recv_to_tape", "recv_to_feature", "recv_to_prediction", "recv_to_decision",
)  # fmt: skip
_MICROS: Final = 1e6


class _RingSight:
    """One ring: its slots, its readers, its rate."""

    def __init__(self, context: Context, name: str) -> None:
        ring = context.registry.find("ring", name)
        page = context.registry.find("readers", name)
        if ring is None or page is None:
            raise OperatorError(f"this instance has no ring {name}")
        dtype, layout = ring_layout(name)
        self.name = name
        segment = Segment.attach(ring.name, writable=False)
        self.look = Onlooker(segment, dtype, layout, limit=BLOCKS[name.partition(".")[0]])
        self._page = ReadersPage(Segment.attach(page.name, writable=False))
        self._past: deque[tuple[float, int]] = deque(maxlen=RATE_LOOKS)
        self._readers: list[tuple[str, int, int]] = []

    def moves(self, *, is_second: bool) -> Ring:
        """How it stands now; who reads it is looked at once a second."""
        committed = self.look.committed
        self._past.append((monotonic_s(), committed))
        (first_s, first), (last_s, last) = self._past[0], self._past[-1]
        if is_second:
            self._readers = [
                (row.name, max(committed - row.position, 0), row.lost)
                for row in self._page.rows()
                if row.alive or not row.tap
            ]
        per_s = (last - first) / (last_s - first_s) if last_s > first_s else 0.0
        return Ring(
            name=self.name,
            committed=committed,
            per_s=round(per_s, 1),
            readers=sorted(self._readers),
        )


class Asked(msgspec.Struct, kw_only=True):
    """What the asking thread has brought; replaced whole."""

    status: Status | None = None
    feeds: list[dict[str, Any]] = []
    trading: Trading = msgspec.field(default_factory=Trading)
    alerts: list[AlertLine] = []
    kill_by: str = ""


class Sampler:
    """Looks, and keeps the newest view."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.view = View()
        self.version = 0
        """Grows with each look."""
        self.browsers: Callable[[], int] = lambda: 0
        self._rings = [_RingSight(context, name) for name in context.registry.ring_names()]
        self._markets = Markets(context.tables)
        self._decided = Decided(self._markets.symbol)
        self._pages = context.counter_pages()
        rows = [context.control.row(index).name for index in range(ROWS)]
        self._rows = {name: at for at, name in enumerate(rows) if name}
        self._hops: deque[tuple[float, dict[str, list[int]]]] = deque(maxlen=600)
        self._equity: deque[Equity] = deque(maxlen=EQUITY_POINTS)
        self._watch = Watch(context.settings, context.paths.data)
        self._asked = Asked()
        self._marks: dict[int, float] = {}
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._ask_always, name="asking", daemon=True)
        self._own = psutil.Process()
        self._look_s = 0.0
        self._second_s = 0.0
        self._shown_hops: list[Hop] = []
        self._drift: dict[str, int] = {}
        self._models: dict[str, dict[str, int]] = {}
        self._rss = 0.0

    def begin(self) -> None:
        """Start asking."""
        self._thread.start()

    def end(self) -> None:
        """Stop asking; what is being asked is waited for."""
        self._stop.set()
        self._wake.set()
        self._thread.join(3 * ASK_TIMEOUT_S)

    def ask_now(self) -> None:
        """Something was done: bring what came of it without waiting for the second."""
        self._wake.set()

    # ---- the look

    def look(self) -> View:
        """Take a look, which takes a few milliseconds, and keep it."""
        began_s = monotonic_s()
        for ring in self._rings:
            slots = ring.look.read()
            if ring.name.startswith("tape."):
                self._markets.take_tape(slots)
            elif ring.name == "features":
                self._markets.take_features(slots)
            elif ring.name == "predictions":
                self._markets.take_predictions(slots)
            else:
                self._decided.take(slots)
        self._marks = self._markets.marks()
        is_second = began_s >= self._second_s
        if is_second:
            self._second_s = began_s + 1.0
            self._take_counters()
        self.view = self._made(is_second=is_second)
        self.version += 1
        self._look_s = 0.9 * self._look_s + 0.1 * (monotonic_s() - began_s)
        return self.view

    def _values(self) -> dict[str, list[int]]:
        return {
            name: self._pages.values(at)
            for name, at in self._rows.items()
            if at < self._pages.pages and is_alive(self._pages.owner(at))
        }

    def _take_counters(self) -> None:
        """What changes slowly, or is looked at over seconds."""
        values = self._values()
        self._latencies(values)
        self._drift = _by_label(values.get("inference"), "drift_psi_milli")
        self._models = _models(values.get("inference"))
        self._rss = float(self._own.memory_info().rss)

    def _made(self, *, is_second: bool) -> View:
        control, asked = self._context.control, self._asked
        now_ns = self._context.clock.now_ns()
        level = KillLevel(control.get(Word.KILL_LEVEL))
        at = self._rows.get("execution")
        mine = None if at is None else self._pages.values(at)

        def gauge(name: str) -> int:
            return mine[metrics.place(name)] if mine else 0

        realized = gauge("realized_pnl_micros") / _MICROS
        unrealized = gauge("unrealized_pnl_micros") / _MICROS
        if mine and (not self._equity or now_ns - self._equity[-1].time_ns >= 10**9):
            self._equity.append(Equity(now_ns, realized, unrealized))
        return View(
            at_ns=now_ns,
            session=self._context.session,
            generation=control.get(Word.CONFIG_GENERATION),
            mode=Mode(control.get(Word.MODE)).name.lower(),
            rung=Rung(control.get(Word.RUNG)).name.lower(),
            kill_level=level.name.lower(),
            kill_since_ns=control.get(Word.KILL_SINCE_NS),
            kill_by=asked.kill_by if level else "",
            kill_acknowledged=control.get(Word.KILL_ACKNOWLEDGED) >= level,
            status=asked.status,
            rings=[ring.moves(is_second=is_second) for ring in self._rings],
            hops=self._shown_hops,
            markets=self._markets.all(),
            decisions=self._decided.newest(),
            reasons=self._decided.reasons(),
            equity=list(self._equity),
            realized=realized,
            unrealized=unrealized,
            drawdown=gauge("drawdown_micros") / _MICROS,
            open_orders=gauge("open_orders"),
            losing_streak=gauge("losing_streak"),
            trading=asked.trading,
            feeds=asked.feeds,
            alerts=asked.alerts,
            drift=self._drift,
            models=self._models,
            own={
                "browsers": float(self.browsers()),
                "rss_bytes": self._rss,
                "look_ms": round(self._look_s * 1e3, 2),
            },
        )

    def _latencies(self, values: dict[str, list[int]]) -> None:
        """Histograms of the last seconds: those of all time less those of then."""
        now: dict[str, list[int]] = {}
        for name in HOPS:
            at = metrics.place(name)
            parts = [page[at : at + metrics.BUCKETS] for page in values.values()]
            now[name] = [sum(column) for column in zip(*parts, strict=True)] if parts else []
        moment_s = monotonic_s()
        self._hops.append((moment_s, now))
        while moment_s - self._hops[0][0] > LATENCY_S:
            self._hops.popleft()
        before = self._hops[0][1]
        found = []
        for name in HOPS:
            then = before[name] or [0] * len(now[name])
            counts = [max(b - a, 0) for a, b in zip(then, now[name], strict=False)]
            p50, p99 = (metrics.quantile_ns(counts, share) / 1e3 for share in (0.5, 0.99))
            found.append(Hop(name=name, p50=round(p50, 1), p99=round(p99, 1), count=sum(counts)))
        self._shown_hops = found

    # ---- what must be asked for

    def _ask_always(self) -> None:
        while not self._stop.is_set():
            self._asked = self._ask()
            self._wake.wait(ASK_S)
            self._wake.clear()

    def _ask(self) -> Asked:
        """One round; whoever does not answer leaves what was known last, or nothing."""
        context = self._context
        run, data = context.paths.run, context.paths.data
        status: Status | None = None
        try:
            told = request(run, SUPERVISOR, "status", timeout_s=ASK_TIMEOUT_S)
            status = msgspec.convert(told, Status)
        except OperatorError:
            pass
        self._markets.set_tables(context.tables)
        collectors = [name for name in self._rows if name.startswith("collector.")]
        feeds = [
            connections(context.paths, name.partition(".")[2], timeout_s=ASK_TIMEOUT_S)
            for name in collectors
        ]
        return Asked(
            status=status,
            feeds=feeds,
            trading=self._ask_ledger(),
            alerts=self._ask_alerts(status),
            kill_by=read_latch(data).by,
        )

    def _ask_ledger(self) -> Trading:
        settings, data = self._context.settings, self._context.paths.data
        view = LedgerView(settings.ledger, data)
        try:
            profit = profit_record(view, self._marks, 30)
            return Trading(
                positions=position_records(view, self._marks),
                orders=view.orders(limit=ORDERS),
                fills=view.fills(limit=ORDERS),
                days=profit["days"],
                limits=limits_of(settings.risk, view, self._marks, self.view),
            )
        except (LedgerError, DataControllerError) as error:
            return Trading(error=str(error))

    def _ask_alerts(self, status: Status | None) -> list[AlertLine]:
        """From the process that tells of them; where no channel is set, by the same rules here."""
        if self._context.settings.alerts.channels:
            try:
                told = request(self._context.paths.run, "alerts", "list", timeout_s=ASK_TIMEOUT_S)
            except OperatorError as error:
                text = str(error)
                return [AlertLine(name="alerts", severity="warning", means="the process that tells "
                                  "of alerts does not answer", text=text, todo="")]  # fmt: skip
            names = ("name", "severity", "means", "text", "todo", "since", "acknowledged")
            return [
                AlertLine(**{name: one[name] for name in names}, can_acknowledge=True)
                for one in told["alerts"]
            ]
        now_ns = Clock(measure_offset_ns()).now_ns()
        sight = self._watch.look(status, self._values(), {}, now_ns)
        mute = set(self._context.settings.alerts.mute)
        severities = self._context.settings.alerts.severities
        return [
            AlertLine(
                name=one.name,
                severity=severities.get(one.rule, BY_NAME[one.rule].severity),
                means=BY_NAME[one.rule].means,
                text=one.text,
                todo=BY_NAME[one.rule].todo.replace("{subject}", one.subject),
                since=utc_text(self._context.clock.now_ns()),
            )
            for one in find_all(sight)
            if one.rule not in mute
        ]


def _by_label(values: list[int] | None, metric: str) -> dict[str, int]:
    labels = metrics.LABELS[metrics.BY_NAME[metric].by]
    if not values:
        return {}
    at = metrics.place(metric, labels[0])
    return {label: values[at + offset] for offset, label in enumerate(labels)}


def _models(values: list[int] | None) -> dict[str, dict[str, int]]:
    told = {name: _by_label(values, f"model{name}") for name in ("s_standing", "_spent_us",
                                                                "_misses")}  # fmt: skip
    return {
        model: {
            "standing": told["s_standing"].get(model, 0),
            "spent_us": told["_spent_us"].get(model, 0),
            "misses": told["_misses"].get(model, 0),
        }
        for model in SPEAKERS
    }
