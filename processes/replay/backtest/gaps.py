"""Spans in which a tape does not know an instrument's book, read off its markers."""

from typing import Final

import numpy as np

from processes.replay.backtest.result import Gap
from processes.replay.backtest.stretches import Piece
from processes.replay.backtest.tops import BREAKS
from schemas.instruments import Instrument
from schemas.tape import MARKER, WHOLE_CONNECTION, Flag, Kind, Marker, view_as

_END: Final = int(Marker.SNAPSHOT_END)
_BREAKS: Final = frozenset(int(marker) for marker in BREAKS)


class Gaps:
    """Gaps of one session.

    Args:
        first_ns: what ended before is not told.
    """

    def __init__(self, instruments: list[Instrument], venues: list[str], first_ns: int) -> None:
        self.found: list[Gap] = []
        self._symbols = {item.index: item.symbol for item in instruments}
        self._tapes = {
            item.index: venues.index(item.venue) for item in instruments if item.venue in venues
        }
        self._first_ns = first_ns
        self._epochs: dict[int, int] = {}
        self._open: dict[int, tuple[int, str]] = {}

    def take(self, number: int, piece: Piece) -> None:
        """Slots of a tape."""
        places = np.flatnonzero(piece.slots["kind"] == Kind.MARKER)
        if not len(places):
            return
        markers = view_as(piece.slots, MARKER)[places]
        for time_ns, marker in zip(piece.times[places].tolist(), markers, strict=True):
            self._see(number, time_ns, marker)

    def _see(self, number: int, time_ns: int, slot: np.void) -> None:
        marker, instrument = int(slot["marker"]), int(slot["instrument"])
        if marker in _BREAKS:
            for broken in self._broken(number, slot):
                self._open.setdefault(broken, (time_ns, Marker(marker).name.lower()))
        elif marker == _END and int(slot["flags"]) & Flag.PRIMARY:
            self._epochs[instrument] = int(slot["epoch"])
            if instrument in self._open:
                self._close(instrument, time_ns)

    def _broken(self, number: int, slot: np.void) -> list[int]:
        instrument = int(slot["instrument"])
        if instrument == WHOLE_CONNECTION:
            epoch = int(slot["epoch"])
            return [
                one for one, mine in self._epochs.items()
                if mine == epoch and self._tapes.get(one) == number
            ]  # fmt: skip
        return [instrument] if int(slot["flags"]) & Flag.PRIMARY else []

    def _close(self, instrument: int, time_ns: int) -> None:
        from_ns, why = self._open.pop(instrument)
        if time_ns > self._first_ns:
            self.found.append(
                Gap(
                    instrument=instrument,
                    symbol=self._symbols.get(instrument, ""),
                    from_ns=max(from_ns, self._first_ns),
                    to_ns=time_ns,
                    why=why,
                )
            )

    def end(self, time_ns: int) -> list[Gap]:
        """The span is over, and with it the gaps that are open; all of them."""
        for instrument in sorted(self._open):
            self._close(instrument, time_ns)
        return self.found
