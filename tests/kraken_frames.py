"""Kraken frames and a plain book of its rules, for tests: nothing here is compiled or shared with
`venues/kraken`."""

import json
import random
import zlib
from typing import Any

Level = tuple[str, str]
"""(price, quantity) as texts."""


class Number(float):
    """A number that is written as given: `Number("1.50")` is 1.50 in a frame."""

    def __new__(cls, text: str) -> "Number":
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text


def dumps(value: Any, *, spaced: bool = False, draw: random.Random | None = None) -> str:
    """JSON with numbers' own digits, spaced if wanted, keys shuffled if there is a `draw`."""
    comma, colon = (", ", ": ") if spaced else (",", ":")
    if isinstance(value, dict):
        items = list(value.items())
        if draw is not None:
            draw.shuffle(items)
        parts = [f"{json.dumps(k)}{colon}{dumps(v, spaced=spaced, draw=draw)}" for k, v in items]
        return "{" + comma.join(parts) + "}"
    if isinstance(value, list):
        return "[" + comma.join(dumps(v, spaced=spaced, draw=draw) for v in value) + "]"
    return repr(value) if isinstance(value, Number) else json.dumps(value)


def levels(pairs: list[Level]) -> list[dict[str, Number]]:
    return [{"price": Number(price), "qty": Number(size)} for price, size in pairs]


def book_row(
    symbol: str, bids: list[Level], asks: list[Level], checksum: int | None = None
) -> dict[str, Any]:
    row: dict[str, Any] = {"symbol": symbol, "bids": levels(bids), "asks": levels(asks)}
    if checksum is not None:
        row["checksum"] = checksum
    row["timestamp"] = "2026-07-05T10:37:39.090964Z"
    return row


def frame(channel: str, kind: str, rows: list[Any], **more: Any) -> dict[str, Any]:
    return {"channel": channel, "type": kind, "data": rows, **more}


def snapshot(symbol: str, bids: list[Level], asks: list[Level]) -> str:
    return dumps(frame("book", "snapshot", [book_row(symbol, bids, asks)]))


def update(symbol: str, bids: list[Level], asks: list[Level]) -> str:
    return dumps(frame("book", "update", [book_row(symbol, bids, asks)]))


def ack(channel: str, symbol: str, **more: Any) -> str:
    result = {"channel": channel, "snapshot": True, "symbol": symbol, **more}
    return dumps({"method": "subscribe", "result": result, "success": True})


def bare(text: str) -> str:
    return text.replace(".", "").lstrip("0")


class PlainBook:
    """The venue's rules, written plainly: dicts, sorted anew each time."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: tuple[dict[float, Level], dict[float, Level]] = ({}, {})

    def apply(self, bids: list[Level], asks: list[Level], *, is_snapshot: bool = False) -> None:
        if is_snapshot:
            self.sides = ({}, {})
        for side, changes in zip(self.sides, (bids, asks), strict=True):
            for price, size in changes:
                if float(size):
                    side[float(price)] = (price, size)
                else:
                    side.pop(float(price), None)
        for which, side in enumerate(self.sides):
            for price, _ in self.best(which)[self.depth :]:
                del side[float(price)]

    def best(self, which: int) -> list[Level]:
        ranked = sorted(self.sides[which].items(), reverse=which == 0)
        return [level for _, level in ranked]

    def checksum(self) -> int:
        top = [*self.best(1)[:10], *self.best(0)[:10]]
        return zlib.crc32("".join(bare(price) + bare(size) for price, size in top).encode())
