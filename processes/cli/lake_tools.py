"""What the lake commands do: find the lake, call its tools, print what they found."""

import csv
import re
import sys
from datetime import date
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import msgspec

from processes.cli.screen import colour, say, say_json, table
from processes.cli.times import parse_time
from processes.clock import Clock, day_of, measure_offset_ns
from processes.lake.files import Wanted, as_record, check_is_there, find, totals
from processes.lake_files import LakeFile, describe
from processes.lake_places import Both, Place, local_of, open_lake
from processes.operations.figures import size
from processes.operations.instance import find_paths
from processes.places import is_locked
from schemas.errors import LakeError, OperatorError, StoreError, UsageError

MS_NS: Final = 1_000_000
CELL: Final = 60


def _open(lake: str, *, local: bool) -> tuple[Place, bool]:
    """A lake, and whether an instance is writing there now."""
    paths = find_paths()
    own = paths.data / "lake"
    place: Place = Path(lake or own) if local else _with_store(lake or own)
    check_is_there(place)
    here = local_of(place)
    running = here is not None and here.resolve() == own.resolve() and is_locked(paths.run)
    return place, running


def _with_store(lake: Path | str) -> Place:
    try:
        return open_lake(lake)
    except StoreError as error:
        if "://" in str(lake):
            raise
        text = f"{error}. What is on this machine alone: --local"
        raise StoreError(text, refused=error.refused) from None


def _journals(lake: Place) -> Path:
    """Where the journals of a lake are; a store has none."""
    here = local_of(lake)
    return find_paths().data / "none" if here is None else here.parent / "journal"


def _time_ns(text: str, option: str) -> int:
    return parse_time(text, option) * MS_NS if text else 0


def list_files(
    lake: str, venue: str, channel: str, symbol: str, start: str, end: str, *, local: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Print files and totals; exit 1 if one cannot be read."""
    folder, _ = _open(lake, local=local)
    wanted = Wanted(
        venue=venue,
        channel=channel,
        symbol=symbol,
        start_ns=_time_ns(start, "--from"),
        end_ns=_time_ns(end, "--to"),
    )
    files, faults = find(folder, wanted)
    records = [as_record(file, folder) for file in files]
    series = totals(records)
    if as_json:
        say_json(
            {
                "lake": str(folder),
                "files": records,
                "series": series,
                "rows": sum(one["rows"] for one in series),
                "bytes": sum(one["bytes"] for one in series),
                "unreadable": [str(error) for error in faults],
            }
        )
    else:
        _print_files(folder, records, series)
    if faults:
        raise LakeError("\n".join(str(error) for error in faults))


def _print_files(
    folder: Place, records: list[dict[str, Any]], series: list[dict[str, Any]]
) -> None:
    if not records:
        say(f"no such files in {folder}")
        return
    head = ["file", "form", "in", "rows", "size", "from", "to", "session", "sequences"]
    rows = [
        [
            one["file"],
            one["form"],
            one["in"],
            f"{one['rows']:,}",
            size(one["bytes"]),
            one["from"][:19],
            one["to"][:19],
            " ".join(str(span["session"]) for span in one["sequences"]),
            " ".join(f"{span['first_seq']}-{span['last_seq']}" for span in one["sequences"]),
        ]
        for one in records
    ]
    say(table(head, rows, right=(3, 4)))
    say()
    rows = [
        [
            one["series"],
            str(one["files"]),
            f"{one['rows']:,}",
            size(one["bytes"]),
            f"{one['bytes'] / one['rows']:.1f}" if one["rows"] else "",
            one["from"][:19],
            one["to"][:19],
        ]
        for one in series
    ]
    head = ["series", "files", "rows", "size", "bytes/row", "from", "to"]
    say(table(head, rows, right=(1, 2, 3, 4)))


def _find_file(lake: str, name: Path, *, local: bool) -> LakeFile:
    """A file by its path, or by its path below the lake; what is here goes before the store's."""
    if name.is_file():
        return describe(name)
    path = _open(lake, local=local)[0] / str(name)
    for one in (path.local, path.store) if isinstance(path, Both) else (path,):
        if one.is_file():
            return describe(one)
    raise OperatorError(f"no file {name}; dcctl lake ls lists them")


def show_file(
    lake: str, name: Path, limit: int, start: str, columns: str, *, local: bool, as_json: bool
) -> None:
    """Print a file's metadata and records."""
    from processes.lake.show import metadata, records

    file = _find_file(lake, name, local=local)
    is_sequence = re.fullmatch(r"\d+", start) is not None
    told = metadata(file)
    rows = records(
        file,
        limit=limit,
        first_seq=int(start) if is_sequence else 0,
        start_ns=0 if is_sequence else _time_ns(start, "--from"),
        columns=[one.strip() for one in columns.split(",") if one.strip()],
    )
    if as_json:
        say_json({"file": str(file.path), **told, "records": [_plain_record(row) for row in rows]})
        return
    for key, value in told.items():
        if key == "constants":
            for constant, what in value.items():
                say(f"{constant:>12}  {what}")
        elif key == "columns":
            say(f"{'columns':>12}  {', '.join(f'{n} {kind}' for n, kind in value.items())}")
        else:
            say(f"{key:>12}  {value:,}" if isinstance(value, int) else f"{key:>12}  {value}")
    if rows:
        say()
        names = list(rows[0])
        say(table(names, [[_cell(row[name]) for name in names] for row in rows]))


def _plain_record(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """A value as JSON can have it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= CELL else f"{text[: CELL - 3]}..."


def verify_lake(lake: str, session: int, *, fix: bool, local: bool, as_json: bool) -> None:
    """Print what is found.

    Raises:
        LakeError: there is a fault.
    """
    from processes.lake.verify import Verification

    folder, running = _open(lake, local=local)
    report = Verification(
        folder, _journals(folder), session=session, running=running, fix=fix
    ).run()
    if as_json:
        say_json({"ok": not report.faults, **msgspec.to_builtins(report)})
        if report.faults:
            raise LakeError(f"{len(report.faults)} faults")
        return
    rows = [
        [one.ring, str(one.session), f"{one.rows:,}", str(one.last), str(one.missing),
         str(one.doubled)]
        for one in report.rings
    ]  # fmt: skip
    head = ["ring", "session", "rows", "last", "missing", "doubled"]
    say(table(head, rows, right=(1, 2, 3, 4, 5)))
    for hole in report.holes:
        if hole.reason:
            count = f", {hole.left_out:,} left out" if hole.left_out else ""
            say(f"hole: {hole.ring} session {hole.session}, {hole.first} to {hole.last}: "
                f"{hole.reason}{count}")  # fmt: skip
    for left in report.leftovers:
        say(f"leftover: {left.file}: {left.what}{', removed' if left.removed else ''}")
    verdict = "faults below" if report.faults else colour("as they should be", "green")
    say(f"\n{report.files:,} files, {report.rows:,} rows, {size(report.bytes)}: {verdict}")
    if report.faults:
        raise LakeError(
            "\n".join(f"fault: {one.where}: {one.what}; {one.do}" for one in report.faults)
        )


def compact_lake(
    lake: str, before: str, venue: str, channel: str, symbol: str, *, local: bool, as_json: bool
) -> None:
    """Pack, and print what was packed."""
    from processes.lake.compact import compact

    folder, _ = _open(lake, local=local)
    today = day_of(Clock(measure_offset_ns()).now_ns())
    try:
        day = date.fromisoformat(before or today).isoformat()
    except ValueError:
        raise UsageError(f"--before {before}: no day; type it like {today}") from None
    wanted = Wanted(venue=venue, channel=channel, symbol=symbol)
    try:
        packed = compact(folder, before=day, wanted=wanted)
    except OSError as error:
        raise OperatorError(
            f"{error.filename or folder}: {error.strerror or error}; nothing is lost, go on with: "
            "dcctl lake compact"
        ) from None
    if as_json:
        say_json({"before": day, "packed": msgspec.to_builtins(packed)})
        return
    if not packed:
        say(f"nothing to pack before {day}")
        return
    rows = [
        [one.file, f"{one.rows:,}", str(one.files), size(one.bytes_before), size(one.bytes_after)]
        for one in packed
    ]
    say(table(["file", "rows", "of files", "before", "after"], rows, right=(1, 2, 3, 4)))


def query_lake(
    lake: str, sql: str, *, limit: int, local: bool, as_csv: bool, as_json: bool
) -> None:
    """Print what a query gives."""
    from processes.lake.query import query

    folder, _ = _open(lake, local=local)
    answer = query(folder, sql)
    rows = chain.from_iterable(answer.blocks)
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows([_plain(value) for value in row] for row in rows)
    elif as_json:
        encode = msgspec.json.Encoder().encode
        say("[")
        for number, row in enumerate(rows):
            record = {name: _plain(v) for name, v in zip(answer.columns, row, strict=True)}
            say(f"{',' if number else ''}{encode(record).decode()}")
        say("]")
    else:
        shown = list(islice(rows, limit))
        say(table(answer.columns, [[_cell(value) for value in row] for row in shown]))
        more = sum(1 for _ in rows)
        say(f"\n{len(shown) + more:,} rows" + (f", {limit} shown; --limit" if more else ""))
