"""What the rules look at: the supervisor's status, counter pages, facts of the bus, the machine.

All of it is there already and is only read; nobody waits for it. Counts are kept for WINDOW_S, so
that a rule can ask how much one has grown; they begin anew when this process does.
"""

import shutil
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil
from msgspec import Struct, field

from schemas.messages import AccountAlarmed, Fact, ProcessStatus, Status, TriggerFired
from schemas.metrics import BY_NAME, LABELS, place
from schemas.settings import Settings

WINDOW_S: Final = 600.0
FACTS_MAX: Final = 64
SECOND_NS: Final = 10**9
HEARD: Final = (TriggerFired, AccountAlarmed)
"""Facts that say something which no status and no counter says."""
Values = Mapping[str, list[int]]
"""Counter pages of living processes, by name."""


class Growth:
    """How much each count has grown within the window; what falls began anew with its process."""

    def __init__(self) -> None:
        self._steps: dict[str, deque[tuple[int, int]]] = {}
        self._last: dict[str, int] = {}

    def note(self, name: str, value: int, now_ns: int, *, is_first: bool) -> None:
        """A count as it is now; of the first look at all of them nobody knows when it grew."""
        last = self._last.get(name, value if is_first else 0)
        self._last[name] = value
        steps = self._steps.setdefault(name, deque())
        if grown := value - last if value >= last else value:
            steps.append((now_ns, grown))
        while steps and now_ns - steps[0][0] > WINDOW_S * SECOND_NS:
            steps.popleft()

    def of(self, name: str) -> int:
        """Its growth within the window."""
        return sum(grown for _, grown in self._steps.get(name, ()))


class Tapes:
    """Since when each ring has no new slot."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def note(self, ring: str, committed: int, now_ns: int) -> None:
        """A ring's last sequence as it is now."""
        if self._seen.get(ring, (-1, 0))[0] != committed:
            self._seen[ring] = (committed, now_ns)

    def silent_s(self, ring: str, now_ns: int) -> float:
        """For how long nothing has come; 0 of one never looked at."""
        return (now_ns - self._seen[ring][1]) / SECOND_NS if ring in self._seen else 0.0


class Sight(Struct, kw_only=True):
    """Everything at one moment."""

    now_ns: int
    settings: Settings
    status: Status | None
    """None: the supervisor did not answer."""
    values: Values
    free_bytes: int
    memory_percent: float
    growth: Growth
    tapes: Tapes
    facts: list[Fact] = field(default_factory=list)
    """Those of the last WINDOW_S, FACTS_MAX at the most."""
    failing: dict[str, str] = field(default_factory=dict)
    """Channels that take no messages, and why."""
    is_orphan: bool = False
    has_run: bool
    """Whether everything has been ready at once since this process began."""

    def processes(self) -> list[ProcessStatus]:
        """As status has them."""
        return self.status.processes if self.status else []

    def gauge(self, process: str, metric: str) -> int:
        """0 of a process that does not live."""
        values = self.values.get(process)
        return values[place(metric)] if values else 0


class Watch:
    """Makes each moment's sight; one for the process's life."""

    def __init__(self, settings: Settings, data: Path) -> None:
        self._settings = settings
        self._data = data
        self._growth = Growth()
        self._tapes = Tapes()
        self._facts: deque[tuple[int, Fact]] = deque(maxlen=FACTS_MAX)
        self._first_values = True
        self._first_status = True
        self._has_run = False

    def hear(self, fact: Fact, now_ns: int) -> None:
        """A fact has come over the bus."""
        if isinstance(fact, HEARD):
            self._facts.append((now_ns, fact))

    def look(
        self,
        status: Status | None,
        values: Values,
        failing: dict[str, str],
        now_ns: int,
        *,
        is_orphan: bool = False,
    ) -> Sight:
        """The moment's sight."""
        self._note(status, values, now_ns)
        while self._facts and now_ns - self._facts[0][0] > WINDOW_S * SECOND_NS:
            self._facts.popleft()
        return Sight(
            now_ns=now_ns,
            settings=self._settings,
            status=status,
            values=values,
            free_bytes=shutil.disk_usage(self._data).free,
            memory_percent=psutil.virtual_memory().percent,
            growth=self._growth,
            tapes=self._tapes,
            facts=[fact for _, fact in self._facts],
            failing=failing,
            is_orphan=is_orphan,
            has_run=self._has_run,
        )

    def _note(self, status: Status | None, values: Values, now_ns: int) -> None:
        counts = {
            f"{process} {metric}": page[place(metric)]
            for process, page in values.items()
            for metric in GROWING
        }
        for name, value in counts.items():
            self._growth.note(name, value, now_ns, is_first=self._first_values)
        self._first_values = False
        if status is None:
            return
        self._has_run = self._has_run or status.state == "running"
        for ring in status.rings:
            self._tapes.note(ring.name, ring.committed, now_ns)
        counts = {
            f"{ring.name} {reader.name} lost": reader.lost
            for ring in status.rings
            for reader in ring.readers
        }
        counts |= {f"{one.name} restarts": one.restarts for one in status.processes}
        for name, value in counts.items():
            self._growth.note(name, value, now_ns, is_first=self._first_status)
        self._first_status = False


GROWING: Final = (
    "reconnects", "checksums_failed", "holes_unfilled", "instrument_changes", "frames_unrecorded",
    "deadline_misses", "models_left_out", "model_refusals", "retrainings_failed",
    "retrainings_refused", "storage_lost", "history_holes", "influx_lines_dropped",
)  # fmt: skip
"""Counters whose growth a rule asks for."""
assert all(BY_NAME[name].kind == "counter" and not LABELS[BY_NAME[name].by] for name in GROWING)
