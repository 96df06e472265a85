"""Wrong keys, wrong words, servers that refuse or are away, a crash, the killer: whatever is said
of them, and wherever, no key, word, token or password is in it."""

import signal
from pathlib import Path

import pytest
import redis

from schemas.settings import SimulatorAccount
from shm.segment import instance_id
from tests.exchange import standing_exchange
from tests.helpers import wait_until
from tests.influx_shim import influx_shim
from tests.planted import Search, listening, plant, plant_base64
from tests.servers import free_port, postgres_server, redis_server

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
NAMES = (
    "KRAKEN_KEY", "KRAKEN_SECRET", "BITFINEX_KEY", "BITFINEX_SECRET", "GMO_KEY", "GMO_SECRET",
    "BOT_WORD", "BOT_TOKEN", "PG_WORD", "REDIS_WORD", "INFLUX_TOKEN", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)  # fmt: skip


FIRST = (
    "status", "config", "config --json", "doctor", "why last", "logs -n 100000",
    "freqtrade status", "influx status", "influx init", "lake push",
    "instruments refresh --venue kraken",
)  # fmt: skip
THEN = ("status --json", "pnl", "kill --drill --yes", "logs --json -n 100000")


def ask(project, commands: tuple[str, ...]) -> None:
    """Commands that could say something, whether or not they can do what they should."""
    for command in commands:
        project.try_dcctl(*command.split())


@pytest.fixture
def planted() -> dict[str, str]:
    """One of each, all of them wrong; of passwords such as break an address."""
    words = {name: plant(name.lower().replace("_", "-")) for name in NAMES}
    words["KRAKEN_SECRET"] = plant_base64("kraken-secret")
    for name in ("PG_WORD", "REDIS_WORD", "BOT_WORD"):
        words[name] = f"a/b@{words[name]}:c%d"
    return words


@pytest.fixture
def venue():
    """Accounts that have other keys and secrets."""
    secret = plant_base64("right-secret")
    accounts = tuple(
        SimulatorAccount(venue=name, key=f"right-key-{name}", secret=secret, balances={})
        for name in ("kraken", "bitfinex", "gmo")
    )
    served = {"symbols": ("tBTCUSD",), "kraken_symbols": ("BTC/USD",), "gmo_symbols": ("BTC",)}
    with standing_exchange(past_s=5.0, accounts=accounts, **served) as one:
        yield one


def accounts_at(port: int) -> dict:
    ways = {
        "kraken": ("kraken", "/kraken/v2-auth", "/kraken"),
        "bitfinex": ("bitfinex", "/ws/2", "/bitfinex"),
        "gmo": ("gmo", "/gmo/ws/private/v1", "/gmo"),
    }
    found: dict = {
        name: {
            "broker": broker, "key": f"${{{name.upper()}_KEY}}",
            "secret": f"${{{name.upper()}_SECRET}}",
            "socket_url": f"ws://127.0.0.1:{port}{socket}",
            "rest_url": f"http://127.0.0.1:{port}{rest}",
            "instruments": [f"{name}:x"],
        }
        for name, (broker, socket, rest) in ways.items()
    }  # fmt: skip
    found["bot"] = {
        "broker": "freqtrade", "url": f"http://127.0.0.1:{port}", "username": "dc",
        "password": "${BOT_WORD}", "ws_token": "${BOT_TOKEN}", "instruments": ["kraken:x"],
    }  # fmt: skip
    return found | {"paper": {"broker": "paper"}}


def logged(project, name: str) -> str:
    path = project.logs / f"{name}.jsonl"
    return path.read_text() if path.exists() else ""


def test_no_error_shows_a_secret(project, planted, venue):
    search = Search(planted)
    project.environment |= planted | {"AWS_EC2_METADATA_DISABLED": "true"}
    with (
        redis_server() as bridge, postgres_server() as ledger, influx_shim() as shim,
        listening(search, project.run) as heard,
    ):  # fmt: skip
        with redis.Redis.from_url(bridge.url) as client:
            client.config_set("requirepass", "another")
        store = f"endpoint_override=127.0.0.1:{free_port()}&scheme=http&region=us-east-1"
        project.set(
            execution__accounts=accounts_at(venue.port),
            rest__kraken__url=f"http://127.0.0.1:{venue.port}/kraken",
            ledger__url=ledger.create("kept").replace("dc@", "dc:${PG_WORD}@"),
            bridge={
                "enabled": True,
                "url": bridge.url.replace("//", "//:${REDIS_WORD}@"),
            },
            influx={**shim.settings(), "token": "${INFLUX_TOKEN}"},
            lake={"store": f"s3://bucket/lake?{store}", "push_s": 0.3},
            storage={"seal_s": 1.0},
        )
        project.dcctl("start")
        for name, words in {
            "execution": ("kraken", "bitfinex", "gmo", "bot"), "bridge": ("redis",),
            "influx": ("will not have it",), "archive": ("the store",),
        }.items():  # fmt: skip
            for word in words:
                wait_until(lambda n=name, w=word: w in logged(project, n), 30, f"{name}: {word}")
        ask(project, FIRST)
        project.wait_back("execution", project.kill("execution", signal.SIGABRT))
        assert (project.logs / "execution.fault").stat().st_size
        ledger.kill()
        bridge.kill()
        shim.upstream.kill()
        project.wait_slots("features", 10)
        ask(project, THEN)
        assert '"drill"' in logged(project, "killer")
        memory = search.in_folder(Path("/dev/shm"), f"dc.{instance_id(str(project.run))}.*")
        project.dcctl("stop")
    assert not memory
    assert not heard.found
    assert search.in_folder(project.folder) == []
    assert search.in_text("what commands said", "\n".join(project.said)) == []
