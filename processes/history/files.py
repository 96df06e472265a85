"""Files of downloads: an unfinished one that is only appended to, and a finished one, made whole.

An unfinished file is cut to its committed length whenever it is opened, so what a crash left half
written is gone. Arrow is the IPC *stream* format while it grows: a schema message and one message
a page, each complete in itself; the finished file is the IPC file format with zstd.

May fail with OSError (a full disk) and OperatorError (a file that is shorter than was committed).
"""

import csv
import io
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from processes.files import sync_folder
from schemas.errors import OperatorError
from schemas.history import COLUMNS, Job

SEALED: Final = pa.ipc.IpcWriteOptions(
    compression=pa.Codec("zstd", compression_level=1), use_threads=False
)
SEALED_ROWS: Final = 65_536
COPY_BYTES: Final = 1 << 20
_TYPES: Final = {"mts": pa.int64(), "id": pa.int64(), "symbol": pa.string()}
TABLES: Final[dict[str, pa.Schema]] = {
    channel: pa.schema([(name, _TYPES.get(name, pa.float64())) for name in names])
    for channel, names in COLUMNS.items()
}
"""Arrow schemas by channel."""
Row = tuple[Any, ...]
"""Values in the order of the channel's columns: int, Decimal, str or None."""


def metadata_of(job: Job) -> dict[str, str]:
    """Constants of a download, as the schema's metadata."""
    return {
        "venue": job.venue,
        "source": "restapi",
        "channel": job.channel,
        "symbol": job.symbol,
        "timeframe": job.timeframe,
        "start_ms": str(job.start_ms),
        "end_ms": str(job.end_ms),
        "limit": str(job.limit),
        "sort": job.sort,
        "job": job.id,
        "table": job.channel,
    }


class ArrowRows:
    """Rows as messages of an Arrow IPC stream."""

    def __init__(self, job: Job) -> None:
        self._schema = TABLES[job.channel].with_metadata(metadata_of(job))

    def header(self) -> bytes:
        """What a file begins with."""
        return bytes(self._schema.serialize())

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Some rows as one message."""
        columns = [
            pa.array([float(v) if isinstance(v, Decimal) else v for v in values], field.type)
            for values, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        return bytes(pa.record_batch(columns, schema=self._schema).serialize())

    def seal(self, part: Path, size: int, beside: Path, facts: dict[str, str]) -> None:
        """The finished file, of the part's first `size` bytes."""
        with pa.memory_map(str(part)) as source:
            reader = pa.ipc.open_stream(pa.py_buffer(memoryview(source.read_buffer(size))))
            schema = self._schema.with_metadata({**(reader.schema.metadata or {}), **facts})
            held: list[pa.RecordBatch] = []
            with (
                pa.OSFile(str(beside), "wb") as sink,
                pa.ipc.new_file(sink, schema, options=SEALED) as writer,
            ):
                for batch in reader:
                    held.append(batch)
                    if sum(map(len, held)) >= SEALED_ROWS:
                        _write_joined(writer, held, schema)
                        held = []
                _write_joined(writer, held, schema)


def _write_joined(writer: Any, held: list[pa.RecordBatch], schema: pa.Schema) -> None:
    if held:
        table = pa.Table.from_batches(held).combine_chunks().cast(schema)
        writer.write_table(table)


class CsvRows:
    """Rows as lines of text, numbers as the venue wrote them."""

    def __init__(self, job: Job) -> None:
        self._columns = COLUMNS[job.channel]

    def header(self) -> bytes:
        """What a file begins with."""
        return self._lines([self._columns])

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Some rows as lines."""
        return self._lines(
            [format(v, "f") if isinstance(v, Decimal) else v for v in row] for row in rows
        )

    @staticmethod
    def _lines(rows: Any) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()

    def seal(self, part: Path, size: int, beside: Path, _facts: dict[str, str]) -> None:
        """The finished file, of the part's first `size` bytes."""
        with part.open("rb") as source, beside.open("wb") as sink:
            while size and (chunk := source.read(min(size, COPY_BYTES))):
                sink.write(chunk)
                size -= len(chunk)


def rows_of(job: Job) -> ArrowRows | CsvRows:
    """The encoder of a job's format."""
    return ArrowRows(job) if job.format == "arrow" else CsvRows(job)


class PartFile:
    """An unfinished file, open for appending behind its committed bytes."""

    def __init__(self, path: Path, committed: int, header: bytes) -> None:
        """Open it, without what a crash may have left behind the committed bytes.

        Raises:
            OperatorError: it is shorter than that.
        """
        self._file = path.open("r+b" if committed else "wb")
        found = self._file.seek(0, os.SEEK_END)
        if found < committed:
            self._file.close()
            raise OperatorError(
                f"{path} has lost rows ({found} of {committed} bytes); remove the job and download "
                f"anew: rm -r {path.parent}"
            )
        self._file.truncate(committed)
        self._file.seek(committed)
        if not committed:
            self._file.write(header)

    def append(self, content: bytes) -> int:
        """Add bytes and make them safe; how many there are now."""
        self._file.write(content)
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close it."""
        self._file.close()


def finish(job: Job, part: Path, size: int, lake: Path, facts: dict[str, str]) -> Path:
    """Make the finished file of a complete part, whole or not at all; its path."""
    final = lake / job.file
    if final.exists():
        return final  # an earlier life came this far: the name carries the job's id
    final.parent.mkdir(parents=True, exist_ok=True)
    # Not named .part or .sealing: storage tidies such files of its own below the lake.
    beside = final.with_name(f".{final.name}.unfinished")
    rows_of(job).seal(part, size, beside, facts)
    descriptor = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.rename(final)
    sync_folder(final.parent)
    return final
