"""Books as a client keeps them by the venues' sheets; they share no code with the simulator."""

import json
import zlib
from decimal import Decimal


def decimals(text: str):
    """A frame with its numbers as the tokens that they were."""
    return json.loads(text, parse_float=str, parse_int=str)


def _crc(tokens: list[str]) -> int:
    return zlib.crc32("".join(t.replace(".", "").lstrip("0") for t in tokens).encode())


class KrakenBook:
    """Price levels: applied in listed order, then cut to the depth."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}

    def best(self, side: str) -> list[tuple[str, str]]:
        return sorted(self.sides[side].items(), key=lambda i: Decimal(i[0]), reverse=side == "bids")

    def apply(self, frame: dict) -> None:
        (row,) = frame["data"]
        for side in self.sides:
            if frame["type"] == "snapshot":
                self.sides[side] = {}
            for level in row[side]:
                self.sides[side].pop(level["price"], None)
                if Decimal(level["qty"]):
                    self.sides[side][level["price"]] = level["qty"]
            self.sides[side] = dict(self.best(side)[: self.depth])

    def checksum(self) -> int:
        return _crc([t for s in ("asks", "bids") for lv in self.best(s)[:10] for t in lv])


class KrakenOrders:
    """Orders of level3: new ones of a message join their level's queue by their own time."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: dict[str, dict[str, list[dict]]] = {"bids": {}, "asks": {}}

    def best(self, side: str) -> list[tuple[str, list[dict]]]:
        return sorted(self.sides[side].items(), key=lambda i: Decimal(i[0]), reverse=side == "bids")

    def apply(self, frame: dict) -> None:
        (row,) = frame["data"]
        for side, levels in self.sides.items():
            if frame["type"] == "snapshot":
                levels.clear()
            for entry in sorted(row[side], key=lambda e: e["timestamp"]):
                self._one(levels, entry)
            for price, _ in self.best(side)[self.depth :]:
                del levels[price]

    def _one(self, levels: dict[str, list[dict]], entry: dict) -> None:
        price = entry["limit_price"]
        queue = levels.setdefault(price, [])
        at = [i for i, o in enumerate(queue) if o["order_id"] == entry["order_id"]]
        event = entry.get("event", "add")
        if event == "add":
            assert not at, "an order that is held already"
            queue.append(entry)
        else:
            assert at, f"{event} of an order that is not held"
            if event == "modify":
                queue[at[0]] = {**queue[at[0]], "order_qty": entry["order_qty"]}
            else:
                del queue[at[0]]
        if not queue:
            del levels[price]

    def orders(self, side: str) -> list[tuple[str, str, str]]:
        return [
            (o["order_id"], o["limit_price"], o["order_qty"])
            for _, queue in self.best(side)
            for o in queue
        ]

    def checksum(self) -> int:
        return _crc(
            [
                token
                for side in ("asks", "bids")
                for _, queue in self.best(side)[:10]
                for o in queue
                for token in (o["limit_price"], o["order_qty"])
            ]
        )
