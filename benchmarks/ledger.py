"""How many decisions a second the ledger makes durable, on both bodies.

An order as execution records it: its intent, synced before the call returns, and one fill, which
is committed without waiting for the disk. SQLite in a new folder of the working directory's disk;
PostgreSQL a server of our own on the same disk with `fsync` on, where it is installed. The peer of
each is the same database with every commit synced, which is what a ledger does that does not tell
an intent from the rest. Beside them history: rows a second of its writer, a batch a transaction.
"""

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, figure, interleave
from processes.execution.ledger import DURABLE_EVERY, Ledger, open_ledger
from processes.rings import ring_layout
from processes.storage.history_writer import Writer
from processes.storage.journal import Journal
from schemas import decisions, tape
from schemas.decisions import SlotKind
from schemas.instruments import Instrument, Stream, Tables
from schemas.settings import HistorySettings, LedgerSettings, Settings
from schemas.tape import Kind
from schemas.trading import Intent, OrderFilled, OrderState, Reason

START_NS = 1_760_000_000_000_000_000
UNIT = "decisions/s"


class Orders:
    """A ledger, and orders that go on numbering where the last run ended."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.number = 0

    def run(self, count: int, *, synced: bool) -> float:
        """Intent and fill of so many orders; orders a second."""
        # With nothing allowed to wait, each event's commit is synced as well.
        self.ledger.durable_every = 0 if synced else DURABLE_EVERY
        began_s = time.perf_counter()
        for _ in range(count):
            self.number += 1
            command = f"{self.number:032x}"
            assert self.ledger.record_intent(
                Intent(
                    command_id=command, instrument=self.number % 8, symbol="tBTCUSD", side="buy",
                    quantity="0.00100000", kind="market", strategy="tcn",
                    decided_ns=START_NS + self.number,
                )
            )  # fmt: skip
            fill = OrderFilled(
                command, "1", "91234.50", "0.00100000", "0.0912", "USD", START_NS + self.number
            )
            self.ledger.record_event(fill, OrderState.FILLED)
        return count / (time.perf_counter() - began_s)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL in this folder; empty where it is not installed, or refuses us."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path("/nowhere")]
    initdb = shutil.which("initdb") or shutil.which("initdb", path=str(found[-1]))
    if initdb is None:
        yield ""
        return
    as_nobody: list[str] = []
    if os.getuid() == 0:  # it refuses to run as root
        folder.chmod(0o755)
        shutil.chown(folder, 65534, 65534)
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    data = folder / "data"
    made = subprocess.run(
        [*as_nobody, initdb, "-D", str(data), "-U", "dc", "-A", "trust"],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        yield ""
        return
    program = str(Path(initdb).parent / "pg_ctl")
    options = f"-c listen_addresses= -c unix_socket_directories={folder}"
    command = [*as_nobody, program, "-D", str(data), "-w", "-l", str(folder / "log")]
    subprocess.run([*command, "-o", options, "start"], check=True, capture_output=True)
    try:
        yield f"postgresql://dc@/postgres?host={folder}"
    finally:
        subprocess.run([*command, "-m", "immediate", "stop"], check=True, capture_output=True)


def _decisions(folder: Path, count: int) -> None:
    """A journal of so many decisions of 16 instruments, one in a hundred a signal."""
    dtype, layout = ring_layout("decisions")
    slots = np.zeros(count, decisions.SLOT)
    number = np.arange(count)
    slots["sequence"] = number + 1
    slots["kind"] = SlotKind.DECISION
    slots["instrument"] = number % 16
    slots["time_ns"] = START_NS + number * 1_000_000
    slots["reason"] = np.where(number % 100 == 0, int(Reason.SIGNAL), int(Reason.NO_SIGNAL))
    journal = Journal(folder / "journal" / "decisions", layout, dtype, 1, 1 << 30)
    journal.append(slots)
    journal.close()


def _trades(folder: Path, count: int) -> None:
    """A journal of so many trades of 16 instruments, ten a second."""
    dtype, layout = ring_layout("tape.bitfinex")
    slots = np.zeros(count, tape.SLOT)
    number = np.arange(count)
    slots["sequence"] = slots["id_low"] = number + 1
    slots["kind"] = Kind.TRADE
    slots["instrument"] = number % 16
    slots["event_ns"] = slots["recv_ns"] = START_NS + number * 100_000_000
    slots["price"] = 50_000 + number % 1000 / 8
    slots["size"] = (number % 997 + 1) / 1e5
    journal = Journal(folder / "journal" / "tape.bitfinex", layout, dtype, 1, 1 << 30)
    journal.append(slots)
    journal.close()


TABLES = Tables(
    instruments=[
        Instrument(index=index, venue="bitfinex", symbol=f"t{index}", pair=f"{index}/USD")
        for index in range(16)
    ],
    streams=[Stream(index=0, channel="trades")],
)


def _history(folder: Path, url: str, ring: str, count: int) -> Callable[[], float]:
    (folder / "logs").mkdir(exist_ok=True)

    def run() -> float:
        settings = Settings(history=HistorySettings(url=url))
        writer = Writer(settings, folder, folder / "logs", [ring], lambda: TABLES)
        writer.connect()
        _forget(writer, url)
        writer.close()
        writer.connect()
        began_s = time.perf_counter()
        while writer.pass_once():
            pass
        spent_s = time.perf_counter() - began_s
        writer.close()
        return count / spent_s

    return run


def _forget(writer: Writer, url: str) -> None:
    """An empty history, so that each round writes the same."""
    tables = (
        "progress", "signals", "profit", "audit", "bars", "bar_trades", "trade_streams",
        "trade_gaps",
    )  # fmt: skip
    if url:
        import psycopg

        with psycopg.connect(url, options="-c search_path=history") as session:
            session.execute("TRUNCATE " + ", ".join(tables))
        return
    path = writer.where.partition(", ")[2]
    with sqlite3.connect(path) as db:
        for table in tables:
            db.execute(f"DELETE FROM {table}")  # noqa: S608 (our own words)
    db.close()


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """Durable decisions a second by body; history's by body."""
    rounds, orders, rows, trades = (1, 20, 2_000, 500) if quick else (5, 200, 200_000, 50_000)
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dc-ledger-")))
        root.chmod(0o755)
        (root / "server").mkdir()
        url = stack.enter_context(server(root / "server"))
        bodies = {"sqlite": ""} | ({"postgres": url} if url else {})
        cases: dict[str, Callable[[], float]] = {}
        for body, address in bodies.items():
            folder = root / body
            folder.mkdir()
            ledger = open_ledger(LedgerSettings(url=address, timeout_s=5.0), folder, 1)
            stack.callback(ledger.close)
            book = Orders(ledger)
            cases[body] = lambda book=book: book.run(orders, synced=False)  # type: ignore[misc]
            cases[f"{body} all synced"] = lambda book=book: book.run(  # type: ignore[misc]
                orders, synced=True
            )
            _decisions(folder, rows)
            _trades(folder, trades)
            cases[f"{body} history"] = _history(folder, address, "decisions", rows)
            cases[f"{body} bars"] = _history(folder, address, "tape.bitfinex", trades)
        runs = interleave(cases, rounds)
    note = f"{orders:,} orders a run: an intent made durable, and a fill"
    missing = "is not installed: apt install postgresql"
    found = {}
    for body in ("sqlite", "postgres"):
        if body not in bodies:
            found["ledger_sqlite"] = figure(
                runs["sqlite"], UNIT, {"every commit synced": runs["sqlite all synced"],
                                       "PostgreSQL": missing}, note=note)  # fmt: skip
            continue
        found[f"ledger_{body}"] = figure(
            runs[body], UNIT, {"every commit synced": runs[f"{body} all synced"]}, note=note
        )
        found[f"history_{body}"] = figure(
            runs[f"{body} history"], UNIT,
            note=f"history: {rows:,} decisions, one in a hundred a signal, to committed rows",
        )  # fmt: skip
        found[f"bars_{body}"] = figure(
            runs[f"{body} bars"], "trades/s",
            note=f"history: {trades:,} trades of 16 symbols into bars of 11 timeframes",
        )  # fmt: skip
    return found
