"""The programs of docs/bridge.md, run as they stand in the page."""

import contextlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from config.loader import load
from processes.bridge.link import Link, address
from processes.bridge.signals import signal_of
from schemas.errors import ConfigError
from schemas.settings import BridgeSettings
from schemas.trading import Action
from tests.helpers import ROOT, wait_until
from tests.unit.bridge.conftest import entries, tape_slots


@pytest.fixture
def program(tmp_path, server):
    """Starts a program of the page; all are ended with the test."""
    page = (ROOT / "docs" / "bridge.md").read_text(encoding="utf-8")
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: str) -> "subprocess.Popen[str]":
        (text,) = re.findall(rf"<!-- {re.escape(name)} -->\n```python\n(.*?)```", page, re.DOTALL)
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        child = subprocess.Popen(
            [sys.executable, str(path), *arguments], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "REDIS_URL": server.url},
        )  # fmt: skip
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def stored(path: Path, table: str = "bodies") -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        try:
            return db.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
        except sqlite3.OperationalError:
            return []  # it has not begun


def test_the_consumer_loses_nothing_and_stores_nothing_twice(
    rings, client, make_way, program, tmp_path, seed
):
    draw = random.Random(seed)
    way, writer, path = make_way(), rings.writer(), tmp_path / "trades.sqlite"
    sent = 0
    for _ in range(4):
        child = program("consumer.py", str(path))
        goal = len(stored(path)) + draw.randrange(50, 200)

        def step(goal=goal) -> bool:
            nonlocal sent
            writer.append(tape_slots(20, first=sent))
            sent += 20
            wait_until(way.done)
            return len(stored(path)) >= goal

        wait_until(step)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    doubled = dict(client.xrange("md:trade", count=1)[0][1])
    client.xadd("md:trade", doubled)
    program("consumer.py", str(path))
    wait_until(lambda: len(stored(path)) >= sent)
    wait_until(lambda: client.xpending("md:trade", "trade-archive")["pending"] == 0)
    wait_until(
        lambda: (
            client.xinfo_groups("md:trade")[0]["last-delivered-id"]
            == client.xinfo_stream("md:trade")["last-generated-id"]
        )
    )
    wanted = {f"{rings.session}/{e['ring']}/{e['sequence']}" for e in entries(client, "md:trade")}
    assert [source for source, _ in stored(path)] == sorted(
        wanted, key=lambda source: int(source.rpartition("/")[2])
    )
    assert len(wanted) == sent


def test_the_consumer_survives_an_emptied_redis_and_hears_of_it(
    rings, server, make_way, program, tmp_path
):
    way, writer, path = make_way(), rings.writer(), tmp_path / "trades.sqlite"
    program("consumer.py", str(path))
    writer.append(tape_slots(10))
    wait_until(way.done)
    wait_until(lambda: len(stored(path)) == 10)
    server.kill()
    server.start()
    writer.append(tape_slots(10, first=10))
    wait_until(way.done)
    wait_until(lambda: len(stored(path)) == 20)
    assert '"emptied"' in stored(path, "gaps")[0][1]


def test_the_strategy_writes_signals_that_are_taken(rings, client, make_way, program):
    way, writer = make_way(), rings.writer()
    child = program("strategy.py", "bitfinex", "tBTCUSD")
    assert child.stdout.readline() == "watching\n"
    number = 0

    def rising() -> bool:
        nonlocal number
        writer.append(tape_slots(1, first=number))
        number += 1
        wait_until(way.done)
        return client.exists("signal:in")

    wait_until(rising)
    entry, fields = client.xrange("signal:in")[0]
    said = msgspec.json.decode(fields[b"body"])
    made = signal_of(entry, fields, rings.names, said["ts"] * 10**6, BridgeSettings())
    assert made.action == Action.ENTER_LONG
    assert made.id == f"breakout/{fields[b'id'].decode()}"
    assert made.price == said["price_ref"] > 60_000


def test_the_page_shows_settings_that_load(tmp_path):
    page = (ROOT / "docs" / "bridge.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "bridge.yml"
    path.write_text(text, encoding="utf-8")
    bridge = load("demo", file=path, environment={}).bridge
    assert (bridge.enabled, bridge.signals.enabled, bridge.prefix) == (True, True, "demo:")
    said = address(bridge.url, {"REDIS_PASSWORD": "secret"})
    assert said == "redis://:secret@10.0.0.5:6379/0"
    with pytest.raises(ConfigError, match="export REDIS_PASSWORD"):
        address(bridge.url, {})


def test_a_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(ConfigError) as caught:
        load("demo", environment={"DC__bridge__url": "redis://:hunter2@host:6379/0"})
    assert "bridge.url" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("venues", "[nowhere]", "nowhere is not enabled. Allowed: bitfinex"),
        ("backoff_first_s", "30", "longer than backoff_longest_s"),
        ("channels", "[candles]", "Allowed: trade, orderbook, ticker"),
        ("prefix", "a b", "matching regex"),
    ],
)
def test_a_wrong_setting_is_named(key, value, said):
    with pytest.raises(ConfigError) as caught:
        load("demo", environment={f"DC__bridge__{key}": value})
    assert f"bridge.{key}" in str(caught.value)
    assert said in str(caught.value)


def test_a_password_is_one_whatever_is_in_it():
    word = "a/b@c:d%e"
    link = Link(
        BridgeSettings(url="redis://:${WORD}@127.0.0.1:1/0"), {"WORD": word}, random.Random(1)
    )
    told = link.client.connection_pool.connection_kwargs
    link.close()
    assert (told["host"], told["port"], told["password"]) == ("127.0.0.1", 1, word)
