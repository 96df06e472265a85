"""The lake's files: where each stands, what it says of itself, and which of them count.

    <lake>/<venue>/websocket/<channel>/<symbol>/dt=2026-11-21/<channel>-20261121T100000Z.arrow
    <lake>/features/<venue>/<symbol>/dt=.../features-<time>.arrow         predictions likewise
    <lake>/decisions/dt=.../decisions-<time>.arrow
    <lake>/.../dt=.../<prefix>[-suffix].parquet                            a compacted day

A file is open (`.<name>.arrow.part`, an Arrow stream), sealed (`<name>.arrow`), or daily (Parquet).
One rule says which count, for every reader: all do, but for a sealed file that a daily file of
its folder names among those it was made of. The name alone does not say so: session and sequences
must be the same too, since a name may come again. A daily file does not count beside another that
was made of all its pieces, and of two that hold the same the first does, which is the one here and
not in a store. So nothing is doubled, whenever a compaction or a push dies.

Files may be sealed, compacted and removed while somebody looks. Who opens one that is gone gets a
FileNotFoundError and lists the folder again. Downloads (`<venue>/restapi/`) have no day's folder
and are not of this.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
import pyarrow as pa
from msgspec import Struct

from processes.lake_places import (
    TAIL_BYTES,
    Entry,
    File,
    Place,
    StorePath,
    day_folders,
    entries,
    local_of,
    opened,
)
from schemas.errors import LakeError
from schemas.lake import CATALOGUED, LATER, PLACED, SCHEMAS

ARROW: Final = ".arrow"
PART: Final = ".part"
SEALING: Final = ".sealing"
DAILY: Final = ".parquet"
PACKING: Final = ".packing"
"""Endings: sealed, open, on its way from open to sealed, compacted, on its way to compacted."""
COUNTS: Final = ("rows", "first_seq", "last_seq", "first_ns", "last_ns")
"""Metadata of a file that are no constants of its stream."""
PIECES: Final = b"pieces"
"""Metadata of a daily file: the sealed files that it was made of, as JSON."""
BATCH_ROWS: Final = 65_536
ASKED_AT_ONCE: Final = 16
"""So many folders of a store are looked into at a time."""
Form = Literal["open", "sealed", "daily"]


class Piece(Struct, frozen=True, kw_only=True):
    """What one Arrow file holds, or one that a daily file was made of."""

    name: str
    rows: int
    first_seq: int
    last_seq: int
    first_ns: int
    last_ns: int
    constants: dict[str, str]

    @property
    def session(self) -> int:
        """Session of the rows."""
        return int(self.constants["session"])

    @property
    def ring(self) -> str:
        """Ring whose numbers the rows bear."""
        return self.constants["ring"]

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """What no other file has alike."""
        return self.name, self.session, self.first_seq, self.last_seq


class LakeFile(Struct, frozen=True, kw_only=True):
    """One file of the lake, as it was when somebody looked."""

    path: File
    form: Form
    table: str
    bytes: int
    inode: int
    """Which file it was: another number is another of the same name."""
    pieces: tuple[Piece, ...]
    """One but in a daily file; none in an open file without a row."""
    copy: StorePath | None = None
    """The store's file of this name and size, if this one is here."""

    @property
    def rows(self) -> int:
        """Rows in it."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def day(self) -> str:
        """Its folder's day, 2026-11-21; empty outside such a folder."""
        name = self.path.parent.name
        return name.removeprefix("dt=") if name.startswith("dt=") else ""

    @property
    def sessions(self) -> list[int]:
        """Sessions whose rows it holds."""
        return sorted({piece.session for piece in self.pieces})

    def constant(self, name: str) -> str:
        """A constant of its stream; empty where there is none."""
        return self.pieces[0].constants.get(name, "") if self.pieces else ""


def tape_folder(venue: str, channel: str, symbol: str) -> str:
    """Folder of one symbol's channel; `/` and `:` of the symbol percent-encoded."""
    return f"{venue}/websocket/{channel}/{quote(symbol, safe='')}"


def sequence_column(schema: pa.Schema) -> str:
    """The column by which a table's rows are numbered."""
    return next(name for name in ("tape_seq", "seq") if name in schema.names)


def time_column(schema: pa.Schema) -> str:
    """The column of the times by which files are named and rows put into days."""
    return next(name for name in ("recv_ns", "made_ns") if name in schema.names)


def read_stream(
    path: Path, columns: Sequence[str] = (), *, closed: bool = False
) -> tuple[pa.Schema | None, Iterator[pa.RecordBatch]]:
    """A stream file: its schema, None if that is missing, and its batches up to a broken one.

    Args:
        closed: nobody writes to it any more, so its batches may stay where they are in the file.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            # An open one is read, not mapped: a writer without room may shorten the file.
            with pa.memory_map(str(path)) if closed else pa.OSFile(str(path)) as source:
                yield from pa.ipc.open_stream(source, options=_only(schema, columns))
        except FileNotFoundError:
            raise
        except (pa.ArrowInvalid, OSError):
            return

    try:
        with pa.OSFile(str(path)) as source:
            schema = pa.ipc.open_stream(source).schema
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError):
        return None, iter(())
    return schema, batches()


def _only(schema: pa.Schema, columns: Sequence[str]) -> Any:
    fields = [schema.get_field_index(name) for name in _had(columns, schema.names)]
    return pa.ipc.IpcReadOptions(included_fields=fields or None, use_threads=False)


def describe(path: File, copy: StorePath | None = None) -> LakeFile:
    """What a file is and holds; quick but for open files, whose numbers must be read.

    Raises:
        FileNotFoundError: it is gone. LakeError: it cannot be read. StoreError: a store does not
            answer.
    """
    told = path.listed() if isinstance(path, StorePath) else path.stat()
    try:
        if path.name.endswith(DAILY):
            table, pieces = _describe_daily(path)
            form: Form = "daily"
        elif path.name.endswith(PART) and isinstance(path, Path):
            table, pieces = _describe_open(path)
            form = "open"
        else:
            table, pieces = _describe_sealed(path)
            form = "sealed"
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, StopIteration) as error:
        raise LakeError(f"{path} cannot be read: {_brief(error)}") from None
    return LakeFile(
        path=path, form=form, table=table, bytes=told.st_size, inode=told.st_ino, pieces=pieces,
        copy=copy,
    )  # fmt: skip


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _describe_daily(path: File) -> tuple[str, tuple[Piece, ...]]:
    import pyarrow.parquet as pq  # noqa: PLC0415  (10 MB that storage need not have)

    with opened(path, TAIL_BYTES) as source:
        metadata = pq.read_metadata(source).metadata or {}
    pieces = msgspec.json.decode(metadata[PIECES], type=tuple[Piece, ...])
    return metadata[b"table"].decode(), pieces


def _describe_open(path: Path) -> tuple[str, tuple[Piece, ...]]:
    schema, _ = read_stream(path)
    if schema is None:
        return "", ()  # begun and not yet written to
    constants = _constants(schema)
    number, time = sequence_column(schema), time_column(schema)
    ends = Ends()
    for batch in read_stream(path, (number, time))[1]:
        ends.add(batch.column(number), batch.column(time))
    if not ends.rows:
        return constants["table"], ()
    name = path.name.removeprefix(".").removesuffix(PART)
    return constants["table"], (ends.piece(name, constants),)


def _describe_sealed(path: File) -> tuple[str, tuple[Piece, ...]]:
    with opened(path, TAIL_BYTES) as source:
        schema = pa.ipc.open_file(source).schema
        metadata = _decoded(schema)
        constants = _constants(schema)
        if "first_ns" in metadata and "rows" in metadata:
            counts = {name: int(metadata[name]) for name in COUNTS}
            piece = Piece(name=path.name, constants=constants, **counts)
        else:
            piece = _measured(path, source, schema, constants)
    return constants["table"], (piece,)


def _measured(path: File, source: Any, schema: pa.Schema, constants: dict[str, str]) -> Piece:
    """Of a file whose metadata lack what newer ones have."""
    number, time = sequence_column(schema), time_column(schema)
    reader = pa.ipc.open_file(source, options=_only(schema, (number, time)))
    ends = Ends()
    for index in range(reader.num_record_batches):
        batch = reader.get_batch(index)
        ends.add(batch.column(number), batch.column(time))
    return ends.piece(path.name, constants)


class Ends:
    """Rows, and the first and last number and time, of batches as they come."""

    def __init__(self) -> None:
        self.rows = 0
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)

    def add(self, numbers: pa.Array, times: pa.Array) -> None:
        """Count a batch."""
        if not len(numbers):
            return
        counts = self.counts
        if not self.rows:
            counts["first_seq"], counts["first_ns"] = numbers[0].as_py(), times[0].as_py()
        counts["last_seq"], counts["last_ns"] = numbers[-1].as_py(), times[-1].as_py()
        self.rows += len(numbers)
        counts["rows"] = self.rows

    def piece(self, name: str, constants: dict[str, str]) -> Piece:
        """What they come to."""
        return Piece(name=name, constants=constants, **self.counts)


def _decoded(schema: pa.Schema) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}


def _constants(schema: pa.Schema) -> dict[str, str]:
    return {name: value for name, value in _decoded(schema).items() if name not in COUNTS}


def folders_of(root: Place) -> list[Place]:
    """All folders of a day, in the order of their names.

    Raises:
        StoreError: a store does not answer.
    """
    return day_folders(root)


def counting(folder: Place) -> list[LakeFile]:
    """The files of a day's folder that count, each once; and nothing else that stands there.

    Raises:
        LakeError: one cannot be read. StoreError: a store does not answer.
    """
    return _without_faults(*look(folder))


def _without_faults(files: list[LakeFile], faults: list[LakeError]) -> list[LakeFile]:
    for error in faults:
        raise error
    return files


def counting_in(folders: Sequence[Place]) -> Iterator[list[LakeFile]]:
    """As `counting`, of many folders in their order; a store is asked for several at a time."""
    for files, faults in look_in(folders):
        yield _without_faults(files, faults)


def look_in(folders: Sequence[Place]) -> Iterator[tuple[list[LakeFile], list[LakeError]]]:
    """As `look`, of many folders in their order; a store is asked for several at a time."""
    if all(isinstance(folder, Path) for folder in folders):
        yield from map(look, folders)
        return
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        yield from pool.map(look, folders)


def look(folder: Place, *, open_too: bool = True) -> tuple[list[LakeFile], list[LakeError]]:
    """As `counting`; files that cannot be read as errors beside it.

    Args:
        open_too: open files as well, of which each must be read to be described.
    """
    while True:
        try:
            return _look(folder, (ARROW + PART,) if open_too else ())
        except FileNotFoundError:
            if not folder.exists():
                return [], []


def _look(folder: Place, hidden: tuple[str, ...]) -> tuple[list[LakeFile], list[LakeError]]:
    found = entries(folder)
    names = {entry.path.name for entry in found}
    files: list[LakeFile] = []
    faults: list[LakeError] = []
    # Daily files first: one that comes into being later replaces only files that this list has.
    for path, copy in sorted(found, key=_daily_first):
        name = path.name
        ends = (DAILY, ARROW) if not name.startswith(".") else hidden
        if not name.endswith(ends):
            continue
        if name.endswith(PART) and name.removeprefix(".").removesuffix(PART) in names:
            continue  # sealed already, and only not yet removed
        try:
            files.append(describe(path, copy))
        except LakeError as error:
            faults.append(error)
    return _counted(files), faults


def _daily_first(entry: Entry) -> bool:
    return not entry.path.name.endswith(DAILY)


def _counted(files: Sequence[LakeFile]) -> list[LakeFile]:
    """Those that count, of all that stand in a folder."""
    gone = replaced(files)
    kept: list[LakeFile] = []
    for file in files:
        mine = _identities(file)
        if file.form == "daily":
            others = (_identities(one) for one in files if one.form == "daily" and one is not file)
            again = any(one.form == "daily" and _identities(one) == mine for one in kept)
            if again or any(mine < other for other in others):
                continue
        # An open file too: one whose sealed form was packed before a crash had let it be removed.
        elif mine and (mine <= gone or any(_identities(one) == mine for one in kept)):
            continue
        kept.append(file)
    return kept


def _identities(file: LakeFile) -> set[tuple[str, int, int, int]]:
    return {piece.identity for piece in file.pieces}


def replaced(files: Iterable[LakeFile]) -> set[tuple[str, int, int, int]]:
    """Identities of the sealed files that daily ones were made of."""
    return {piece.identity for file in files if file.form == "daily" for piece in file.pieces}


def superseded(folder: Place) -> list[LakeFile]:
    """Sealed files that a daily file beside them has replaced, and that are still there.

    A compaction that died has left them. Of a lake in two places, those that are here.
    """
    place = local_of(folder) or folder
    found = entries(place) if place.exists() else []
    paths = [entry.path for entry in found if not entry.path.name.startswith(".")]
    gone = replaced(describe(path) for path in paths if path.name.endswith(DAILY))
    names = {name for name, *_ in gone}
    sealed = [path for path in paths if path.name.endswith(ARROW) and path.name in names]
    return [file for file in map(describe, sealed) if _identities(file) <= gone]


def batches(file: LakeFile, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """A file's rows as its table's columns (all, or those named), in blocks, in their order.

    What a file of an older feature catalogue, or of a line-up with fewer places, has no column for
    is null.

    Raises:
        FileNotFoundError: it is gone, or another stands in its place: list the folder again.
        LakeError: it cannot be read to its end.
    """
    if file.path.stat().st_ino != file.inode:
        raise FileNotFoundError(str(file.path))
    try:
        if file.form == "daily":
            found = _daily_batches(file, columns)
        elif isinstance(file.path, Path) and file.form == "open":
            found = read_stream(file.path, columns)[1]
        else:
            found = _sealed_batches(file, columns)
        for batch in found:
            yield _whole(batch, file.table, columns)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise LakeError(f"{file.path} cannot be read: {_brief(error)}") from None


def _had(columns: Sequence[str], held: Collection[str]) -> list[str]:
    """The columns but those that only a later catalogue, or line-up, has."""
    return [name for name in columns if name in held or name not in CATALOGUED | PLACED]


def _sealed_batches(file: LakeFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with opened(file.path) as source:
        reader = pa.ipc.open_file(source)
        if columns:
            reader = pa.ipc.open_file(source, options=_only(reader.schema, columns))
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


def _whole(batch: pa.RecordBatch, table: str, columns: Sequence[str]) -> pa.RecordBatch:
    """The batch with every column that is wanted; the same if it has them all."""
    held = batch.schema.names
    names = columns or SCHEMAS[table].names
    if table not in LATER or set(names) - set(held) - LATER[table]:
        return batch
    if len(held) == len(names):
        return batch
    fields = [SCHEMAS[table].field(name) for name in names]
    arrays = [
        batch.column(field.name) if field.name in held else pa.nulls(len(batch), field.type)
        for field in fields
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, batch.schema.metadata))


def _daily_batches(file: LakeFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq  # noqa: PLC0415  (10 MB that storage need not have)

    schema = SCHEMAS[file.table]
    with opened(file.path) as source, pq.ParquetFile(source) as reader:
        held = set(reader.schema_arrow.names)
        names = _had(columns or schema.names, held)
        wanted = pa.schema([schema.field(name) for name in names])
        for batch in reader.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
            yield batch.select(names).cast(wanted)
