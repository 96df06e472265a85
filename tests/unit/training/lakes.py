"""A lake of made-up feature rows: no market, no kernels, a known truth."""

from pathlib import Path

import numpy as np

from config.loader import load
from models.samples import Samples
from processes.places import Resolved
from processes.sessions import SessionFolder
from processes.storage.store import Lake, Split, TableView
from schemas import features
from schemas.features import CATALOGUE, CutReason
from schemas.instruments import Instrument, Tables
from tests.unit.training.markets import START

SESSION = START // 1_000_000
TABLES = Tables(
    instruments=[
        Instrument(index=0, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD"),
        Instrument(index=1, venue="bitfinex", symbol="tETHUSD", pair="ETH/USD"),
    ],
    streams=[],
)


def write_rows(data: Path, samples: Samples, session: int = SESSION) -> None:
    """Rows as storage writes them, with what is kept beside the lake."""
    settings = load("demo", environment={})
    SessionFolder(data, session).keep(Resolved(generation=1, folders={}, settings=settings), TABLES)
    slots = np.zeros(samples.count, features.SLOT)
    slots["sequence"] = np.arange(1, samples.count + 1)
    slots["cut"] = np.unique(samples.cut_ns, return_inverse=True)[1] + 1
    slots["cut_ns"] = slots["made_ns"] = samples.cut_ns
    slots["instrument"], slots["invalid"] = samples.instrument, samples.invalid
    slots["reference_price"] = samples.price
    slots["reason"], slots["config_generation"] = CutReason.BOUNDARY, 1
    slots["values"][:, : len(CATALOGUE)] = samples.values
    slots["book"] = samples.book
    lake = Lake(data / "lake", Split("features", TableView(TABLES)), session, settings.storage)
    for first in range(0, len(slots), 1000):
        lake.write(slots[first : first + 1000])
    lake.seal_all()
