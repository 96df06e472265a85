"""Recordings read for playing back: frames by subscription, in takes, connection by connection.

Lines are bare frames, or {"t": seconds, "frame": ...}, with "dir" of rx, tx or open where both
directions were recorded; a file that is one JSON value over many lines is one frame. Frames keep
their own text. What cannot be put down to a subscription (frames before any ack, errors) is left
out. Raises OSError if a file cannot be read; never judges what a frame says.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from processes.simulator.conversation import as_object
from processes.simulator.kraken_books import BOOK_DEPTHS, LEVEL3_DEPTHS

TIME_MAX_S = 9e9
SEQ_ALL, TIMESTAMP = 65536, 32768
Key = tuple[Any, ...]
EVERYBODY: Key = ()
"""The key of frames that every connection gets."""


class Line(Struct):
    """A recorder's envelope."""

    frame: msgspec.Raw = msgspec.Raw()
    t: float = 0.0
    dir: str = ""


class Cue(Struct, frozen=True):
    """One frame, or its venue's part of one, and when it came; time 0 = not recorded."""

    place: int
    recv_ns: int
    text: str
    time_ms: int = 0
    """The server time in the frame's tail."""
    first: bool = False
    """The snapshot of its take."""


class Recording(Struct):
    """One recorded connection: for every subscription its takes, in the order of subscribing."""

    takes: dict[Key, list[list[Cue]]]
    options: dict[Key, dict[str, Any]]
    first_ns: int = 0

    def add(self, key: Key, cue: Cue) -> None:
        """Add a frame to a subscription's newest take."""
        self.takes.setdefault(key, [[]])[-1].append(cue)
        if not self.first_ns or 0 < cue.recv_ns < self.first_ns:
            self.first_ns = cue.recv_ns

    def begin_take(self, key: Key) -> None:
        """What comes now answers another subscription of the same."""
        takes = self.takes.setdefault(key, [])
        if not takes or takes[-1]:
            takes.append([])


class Received(Struct, frozen=True):
    """One line: `dir` is rx, tx or open."""

    dir: str
    recv_ns: int
    text: str


_decoder = msgspec.json.Decoder(Line)


def read_lines(files: Iterable[Path]) -> Iterator[Received]:
    """The lines of a recording."""
    for path in files:
        content = path.read_bytes()
        lines = [line for line in content.splitlines() if line.strip()]
        if lines and not _is_json(lines[0]):
            lines = [content]
        for line in lines:
            yield _unwrap(line)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return True


def _unwrap(line: bytes) -> Received:
    text = line.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        return Received("rx", 0, text)
    try:
        envelope = _decoder.decode(text)
    except msgspec.DecodeError:
        return Received("rx", 0, text)
    recv_ns = round(envelope.t * 1e6) * 1000 if 0 < envelope.t < TIME_MAX_S else 0
    frame = bytes(envelope.frame).decode("utf-8", "replace")
    if envelope.dir == "open" or frame:
        return Received(envelope.dir or "rx", recv_ns, frame)
    return Received("rx", recv_ns, text)


def _empty() -> Recording:
    return Recording(takes={}, options={})


# ---- Bitfinex


def bitfinex_key(request: dict[str, Any]) -> Key:
    """What tells one subscription from another."""
    channel = str(request.get("channel", ""))
    if channel in {"candles", "status"}:
        return channel, str(request.get("key", ""))
    symbol = str(request.get("symbol", ""))
    if channel != "book":
        return channel, symbol
    precision, frequency = request.get("prec", "P0"), request.get("freq", "F0")
    return channel, symbol, str(precision), str(frequency), str(request.get("len", "25"))


def bitfinex_recordings(lines: Iterable[Received]) -> list[Recording]:
    """The connections of a Bitfinex recording; a cue's text is a frame without id and tail."""
    found = [_empty()]
    keys: dict[str, Key] = {}
    flags, fresh = 0, set[str]()
    for place, line in enumerate(lines):
        event = as_object(line.text) if line.text.startswith("{") else None
        if line.dir == "open" or (event is not None and "version" in event):
            keys, flags, fresh = {}, 0, set()
            if found[-1].takes:
                found.append(_empty())
        elif event is not None and event.get("event") == "conf":
            flags = int(event.get("flags", 0))
        elif line.dir != "rx":
            continue
        elif event is not None and event.get("event") == "subscribed":
            number = str(event["chanId"])
            keys[number] = bitfinex_key(event)
            fresh.add(number)
            found[-1].begin_take(keys[number])
        elif event is not None and event.get("event") == "info":
            found[-1].add(EVERYBODY, Cue(place, line.recv_ns, line.text))
        elif event is None and line.text.startswith("["):
            number, body, time_ms = _split_array(line.text, flags)
            if number in keys and body != '"hb"':
                cue = Cue(place, line.recv_ns, body, time_ms, number in fresh)
                fresh.discard(number)
                found[-1].add(keys[number], cue)
    return found


def _split_array(text: str, flags: int) -> tuple[str, str, int]:
    """Channel id, body and tail time of an array frame."""
    number, _, rest = text.strip()[1:-1].partition(",")
    tail = bool(flags & SEQ_ALL) + bool(flags & TIMESTAMP)
    body, *ends = rest.rsplit(",", tail) if tail else [rest]
    time_ms = int(ends[-1]) if flags & TIMESTAMP and ends and ends[-1].strip().isdigit() else 0
    return number.strip(), body.strip(), time_ms


def bitfinex_entries(body: str) -> list[str]:
    """The entries of a bulk update, each with its brackets."""
    return [f"[{entry}]" for entry in body[2:-2].split("],[")]


# ---- Kraken


class _Row(Struct):
    symbol: str = ""
    interval: int | None = None


class _Data(Struct):
    channel: str = ""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw()


_data_decoder = msgspec.json.Decoder(_Data)
_rows_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_row_decoder = msgspec.json.Decoder(_Row)


def kraken_recordings(lines: Iterable[Received]) -> list[Recording]:
    """The connections of a Kraken recording; a cue's text is a frame of one symbol."""
    found = [_empty()]
    identity: object = None
    for place, line in enumerate(lines):
        frame = as_object(line.text)
        if line.dir == "open":
            if found[-1].takes:
                found.append(_empty())
            identity = None
        elif line.dir != "rx" or frame is None:
            continue
        elif frame.get("channel") == "status":
            before, identity = identity, _identity(frame)
            if before not in {None, identity} and found[-1].takes:
                found.append(_empty())
            elif before is not None:
                found[-1].add(EVERYBODY, Cue(place, line.recv_ns, line.text))
        elif frame.get("method") == "subscribe" and frame.get("success"):
            result = frame.get("result", {})
            key = (result.get("channel"), result.get("symbol", ""), result.get("interval"))
            found[-1].options[key] = {k: result[k] for k in ("depth",) if k in result}
            found[-1].begin_take(key)
        elif "data" in frame:
            for key, text in _by_symbol(line.text):
                cue = Cue(place, line.recv_ns, text, first=frame.get("type") == "snapshot")
                found[-1].add(key, cue)
    for recording in found:
        _complete_depths(recording)
    return found


def _identity(frame: dict[str, Any]) -> object:
    rows = frame.get("data")
    return rows[0].get("connection_id") if isinstance(rows, list) and rows else None


def _by_symbol(text: str) -> Iterator[tuple[Key, str]]:
    """One frame for each symbol (and interval) in it; a frame of one symbol is as it was."""
    head = _data_decoder.decode(text)
    if head.channel == "instrument":
        yield ("instrument", "", None), text
        return
    groups: dict[Key, list[msgspec.Raw]] = {}
    for raw in _rows_decoder.decode(head.data):
        row = _row_decoder.decode(raw)
        groups.setdefault((head.channel, row.symbol, row.interval), []).append(raw)
    if len(groups) == 1:
        yield next(iter(groups)), text
        return
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    for key, rows in groups.items():
        parts = [
            b"[" + b",".join(map(bytes, rows)) + b"]" if n == "data" else bytes(v)
            for n, v in members.items()
        ]
        names = [msgspec.json.encode(name) for name in members]
        whole = b",".join(n + b":" + v for n, v in zip(names, parts, strict=True))
        yield key, f"{{{whole.decode()}}}"


def _complete_depths(recording: Recording) -> None:
    """A book without an ack has the smallest depth that holds its first snapshot's larger side."""
    for key, takes in recording.takes.items():
        if not key or key[0] not in {"book", "level3"} or "depth" in recording.options.get(key, {}):
            continue
        first = next((cue for take in takes for cue in take), None)
        rows = (as_object(first.text) or {}).get("data") if first else None
        row = rows[0] if isinstance(rows, list) and rows else {}
        sides = [row.get(side) or [] for side in ("bids", "asks")]
        if key[0] == "level3":
            held = max(len({order.get("limit_price") for order in side}) for side in sides)
        else:
            held = max(map(len, sides))
        depths = BOOK_DEPTHS if key[0] == "book" else LEVEL3_DEPTHS
        fitting = [depth for depth in depths if depth >= held]
        least = fitting[0] if fitting else depths[-1]
        # A book thinner than that looks the same in every greater depth.
        thin = {"thin": True} if held < least else {}
        recording.options[key] = {"depth": least, **thin}


# ---- GMO Coin


def gmo_recordings(lines: Iterable[Received]) -> list[Recording]:
    """The connections of a GMO Coin recording."""
    found = [_empty()]
    for place, line in enumerate(lines):
        frame = as_object(line.text)
        if line.dir == "open":
            if found[-1].takes:
                found.append(_empty())
        elif line.dir == "rx" and frame is not None and "channel" in frame:
            key = (str(frame["channel"]), str(frame.get("symbol", "")))
            first = key not in found[-1].takes and key[0] == "orderbooks"
            found[-1].add(key, Cue(place, line.recv_ns, line.text, first=first))
    return found


READERS: dict[str, Callable[[Iterable[Received]], list[Recording]]] = {
    "bitfinex": bitfinex_recordings,
    "kraken": kraken_recordings,
    "gmo": gmo_recordings,
}
