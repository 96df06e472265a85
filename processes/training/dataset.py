"""Rows to learn from: a span of the lake through the production kernels, kept as files of columns.

Where the lake holds the tapes, rows are made again by the code that made them, at the cuts that are
recorded, and compared with what is recorded on the way. A stretch that cannot be made again (slots
of its tape are in no file, or were sampled under pressure) is taken as it was recorded; where the
recorded rows are of another catalogue, it is left out. Or all rows are taken as recorded, which
reads nothing but the span itself.

Columns are files that are mapped: what is in memory is what is being looked at. They are whole or
not there: `made.json` is written last. Fails with UsageError or OperatorError, and says what to
type.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec
import numpy as np

from models.labels import Paths
from models.samples import UNKNOWN, Samples
from processes.clock import utc_text
from processes.files import write_whole
from processes.recordings.comparison import UNLIKE, Comparison, Difference, Excluded
from processes.recordings.features import FeatureReplay
from processes.recordings.recording import Recording, whole
from processes.recordings.span import Span, sessions_in
from processes.sessions import sessions_of
from schemas import features
from schemas.errors import OperatorError, UsageError
from schemas.features import CATALOGUE
from schemas.instruments import Instrument
from schemas.tape import LEVELS

MADE: Final = "made.json"
TOLD: Final = 20
"""Spans that could not be made again are listed up to so many."""
_RESULTS: Final = frozenset(
    {"values", "book", "invalid", "masked", "newest_recv_ns", "reference_price"}
)
"""What a row of another catalogue does not have, or was not read of it."""
COLUMNS: Final = {
    "values": ("<f4", (len(CATALOGUE),)),
    "book": ("<f4", (4 * LEVELS,)),
    "invalid": ("<u8", ()),
    "instrument": ("<u2", ()),
    "cut_ns": ("<i8", ()),
    "price": ("<f8", ()),
    "session": ("<i8", ()),
}
ROW_BYTES: Final = sum(
    np.dtype(form).itemsize * int(np.prod(shape)) for form, shape in COLUMNS.values()
)
"""What a row is on disk."""

Report = Callable[[float], object]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    span: Span = Span()
    symbols: tuple[str, ...] = ()
    """`venue:symbol`, the venue's own symbol, or a pair; empty = all."""
    recorded: bool = False
    """Rows as they were recorded, not made again."""
    max_rows: int = 1 << 40


class Made(msgspec.Struct, kw_only=True):
    """What was taken, and how."""

    sessions: list[int] = []
    instruments: dict[int, str] = {}
    """`venue:symbol` by their numbers."""
    rows: int = 0
    events: int = 0
    """Slots of the tapes that went through the kernels."""
    compared: int = 0
    """Rows that were made again and compared with the recorded ones, bit by bit."""
    difference: Difference | None = None
    """The first that came out otherwise."""
    as_recorded: int = 0
    left_out: int = 0
    """Rows that could neither be made again nor be taken as recorded."""
    excluded: list[Excluded] = []
    """Where that was, by the ring's numbers, and why; no more than TOLD."""


@dataclass(frozen=True)
class Dataset:
    """Rows without labels, in the order of the feature ring."""

    samples: Samples
    session: np.ndarray
    """(n) int64."""
    made: Made

    @property
    def paths(self) -> Paths:
        """What labels are made of."""
        rows = self.samples
        return Paths(rows.instrument, rows.cut_ns, rows.price, rows.invalid, self.session)


class Source:
    """The sessions and instruments of a selection.

    Raises:
        UsageError: nothing of it is there.
    """

    def __init__(self, data: Path, selection: Selection) -> None:
        self.selection = selection
        self.recordings: list[Recording] = []
        self.instruments: dict[int, Instrument] = {}
        span = (selection.span.from_ns, selection.span.to_ns - 1)
        for session in sessions_in(data, selection.span):
            recording = Recording(data, session)
            if recording.feature_pieces(span):
                self.recordings.append(recording)
                self.instruments |= {item.index: item for item in recording.tables.instruments}
        if not self.recordings:
            raise _nothing_there(data, selection.span)
        self.instruments = _chosen(self.instruments, selection.symbols)

    @property
    def mark(self) -> str:
        """A hash of what the rows are made of: another one, other rows."""
        span = (self.selection.span.from_ns, self.selection.span.to_ns - 1)
        told = (
            features.FINGERPRINT, ROW_BYTES, span, self.selection.recorded,
            sorted(self.instruments), [(one.session, one.feature_pieces(span)) for one in
            self.recordings],
        )  # fmt: skip
        return hashlib.blake2b(msgspec.json.encode(told), digest_size=10).hexdigest()


def collect(source: Source, folder: Path, report: Report = lambda _: None) -> Dataset:
    """The rows of a selection, out of the folder if they are there already.

    Raises:
        UsageError: there are none, or more than the bound. OperatorError: a session cannot be read.
    """
    if not (folder / MADE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with _Files(folder) as files:
            made = _make(source, files, report)
        write_whole(folder / MADE, msgspec.json.encode(made))
    return _open(folder)


def _open(folder: Path) -> Dataset:
    made = msgspec.json.decode((folder / MADE).read_bytes(), type=Made)
    held = {
        name: np.asarray(np.memmap(folder / name, form, "r", shape=(made.rows, *shape)))
        for name, (form, shape) in COLUMNS.items()
    }
    session = held.pop("session")
    rows = Samples(
        **held,
        move_bps=np.full(made.rows, np.nan),
        label=np.full(made.rows, UNKNOWN, np.int8),
        matured_ns=held["cut_ns"],
    )
    return Dataset(rows, session, made)


class _Files:
    """Columns that grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> "_Files":
        self._files = {name: (self._folder / name).open("wb") for name in COLUMNS}
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, rows: np.ndarray, session: int) -> None:
        columns = {
            "values": rows["values"][:, : len(CATALOGUE)],
            "price": rows["reference_price"],
            "session": np.full(len(rows), session),
            **{name: rows[name] for name in ("book", "invalid", "instrument", "cut_ns")},
        }
        for name, (form, _) in COLUMNS.items():
            self._files[name].write(np.ascontiguousarray(columns[name], form).data)


def _make(source: Source, files: _Files, report: Report) -> Made:
    selection = source.selection
    made = Made(
        sessions=[one.session for one in source.recordings],
        instruments={n: f"{i.venue}:{i.symbol}" for n, i in source.instruments.items()},
    )
    wanted = np.array(sorted(source.instruments), np.uint16)
    last_ns = 0
    for number, recording in enumerate(source.recordings):
        blocks = _recorded(recording, selection) if selection.recorded else _again(recording, made)
        for rows, share in blocks:
            if len(rows) and int(rows["cut_ns"][0]) >= selection.span.to_ns:
                break
            mine = np.isin(rows["instrument"], wanted)
            mine &= (rows["cut_ns"] >= selection.span.from_ns) & (
                rows["cut_ns"] < selection.span.to_ns
            )
            # A clock that was set back between two sessions: time goes on where it was.
            mine &= rows["cut_ns"] >= last_ns
            files.add(kept := rows[mine], recording.session)
            made.rows += len(kept)
            last_ns = int(kept["cut_ns"][-1]) if len(kept) else last_ns
            _check_bound(made.rows, selection)
            report((number + share) / len(source.recordings))
    if not made.rows:
        raise UsageError(
            "no row of these symbols is recorded in this span; dcctl lake ls --channel features "
            "shows what there is"
        )
    if selection.recorded:
        made.as_recorded = made.rows
    return made


def _check_bound(rows: int, selection: Selection) -> None:
    if rows > selection.max_rows:
        raise UsageError(
            f"more than {selection.max_rows:,} rows ({ROW_BYTES} bytes each): take fewer "
            "--symbols, a shorter span (--from, --to), or raise training.max_rows"
        )


def _recorded(recording: Recording, selection: Selection) -> Iterator[tuple[np.ndarray, float]]:
    if not recording.has_columns():
        raise OperatorError(
            f"session {recording.session} was recorded with another feature catalogue; leave out "
            "--recorded, and its rows are made again of its tapes"
        )
    span = (selection.span.from_ns, selection.span.to_ns - 1)
    total, done = sum(rows for *_, rows in recording.feature_pieces(span)), 0
    for block in recording.features(span):
        done += len(block)
        yield block, min(done / total, 1.0)


def _again(recording: Recording, made: Made) -> Iterator[tuple[np.ndarray, float]]:
    """A session's rows, made of its tapes from its beginning on: only there the books are whole."""
    is_whole = recording.has_columns()
    comparison = Comparison("features", features.SLOT, UNLIKE if is_whole else UNLIKE | _RESULTS)
    replay = FeatureReplay(recording, comparison)
    total, done, told = sum(rows for *_, rows in recording.feature_pieces()), 0, 0
    blocks = recording.features() if is_whole else recording.cuts()
    for recorded in whole(blocks, "cut"):
        again = replay.take(recorded)
        bad = _not_made(recorded, comparison.excluded[max(told - 1, 0) :])
        told = len(comparison.excluded)
        same = (again["cut"] == recorded["cut"]) & (again["instrument"] == recorded["instrument"])
        if is_whole:
            again[bad] = recorded[bad]
            made.as_recorded += int(bad.sum())
            same |= bad
        else:
            same &= ~bad
        made.left_out += int((~same).sum())
        done += len(recorded)
        yield again[same], min(done / total, 1.0)
    made.events += replay.events
    made.compared += comparison.compared if is_whole else 0
    made.difference = made.difference or comparison.first
    made.excluded = [*made.excluded, *comparison.excluded][:TOLD]


def _not_made(recorded: np.ndarray, excluded: Sequence[Excluded]) -> np.ndarray:
    """(rows) bool: those that the replay did not vouch for."""
    bad = np.zeros(len(recorded), bool)
    for span in excluded:
        bad |= (recorded["sequence"] >= span.first) & (recorded["sequence"] <= span.last)
    return bad


def _chosen(known: dict[int, Instrument], symbols: Sequence[str]) -> dict[int, Instrument]:
    found: dict[int, Instrument] = {}
    for asked in symbols:
        mine = {
            number: item
            for number, item in known.items()
            if asked in {f"{item.venue}:{item.symbol}", item.symbol, item.pair}
        }
        if not mine:
            listed = ", ".join(sorted(f"{item.venue}:{item.symbol}" for item in known.values()))
            raise UsageError(f"--symbols {asked}: none such is recorded there. There is: {listed}")
        found |= mine
    return found or known


def _nothing_there(data: Path, span: Span) -> UsageError:
    known = sessions_of(data)
    if not known:
        return UsageError(f"nothing is recorded in {data}; type: dcctl start")
    first = utc_text(known[0] * 1_000_000)
    return UsageError(
        f"no feature row is recorded between {utc_text(max(span.from_ns, 0))} and the end of the "
        f"span; what there is begins at {first}: dcctl lake ls --channel features"
    )
