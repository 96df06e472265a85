"""SQL over the lake: DuckDB, a view a table, over Parquet, sealed and open files alike.

Every view has `dt`, `session`, `venue`, `symbol`, `pair` and `suffix` (empty for a channel's usual
stream, `P1` or `1m` for others) beside the table's own columns. Sealed files are read where filters
let them be; open files are brought into memory, those of tables that the query names.

Nothing can be written: one SELECT is run, and of all files only the lake's can be opened.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from msgspec import Struct
from pyarrow import fs

from processes.lake.files import Wanted, find
from processes.lake.merge import EXTRA, constant_columns
from processes.lake_files import LakeFile, batches
from processes.lake_places import File, Place, StorePath, local_of
from schemas.errors import LakeError, UsageError
from schemas.lake import SCHEMAS

FETCH_ROWS: Final = 10_000
TRIES: Final = 3


class Answer(Struct):
    """Columns, and the rows in blocks, as they are computed."""

    columns: list[str]
    blocks: Iterator[list[tuple[Any, ...]]]


def query(lake: Place, sql: str) -> Answer:
    """Run one SELECT over the lake.

    Raises:
        UsageError: DuckDB does not understand it, or it is no SELECT. LakeError: a file cannot be
            read. OperatorError: there is no lake, or its store does not answer.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            return _query(lake, sql)
        except (FileNotFoundError, duckdb.IOException) as error:
            # Storage has sealed, or a compaction packed, what was just listed.
            if not tries_left:
                raise LakeError(f"files of {lake} come and go too quickly: {error}") from None
    raise AssertionError


def _query(lake: Place, sql: str) -> Answer:
    files, faults = find(lake, Wanted())
    named = {table for table in SCHEMAS if re.search(rf"\b{table}\b", sql, re.IGNORECASE)}
    for error in faults:
        if any(f"/{table}-" in str(error) for table in named):
            raise error
    connection = duckdb.connect(":memory:")
    try:
        for table in SCHEMAS:
            mine = [file for file in files if file.table == table] if table in named else []
            _make_view(connection, table, mine)
        here = local_of(lake)
        if here is not None:
            folder = str(here.resolve()).replace("'", "''")
            connection.execute(f"SET allowed_directories=['{folder}']")
        connection.execute("SET enable_external_access=false")
        connection.execute("SET lock_configuration=true")
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UsageError("one SELECT can be asked; the lake is not written by queries")
        result = connection.execute(statements[0])
        columns = [column[0] for column in result.description or ()]
        first = result.fetchmany(FETCH_ROWS)
    except duckdb.IOException:
        raise
    except duckdb.Error as error:
        raise UsageError(_plain(error)) from None
    return Answer(columns=columns, blocks=_blocks(result, first))


def _plain(error: Exception) -> str:
    """The error without the position marks that a terminal spoils."""
    lines = [line for line in str(error).splitlines() if line.strip(" ^")]
    return " ".join(line.strip() for line in lines)[:600]


def _blocks(result: Any, first: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    rows = first
    while rows:
        yield rows
        rows = result.fetchmany(FETCH_ROWS)


def _make_view(connection: Any, table: str, files: Sequence[LakeFile]) -> None:
    parts = [f"SELECT * FROM {table}_none"]
    connection.register(f"{table}_none", _schema(table).empty_table())
    away = [file for file in files if isinstance(file.path, StorePath)]
    here = [file for file in files if isinstance(file.path, Path)]
    for name, mine in (
        ("sealed", [file for file in here if file.form == "sealed"]),
        ("store_sealed", [file for file in away if file.form == "sealed"]),
        ("store_daily", [file for file in away if file.form == "daily"]),
    ):
        if mine:
            connection.register(f"{table}_{name}", _dataset(table, mine))
            parts.append(f"SELECT * FROM {table}_{name}")
    still_open = [file for file in here if file.form == "open" and file.pieces]
    if still_open:
        connection.register(f"{table}_open", _in_memory(table, still_open))
        parts.append(f"SELECT * FROM {table}_open")
    resolved = [str(Path(str(file.path)).resolve()) for file in here if file.form == "daily"]
    daily = [name.replace("'", "''") for name in resolved]
    if daily:
        names = ", ".join(f"'{name}'" for name in daily)
        parts.append(
            f"SELECT * FROM read_parquet([{names}], hive_partitioning=true, union_by_name=true)"
        )
    connection.execute(f"CREATE VIEW {table} AS {' UNION ALL BY NAME '.join(parts)}")


def _schema(table: str) -> pa.Schema:
    own = SCHEMAS[table]
    extra = [name for name in EXTRA if name not in own.names]
    kinds = {"session": pa.int64()}
    return pa.schema(
        [("dt", pa.date32()), *[(name, kinds.get(name, pa.string())) for name in extra], *own]
    )


def _constants(file: LakeFile, schema: pa.Schema) -> dict[str, pa.Scalar]:
    """Values of those columns of a view that are no columns of the file."""
    own = SCHEMAS[file.table].names
    told = file.pieces[0].constants
    found = {"dt": _day(file)}
    for field in schema:
        if field.name in told and field.name not in own:
            value = int(told[field.name]) if field.name == "session" else told[field.name]
            found[field.name] = pa.scalar(value, field.type)
    return found


def _day(file: LakeFile) -> pa.Scalar:
    return pa.scalar(date.fromisoformat(file.day), pa.date32())


def _dataset(table: str, files: Sequence[LakeFile]) -> ds.Dataset:
    """Files of one form and place, the constants of each as what is known of its rows."""
    schema = _schema(table)
    first = files[0]
    if first.form == "daily":
        schema = _with_columns(schema, table, files)
    known = []
    for file in files:
        condition = None
        told = {"dt": _day(file)} if file.form == "daily" else _constants(file, schema)
        for name, value in told.items():
            one = ds.field(name) == value
            condition = one if condition is None else condition & one
        known.append(condition)
    away = first.path.store if isinstance(first.path, StorePath) else None
    return ds.FileSystemDataset.from_paths(
        [_path_in_store(file.path) for file in files],
        schema=schema,
        format=ds.ParquetFileFormat() if first.form == "daily" else ds.IpcFileFormat(),
        filesystem=away.files if away is not None else fs.LocalFileSystem(),
        partitions=known,
    )


def _path_in_store(path: File) -> str:
    """As the store's file system names it."""
    return f"{path.store.uri.base}/{path.key}" if isinstance(path, StorePath) else str(path)


def _with_columns(schema: pa.Schema, table: str, files: Sequence[LakeFile]) -> pa.Schema:
    """Beside the usual columns those that changed in the course of some day."""
    for file in files:
        for name in constant_columns(table, [piece.constants for piece in file.pieces]):
            if name not in schema.names:
                schema = schema.append(pa.field(name, pa.string()))
    return schema


def _in_memory(table: str, files: Sequence[LakeFile]) -> pa.Table:
    schema = _schema(table)
    parts: list[pa.RecordBatch] = []
    for file in files:
        constants = _constants(file, schema)
        for batch in batches(file):
            arrays = [
                batch.column(field.name)
                if field.name in batch.schema.names
                else pa.repeat(constants.get(field.name, pa.scalar(None, field.type)), len(batch))
                for field in schema
            ]
            parts.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return pa.Table.from_batches(parts, schema=schema)
