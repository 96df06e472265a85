"""A plain client of Bitfinex's private side, written from its pages alone."""

import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any

from schemas.settings import SimulatorAccount
from tests.unit.simulator.world import Watcher, World

KEY, SECRET = "demo-key-bitfinex", "a-demo-secret-made-up"
BEGIN = {"USD": "1000000", "BTC": "10", "ETH": "50"}
ASSETS = {"tBTCUSD": ("BTC", "USD"), "tETHUSD": ("ETH", "USD")}
ACCOUNTS = (SimulatorAccount(venue="bitfinex", key=KEY, secret=SECRET, balances=BEGIN),)
SEQ_ALL = 65536


def world(**settings: Any) -> World:
    """Two markets that stand still, and one account."""
    options: dict[str, Any] = {"symbols": tuple(ASSETS), "accounts": ACCOUNTS, **settings}
    place = World(**options)
    place.exchange.frozen = True
    return place


def fault(place: World, kind: str, **arguments: Any) -> None:
    place.exchange.commit_fault({"kind": kind, "venue": "bitfinex", **arguments})


def truth(place: World, key: str = KEY) -> dict[str, Any]:
    return place.exchange.truth({"venue": "bitfinex", "kind": "account", "key": key})


def numbers(text: str) -> Any:
    """A frame with exact numbers."""
    return json.loads(text, parse_float=Decimal)


def signature(message: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), message.encode(), hashlib.sha384).hexdigest()


def next_nonce(place: World) -> int:
    """One more than the greatest that the venue has seen of the account."""
    account = place.exchange.venues["bitfinex"].accounts.of(KEY)
    assert account is not None
    return account.nonce + 1


async def ask(place: World, call: str, nonce: int = 0, key: str = KEY, **query: Any) -> Any:
    """A signed question: status and answer."""
    number = nonce or next_nonce(place)
    body = json.dumps(query)
    path = f"v2/auth/r/{call}"
    headers = {
        "bfx-nonce": str(number),
        "bfx-apikey": key,
        "bfx-signature": signature(f"/api/{path}{number}{body}"),
    }
    async with place.http.post(f"{place.base}/{path}", data=body, headers=headers) as reply:
        return reply.status, numbers(await reply.text())


async def rows(place: World, call: str, **query: Any) -> list[Any]:
    status, answer = await ask(place, call, **query)
    assert status == 200, answer
    return answer


class Private:
    """An authenticated socket, and all that came over it."""

    def __init__(self, place: World, watcher: Watcher) -> None:
        self.place = place
        self.watcher = watcher

    @classmethod
    async def open(cls, place: World, flags: int = SEQ_ALL, **auth: Any) -> "Private":
        client = cls(place, await place.watch("/ws/2"))
        await client.watcher.send(event="conf", flags=flags)
        await client.authenticate(**auth)
        return client

    async def authenticate(self, **auth: Any) -> dict[str, Any]:
        nonce = auth.pop("nonce", next_nonce(self.place))
        payload = f"AUTH{nonce}"
        request = {
            "event": "auth", "apiKey": KEY, "authNonce": nonce, "authPayload": payload,
            "authSig": signature(payload), **auth,
        }  # fmt: skip
        await self.watcher.send(**request)
        await self.place.settle()
        return [v for v in self.frames if isinstance(v, dict) and v["event"] == "auth"][-1]

    async def put(self, name: str, wanted: Any, *, step: bool = True) -> Any:
        """An input; the notification that answers it, if one has come."""
        before = len(self.of("n"))
        await self.watcher.socket.send_str(json.dumps([0, name, None, wanted]))
        await self.place.settle()
        found = self.of("n")[before:]
        if step:
            await self.place.step(0.2)
        return found[0] if found else None

    async def order(self, amount: str, price: str | None = None, **more: Any) -> Any:
        kind = "EXCHANGE MARKET" if price is None else "EXCHANGE LIMIT"
        wanted = {"type": kind, "symbol": "tBTCUSD", "amount": amount, **more}
        return await self.put("on", wanted if price is None else {"price": price, **wanted})

    @property
    def frames(self) -> list[Any]:
        return [numbers(frame) for frame in self.watcher.frames]

    @property
    def account_frames(self) -> list[Any]:
        return [v for v in self.frames if isinstance(v, list) and v[0] == 0]

    def of(self, tag: str) -> list[Any]:
        """Payloads of one kind."""
        return [frame[2] for frame in self.account_frames if frame[1] == tag]

    def tags(self) -> list[str]:
        return [frame[1] for frame in self.account_frames]
