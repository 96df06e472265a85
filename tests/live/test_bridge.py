"""The demo with a bridge: streams fill, signals from elsewhere are decided, and Redis may go."""

import json
import time

import msgspec
import pytest
import redis

from schemas.streams import DATA, MarketBody, SignalBody, SignalMeta
from tests.helpers import wait_until
from tests.servers import redis_server

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def bodies(client: redis.Redis, stream: str) -> list[bytes]:
    return [fields[b"body"] for _, fields in client.xrange(stream)]


def write(client: redis.Redis, number: str, price: float | None = None, **changes) -> None:
    body = {
        "type": "signal", "exchange": "bitfinex", "symbol": "tBTCUSD",
        "ts": time.time_ns() // 10**6, "strategy": "test", "action": "enter_long",
        "confidence": 0.9, "price_ref": price, "meta": {}, **changes,
    }  # fmt: skip
    client.xadd("signal:in", {"id": number, "body": json.dumps(body)})


def outcome(client: redis.Redis, number: str) -> SignalBody:
    def found() -> list[SignalBody]:
        told = [msgspec.json.decode(raw, type=SignalBody) for raw in bodies(client, "signal:out")]
        return [one for one in told if one.meta["signal_id"] == f"test/{number}"]

    wait_until(found, 30, f"the outcome of {number}")
    return found()[0]


def test_market_out_signals_in_and_redis_away(project):
    with redis_server() as server:
        project.set(
            bridge__enabled=True, bridge__url=server.url, bridge__signals__enabled=True,
            strategy__enabled=False, strategy__cooldown_s=0,
        )  # fmt: skip
        project.dcctl("start")
        client = redis.Redis.from_url(server.url, socket_timeout=5)
        for stream in ("md:trade", "md:orderbook", "md:ticker"):
            wait_until(lambda stream=stream: bodies(client, stream), 60, stream)
            for raw in bodies(client, stream)[:50]:
                body = msgspec.json.decode(raw, type=MarketBody)
                msgspec.convert(body.data, DATA[body.type])
        numbers = iter(range(1000))

        def entered() -> bool:
            number = str(next(numbers))
            write(client, number)
            return outcome(client, number).action == "enter_long"

        wait_until(entered, 60, "an entry")  # features have to become valid first

        def states() -> list[str]:
            told = [json.loads(raw) for raw in bodies(client, "order:events")]
            assert all(one["symbol"] == "tBTCUSD" for one in told)
            return [one["data"].get("state", "fill") for one in told]

        wait_until(lambda: "fill" in states(), 30, "a fill")
        assert states()[0] == "new"
        write(client, "late", ts=1000)
        wait_until(lambda: client.xlen("signal:refused") == 1, 20)
        project.dcctl("kill", "--level", "pause", "--yes")
        write(client, "paused", symbol="tETHUSD")
        denied = outcome(client, "paused")
        meta = msgspec.convert(denied.meta, SignalMeta)
        assert (denied.action, meta.reason) == ("hold", "killed")
        project.dcctl("arm", "--yes")
        client.close()

        server.kill()

        def said() -> str:
            return next(p.detail for p in project.status().processes if p.name == "bridge")

        wait_until(lambda: said().startswith("redis: "), 30, "the bridge says that Redis is away")
        assert project.status().state == "running"
        project.wait_slots("tape.bitfinex", 200)
        server.start()
        wait_until(lambda: said().endswith("entries"), 30, "the bridge is back")
        rows = [row for ring in project.status().rings for row in ring.readers]
        assert "bridge" in {row.name for row in rows}
        assert all(row.lost == 0 for row in rows)
        project.dcctl("stop")
        project.assert_clean()
