"""Reference data on disk: `data/reference/<venue>.json`, whole or not there.

May fail with OperatorError if a file cannot be read. Never asks a venue anything.
"""

from pathlib import Path

import msgspec

from processes.files import write_whole
from schemas.errors import OperatorError
from schemas.reference import FORMAT, Listing, ReferenceData


def reference_path(data: Path, venue: str) -> Path:
    """Where a venue's instruments are kept."""
    return data / "reference" / f"{venue}.json"


def load_reference(data: Path, venue: str) -> ReferenceData | None:
    """What is kept of a venue; None if nothing is, or it has an earlier form.

    Raises:
        OperatorError: the file is damaged.
    """
    path = reference_path(data, venue)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=ReferenceData)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise OperatorError(
            f"{path} cannot be read ({error}); type: dcctl instruments refresh --venue {venue}"
        ) from None
    return found if found.format == FORMAT else None


def save_reference(data: Path, reference: ReferenceData) -> None:
    """Keep a venue's instruments."""
    path = reference_path(data, reference.venue)
    write_whole(path, msgspec.json.format(msgspec.json.encode(reference), indent=1) + b"\n")


def is_fresh(reference: ReferenceData, now_ns: int, age_h: float) -> bool:
    """Whether it is younger than allowed; one from the future is not."""
    return 0 <= now_ns - reference.fetched_ns < age_h * 3600e9


def find_symbol(listings: list[Listing], text: str) -> Listing | None:
    """The instrument that a user means by its symbol, its pair, or REST's name of it."""
    for field in ("symbol", "pair", "rest_symbol"):
        for listing in listings:
            if getattr(listing, field) == text:
                return listing
    return None


def listings_by_symbol(data: Path, venue: str) -> dict[str, Listing]:
    """A venue's instruments as they were listed last; empty if unknown."""
    kept = load_reference(data, venue)
    return {one.symbol: one for one in (kept.instruments if kept is not None else [])}
