"""The tables of instruments and streams: append-only, kept in `data/state/`."""

from pathlib import Path
from typing import Any

import msgspec

from processes.files import write_whole
from processes.reference import listings_by_symbol
from schemas.errors import OperatorError
from schemas.instruments import Channel, Instrument, Stream, Tables
from schemas.reference import Listing
from schemas.settings import Settings
from venues.registry import wanted_streams


def tables_path(data: Path) -> Path:
    """Where the tables live."""
    return data / "state" / "instruments.json"


class Allotment:
    """The append-only tables: a place, once given, is for ever."""

    def __init__(self, tables: Tables | None = None) -> None:
        self.tables = tables or Tables()

    @classmethod
    def load(cls, data: Path) -> "Allotment":
        """From the file, or empty.

        Raises:
            OperatorError: it cannot be read, and to begin anew would give old numbers new meanings.
        """
        path = tables_path(data)
        if not path.exists():
            return cls()
        try:
            return cls(msgspec.json.decode(path.read_bytes(), type=Tables))
        except msgspec.DecodeError as error:
            raise OperatorError(
                f"{path} cannot be read ({error}); put back the newest copy of data/sessions/"
            ) from None

    def save(self, data: Path) -> None:
        """To the file, whole or not at all."""
        write_whole(
            tables_path(data), msgspec.json.format(msgspec.json.encode(self.tables), indent=1)
        )

    def place(
        self, venue: str, symbol: str, pair: str, channel: Channel, parameters: dict[str, Any]
    ) -> tuple[Instrument, Stream]:
        """The places of an instrument and a stream, new ones behind the last."""
        return self._instrument(venue, symbol, pair), self._stream(channel, parameters)

    def _instrument(self, venue: str, symbol: str, pair: str) -> Instrument:
        table = self.tables.instruments
        for item in table:
            if (item.venue, item.symbol) == (venue, symbol):
                return item
        table.append(Instrument(index=len(table), venue=venue, symbol=symbol, pair=pair))
        return table[-1]

    def _stream(self, channel: Channel, parameters: dict[str, Any]) -> Stream:
        table = self.tables.streams
        wanted = Stream(index=0, channel=channel, **parameters)
        for item in table:
            if msgspec.structs.replace(item, index=0) == wanted:
                return item
        table.append(msgspec.structs.replace(wanted, index=len(table)))
        return table[-1]

    def place_all(self, settings: Settings, data: Path) -> None:
        """Give every stream of the settings its place, and instruments the rules that are known."""
        for venue, section in settings.venues.enabled().items():
            for symbol, pair, channel, parameters, _ in wanted_streams(venue, section):
                self.place(venue, symbol, pair, channel, parameters)
            self._note_rules(venue, listings_by_symbol(data, venue))

    def _note_rules(self, venue: str, listings: dict[str, Listing]) -> None:
        """A venue may change steps and smallest sizes; the instrument stays the same."""
        table = self.tables.instruments
        for index, item in enumerate(table):
            listing = listings.get(item.symbol)
            if item.venue == venue and listing is not None:
                table[index] = _with_rules(item, listing)


def _with_rules(item: Instrument, listing: Listing) -> Instrument:
    """An instrument with what its venue lists; a price step only where there is a fixed one."""
    is_fixed = listing.price_rule == "tick" and listing.tick_size
    return msgspec.structs.replace(
        item,
        tick_size=float(listing.tick_size) if is_fixed else item.tick_size,
        quantity_step=listing.size_step,
        min_quantity=listing.min_size,
        min_notional=listing.min_cost,
    )
