"""Rows to learn from: a span of the lake through the production kernels, kept as files of columns.

Where the lake holds the tapes, rows are made again by the code that made them, at the cuts that are
recorded, and compared with what is recorded on the way. A stretch that cannot be made again (slots
of its tape are in no file, or were sampled under pressure) is taken as it was recorded; where the
recorded rows are of another catalogue, it is left out. Or all rows are taken as recorded, which
reads nothing but the span itself.

Rows that were dropped, since a column is not believed that nothing is right without, are seen by no
running model, and are not among the samples. Labels lead over them: their price is a price.

Columns are files that are mapped: what is in memory is what is being looked at. They are whole or
not there: `made.json` is written last. Fails with UsageError or OperatorError, and says what to
type.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Final

import msgspec
import numpy as np

from models.drift import SEEN_EDGES, SEEN_SHARES, seen
from models.family import Weights
from models.labels import Labels, Paths
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
from schemas.features import CATALOGUE, CutReason, Invalid
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
    "masked": ("<u8", ()),
    "reason": ("u1", ()),
}
"""Of the rows that models see."""
PATHS: Final = {
    "path_instrument": ("<u2", ()),
    "path_cut_ns": ("<i8", ()),
    "path_price": ("<f8", ()),
    "path_invalid": ("<u8", ()),
    "path_session": ("<i8", ()),
    "path_seen": ("?", ()),
}
"""Of all rows: what labels are made of, and which of them models see."""
ROW_BYTES: Final = sum(
    np.dtype(form).itemsize * int(np.prod(shape)) for form, shape in (COLUMNS | PATHS).values()
)
"""What a row is on disk."""
BINNED: Final = 1_000_000
"""Bins of a training are made of so many rows: every k-th of more."""
_REGULAR: Final = (int(CutReason.BOUNDARY), int(CutReason.SILENCE))

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
    dropped: int = 0
    """Rows beside these that no model sees."""
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
    """(n): those that a running model would have stepped on, and no others."""
    masked: np.ndarray
    """(n) uint64, bit k: column k is masked."""
    reason: np.ndarray
    """(n) uint8, `CutReason`."""
    paths: Paths
    """(m): all rows, of which labels are made."""
    seen: np.ndarray
    """(m) bool: which of these are the samples."""
    made: Made

    def labelled(self, labels: Labels) -> Samples:
        """The samples with what is known of all rows."""
        columns = {name: getattr(self.samples, name) for name in Samples.__dataclass_fields__}
        mine = {name: array[self.seen] for name, array in labels._asdict().items()}
        return Samples(**{**columns, **mine})

    @cached_property
    def bins(self) -> Weights:
        """What a model brings to see a drift by.

        Of rows at a boundary that can be trusted, as inference counts them; nothing without any.
        """
        regular = np.isin(self.reason, _REGULAR) & (self.samples.invalid == 0)
        where = np.flatnonzero(regular)
        where = where[:: max(-(-len(where) // BINNED), 1)]
        if not len(where):
            return {}
        edges, shares = seen(self.samples.values[where], self.masked[where])
        return {SEEN_EDGES: edges, SEEN_SHARES: shares}


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
    counts = dict.fromkeys(COLUMNS, made.rows) | dict.fromkeys(PATHS, made.rows + made.dropped)
    held = {
        name: np.asarray(np.memmap(folder / name, form, "r", shape=(counts[name], *shape)))
        for name, (form, shape) in (COLUMNS | PATHS).items()
    }
    masked, reason, is_seen = (held.pop(name) for name in ("masked", "reason", "path_seen"))
    paths = Paths(*(held.pop(f"path_{name}") for name in Paths._fields))
    rows = Samples(
        **held,
        move_bps=np.full(made.rows, np.nan),
        label=np.full(made.rows, UNKNOWN, np.int8),
        matured_ns=held["cut_ns"],
    )
    return Dataset(rows, masked, reason, paths, is_seen, made)


class _Files:
    """Columns that grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> "_Files":
        self._files = {name: (self._folder / name).open("wb") for name in COLUMNS | PATHS}
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, rows: np.ndarray, session: int) -> int:
        """Add rows; how many of them models see."""
        is_seen = rows["invalid"] & np.uint64(Invalid.DROPPED) == 0
        mine = rows[is_seen]
        columns = {
            "values": mine["values"][:, : len(CATALOGUE)],
            "price": mine["reference_price"],
            **{name: mine[name] for name in COLUMNS if name not in {"values", "price"}},
            "path_price": rows["reference_price"],
            "path_session": np.full(len(rows), session),
            "path_seen": is_seen,
            **{f"path_{name}": rows[name] for name in ("instrument", "cut_ns", "invalid")},
        }
        for name, (form, _) in (COLUMNS | PATHS).items():
            self._files[name].write(np.ascontiguousarray(columns[name], form).data)
        return len(mine)


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
            kept = rows[mine]
            made.rows += (many := files.add(kept, recording.session))
            made.dropped += len(kept) - many
            last_ns = int(kept["cut_ns"][-1]) if len(kept) else last_ns
            _check_bound(made.rows, selection)
            report((number + share) / len(source.recordings))
    if not made.rows:
        raise UsageError(
            "no row of these symbols is recorded in this span; dcctl lake ls --channel features "
            "shows what there is"
        )
    if selection.recorded:
        made.as_recorded = made.rows + made.dropped
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
