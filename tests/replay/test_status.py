"""Status and liquidations out of the lake again, with what features are made of."""

import numpy as np

from processes.lake_places import open_lake
from processes.recordings.books import Books
from processes.recordings.rows import read_ring
from processes.recordings.slots import Indices
from processes.recordings.tapes import tape_columns, tape_slots
from processes.storage.store import Lake, Split, TableView
from schemas import tape
from schemas.instruments import LIQUIDATIONS as LIQUIDATED
from schemas.instruments import Stream, Tables
from schemas.layout import join
from schemas.settings import StorageSettings
from schemas.tape import Kind, Marker
from tests.unit.features.making import SECOND, START_NS, blank, liquidation, marker, status
from tests.unit.features.test_catalogue import LIQUIDATIONS, MARKETS, PERPETUAL

TABLES = Tables(
    instruments=MARKETS,
    streams=[
        Stream(index=0, channel="status"),
        Stream(index=1, channel="status", variant=LIQUIDATED),
    ],
)


def test_their_slots_come_back_as_they_were(tmp_path):
    made = []
    for number in range(20):
        time_ns = START_NS + number * SECOND
        if number % 4 == 3:
            instrument, stream = (PERPETUAL, 0) if number % 8 == 3 else (LIQUIDATIONS, 1)
            slot = marker(time_ns, Marker.GAP, instrument)
        elif number % 2:
            instrument, stream = LIQUIDATIONS, 1
            slot = liquidation(
                time_ns, instrument, "tBTCF0:USTF0", 0.5 - number % 3, is_match=number % 3 == 0
            )
        else:
            instrument, stream = PERPETUAL, 0
            slot = status(time_ns, instrument, mark_price=86_000.0 + number, current_funding=1e-4)
        slot["stream"], slot["sequence"] = stream, number + 1
        made.append(slot)
    slots = join(made, tape.SLOT)
    lake = Lake(tmp_path, Split("tape.bitfinex", TableView(TABLES)), 1, StorageSettings())
    lake.write(slots)
    lake.seal_all()
    parts = read_ring(open_lake(tmp_path), "bitfinex/websocket", 1, tape_columns)
    told = join(
        [tape_slots(some, Indices(TABLES), Books(len(MARKETS))) for some in parts], tape.SLOT
    )
    assert len(told) == len(slots)
    for name in ("sequence", "recv_ns", "kind", "instrument", "stream", "flags"):
        assert told[name].tolist() == slots[name].tolist(), name
    facts = slots["kind"] == Kind.STATUS
    liquidated = facts & (slots["instrument"] == LIQUIDATIONS)
    one, other = told[liquidated].view(tape.LIQUIDATION), slots[liquidated].view(tape.LIQUIDATION)
    for name in ("size", "side", "amount", "is_match", "symbol"):
        assert one[name].tolist() == other[name].tolist(), name
    one, other = told[facts & ~liquidated], slots[facts & ~liquidated]
    for name in tape.STATUS_COLUMNS:
        mine, theirs = one.view(tape.STATUS)[name], other.view(tape.STATUS)[name]
        assert np.array_equal(mine, theirs, equal_nan=True), name
    assert (told["kind"] == blank(Kind.MARKER, 0)["kind"][0]).sum() == 5
