"""The models beside the network: each in its place, followed row by row, left out when it fails.

A drain is followed in layers, none of which has two rows of an instrument, so that every row is
stepped, each instrument's in their order. How rows were drained changes no bit: a follower computes
a row the same whatever stands beside it. Models of single rows are asked about the newest alone.

A model that raises, or misses its share of the deadline so many times in a row, is left out: its
place says nothing from then on, the others do not notice, and who holds the places may bring it
back. Online learning is here too, after a drain was published.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from models.base import ModelError
from models.blend import Blend
from models.families import FAMILIES
from models.family import Model
from models.regime import RegimeFollower
from models.rowwise import RowFollower
from models.rules import Rule
from models.stack import BATCHES
from processes.inference import kernels
from processes.inference.choice import try_out
from processes.inference.flight import Flight
from processes.inference.kernels import MOST_ROWS
from processes.inference.learner import Learner
from processes.logs import Log
from schemas.features import WIDTH
from schemas.lineup import Standing
from schemas.predictions import MAX_MODELS, MODELS, SPEAKERS
from schemas.tape import LEVELS

ROWS: Final = BATCHES[-1]
"""Rows that are copied for followers at once."""
_REGIME: Final = MODELS.index("regime")


class Place:
    """One model that stands in a place, and what it remembers of all instruments.

    Args:
        members: of a blend: whom it is made of, in the order of its weights.
    """

    def __init__(
        self,
        standing: Standing,
        model: Model | Blend,
        instruments: int,
        members: Sequence[str] = (),
        learner: Learner | None = None,
    ) -> None:
        self.standing = standing
        self.model = model
        self.follower = model.follower(instruments) if isinstance(model, Model) else None
        self.rows_back = model.rows_back if isinstance(model, Model) else 0
        self.members = [SPEAKERS.index(member) for member in members]
        self.learner = learner
        self.number = SPEAKERS.index(standing.place)
        self.missed_in_a_row = 0
        self.spent_ns = 0
        self.failed = ""

    @property
    def remembers(self) -> bool:
        """Whether its word on a row depends on rows before it."""
        return self.follower is not None and not isinstance(self.follower, RowFollower)

    def forget(self) -> None:
        """Begin anew, as if no row had ever come."""
        if self.follower is not None:
            self.follower.forget()


def textbook(family: str, instruments: int) -> Place:
    """A rule of which no version is promoted: what the textbook says."""
    model = FAMILIES[family]()
    try_out(model)
    return Place(Standing(place=family, family=family), model, instruments)


class Places:
    """All models but the network, and the rule that speaks where nothing else can.

    Args:
        deadline_ns: the share of a drain's deadline that each has. misses: shares missed in a row
            before one is left out. on_out: told of every one that is left out, and why.
    """

    def __init__(
        self,
        instruments: int,
        deadline_ns: float,
        misses: int,
        now_ns: Callable[[], int],
        log: Log,
        flight: Flight,
        on_out: Callable[[Place, str], None],
    ) -> None:
        self.said = np.full((MAX_MODELS, instruments, 5), np.nan, np.float32)
        self.regimes = np.full(instruments, np.nan, np.float32)
        self.layers = np.zeros(MOST_ROWS, np.int64)
        self.standings: tuple[Standing, ...] = ()
        """Of those that stand and have not failed in this drain; a new tuple when that changes."""
        self.misses = [0] * len(SPEAKERS)
        """Shares of the deadline missed, by place."""
        self.flight = flight
        self._held: dict[str, Place] = {}
        self._speaks = False
        self._stateful: list[Place] = []
        self._rowwise: list[Place] = []
        self._blend: Place | None = None
        self._deadline_ns = deadline_ns
        self._misses = misses
        self._now_ns = now_ns
        self._log = log
        self._on_out = on_out
        self._ends = np.zeros(MOST_ROWS, np.int64)
        self._ends_at = int(self._ends.ctypes.data)
        self._values = np.zeros((ROWS, WIDTH), np.float32)
        self._book = np.zeros((ROWS, 4 * LEVELS), np.float32)
        self._price = np.zeros(ROWS)
        self._instrument = np.zeros(ROWS, np.int64)

    # ---- who stands

    def get(self, place: str) -> Place | None:
        """Who stands in a place."""
        return self._held.get(place)

    @property
    def held(self) -> list[Place]:
        """All that stand."""
        return list(self._held.values())

    @property
    def learner(self) -> Learner | None:
        """What learns, if something does."""
        return next((one.learner for one in self._held.values() if one.learner is not None), None)

    @property
    def speaks(self) -> bool:
        """Whether a model that is more than a rule stands beside the network."""
        return self._speaks

    def put(self, place: Place) -> None:
        """Stand in a place from the next drain on, instead of who stood there."""
        self._held[place.standing.place] = place
        self._silence(place)
        self._arrange()

    def take_out(self, place: str) -> None:
        """Nobody stands there any more."""
        if (gone := self._held.pop(place, None)) is not None:
            self._silence(gone)
            self._arrange()

    def _silence(self, place: Place) -> None:
        if place.number < MAX_MODELS:
            self.said[place.number] = np.nan
        if place.number == _REGIME:
            self.regimes[:] = np.nan

    def _arrange(self) -> None:
        order = sorted(self._held.values(), key=lambda one: one.number)
        self._stateful = [one for one in order if one.remembers]
        self._blend = next((one for one in order if isinstance(one.model, Blend)), None)
        self._rowwise = [one for one in order if not one.remembers and one.follower is not None]
        followed = [*self._stateful, *self._rowwise]
        self._speaks = any(not isinstance(one.model, Rule) for one in followed)
        self.standings = tuple(one.standing for one in order)

    def refresh(self, place: Place, standing: Standing) -> None:
        """It goes on from somewhere else, which is another standing."""
        place.standing = standing
        self._arrange()

    # ---- rows

    def compile(self, table: int, address: int) -> None:
        """Run every compiled part once with a row that was arranged; nobody stands yet."""
        kernels.lay_out(table, address, 1, self._ends_at)
        kernels.list_newest(table)
        one = slice(0, 1)
        values, book, price = self._values[one], self._book[one], self._price[one]
        instrument = self._instrument[one]
        kernels.copy_rows(table, address, 1, 0, 1, values, book, price, instrument)
        kernels.keep_said(table, _REGIME, self.said[_REGIME, one], instrument)

    def step(self, table: int, address: int, count: int) -> None:
        """Let all models follow the rows of a drain that was arranged, and speak of the newest.

        Those that fail are out when this returns.
        """
        if not self._held:
            return
        for place in self._held.values():
            place.spent_ns = 0
        self._follow(table, address, count, self._stateful)
        if self._rowwise:
            listed = kernels.list_newest(table)
            for begin in range(0, listed, ROWS):
                self._ask(table, address, count, begin, min(begin + ROWS, listed), self._rowwise)
        self._judge()

    def follow(self, table: int, address: int, count: int) -> None:
        """Let all models follow rows in silence: what came while nobody asked."""
        self._follow(table, address, count, self._stateful)
        self._judge(on_time=True)

    def catch_up(self, place: Place, table: int, address: int, count: int) -> None:
        """Let one that does not stand yet follow rows that were arranged.

        Raises:
            ModelError: it cannot.
        """
        if place.remembers:
            self._follow(table, address, count, [place])
        if place.failed:
            raise ModelError(f"{place.standing.family} cannot follow the market: {place.failed}")

    def _follow(self, table: int, address: int, count: int, places: list[Place]) -> None:
        if not places:
            return
        layers, begin = kernels.lay_out(table, address, count, self._ends_at), 0
        for end in self._ends[:layers].tolist():
            for first in range(begin, end, ROWS):
                self._ask(table, address, count, first, min(first + ROWS, end), places)
            begin = end

    def _ask(
        self, table: int, address: int, count: int, begin: int, end: int, places: list[Place]
    ) -> None:
        rows = end - begin
        values, book = self._values[:rows], self._book[:rows]
        price, instrument = self._price[:rows], self._instrument[:rows]
        kernels.copy_rows(table, address, count, begin, end, values, book, price, instrument)
        now_ns, flight = self._now_ns, self.flight
        for place in places:
            if place.failed:
                continue
            began_ns = now_ns()
            flight.enter(place.number)
            try:
                follower = place.follower
                assert follower is not None
                said = follower.step(values, book, price, instrument)
                kernels.keep_said(table, place.number, said, instrument)
                if isinstance(follower, RegimeFollower):
                    self.regimes[instrument] = follower.regimes[instrument]
            except Exception as error:  # noqa: BLE001  (a model that raises is a model left out)
                self._log.exception("a model failed", family=place.standing.family)
                place.failed = repr(error)
            flight.leave()
            place.spent_ns += now_ns() - began_ns

    def blend(self, slots: np.ndarray) -> None:
        """Let the blend speak of predictions, where one stands; as they were, if it fails."""
        place = self._blend
        if place is None:
            return
        began_ns = self._now_ns()
        blend, before = place.model, slots["blend"].copy()
        assert isinstance(blend, Blend)
        try:
            slots["blend"] = blend.predict(slots["outputs"][:, place.members])
        except Exception as error:  # noqa: BLE001  (a model that raises is a model left out)
            self._log.exception("the blend failed")
            place.failed = repr(error)
        place.spent_ns = self._now_ns() - began_ns
        self._judge_one(place)
        if place.failed:
            slots["blend"] = before

    def learn(self, rows: np.ndarray) -> None:
        """Learn from feature slots, after they were predicted; in order, none twice."""
        for place in self.held:
            if place.learner is None:
                continue
            try:
                place.learner.take(rows)
            except Exception as error:  # noqa: BLE001  (a model that raises is a model left out)
                self._log.exception("a model could not learn", family=place.standing.family)
                place.failed = repr(error)
                self._leave_out(place)

    # ---- who fails

    def _judge(self, *, on_time: bool = False) -> None:
        for place in self.held:
            if place is not self._blend:
                self._judge_one(place, on_time=on_time)

    def _judge_one(self, place: Place, *, on_time: bool = False) -> None:
        if place.failed:
            self._leave_out(place)
            return
        if on_time:
            return
        if place.spent_ns <= self._deadline_ns:
            place.missed_in_a_row = 0
            return
        self.misses[place.number] += 1
        place.missed_in_a_row += 1
        if place.missed_in_a_row >= self._misses:
            place.failed = f"{place.missed_in_a_row} shares of the deadline missed in a row"
            self._leave_out(place)

    def _leave_out(self, place: Place) -> None:
        self.take_out(place.standing.place)
        self._on_out(place, place.failed)
