"""What the simulator says it sent, held against what the lake says was received."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa


class Sent(NamedTuple):
    """One data frame as the simulator sent it."""

    sequence: int
    time_ms: int
    symbol: str
    channel: str


class SimulatorLog:
    """All clients of all lives of the simulator."""

    def __init__(self, folder: Path) -> None:
        self.clients: list[dict[int, Sent]] = []
        self.trades: dict[str, dict[int, int]] = {}
        self.starts: list[int] = []
        for path in sorted(folder.glob("sent-*.jsonl")):
            self._read(path)

    def _read(self, path: Path) -> None:
        open_clients: dict[int, tuple[dict[int, Sent], dict[int, tuple[str, str]]]] = {}
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the simulator was killed while it wrote
            if "start" in entry:
                open_clients = {}
                self.starts.append(entry["start"])
            elif "trade" in entry:
                self.trades.setdefault(entry["symbol"], {})[entry["trade"]] = entry["t"]
            else:
                self._frame(open_clients, entry)

    def _frame(self, open_clients: dict, entry: dict[str, Any]) -> None:
        number = entry["client"]
        if number not in open_clients:
            open_clients[number] = ({}, {})
            self.clients.append(open_clients[number][0])
        sent, channels = open_clients[number]
        frame = json.loads(entry["frame"])
        if isinstance(frame, dict):
            if frame["event"] == "subscribed":
                symbol = frame.get("symbol") or frame["key"].split(":", 2)[2]
                name = {"book": "books"}.get(frame["channel"], frame["channel"])
                channels[frame["chanId"]] = (symbol, name)
            return
        if isinstance(frame[1], str) and frame[1] != "te":
            return
        symbol, channel = channels[frame[0]]
        *_, sequence, time_ms = frame
        sent[sequence] = Sent(sequence, time_ms, symbol, channel)


class Lake:
    """All rows of a venue's sealed files."""

    def __init__(self, folder: Path, venue: str = "bitfinex") -> None:
        self.rows: list[dict[str, Any]] = []
        for path in sorted((folder / "lake" / venue).rglob("*.arrow")):
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
            told = table.schema.metadata
            extra = {
                "channel": told.get(b"channel", b"connection").decode(),
                "symbol": told.get(b"symbol", b"").decode(),
                "session": int(told[b"session"]),
            }
            for row in table.to_pylist():
                detail = json.loads(row["marker_detail"]) if row["marker_detail"] else {}
                self.rows.append({**row, **extra, "detail": detail})
        self.rows.sort(key=lambda row: (row["session"], row["tape_seq"]))

    def check_sequences(self) -> int:
        """Every slot of every session exactly once, without a hole; the number of rows."""
        for session in {row["session"] for row in self.rows}:
            numbers = [row["tape_seq"] for row in self.rows if row["session"] == session]
            assert numbers == list(range(1, len(numbers) + 1)), "a row is doubled or missing"
        return len(self.rows)

    def gaps(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["marker"] == "gap"]


def check_nothing_unaccounted(log: SimulatorLog, lake: Lake) -> dict[str, int]:
    """Each book frame sent is in the lake, or behind the last known frame of exactly one gap; each
    trade is in the lake once, or its time lies in a gap of its stream."""
    found = {"frames": 0, "frames_in_gaps": 0, "trades": 0, "trades_in_gaps": 0}
    by_epoch: dict[int, dict[tuple[str, int], int]] = {}
    for row in lake.rows:
        if row["channel"] == "books" and not row["marker"]:
            key = (row["symbol"], row["venue_seq"])
            by_epoch.setdefault(row["epoch"], {})[key] = row["event_ns"] // 10**6
    for client in log.clients:
        books = [sent for sent in client.values() if sent.channel == "books"]
        epoch = _epoch_of(books, by_epoch)
        if epoch is None:
            continue  # a connection of which nothing reached the tape: before the first snapshot
        _check_frames(books, epoch, by_epoch[epoch], lake, found)
    _check_trades(log, lake, found)
    return found


def _epoch_of(books: list[Sent], by_epoch: dict) -> int | None:
    """The epoch whose frames bear the numbers and times that this client was sent."""
    for epoch, rows in by_epoch.items():
        mine = [sent for sent in books if (sent.symbol, sent.sequence) in rows]
        if mine and all(rows[s.symbol, s.sequence] == s.time_ms for s in mine):
            return epoch
    return None


def _check_frames(books: list[Sent], epoch: int, rows: dict, lake: Lake, found: dict) -> None:
    last = max(row["venue_seq"] for row in lake.rows if row["epoch"] == epoch)
    for sent in books:
        if (sent.symbol, sent.sequence) in rows:
            found["frames"] += 1
            continue
        covering = [
            gap for gap in lake.gaps()
            if gap["symbol"] == sent.symbol and gap["channel"] == "books"
            and gap["detail"].get("from_epoch") == epoch
            and gap["detail"].get("from_venue_sequence", 0) < sent.sequence
        ]  # fmt: skip
        at_the_end = sent.sequence > last and not _has_later_epoch(lake, epoch)
        assert len(covering) == 1 or at_the_end, (sent, epoch, last, covering)
        found["frames_in_gaps"] += 1


def _has_later_epoch(lake: Lake, epoch: int) -> bool:
    newest = max(row["epoch"] for row in lake.rows)
    return newest > epoch


def _check_trades(log: SimulatorLog, lake: Lake, found: dict) -> None:
    for symbol, made in log.trades.items():
        rows = [
            row for row in lake.rows
            if row["symbol"] == symbol and row["channel"] == "trades" and not row["marker"]
        ]  # fmt: skip
        ids = [row["trade_id"] for row in rows]
        assert len(ids) == len(set(ids)), f"a trade of {symbol} twice"
        assert set(ids) <= set(made), "a trade that never was"
        spans = [
            (gap["detail"].get("from_recv_ns", 0), gap["detail"]["to_recv_ns"])
            for gap in lake.gaps()
            if gap["symbol"] == symbol and gap["channel"] == "trades"
        ]
        first, last = min(made[i] for i in ids), max(made[i] for i in ids)
        for number, time_ns in made.items():
            if number in set(ids):
                found["trades"] += 1
            elif first < time_ns < last:
                # Sent a moment before the last frame was read, or while nobody listened.
                inside = [s for s in spans if s[0] - 100_000_000 <= time_ns <= s[1]]
                starting = any(
                    abs(time_ns - start) < 200 * 10**9 and time_ns < start for start in log.starts
                )
                assert inside or starting, (symbol, number, time_ns, spans)
                found["trades_in_gaps"] += 1
