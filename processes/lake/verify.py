"""Proving a lake: every file whole, every row there once, every hole explained.

It may be called while the instance runs, and after any crash. What storage writes meanwhile is
judged as far as the journals reached when verifying began; a row of storage's last pass that is in
a journal and not yet in the lake is no fault, since storage brings it in. What stands in
`processes/lake_holes.py` is a hole with a reason; any other is a fault.
"""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from msgspec import Struct

from processes.journal_files import Segment, segments_of
from processes.lake.files import check_is_there
from processes.lake.lock import hold
from processes.lake.proofs import digest_of, digest_of_store
from processes.lake.sequences import Interval, SequenceSet, length, within, without
from processes.lake_files import (
    PACKING,
    PART,
    SEALING,
    LakeFile,
    Piece,
    batches,
    folders_of,
    look,
    sequence_column,
    superseded,
)
from processes.lake_holes import BY_DESIGN, UNKNOWN, Hole, read_holes
from processes.lake_places import File, Place, entries, local_of, name_in
from processes.lake_stores import PUSHING
from schemas.errors import LakeError
from schemas.lake import SCHEMAS

INTERVALS_SHOWN: Final = 100
"""So many holes of one ring and session are listed; all are counted."""
JOURNALLED: Final = "in the journal"
PASS_SLOTS: Final = 65_536 + 8_192
"""Storage writes so many slots to the lake in a pass at most; only its last may be half done."""


class Fault(Struct, frozen=True, kw_only=True):
    """What is wrong, and what to do."""

    where: str
    what: str
    do: str


class HoleFound(Struct, frozen=True, kw_only=True):
    """Sequences that no file holds."""

    ring: str
    session: int
    first: int
    last: int
    reason: str
    """`lapped`, `sampled` or `tops` (left out by design), `in the journal` (comes in by itself), or
    nothing: a fault."""
    left_out: int = 0
    """Of a span by design: how many of its sequences no file holds."""


class Leftover(Struct, frozen=True, kw_only=True):
    """A file that a crash left and that counts for nothing, or waits for the next start."""

    file: str
    what: str
    removed: bool = False


class RingReport(Struct, frozen=True, kw_only=True):
    """One ring's session over all files."""

    ring: str
    session: int
    rows: int
    last: int
    missing: int
    doubled: int


class Report(Struct, kw_only=True):
    """What was found. It is good if there is no fault."""

    files: int = 0
    rows: int = 0
    bytes: int = 0
    rings: list[RingReport] = []
    holes: list[HoleFound] = []
    leftovers: list[Leftover] = []
    faults: list[Fault] = []


class Verification:
    """One look at a whole lake.

    Args:
        lake, journals: their folders. session: only this one's rows; 0 = all.
        running: an instance is writing. fix: remove leftovers that count for nothing.
    """

    def __init__(
        self,
        lake: Place,
        journals: Path,
        *,
        session: int = 0,
        running: bool = False,
        fix: bool = False,
    ) -> None:
        self._lake = lake
        self._journals = journals
        self._session = session
        self._running = running
        self._fix = fix
        self._seen: dict[tuple[str, int], SequenceSet] = {}
        self._doubled: dict[tuple[str, int], int] = {}
        self._report = Report()

    def run(self) -> Report:
        """Read everything.

        Raises:
            OperatorError: there is no lake, or it is being compacted.
        """
        check_is_there(self._lake)
        with hold(self._lake, alone=self._fix):
            before = segments_of(self._journals)
            for folder in folders_of(self._lake):
                self._look_at(folder)
            self._judge(before, segments_of(self._journals))
        return self._report

    # ---- files

    def _look_at(self, folder: Place) -> None:
        """Check a day's files; one that storage has sealed meanwhile is looked for anew."""
        done: set[tuple[str, int]] = set()
        told: set[str] = set()
        while True:
            files, bad = look(folder)
            for error in bad:
                if str(error) not in told:
                    told.add(str(error))
                    self._fault(folder, str(error), UNREADABLE)
            try:
                for file in files:
                    self._check_once(file, done)
            except FileNotFoundError:
                continue
            break
        self._look_for_leftovers(folder)

    def _check_once(self, file: LakeFile, done: set[tuple[str, int]]) -> None:
        # An open file keeps its first row when it is sealed; its later rows were not to be judged.
        marks = {(piece.name, piece.first_seq) for piece in file.pieces}
        if marks & done:
            return
        if not self._session or self._session in file.sessions:
            self._check(file)
        done |= marks

    def _check(self, file: LakeFile) -> None:
        if file.form == "open" and not file.pieces:
            return  # begun, and without a row when it was listed
        self._report.files += 1
        self._report.bytes += file.bytes
        if file.table not in SCHEMAS:
            if file.pieces:
                self._fault(file.path, f"of an unknown table {file.table}", UNREADABLE)
            return
        schema = SCHEMAS[file.table]
        checker = _Checker(file, sequence_column(schema))
        try:
            for batch in batches(file):
                if not batch.schema.remove_metadata().equals(schema):
                    self._fault(file.path, f"its columns are not those of {file.table}", MADE_ANEW)
                    return
                batch.validate(full=True)
                self._add(file, checker.take(batch))
        except LakeError as error:
            self._fault(file.path, str(error), UNREADABLE)
        except pa.ArrowInvalid as error:
            self._fault(file.path, f"its content is broken: {error}", UNREADABLE)
        else:
            for what in checker.faults():
                self._fault(file.path, what, MADE_ANEW)
            self._check_copy(file)
        self._report.rows += checker.rows

    def _check_copy(self, file: LakeFile) -> None:
        """The file here is whole: the store's copy of it must be the same, byte by byte."""
        if file.copy is None or not isinstance(file.path, Path):
            return
        try:
            same = digest_of_store(file.copy) == digest_of(file.path)
        except FileNotFoundError:
            return  # packed, and its daily file pushed, just now
        if not same:
            self._fault(file.copy, "the store's file of this name and size is another", NOT_OURS)

    def _add(self, file: LakeFile, blocks: Iterable[tuple[Piece, np.ndarray]]) -> None:
        for piece, sequences in blocks:
            if self._session not in {0, piece.session}:
                continue
            key = piece.ring, piece.session
            doubles = self._seen.setdefault(key, SequenceSet()).add(sequences)
            if doubles:
                self._doubled[key] = self._doubled.get(key, 0) + doubles
                what = f"{doubles} rows between {sequences[0]} and {sequences[-1]} are there twice"
                self._fault(file.path, f"{what} (ring {key[0]}, session {key[1]})", DOUBLED)

    def _look_for_leftovers(self, folder: Place) -> None:
        try:
            found = entries(folder)
        except FileNotFoundError:
            return
        for path, _ in found:
            name = path.name
            if name.endswith(PACKING):
                self._leftover(path, "an unfinished compaction", removable=True)
            elif name.endswith(PUSHING):
                self._leftover(path, "an unfinished push", removable=True)
            elif name.endswith(SEALING) and not self._running:
                self._leftover(path, "an unfinished sealing; its .part is whole", removable=True)
            elif name.endswith(PART) and not self._running:
                self._leftover(path, "open: sealed by the next dcctl start", removable=False)
        try:
            for file in superseded(folder):
                self._leftover(file.path, "compacted already", removable=True)
        except LakeError:
            return  # told above

    def _leftover(self, path: File, what: str, *, removable: bool) -> None:
        remove = removable and self._fix
        if remove:
            path.unlink()
        name = name_in(self._lake, path)
        self._report.leftovers.append(Leftover(file=name, what=what, removed=remove))

    # ---- rings

    def _judge(self, before: dict[str, list[Segment]], after: dict[str, list[Segment]]) -> None:
        for key in sorted(self._seen):
            ring, session = key
            seen = self._seen[key]
            then = [s for s in before.get(ring, []) if s.session == session]
            now = [s for s in after.get(ring, []) if s.session == session]
            horizon = max((segment.last for segment in then), default=seen.last)
            missing = seen.missing(horizon)
            waiting = [(segment.first, segment.last) for segment in (*then, *now)]
            noted = [h for h in read_holes(self._lake, ring) if h.session == session]
            unexplained = without(missing, [(hole.first, hole.last) for hole in noted])
            lost = [hole for hole in noted if hole.reason not in BY_DESIGN]
            for reason in dict.fromkeys(hole.reason for hole in lost):
                mine = [within(missing, (h.first, h.last)) for h in lost if h.reason == reason]
                self._note(key, _united(chain.from_iterable(mine)), reason)
            left_out = without(missing, [(hole.first, hole.last) for hole in lost])
            for hole in noted:
                if hole.reason in BY_DESIGN:
                    self._note_span(key, hole, left_out, waiting)
            elsewhere = without(unexplained, waiting)
            late = [(1, seen.last - PASS_SLOTS)] if waiting else []
            coming = without(without(unexplained, elsewhere), late)
            self._note(key, coming, JOURNALLED)
            self._note(key, without(unexplained, coming), "", do=self._what_to_do(waiting=waiting))
            self._report.rings.append(
                RingReport(
                    ring=ring,
                    session=session,
                    rows=seen.count,
                    last=max(seen.last, horizon),
                    missing=length(missing),
                    doubled=self._doubled.get(key, 0),
                )
            )

    def _what_to_do(self, *, waiting: list[Interval]) -> str:
        if local_of(self._lake) is None:
            return NOT_PUSHED
        return JOURNAL_HAS if waiting else MISSING

    def _note(
        self, key: tuple[str, int], intervals: list[Interval], reason: str, do: str = ""
    ) -> None:
        ring, session = key
        for first, last in intervals[:INTERVALS_SHOWN]:
            self._report.holes.append(
                HoleFound(ring=ring, session=session, first=first, last=last, reason=reason)
            )
        if intervals and not reason:
            spans = ", ".join(f"{first} to {last}" for first, last in intervals[:3])
            more = f" and {len(intervals) - 3} more" if len(intervals) > 3 else ""
            what = f"{length(intervals)} rows are in no file: {spans}{more}"
            self._fault(f"ring {ring}, session {session}", what, do)

    def _note_span(
        self,
        key: tuple[str, int],
        hole: Hole,
        missing: list[Interval],
        waiting: list[Interval],
    ) -> None:
        """A span in which storage left out so many slots, and no more."""
        ring, session = key
        mine = within(missing, (hole.first, hole.last))
        count = length(mine)
        last = mine[-1][1] if hole.left_out == UNKNOWN and mine else hole.last
        self._report.holes.append(
            HoleFound(
                ring=ring, session=session, first=hole.first, last=last, reason=hole.reason,
                left_out=count,
            )
        )  # fmt: skip
        comes = any(first <= hole.last and last >= hole.first for first, last in waiting)
        known = hole.left_out != UNKNOWN and not comes
        if known and count > hole.left_out:
            what = (
                f"{count - hole.left_out} more rows than storage left out are missing from "
                f"{hole.first} to {hole.last}"
            )
            self._fault(f"ring {ring}, session {session}", what, MISSING)

    def _fault(self, where: Place | str, what: str, do: str) -> None:
        if not isinstance(where, str):
            what = what.removeprefix(f"{where} ")
            where = name_in(self._lake, where)
        self._report.faults.append(Fault(where=where, what=what, do=do))


UNREADABLE: Final = (
    "restore it from a copy, or move it out of the lake; verify then says which rows it had"
)
NOT_OURS: Final = (
    "somebody put it there, or the store has spoiled it: move it away in the store, and dcctl lake "
    "push brings this one again; nothing here is removed until then"
)
MADE_ANEW: Final = "it was not written by this version, or was changed; restore it from a copy"
DOUBLED: Final = "move one of the two files out of the lake (dcctl lake ls --json has the spans)"
MISSING: Final = "files were removed or have lost rows: restore them from a copy"
NOT_PUSHED: Final = (
    "if the newest are missing they are not pushed yet: dcctl lake verify where they are recorded "
    "knows all of them; if others are, restore their files from a copy"
)
JOURNAL_HAS: Final = (
    "after a loss of power dcctl start brings them in from the journal; if verify says so still, "
    "files were removed or have lost rows: restore them from a copy"
)


def _united(intervals: Iterable[Interval]) -> list[Interval]:
    """Overlapping intervals as one."""
    found: list[Interval] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


class _Checker:
    """One file's rows held against what it says of itself, block by block."""

    def __init__(self, file: LakeFile, sequence: str) -> None:
        self.rows = 0
        self._file = file
        self._sequence = sequence
        self._spans: dict[int, list[int]] = {}
        """By session: rows, first and last sequence."""
        self._falls = 0
        self._last = (0, 0)

    def take(self, batch: pa.RecordBatch) -> list[tuple[Piece, np.ndarray]]:
        """Count a block; its sequences by session, those that do not rise left out."""
        numbers = batch.column(self._sequence).to_numpy()
        self.rows += len(numbers)
        found: list[tuple[Piece, np.ndarray]] = []
        for piece, mine in self._by_session(numbers):
            session = piece.session
            last = self._spans[session][2] if session in self._spans else 0
            before = np.concatenate([[last], mine[:-1]]).astype(np.int64)
            rising = mine.astype(np.int64) > np.maximum.accumulate(before)
            self._falls += int((~rising).sum())
            kept = mine[rising]
            if len(kept):
                span = self._spans.setdefault(session, [0, int(kept[0]), 0])
                span[0] += len(kept)
                span[2] = int(kept[-1])
                found.append((piece, kept))
        return found

    def _by_session(self, numbers: np.ndarray) -> list[tuple[Piece, np.ndarray]]:
        """Of a daily file the rows of each session follow each other, as many as it was told."""
        if self._file.form != "daily":
            return [(self._file.pieces[0], numbers)]
        found = []
        end = self.rows
        begin, at = end - len(numbers), 0
        for session in self._file.sessions:
            mine = [piece for piece in self._file.pieces if piece.session == session]
            first, at = at, at + sum(piece.rows for piece in mine)
            part = numbers[max(first - begin, 0) : max(at - begin, 0)]
            if len(part):
                found.append((mine[0], part))
        return found

    def faults(self) -> list[str]:
        """What is not as the file says, once all of it was taken."""
        found = []
        if self._falls:
            found.append(f"{self._falls} rows do not rise in sequence")
        for session in self._file.sessions if self._file.form != "open" else ():
            mine = [piece for piece in self._file.pieces if piece.session == session]
            told = [
                sum(piece.rows for piece in mine),
                min(piece.first_seq for piece in mine),
                max(piece.last_seq for piece in mine),
            ]
            has = self._spans.get(session, [0, 0, 0])
            if told != has:
                found.append(
                    f"it says {told[0]} rows, {told[1]} to {told[2]}, and has {has[0]}, "
                    f"{has[1]} to {has[2]} (session {session})"
                )
        return found
