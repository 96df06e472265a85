"""A life of the history's writer in a process of its own, in small batches, to be killed."""

import sys
from pathlib import Path

import msgspec

from processes.storage import history_sources
from processes.storage.history_writer import Writer
from processes.storage.journal import read_slots
from schemas.instruments import Tables
from schemas.settings import HistorySettings, Settings

BATCH = 97


def main() -> None:
    """Write all that is there; say so."""
    folder, url = Path(sys.argv[1]), sys.argv[2]
    # Small batches, so that a kill meets many of them.
    history_sources.read_slots = lambda segment, dtype, after: (
        block[:BATCH] for block in read_slots(segment, dtype, after)
    )
    history_sources.LOG_BYTES = 2000
    tables = msgspec.json.decode((folder / "tables.json").read_bytes(), type=Tables)
    settings = Settings(history=HistorySettings(url=url))
    writer = Writer(settings, folder, folder / "logs", RINGS, lambda: tables)
    print("go", flush=True)
    while writer.pass_once():
        pass
    writer.close()
    print("done", flush=True)


RINGS = ["tape.bitfinex", "tape.gmo", "features", "decisions"]

if __name__ == "__main__":
    main()
