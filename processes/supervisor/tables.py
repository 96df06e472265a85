"""The tables of instruments and streams: append-only, kept in `data/state/`."""

from pathlib import Path
from typing import Any

import msgspec

from processes.files import write_whole
from processes.reference import tick_sizes
from schemas.errors import OperatorError
from schemas.instruments import Channel, Instrument, Stream, Tables
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
        """Give every stream of the settings its place, and instruments the ticks that are known."""
        for venue, section in settings.venues.enabled().items():
            for symbol, pair, channel, parameters, _ in wanted_streams(venue, section):
                self.place(venue, symbol, pair, channel, parameters)
            self._note_ticks(venue, tick_sizes(data, venue))

    def _note_ticks(self, venue: str, ticks: dict[str, float]) -> None:
        """A venue may change a tick; the instrument stays the same."""
        table = self.tables.instruments
        for index, item in enumerate(table):
            if item.venue == venue:
                tick = ticks.get(item.symbol, item.tick_size)
                table[index] = msgspec.structs.replace(item, tick_size=tick)
