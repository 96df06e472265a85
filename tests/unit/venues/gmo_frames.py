"""Frames of GMO Coin's public socket, as the venue writes them, for tests and nothing else."""

import json
import random
from collections.abc import Iterable
from typing import Any

import numpy as np

from schemas import tape
from schemas.tape import Flag, Kind, Marker, Side

TIME = "2026-09-23T03:25:35.843Z"
TIME_NS = 1_790_133_935_843_000_000
Levels = Iterable[tuple[str, str]]


def book(asks: Levels = (), bids: Levels = (), *, symbol: str = "BTC_JPY", time: str = TIME) -> str:
    """An orderbooks frame; levels in the order they are given."""
    sides = {
        name: [{"price": price, "size": size} for price, size in levels]
        for name, levels in (("asks", asks), ("bids", bids))
    }
    return compact({"channel": "orderbooks", **sides, "symbol": symbol, "timestamp": time})


def trade(
    price: str = "100", size: str = "0.5", side: str = "BUY", *, symbol: str = "BTC_JPY",
    time: str = TIME,
) -> str:  # fmt: skip
    """A trades frame."""
    what = {"channel": "trades", "price": price, "side": side, "size": size}
    return compact({**what, "symbol": symbol, "timestamp": time})


def ticker(*, symbol: str = "BTC_JPY", time: str = TIME, **values: Any) -> str:
    """A ticker frame."""
    numbers = {"ask": "101", "bid": "99", "high": "110", "last": "100", "low": "90"}
    what = {"channel": "ticker", **numbers, "volume": "7.5", **values}
    return compact({**what, "symbol": symbol, "timestamp": time})


def error(text: str) -> str:
    """An error, which names no symbol."""
    return compact({"error": text})


def compact(values: Any) -> str:
    return json.dumps(values, separators=(",", ":"))


def shuffled(frame: str, draw: random.Random) -> str:
    """The same JSON with the keys of every object in another order, spaced at random."""

    def mix(value: Any) -> Any:
        if isinstance(value, dict):
            names = list(value)
            draw.shuffle(names)
            return {name: mix(value[name]) for name in names}
        return [mix(item) for item in value] if isinstance(value, list) else value

    separators = draw.choice([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])
    return json.dumps(mix(json.loads(frame)), separators=separators)


Book = dict[str, dict[float, float]]


class TapeReader:
    """Rebuilds a book from slots alone, as a reader of the lake would."""

    def __init__(self) -> None:
        self.sides: dict[int, dict[float, float]] = {Side.BID: {}, Side.ASK: {}}

    def take(self, slots: np.ndarray) -> None:
        markers = tape.view_as(slots, tape.MARKER)["marker"]
        for slot, marker in zip(slots, markers, strict=True):
            if slot["kind"] == Kind.MARKER and marker == Marker.SNAPSHOT_BEGIN:
                self.sides = {Side.BID: {}, Side.ASK: {}}
            elif slot["kind"] == Kind.BOOK_LEVEL:
                levels, price = self.sides[int(slot["side"])], float(slot["price"])
                if slot["flags"] & Flag.DELETE:
                    assert slot["flags"] & Flag.DERIVED, "the venue never says that a level goes"
                    del levels[price]
                else:
                    assert levels.get(price) != slot["size"], "a level that did not change"
                    levels[price] = float(slot["size"])
