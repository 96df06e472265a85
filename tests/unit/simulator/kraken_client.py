"""A plain client of Kraken's private side, written from its pages alone."""

import base64
import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from schemas.settings import SimulatorAccount
from tests.unit.simulator.accounting import check
from tests.unit.simulator.world import Watcher, World, run

KEY, SECRET = "demo-key-kraken", base64.b64encode(b"a demo secret, made up").decode()
BEGIN = {"USD": "1000000", "BTC": "10", "XRP": "5000"}
ASSETS = {"BTC/USD": ("BTC", "USD"), "XRP/USD": ("XRP", "USD")}
ACCOUNTS = (SimulatorAccount(venue="kraken", key=KEY, secret=SECRET, balances=BEGIN),)


def world(**settings: Any) -> World:
    """Two markets that stand still, and one account."""
    options: dict[str, Any] = {"kraken_symbols": tuple(ASSETS), "accounts": ACCOUNTS, **settings}
    place = World(**options)
    place.exchange.frozen = True
    return place


def fault(place: World, kind: str, **arguments: Any) -> None:
    place.exchange.commit_fault({"kind": kind, "venue": "kraken", **arguments})


def truth(place: World, key: str = KEY) -> dict[str, Any]:
    return place.exchange.truth({"venue": "kraken", "kind": "account", "key": key})


def market(place: World, symbol: str = "BTC/USD") -> Any:
    return place.exchange.venues["kraken"].histories[symbol].market


def signature(path: str, nonce: str, body: str, secret: str = SECRET) -> str:
    inner = hashlib.sha256((nonce + body).encode()).digest()
    mac = hmac.new(base64.b64decode(secret), path.encode() + inner, hashlib.sha512)
    return base64.b64encode(mac.digest()).decode()


def place_nonce(place: World) -> int:
    """The greatest that the venue has seen of the account."""
    account = place.exchange.venues["kraken"].accounts.of(KEY)
    assert account is not None
    return account.nonce


class Rest:
    """Signed calls, each with the next nonce."""

    def __init__(self, place: World) -> None:
        self.place = place

    async def call(self, name: str, **form: Any) -> dict[str, Any]:
        nonce = place_nonce(self.place) + 1
        body = urlencode({"nonce": nonce, **form})
        path = f"/0/private/{name}"
        headers = {
            "API-Key": KEY,
            "API-Sign": signature(path, str(nonce), body),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        url = f"{self.place.base}/kraken{path}"
        async with self.place.http.post(url, data=body, headers=headers) as reply:
            assert reply.status == 200
            return json.loads(await reply.text())

    async def result(self, name: str, **form: Any) -> Any:
        answer = await self.call(name, **form)
        assert answer["error"] == [], answer
        return answer["result"]


def numbers(text: str) -> Any:
    """A frame with exact numbers."""
    return json.loads(text, parse_float=Decimal)


class Private:
    """A private socket, its token, and all that came over it."""

    def __init__(self, place: World, watcher: Watcher, token: str) -> None:
        self.place = place
        self.watcher = watcher
        self.token = token
        self.requests = 0

    @classmethod
    async def open(cls, place: World, *channels: str) -> "Private":
        token = (await Rest(place).result("GetWebSocketsToken"))["token"]
        client = cls(place, await place.watch("/kraken/v2-auth"), token)
        for channel in channels:
            await client.subscribe(channel)
        return client

    async def subscribe(self, channel: str, **params: Any) -> dict[str, Any]:
        answer = (await self.ask("subscribe", channel=channel, **params))[0]
        await self.place.step(0.2)
        return answer

    async def ask(self, method: str, **params: Any) -> list[dict[str, Any]]:
        """The replies to one request, as far as they have come before time goes on."""
        self.requests += 1
        number = self.requests
        text = json.dumps(
            {"method": method, "req_id": number, "params": {"token": self.token, **params}}
        )
        await self.watcher.socket.send_str(text)
        await self.place.settle()
        return self.replies(number)

    def replies(self, number: int) -> list[dict[str, Any]]:
        return [f for f in map(numbers, self.watcher.frames) if f.get("req_id") == number]

    async def add(self, side: str, quantity: Any, price: Any = None, **params: Any) -> Any:
        """A new order's answer; times goes on a little after it."""
        kind: dict[str, Any] = {"order_type": "market"}
        if price is not None:
            kind = {"order_type": "limit", "limit_price": price}
        answers = await self.ask(
            "add_order", side=side, order_qty=quantity, **{"symbol": "BTC/USD", **kind, **params}
        )
        await self.place.step(0.05)
        return answers[0] if answers else None

    def frames(self, channel: str) -> list[dict[str, Any]]:
        return [f for f in map(numbers, self.watcher.frames) if f.get("channel") == channel]

    def rows(self, channel: str) -> list[dict[str, Any]]:
        return [row for f in self.frames(channel) for row in f["data"] if f["type"] == "update"]

    def told(self) -> list[str]:
        """exec_type of all updates, in order."""
        return [row["exec_type"] for row in self.rows("executions")]


def private_story(tell: Any, *channels: str, **settings: Any) -> None:
    """One private socket with channels, in a world of its own."""

    async def live() -> None:
        async with world(**settings) as place:
            await tell(place, await Private.open(place, *channels))
            if not any(order["status"] == "open" for order in truth(place)["orders"]):
                check(truth(place), BEGIN, ASSETS)

    run(live())
