"""What is on its way to a stream, and the places that slots name."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from schemas.instruments import Instrument, Tables


class Entry(NamedTuple):
    """One entry of a stream. `length` is what the stream is trimmed to, about."""

    stream: str
    length: int
    source: str
    body: bytes
    flags: str = ""


class Names:
    """Instruments by index and by name; read again when one is asked for that is not known."""

    def __init__(self, read: Callable[[], Tables]) -> None:
        self._read = read
        self._by_index: dict[int, Instrument] = {}
        self._by_name: dict[tuple[str, str], Instrument] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the table."""
        for item in self._read().instruments:
            self._by_index[item.index] = item
            self._by_name[item.venue, item.symbol] = item

    def of(self, index: int) -> Instrument:
        """The instrument of a slot; nameless if no table has it."""
        if index not in self._by_index:
            self.refresh()
            nameless = Instrument(index=index, venue="", symbol="", pair="")
            self._by_index.setdefault(index, nameless)
        return self._by_index[index]

    def find(self, venue: str, symbol: str) -> Instrument | None:
        """The instrument of a venue's own name."""
        return self._by_name.get((venue, symbol))


def head(kind: str, exchange: str, symbol: str) -> bytes:
    """A body's text up to the time: the same for all of an instrument's."""
    said = msgspec.json.encode({"type": kind, "exchange": exchange, "symbol": symbol})
    return said[:-1] + b',"ts":'


def body(begin: bytes, time_ns: int, data: bytes) -> bytes:
    """A whole body."""
    return b'%b%d,"data":%b}' % (begin, time_ns // 1_000_000, data)
