"""Looking into one file: what it says of itself, and its records from any place on.

A place is found by halving over the blocks of a sealed file, or by a daily file's statistics, so
the last record of a large file is as near as the first. An open file is read through.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from processes.lake_files import LakeFile, batches, sequence_column, time_column
from processes.lake_places import opened
from schemas.errors import UsageError
from schemas.lake import SCHEMAS


def metadata(file: LakeFile) -> dict[str, Any]:
    """Form, counts, constants of the streams, and columns with their types."""
    constants = [piece.constants for piece in file.pieces]
    names = dict.fromkeys(name for one in constants for name in one)
    values = {name: list(dict.fromkeys(one.get(name, "") for one in constants)) for name in names}
    return {
        "form": file.form,
        "table": file.table,
        "bytes": file.bytes,
        "rows": file.rows,
        "made_of": len(file.pieces) if file.form == "daily" else 1,
        "constants": {name: one[0] if len(one) == 1 else one for name, one in values.items()},
        "columns": {field.name: str(field.type) for field in SCHEMAS[file.table]},
    }


def records(
    file: LakeFile,
    *,
    limit: int,
    first_seq: int = 0,
    start_ns: int = 0,
    columns: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Records in the file's order, from the first with this sequence or time (or later) on.

    Raises:
        UsageError: no such column. LakeError: the file cannot be read.
    """
    schema = SCHEMAS[file.table]
    for name in columns:
        if name not in schema.names:
            raise UsageError(f"no column {name}; there are {', '.join(schema.names)}")
    key = time_column(schema) if start_ns else sequence_column(schema)
    low = start_ns or first_seq
    found: list[dict[str, Any]] = []
    for batch in _blocks(file, key, low):
        if len(found) >= limit:
            break
        rows = batch.filter(pc.greater_equal(batch.column(key), low)) if not found else batch
        rows = rows.slice(0, limit - len(found))
        found += (rows.select(list(columns)) if columns else rows).to_pylist()
    return found


def _blocks(file: LakeFile, key: str, low: int) -> Iterator[pa.RecordBatch]:
    """The file's blocks but for some at the beginning that end below `low`."""
    if file.form == "sealed":
        return _sealed_blocks(file, key, low)
    if file.form == "daily":
        return _daily_blocks(file, key, low)
    return batches(file)


def _sealed_blocks(file: LakeFile, key: str, low: int) -> Iterator[pa.RecordBatch]:
    with opened(file.path) as source:
        whole = pa.ipc.open_file(source)
        field = whole.schema.get_field_index(key)
        keys = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=[field]))

        def last_of(index: int) -> int:
            return int(keys.get_batch(index).column(0)[-1].as_py())

        count = whole.num_record_batches
        for index in range(bisect_left(range(count), low, key=last_of), count):
            yield whole.get_batch(index)


def _daily_blocks(file: LakeFile, key: str, low: int) -> Iterator[pa.RecordBatch]:
    schema = SCHEMAS[file.table]
    with opened(file.path) as source, pq.ParquetFile(source) as reader:
        column = reader.schema_arrow.get_field_index(key)
        told = reader.metadata
        groups = range(told.num_row_groups)
        highest = [told.row_group(n).column(column).statistics.max for n in groups]
        first = int(np.argmax([value >= low for value in highest] + [True]))
        if first == len(groups):
            return
        wanted = list(range(first, len(groups)))
        names = schema.names
        for batch in reader.iter_batches(4096, row_groups=wanted, columns=names):
            yield batch.select(names).cast(schema)
