"""What people and strangers at the console cost trading: received → decision with and without them.

Beside a running demo that decides on every trigger: fifty sockets that take each look at the
overview and acknowledge it, one Chromium where there is one, and a hostile client without rest (no
token, a page of another site, bodies that are too large, requests that never end). In rounds, quiet
and watched by turns; the onlookers are processes of their own on the same cores, at the console's
own low priority: the browsers of people are on other machines more often than not.

usage, as the onlookers: python -m benchmarks.onlookers ADDRESS TOKEN SECONDS
"""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import numpy as np

from benchmarks.figures import Figure, figure
from benchmarks.instance import BenchmarkError, Instance, running_instance
from benchmarks.latency import charges_ns, updates
from processes.bus import request
from processes.clock import monotonic_s, nap
from processes.console.main import NICENESS
from processes.places import ROOT

SESSIONS: Final = 50
SLOW_ONES: Final = 10
"""Connections that send a request byte by byte."""
PANELS: Final = (
    "head",
    "switch",
    "pipeline",
    "hops",
    "attention",
    "profit",
    "equity",
    "rings",
    "processes",
)
LARGE: Final = 4_000_000
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
MEANWHILE_S: Final = 4.0
"""So long before a watched round is measured its onlookers are there."""


# ---- the onlookers


class Onlookers:
    """All of them, in one loop; what was answered is counted."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._port = int(address.rsplit(":", 1)[1])
        self._token = token
        self.seen: Counter[str] = Counter()

    async def live(self, seconds: float) -> None:
        """For so long."""
        async with aiohttp.ClientSession() as session:
            tasks = [asyncio.create_task(self._look(session)) for _ in range(SESSIONS)]
            tasks += [asyncio.create_task(self._attack(session))]
            tasks += [asyncio.create_task(self._crawl()) for _ in range(SLOW_ONES)]
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        """A page: it takes a look, draws it, and asks for the next."""
        headers = {"Authorization": f"Bearer {self._token}", "Origin": self._address}
        watch = msgspec.json.encode({"watch": PANELS}).decode()
        async with session.ws_connect(f"{self._address}/live", headers=headers) as page:
            self.seen["sessions"] += 1
            await page.send_str(watch)
            async for message in page:
                told = msgspec.json.decode(message.data)
                self.seen["looks"] += 1
                await page.send_str(msgspec.json.encode({"drawn": told["look"]}).decode())

    async def _attack(self, session: aiohttp.ClientSession) -> None:
        """Every way in that must be shut, one after the other, without rest."""
        mine = {"Authorization": f"Bearer {self._token}", "Origin": "http://elsewhere.example"}
        ways: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("GET", "/bot/status", {}),
            ("POST", "/kill", {"json": {"level": "flatten"}}),
            ("POST", "/kill", {"json": {"level": "flatten"}, "headers": mine}),
            ("POST", "/kill", {"data": b"x" * LARGE}),
            ("GET", "/bot/status", {"headers": {"Authorization": "Bearer " + "0" * 64}}),
            ("GET", "/bot/status", {"headers": {"Host": "elsewhere.example"}}),
        )
        while True:
            for method, path, more in ways:
                with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                    async with session.request(method, f"{self._address}{path}", **more) as answer:
                        self.seen[f"answer {answer.status}"] += 1
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                async with session.ws_connect(f"{self._address}/live"):
                    self.seen["answer 200"] += 1
            self.seen["attacks"] += 1
            await asyncio.sleep(0)

    async def _crawl(self) -> None:
        """A request that never becomes whole, again and again."""
        while True:
            with contextlib.suppress(ConnectionError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
                while not reader.at_eof():
                    writer.write(b"X")
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1), 0.3)
                self.seen["cut off"] += 1
                writer.close()


def onlookers(address: str, token_file: str, seconds: float) -> None:
    """Be them, and print what was answered as JSON."""
    os.nice(NICENESS)
    made = Onlookers(address, Path(token_file).read_text(encoding="ascii").strip())
    asyncio.run(made.live(seconds))
    sys.stdout.write(msgspec.json.encode(made.seen).decode())


# ---- the measurement


@contextlib.contextmanager
def browser(url: str) -> Iterator[bool]:
    """A Chromium on the overview for the time of the block; False without one."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        yield False
        return
    folder = Path(tempfile.mkdtemp(prefix="dc-bench-"))
    command = [
        path, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder}", "--remote-debugging-port=0", url,
    ]  # fmt: skip
    process = subprocess.Popen(
        ["nice", "-n", str(NICENESS), *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def decisions_us(instance: Instance, seconds: float) -> np.ndarray:
    """(event) microseconds from an event's arrival to the decision that covers it, from now on."""
    after = instance.committed("tape.bitfinex")
    nap(seconds)
    events = updates(instance, after)
    found: np.ndarray = charges_ns(instance, events)["decision"] / 1e3
    if len(found) < 100:
        raise BenchmarkError(f"only {len(found)} events in {seconds:g} s")
    return found


def watched_us(instance: Instance, seconds: float, seen: Counter[str]) -> np.ndarray:
    """The same with everybody looking on."""
    told = request(instance.run, "console", "login", timeout_s=20)
    whole_s = seconds + MEANWHILE_S + 1.0
    command = [sys.executable, "-m", "benchmarks.onlookers"]
    command += [told["address"], told["token_file"], str(whole_s)]
    with (
        browser(told["url"]) as is_there,
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
        ) as process,
    ):
        nap(MEANWHILE_S)
        found = decisions_us(instance, seconds)
        out, _ = process.communicate(timeout=whole_s + 60)
    seen.update(msgspec.json.decode(out, type=dict[str, int]))
    seen["browsers"] += is_there
    return found


def measure(*, quick: bool) -> dict[str, Figure]:
    """p50 and p99 of both, and how many times more the watched one is, each round by itself."""
    rounds, seconds = (1, 3.0) if quick else (5, 20.0)
    quiet: list[np.ndarray] = []
    watched: list[np.ndarray] = []
    seen: Counter[str] = Counter()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running_instance(
        console__enabled=True, console__port=port, features__trigger=True,
        features__trigger_interval_us=0,
    ) as instance:  # fmt: skip
        end_s = monotonic_s() + 120
        while instance.committed("decisions") < 500:
            if monotonic_s() > end_s:
                raise BenchmarkError(f"no decisions: {instance.troubles()}")
            nap(0.2)
        for number in range(rounds):
            for is_watched in (number % 2 == 0, number % 2 == 1):
                if is_watched:
                    watched.append(watched_us(instance, seconds, seen))
                else:
                    quiet.append(decisions_us(instance, seconds))
    if seen["sessions"] < SESSIONS * rounds or seen["answer 200"]:
        raise BenchmarkError(f"not what was meant: {dict(seen)}")
    said = ", ".join(f"{name} {count}" for name, count in sorted(seen.items()))
    note = f"{rounds} rounds of {seconds:g} s; {said}"
    found: dict[str, Figure] = {}
    for share in (50, 99):
        before = [float(np.percentile(one, share)) for one in quiet]
        after = [float(np.percentile(one, share)) for one in watched]
        ratios = [mine / other for mine, other in zip(after, before, strict=True)]
        found[f"onlookers_p{share}"] = figure(after, "µs", note=note)
        found[f"onlookers_none_p{share}"] = figure(before, "µs", note="nobody looks")
        found[f"onlookers_p{share}_ratio"] = figure(
            ratios, "x", note="watched by quiet, round by round"
        )
    return found


if __name__ == "__main__":
    onlookers(sys.argv[1], sys.argv[2], float(sys.argv[3]))
