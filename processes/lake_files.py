"""The lake's files: where each stands, what it says of itself, and which of them count.

    <lake>/<venue>/websocket/<channel>/<symbol>/dt=2026-11-21/<channel>-20261121T100000Z.arrow
    <lake>/features/<venue>/<symbol>/dt=.../features-<time>.arrow         predictions likewise
    <lake>/decisions/dt=.../decisions-<time>.arrow
    <lake>/.../dt=.../<prefix>[-suffix].parquet                            a compacted day

A file is open (`.<name>.arrow.part`, an Arrow stream), sealed (`<name>.arrow`), or daily (Parquet).
One rule says which count, for every reader: all do, but for a sealed file that the daily file of
its folder names among those it was made of. The name alone does not say so: session and sequences
must be the same too, since a name may come again. So nothing is doubled, whenever a compaction
dies.

Files may be sealed, compacted and removed while somebody looks. Who opens one that is gone gets a
FileNotFoundError and lists the folder again. Downloads (`<venue>/restapi/`) have no day's folder
and are not of this.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
import pyarrow as pa
from msgspec import Struct

from schemas.errors import LakeError
from schemas.lake import SCHEMAS

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

    path: Path
    form: Form
    table: str
    bytes: int
    inode: int
    pieces: tuple[Piece, ...]
    """One but in a daily file; none in an open file without a row."""

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
    fields = [schema.get_field_index(name) for name in columns]
    return pa.ipc.IpcReadOptions(included_fields=fields or None, use_threads=False)


def describe(path: Path) -> LakeFile:
    """What a file is and holds; quick but for open files, whose numbers must be read.

    Raises:
        FileNotFoundError: it is gone. LakeError: it cannot be read.
    """
    told = path.stat()
    try:
        if path.name.endswith(DAILY):
            table, pieces = _describe_daily(path)
            form: Form = "daily"
        elif path.name.endswith(PART):
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
        path=path, form=form, table=table, bytes=told.st_size, inode=told.st_ino, pieces=pieces
    )


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _describe_daily(path: Path) -> tuple[str, tuple[Piece, ...]]:
    import pyarrow.parquet as pq  # noqa: PLC0415  (10 MB that storage need not have)

    metadata = pq.read_metadata(path).metadata or {}
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


def _describe_sealed(path: Path) -> tuple[str, tuple[Piece, ...]]:
    with pa.memory_map(str(path)) as source:
        schema = pa.ipc.open_file(source).schema
        metadata = _decoded(schema)
        constants = _constants(schema)
        if "first_ns" in metadata and "rows" in metadata:
            counts = {name: int(metadata[name]) for name in COUNTS}
            piece = Piece(name=path.name, constants=constants, **counts)
        else:
            piece = _measured(path, source, schema, constants)
    return constants["table"], (piece,)


def _measured(path: Path, source: Any, schema: pa.Schema, constants: dict[str, str]) -> Piece:
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


def folders_of(root: Path) -> list[Path]:
    """All folders of a day, in the order of their names."""
    return sorted(path for path in root.rglob("dt=*") if path.is_dir())


def counting(folder: Path) -> list[LakeFile]:
    """The files of a day's folder that count, each once; and nothing else that stands there.

    Raises:
        LakeError: one cannot be read.
    """
    files, faults = look(folder)
    for error in faults:
        raise error
    return files


def look(folder: Path, *, open_too: bool = True) -> tuple[list[LakeFile], list[LakeError]]:
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


def _look(folder: Path, hidden: tuple[str, ...]) -> tuple[list[LakeFile], list[LakeError]]:
    names = sorted(path.name for path in folder.iterdir())
    files: list[LakeFile] = []
    faults: list[LakeError] = []
    # Daily files first: one that comes into being later replaces only files that this list has.
    for name in sorted(names, key=lambda one: not one.endswith(DAILY)):
        ends = (DAILY, ARROW) if not name.startswith(".") else hidden
        if not name.endswith(ends):
            continue
        if name.endswith(PART) and name.removeprefix(".").removesuffix(PART) in names:
            continue  # sealed already, and only not yet removed
        try:
            files.append(describe(folder / name))
        except LakeError as error:
            faults.append(error)
    gone = replaced(files)
    # An open file too: one whose sealed form was packed before a crash had let it be removed.
    return [file for file in files if file.form == "daily" or not _is_in(file, gone)], faults


def replaced(files: Iterable[LakeFile]) -> set[tuple[str, int, int, int]]:
    """Identities of the sealed files that daily ones were made of."""
    return {piece.identity for file in files if file.form == "daily" for piece in file.pieces}


def _is_in(file: LakeFile, identities: set[tuple[str, int, int, int]]) -> bool:
    return bool(file.pieces) and all(piece.identity in identities for piece in file.pieces)


def superseded(folder: Path) -> list[LakeFile]:
    """Sealed files that a daily file has replaced and a compaction that died has left."""
    found = [describe(path) for path in sorted(folder.glob(f"*{DAILY}"))]
    gone = replaced(found)
    if not gone:
        return []
    names = {name for name, *_ in gone}
    paths = [path for path in sorted(folder.glob(f"*{ARROW}")) if path.name in names]
    return [file for file in map(describe, paths) if _is_in(file, gone)]


def batches(file: LakeFile, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """A file's rows as its table's columns (all, or those named), in blocks, in their order.

    Raises:
        FileNotFoundError: it is gone, or another stands in its place: list the folder again.
        LakeError: it cannot be read to its end.
    """
    if file.path.stat().st_ino != file.inode:
        raise FileNotFoundError(file.path)
    try:
        if file.form == "daily":
            yield from _daily_batches(file, columns)
        elif file.form == "open":
            yield from read_stream(file.path, columns)[1]
        else:
            with pa.memory_map(str(file.path)) as source:
                reader = pa.ipc.open_file(source)
                if columns:
                    reader = pa.ipc.open_file(source, options=_only(reader.schema, columns))
                for index in range(reader.num_record_batches):
                    yield reader.get_batch(index)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise LakeError(f"{file.path} cannot be read: {_brief(error)}") from None


def _daily_batches(file: LakeFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq  # noqa: PLC0415  (10 MB that storage need not have)

    schema = SCHEMAS[file.table]
    names = list(columns) or schema.names
    wanted = pa.schema([schema.field(name) for name in names])
    with pq.ParquetFile(file.path) as reader:
        for batch in reader.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
            yield batch.select(names).cast(wanted)
