"""Venues by name: adding one is adding a folder, and two lines here.

Imported where they are named, since who only plans streams (the supervisor) needs no decoder.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from schemas.feeds import FeedSettings
from venues.wire import Allot, Publish, Venue, WantedStream

if TYPE_CHECKING:
    from venues.codec import ConnectionCodec

NAMES: Final = ("bitfinex", "kraken", "gmo")
"""All venues there are."""


def _module(name: str, part: str) -> Any:
    """`venues.<name>.venue`, or `.subscriptions`; spelled out, since imports are checked by name.

    Raises:
        KeyError: there is no such venue.
    """
    return {
        "bitfinex.venue": lambda: import_module("venues.bitfinex.venue"),
        "bitfinex.subscriptions": lambda: import_module("venues.bitfinex.subscriptions"),
        "kraken.venue": lambda: import_module("venues.kraken.venue"),
        "kraken.subscriptions": lambda: import_module("venues.kraken.subscriptions"),
        "gmo.venue": lambda: import_module("venues.gmo.venue"),
        "gmo.subscriptions": lambda: import_module("venues.gmo.subscriptions"),
    }[f"{name}.{part}"]()


def open_venue(name: str, settings: FeedSettings, url: str) -> Venue:
    """A venue as the collector sees it."""
    opened: Venue = _module(name, "venue").open_venue(settings, url)
    return opened


def open_recording(name: str, publish: Publish, allot: Allot) -> "ConnectionCodec":
    """A decoder for a venue's recorded frames, of streams that nobody here asked for."""
    codec: ConnectionCodec = _module(name, "venue").open_recording(publish, allot)
    return codec


def wanted_streams(name: str, settings: FeedSettings) -> Iterable[WantedStream]:
    """All streams that a venue's settings ask for."""
    streams: Iterable[WantedStream] = _module(name, "subscriptions").wanted_streams(settings)
    return streams
