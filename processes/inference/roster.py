"""Who stands in the places of a running inference, and the changes of that.

At the start every family of `inference.families` is asked for its promoted version. From then on
pointers are watched: a version that is promoted, or rolled back to, is read and tried out by a
thread of its own, catches up with the rows that the ring still has, and speaks from the next drain
on. Whatever is wrong with it, who stands goes on standing, and status, log and metrics say so.
Models that were left out are tried again after a while. What an online model has learnt is kept on
disk now and then and at the end, written by a thread, and gone on from.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from models.base import ModelError
from models.family import Model, OnlineModel
from models.maturing import room_for
from processes.clock import monotonic_s
from processes.inference.chain import Chain
from processes.inference.choice import Candidate, chosen, is_rule, place_of, try_out
from processes.inference.keeping import Keeping
from processes.inference.learner import Learner, encode, mark_of
from processes.inference.places import Place, textbook
from processes.logs import Log
from processes.model_registry import POINTER, models_folder
from processes.sessions import SessionFolder
from schemas.lineup import Standing
from schemas.predictions import BLEND, NETWORK, RULE
from schemas.settings import Settings

WATCH_S: Final = 0.5
LEARNER: Final = "learner.npz"

Read = Callable[[int, int], Iterator[tuple[np.ndarray, int]]]
"""Gives the feature rows after one sequence and up to another, in blocks with their addresses."""


@dataclass(frozen=True)
class Desk:
    """What a roster works with.

    `oldest` gives the sequence after which the ring still has rows, `read` reads them.
    """

    settings: Settings
    data: Path
    shipped: Path
    folder: SessionFolder
    instruments: int
    log: Log
    oldest: Callable[[], int]
    read: Read


class _Loading:
    """A version that is read and tried out, in a thread of its own."""

    def __init__(self, models: Path, family: str, shipped: Path) -> None:
        self.family = family
        self.found: Candidate | None = None
        self.fault = ""
        self._asked = models, family, shipped
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.found = chosen(*self._asked)
        except ModelError as error:
            self.fault = str(error)

    @property
    def is_done(self) -> bool:
        """Whether it has come to an end."""
        return not self._thread.is_alive()


class Roster:
    """The families that are asked for, and who stands for them."""

    def __init__(self, chain: Chain, desk: Desk) -> None:
        self._faults: dict[str, str] = {}
        self.swaps = 0
        self.refusals = 0
        self.left_out = 0
        self._chain, self._desk = chain, desk
        self._places = chain.places
        self._told = desk.settings.inference
        self._models = models_folder(desk.data)
        self._keeping = Keeping(desk.data / "state" / LEARNER, desk.log)
        self._watched = [*self._told.families, BLEND] if self._told.enabled else []
        self._pointers = {family: self._pointer(family) for family in self._watched}
        self._loading: _Loading | None = None
        self._wanted: set[str] = set()
        self._again_s: dict[str, float] = {}
        self._speechless: set[str] = set()
        """Left out since the last look; a rule among them is its book's until it is back."""
        self._watch_s = 0.0
        self._keep_s = monotonic_s() + self._told.checkpoint_s
        self._learnt = 0
        self._rows_lost = 0

    # ---- the start

    def begin(self, position: int, *, without: str = "", until_s: float = 0.0) -> None:
        """Stand whoever is promoted, with what the ring still has up to a position.

        Rules stand as the textbook has them, until a version is taken.

        Args:
            without: the place whose model the last process died of: it waits until a time.
        """
        for rule in self._told.families:
            if without != place_of(rule):
                self._take_textbook(rule)
        for family in self._watched:
            if family == NETWORK:
                continue
            if without == place_of(family):
                self._faults[family] = f"{family} waits: the process before died of it"
                self._again_s[family] = until_s
                continue
            try:
                found = chosen(self._models, family, self._desk.shipped)
            except ModelError as error:
                self.refuse(family, str(error))
                continue
            self._take(family, found, position, self._desk.oldest())

    # ---- while it runs

    def watch(self, position: int) -> bool:
        """Look after promotions, models that were left out, and what was learnt.

        Called between two drains; `position` is the last row taken. True if something has changed.
        """
        now_s = monotonic_s()
        changed = self._end_loading(position)
        for rule in self._speechless:
            self._take_textbook(rule)
        changed |= bool(self._speechless)
        self._speechless.clear()
        if now_s < self._watch_s:
            return changed
        self._watch_s = now_s + WATCH_S
        for family in self._watched:
            if (pointer := self._pointer(family)) != self._pointers[family]:
                self._pointers[family] = pointer
                self._wanted.add(family)
        for family in [one for one, again_s in self._again_s.items() if now_s >= again_s]:
            del self._again_s[family]
            self._wanted.add(family)
        if self._loading is None and self._wanted:
            family = min(self._wanted, key=self._watched.index)
            self._wanted.discard(family)
            self._loading = _Loading(self._models, family, self._desk.shipped)
        if now_s >= self._keep_s and (learner := self._places.learner) is not None:
            self._keep_s = now_s + self._told.checkpoint_s
            self._keeping.write_later(learner.arrays())
        return changed

    def out(self, place: Place, why: str) -> None:
        """A model was left out: it comes back after a while."""
        family = place.standing.family
        self.left_out += 1
        self._faults[family] = f"{family} left out: {why}"
        self._again_s[family] = monotonic_s() + self._told.retry_s
        if place.standing.version:
            # In this drain its place says nothing: what stands in a drain is asked about all of it.
            self._speechless.add(family)
        self._desk.log.warning("a model is left out", family=family, reason=why)
        self._retire(place)

    def lost(self, position: int) -> None:
        """Rows were lost: all that remember rows begin anew with what the ring has."""
        oldest = self._desk.oldest()
        for place in self._places.held:
            if place.learner is not None:
                self._tell_lost(place.standing.family, oldest - place.learner.sequence)
                place.learner.skip(max(oldest, place.learner.sequence))
            elif place.remembers:
                place.forget()
            else:
                continue
            try:
                self._places.refresh(place, self._begun(place.standing, place, position))
                self._catch_up(place, position)
            except ModelError as error:
                self._places.take_out(place.standing.place)
                self.out(place, str(error))

    def prove(self) -> None:
        """A real forward pass of all that stand; who cannot is left out. For times without rows."""
        self._chain.prove()
        for place in self._places.held:
            if not isinstance(place.model, Model):
                continue
            try:
                try_out(place.model)
            except Exception as error:  # noqa: BLE001  (a model that raises is a model left out)
                self._places.take_out(place.standing.place)
                self.out(place, repr(error))

    def told(self) -> list[str]:
        """Why families do not speak, or not as promoted."""
        return list(self._faults.values())

    def end(self) -> None:
        """Keep what was learnt."""
        if (learner := self._places.learner) is not None:
            self._keeping.write(learner.arrays())

    @property
    def samples(self) -> int:
        """How much was learnt from since the start."""
        learner = self._places.learner
        return self._learnt + (learner.learnt if learner is not None else 0)

    @property
    def rows_lost(self) -> int:
        """How many rows were not learnt from, since they were gone, or too many waited."""
        learner = self._places.learner
        return self._rows_lost + (learner.lost if learner is not None else 0)

    # ---- changes

    def _end_loading(self, position: int) -> bool:
        loading = self._loading
        if loading is None or not loading.is_done:
            return False
        self._loading = None
        if loading.fault:
            self.refuse(loading.family, loading.fault)
        else:
            self._take(loading.family, loading.found, position, position)
        return True

    def refuse(self, family: str, why: str) -> None:
        """A version is not taken: who stands goes on."""
        self.refusals += 1
        self._faults[family] = f"{family} not taken: {why}"
        self._desk.log.warning("a version is not taken", family=family, reason=why)

    def _take(self, family: str, found: Candidate | None, position: int, learn_after: int) -> None:
        """Let a version stand from the next drain on."""
        before = self._places.get(place_of(family))
        self._faults.pop(family, None)
        if found is None:
            if before is None or before.standing.version:
                self._places.take_out(place_of(family))
                self._take_textbook(family)
            if family != BLEND and not is_rule(family):
                told = f"dcctl models promote {family} last"
                self._faults[family] = f"no {family} is promoted; type: {told}"
                self._desk.log.info("nobody speaks", family=family, type=told)
        elif family == NETWORK:
            self._take_network(found)
        elif before is None or before.standing.fingerprint != found.manifest.fingerprint:
            try:
                fresh = self._made(found, position, learn_after)
                self._catch_up(fresh, position)
                self._chain.take_bins(family, found.weights)
            except Exception as error:  # noqa: BLE001  (it is about this one, not about others)
                self.refuse(family, str(error))
                return
            self._places.put(fresh)
            self._tell_taken(found)
        if before is not None and self._places.get(place_of(family)) is not before:
            self._retire(before)

    def _take_textbook(self, family: str) -> None:
        """A rule speaks without a version; the chain itself has the one that is always there."""
        if is_rule(family) and family != RULE:
            self._places.put(textbook(family, self._desk.instruments))

    def _take_network(self, found: Candidate) -> None:
        before = self._chain.manifest
        if before is None or before.fingerprint != found.manifest.fingerprint:
            self._chain.open(found.manifest, found.weights)
            self._chain.climb()
            self._tell_taken(found)

    def _tell_taken(self, found: Candidate) -> None:
        self.swaps += 1
        version = found.manifest.version
        self._desk.log.info("a version is taken", family=found.family, version=version)

    def _tell_lost(self, family: str, rows: int) -> None:
        if rows > 0:
            self._rows_lost += rows
            self._desk.log.warning("rows lost to learning", rows=rows, family=family)

    def _retire(self, place: Place) -> None:
        """It does not stand any more: what it has learnt is kept for when it does."""
        if place.learner is not None:
            self._learnt += place.learner.learnt
            self._rows_lost += place.learner.lost
            self._keeping.write(place.learner.arrays())

    # ---- one that will stand

    def _made(self, found: Candidate, position: int, learn_after: int) -> Place:
        manifest, model = found.manifest, found.model
        standing = Standing(
            place=found.place, family=found.family, version=manifest.version,
            fingerprint=manifest.fingerprint,
        )  # fmt: skip
        if isinstance(model, OnlineModel) and self._told.learn:
            place = self._learning(found, model, standing, learn_after, position)
        else:
            place = Place(standing, model, self._desk.instruments, manifest.members)
        place.standing = self._begun(place.standing, place, position)
        return place

    def _learning(
        self, found: Candidate, model: OnlineModel, standing: Standing, after: int, position: int
    ) -> Place:
        """A place that learns, from where it was kept if it was."""
        told, instruments = self._desk.settings, self._desk.instruments
        session, oldest, manifest = self._desk.folder.session, self._desk.oldest(), found.manifest
        kept = self._keeping.read(found)
        if kept is not None:
            model = kept[1]
        waiting = room_for(instruments, manifest.horizon_s, told.features.cut_interval_s)
        gap_s = told.training.gap_s
        try:
            learner = Learner(
                model, manifest, session, instruments=instruments, gap_s=gap_s, waiting=waiting,
                after=after,
            )  # fmt: skip
            if kept is not None and kept[0].session == session:
                if oldest <= kept[0].sequence <= position:
                    learner.go_on(kept[0])
                else:
                    self._tell_lost(found.family, oldest - kept[0].sequence)
        except ModelError as error:
            self._faults[found.family] = str(error)
            self._desk.log.warning("a model does not learn", reason=str(error))
            return Place(standing, model, instruments)
        standing = msgspec.structs.replace(standing, learns=True, waiting=waiting, gap_s=gap_s)
        if kept is None:
            # As it was trained: nothing need be kept to begin there again.
            learner.is_as_trained = True
        return Place(standing, model, instruments, learner=learner)

    def _begun(self, standing: Standing, place: Place, position: int) -> Standing:
        """The standing with the row it goes on after, and what it has learnt by then."""
        learner, oldest = place.learner, self._desk.oldest()
        if learner is not None:
            mark = ""
            if not learner.is_as_trained:
                arrays = learner.arrays()
                mark = mark_of(arrays)
                self._desk.folder.keep_learner(mark, encode(arrays))
            return msgspec.structs.replace(standing, after=learner.sequence, learner=mark)
        # Twice the rows that it is made of, if they are there.
        back = 2 * place.rows_back * self._desk.instruments
        after = max(oldest, position - back) if back else 0
        return msgspec.structs.replace(standing, after=min(after, position))

    def _catch_up(self, place: Place, position: int) -> None:
        """Follow, and learn from, the rows between where it stands and a position.

        Raises:
            ModelError: it cannot.
        """
        if not place.remembers and place.learner is None:
            return
        for rows, address in self._desk.read(place.standing.after, position):
            self._chain.catch_up(place, rows, address)

    def _pointer(self, family: str) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            found = (self._models / family / POINTER).stat()
            return found.st_mtime_ns, found.st_ino
        return None
