"""What the instruments command does: ask a venue, keep what it said, show it."""

import asyncio
import random
from pathlib import Path
from typing import Final

from config.loader import load
from processes.cli.screen import complain, say, say_json, table
from processes.clock import Clock, measure_offset_ns
from processes.operations.instance import find_paths
from processes.places import rates_folder
from processes.reference import is_fresh, load_reference, save_reference
from schemas.errors import VenueError
from schemas.reference import Listing, ReferenceData
from schemas.rest import RestSections
from schemas.settings import Settings
from venues.access import check_venue, fetch_listings, make_client
from venues.registry import NAMES
from venues.rest import Tools

SHOWN: Final = 40
"""Lines of a table; there is a search for more."""
START_WAIT_S: Final = 15.0


def refresh(venue: str, *, as_json: bool) -> None:
    """Fetch the instruments of one venue, or of all if none is named."""
    sections, data = _load()
    fetched = [asyncio.run(fetch(name, sections, data)) for name in _venues(venue)]
    if as_json:
        say_json({one.venue: len(one.instruments) for one in fetched})
        return
    for one in fetched:
        say(f"{one.venue}: {len(one.instruments)} instruments")


def _load() -> tuple[RestSections, Path]:
    return load().rest, find_paths().data


def _venues(venue: str) -> tuple[str, ...]:
    return (check_venue(venue),) if venue else NAMES


async def fetch(venue: str, sections: RestSections, data: Path) -> ReferenceData:
    """Ask a venue for its instruments and keep them.

    Raises:
        VenueError: it did not say; what was kept stays.
    """
    tools = Tools(utc_ns=Clock(measure_offset_ns()).now_ns, uniform=random.random)
    async with make_client(venue, sections, rates_folder(sections), tools) as client:
        found = await fetch_listings(venue, client)
    if not found:
        raise VenueError(f"{venue} listed no instrument at all; what was kept stays")
    reference = ReferenceData(venue=venue, fetched_ns=tools.utc_ns(), instruments=found)
    save_reference(data, reference)
    return reference


def listings_of(venue: str, sections: RestSections, data: Path) -> list[Listing]:
    """A venue's instruments: the cached ones, fetched anew if they are too old or not there.

    Raises:
        VenueError: there are none cached and the venue did not say.
    """
    kept = load_reference(data, venue)
    now_ns = Clock(measure_offset_ns()).now_ns()
    if kept is not None and is_fresh(kept, now_ns, sections.reference_age_h):
        return kept.instruments
    try:
        return asyncio.run(fetch(venue, sections, data)).instruments
    except VenueError as error:
        if kept is None:
            raise
        complain(f"{error}; showing what was fetched before")
        return kept.instruments


def refresh_before_start(settings: Settings, data: Path) -> None:
    """Have the tick sizes of live venues at hand; a venue that does not say stops no start."""
    now_ns = Clock(measure_offset_ns()).now_ns()
    for venue, section in settings.venues.enabled().items():
        kept = load_reference(data, venue)
        if not section.url.startswith("wss://"):
            continue
        if kept is not None and is_fresh(kept, now_ns, settings.rest.reference_age_h):
            continue
        try:
            asyncio.run(asyncio.wait_for(fetch(venue, settings.rest, data), START_WAIT_S))
        except (VenueError, TimeoutError) as error:
            known = "those of before are used" if kept else "features may be coarser"
            complain(f"{venue} does not list its instruments ({error or 'no answer'}): {known}")


def show(venue: str, search: str, *, as_json: bool) -> None:
    """Print instruments; a venue that cannot be asked takes no other one down."""
    sections, data = _load()
    found: list[Listing] = []
    failed: list[VenueError] = []
    for name in _venues(venue):
        try:
            found += listings_of(name, sections, data)
        except VenueError as error:
            failed.append(error)
            complain(f"{name}: {error}")
    wanted = search.lower()
    found = [one for one in found if _matches(one, wanted)]
    if as_json:
        say_json(found)
    else:
        _print(found)
    if failed and not found:
        raise failed[0]


def _matches(listing: Listing, wanted: str) -> bool:
    names = (listing.symbol, listing.pair, listing.rest_symbol)
    return any(wanted in name.lower() for name in names)


def _print(found: list[Listing]) -> None:
    head = ["venue", "symbol", "pair", "price", "step", "smallest", "largest", "status"]
    rows = [
        [
            one.venue,
            one.symbol,
            one.pair,
            one.tick_size or f"{one.price_digits} digits",
            one.size_step,
            one.min_size or "-",
            one.max_size or "-",
            one.status,
        ]
        for one in found[:SHOWN]
    ]
    say(table(head, rows, right=(3, 4, 5, 6)))
    if len(found) > SHOWN:
        say(f"and {len(found) - SHOWN} more: narrow it with --search or --venue, or take --json")
