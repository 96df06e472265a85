"""Clients and instruments by the venue's name: the one list of venues that REST reaches."""

from pathlib import Path

from schemas.errors import UsageError
from schemas.reference import Listing
from schemas.rest import RestSections
from venues.bitfinex import backfill as bitfinex_backfill
from venues.bitfinex import listings as bitfinex
from venues.bitfinex.rest import BitfinexRest
from venues.gmo import listings as gmo
from venues.gmo.rest import GmoRest
from venues.holes import TradesFrom
from venues.kraken import backfill as kraken_backfill
from venues.kraken import listings as kraken
from venues.kraken.rest import KrakenRest
from venues.pace import Pace
from venues.registry import NAMES
from venues.rest import RestClient, Settings, Tools


def check_venue(venue: str) -> str:
    """The name itself.

    Raises:
        UsageError: there is no such venue.
    """
    if venue not in NAMES:
        raise UsageError(f"no venue {venue}; there are {', '.join(NAMES)}")
    return venue


def settings_of(venue: str, sections: RestSections) -> Settings:
    """A venue's section."""
    by_name: dict[str, Settings] = {
        "bitfinex": sections.bitfinex,
        "kraken": sections.kraken,
        "gmo": sections.gmo,
    }
    return by_name[check_venue(venue)]


def make_client(venue: str, sections: RestSections, folder: Path, tools: Tools) -> RestClient:
    """A client; `folder` is where the machine's processes share the venue's pace."""
    pace = Pace(folder, venue, utc_ns=tools.utc_ns, sleep=tools.sleep)
    return RestClient(settings_of(venue, sections), pace, tools)


async def fetch_listings(venue: str, client: RestClient) -> list[Listing]:
    """What a venue lists now.

    Raises:
        VenueError: it did not say.
    """
    if venue == "bitfinex":
        return await bitfinex.listings(BitfinexRest(client))
    if venue == "kraken":
        return await kraken.listings(KrakenRest(client))
    return await gmo.listings(GmoRest(client))


def trades_source(venue: str, client: RestClient) -> TradesFrom | None:
    """Pages of a venue's trades; None where they cannot be joined to its stream, without ids."""
    if venue == "bitfinex":
        return bitfinex_backfill.trades_from(BitfinexRest(client))
    if venue == "kraken":
        return kraken_backfill.trades_from(KrakenRest(client))
    return None
