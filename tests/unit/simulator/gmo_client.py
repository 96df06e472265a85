"""A plain client of GMO Coin's private side, written from its pages alone."""

import hashlib
import hmac
import json
from typing import Any

from schemas.settings import SimulatorAccount
from tests.unit.simulator.world import SECOND, Watcher, World

KEY, SECRET = "demo-key-gmo", "a-demo-secret-made-up"
BEGIN = {"JPY": "100000000", "BTC": "2"}
ASSETS = {"BTC": ("BTC", "JPY")}
SYMBOLS = ("BTC", "BTC_JPY", "XRP_JPY")
ACCOUNTS = (SimulatorAccount(venue="gmo", key=KEY, secret=SECRET, balances=BEGIN),)


def world(**settings: Any) -> World:
    """Three markets that stand still, and one account."""
    options: dict[str, Any] = {"gmo_symbols": SYMBOLS, "accounts": ACCOUNTS, **settings}
    place = World(**options)
    place.exchange.frozen = True
    return place


def fault(place: World, kind: str, **arguments: Any) -> None:
    place.exchange.commit_fault({"kind": kind, "venue": "gmo", **arguments})


def truth(place: World) -> dict[str, Any]:
    return place.exchange.truth({"venue": "gmo", "kind": "account", "key": KEY})


def best(place: World, side: int, symbol: str = "BTC") -> int:
    found = place.exchange.venues["gmo"].histories[symbol].market.best(side)
    assert found is not None
    return found


def signature(stamp_ms: int, method: str, path: str, body: str = "") -> str:
    text = f"{stamp_ms}{method}{path}{body}"
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


async def call(
    place: World,
    method: str,
    name: str,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    **query: Any,
) -> dict[str, Any]:
    """One signed call; its whole answer."""
    path, text = f"/v1/{name}", "" if body is None else json.dumps(body)
    stamp_ms = place.now_ns // 10**6
    made = {
        "API-KEY": KEY,
        "API-TIMESTAMP": str(stamp_ms),
        "API-SIGN": signature(stamp_ms, method, path, text if method == "POST" else ""),
        **(headers or {}),
    }
    url = f"{place.base}/gmo/private{path}"
    async with place.http.request(
        method, url, data=text or None, headers=made, params=query
    ) as reply:
        return json.loads(await reply.text())


def code(answer: dict[str, Any]) -> str:
    """Why it was refused, or nothing."""
    return answer["messages"][0]["message_code"] if answer["status"] else ""


async def get(place: World, name: str, **query: Any) -> Any:
    answer = await call(place, "GET", name, **query)
    assert answer["status"] == 0, answer
    return answer["data"]


async def post(place: World, name: str, **body: Any) -> Any:
    answer = await call(place, "POST", name, body)
    assert answer["status"] == 0, answer
    return answer.get("data")


async def order(place: World, side: str, size: str, price: Any = None, **more: Any) -> int:
    """A new order's id."""
    kind = {"executionType": "MARKET"}
    if price is not None:
        kind = {"executionType": "LIMIT", "price": str(price)}
    what = {"symbol": "BTC", "side": side, "size": size, **kind, **more}
    number = await post(place, "order", **what)
    assert isinstance(number, str)
    await place.step(0.06)
    return int(number)


class Private:
    """A private socket and all that came over it."""

    def __init__(self, watcher: Watcher, token: str) -> None:
        self.watcher = watcher
        self.token = token

    @classmethod
    async def open(cls, place: World, *channels: str, **options: Any) -> "Private":
        token = await post(place, "ws-auth")
        client = cls(await place.watch(f"/gmo/ws/private/v1/{token}"), token)
        for channel in channels:
            await client.subscribe(place, channel, **options)
        return client

    async def subscribe(self, place: World, channel: str, **options: Any) -> None:
        place.now_ns += SECOND
        await self.watcher.send(command="subscribe", channel=channel, **options)
        await place.step(0.06)

    def frames(self, channel: str) -> list[dict[str, Any]]:
        return [frame for frame in self.watcher.values if frame.get("channel") == channel]
