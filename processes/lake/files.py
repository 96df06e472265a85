"""Finding files of the lake: which there are of a venue, channel, symbol and time."""

from typing import Any

from msgspec import Struct

from processes.clock import utc_text
from processes.lake_files import LakeFile, folders_of, look_in
from processes.lake_places import Both, Place, StorePath, name_in
from schemas.errors import LakeError, OperatorError


class Wanted(Struct, frozen=True, kw_only=True):
    """Which files; what is empty or 0 does not matter."""

    venue: str = ""
    channel: str = ""
    """A channel of the tape, or a table behind it: features, predictions, decisions."""
    symbol: str = ""
    """The venue's name, or a pair."""
    start_ns: int = 0
    end_ns: int = 0
    """First time that is not wanted any more."""

    def takes(self, file: LakeFile) -> bool:
        """Whether a file is one of them; one without a row is of no time."""
        pieces = file.pieces
        return (
            self.venue in {"", file.constant("venue")}
            and self.channel in {"", file.constant("channel") or file.table, file.table}
            and self.symbol in {"", file.constant("symbol"), file.constant("pair")}
            and (not self.start_ns or any(one.last_ns >= self.start_ns for one in pieces))
            and (not self.end_ns or any(one.first_ns < self.end_ns for one in pieces))
        )


def find(lake: Place, wanted: Wanted) -> tuple[list[LakeFile], list[LakeError]]:
    """All files that count and are wanted, in the order of their paths; and which are unreadable.

    Raises:
        OperatorError: there is no lake, or its store does not answer.
    """
    check_is_there(lake)
    files: list[LakeFile] = []
    faults: list[LakeError] = []
    for found, bad in look_in(folders_of(lake)):
        files += [file for file in found if wanted.takes(file)]
        faults += bad
    files.sort(key=lambda file: name_in(lake, file.path))
    return files, faults


def check_is_there(lake: Place) -> None:
    """Raises OperatorError where there is no lake."""
    if not lake.is_dir():
        raise OperatorError(f"no lake in {lake} yet; dcctl start records one, or name one: --lake")


def series_of(file: LakeFile, lake: Place) -> str:
    """What a file is a piece of: its folder above the day, with the suffix of other streams."""
    folder = name_in(lake, file.path.parent.parent)
    suffix = file.constant("suffix")
    return f"{folder} {suffix}".strip()


def stands_in(file: LakeFile, lake: Place) -> str:
    """Where a file of a lake stands: here, in its store, or both."""
    if isinstance(file.path, StorePath):
        return "store"
    return "both" if isinstance(lake, Both) and file.copy is not None else "here"


def as_record(file: LakeFile, lake: Place) -> dict[str, Any]:
    """A file as `--json` shows it."""
    pieces = file.pieces
    spans = [
        {
            "ring": ring,
            "session": session,
            "first_seq": min(piece.first_seq for piece in mine),
            "last_seq": max(piece.last_seq for piece in mine),
        }
        for ring, session in sorted({(piece.ring, piece.session) for piece in pieces})
        for mine in [[p for p in pieces if (p.ring, p.session) == (ring, session)]]
    ]
    return {
        "file": name_in(lake, file.path),
        "series": series_of(file, lake),
        "form": file.form,
        "in": stands_in(file, lake),
        "table": file.table,
        "venue": file.constant("venue"),
        "symbol": file.constant("symbol"),
        "day": file.day,
        "rows": file.rows,
        "bytes": file.bytes,
        "from": utc_text(min(piece.first_ns for piece in pieces)) if pieces else "",
        "to": utc_text(max(piece.last_ns for piece in pieces)) if pieces else "",
        "sequences": spans,
    }


def totals(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A record a series: files, rows, bytes, first and last time."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        one = found.setdefault(
            record["series"],
            {"series": record["series"], "files": 0, "open": 0, "rows": 0, "bytes": 0,
             "from": record["from"], "to": record["to"]},
        )  # fmt: skip
        one["files"] += 1
        one["open"] += record["form"] == "open"
        one["rows"] += record["rows"]
        one["bytes"] += record["bytes"]
        one["from"] = min(filter(None, (one["from"], record["from"])), default="")
        one["to"] = max(one["to"], record["to"])
    return list(found.values())
