"""The sender against a real influxd behind version 2's write interface, with every fault there is:
nothing lost, nothing doubled, refused lines put aside exactly."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from processes.clock import Clock, measure_offset_ns
from processes.influx import client as client_module
from processes.influx.accumulator import Batch
from processes.influx.client import Writer, answer_of, ping, read_token
from processes.influx.dead_letters import DeadLetters, read_letters
from processes.influx.lines import Bucket
from processes.influx.link import LinkState
from processes.influx.sender import DAY_NS, Sender
from processes.influx.spool import Spool
from schemas.errors import OperatorError
from schemas.settings import InfluxSettings
from tests.helpers import wait_until
from tests.influx_shim import TOKEN, Shim, influx_shim
from tests.servers import free_port

NOW = Clock(measure_offset_ns()).now_ns()
BASE = NOW // 10**9 * 10**9 - 3600 * 10**9


@pytest.fixture(scope="module")
def server() -> Iterator[Shim]:
    with influx_shim() as made:
        yield made


@pytest.fixture
def shim(server, monkeypatch) -> Shim:
    """The module's server, empty and without faults."""
    monkeypatch.setenv("DC_TEST_TOKEN", TOKEN)
    for bucket in ("rt-fast", "agg-30s", "logs"):
        server.upstream.ask(f'DROP DATABASE "{bucket}"')
    server.make_databases()
    server.strict, server.token, server.body_max = True, TOKEN, 50_000_000
    server.statuses.clear()
    server.requests.clear()
    server.always, server.broken = 0, False
    server.hang.set()
    return server


class Rig:
    """A spool and its sender in a thread."""

    def __init__(self, folder: Path, shim: Shim, **settings: Any) -> None:
        self.settings = msgspec.convert(shim.settings(**settings), InfluxSettings)
        self.folder = folder
        self.spool = Spool(folder, 100_000, 50_000_000, NOW)
        self.letters = DeadLetters(folder, 1_000_000)
        self.writer = Writer(self.settings)
        self.sender = Sender(self.spool, self.letters, self.writer, self.settings, lambda: NOW)
        self.fed: list[tuple[int, int]] = []
        self._next = 0

    def feed(self, count: int, *, wrong: dict[int, bytes] | None = None, bucket=Bucket.FAST):
        """A batch of points; those numbered in `wrong` are replaced."""
        lines = []
        for index in range(count):
            number = self._next
            self._next += 1
            line = b"m,s=%d v=%di %d" % (number % 7, number, BASE + number)
            if wrong and index in wrong:
                line = wrong[index]
            else:
                self.fed.append((BASE + number, number))
            lines.append(line)
        self.spool.append(Batch(bucket, b"\n".join(lines), count, BASE + self._next))

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.sender.run)
        thread.start()
        try:
            yield
        finally:
            self.sender.stop()
            thread.join()
            self.writer.close()

    def drain(self, deadline_s: float = 30) -> None:
        wait_until(lambda: self.spool.is_empty, deadline_s, "the spool is empty")

    def check(self, shim: Shim, bucket: str = "rt-fast") -> None:
        """The server holds each point once, and no other."""
        stored = [(row["time"], row["v"]) for row in shim.rows(bucket, "m")]
        assert Counter(stored) == Counter(self.fed)

    def refused(self) -> list[str]:
        letters = read_letters(self.folder)
        return [line for letter in letters for one in letter.refused for line in one.lines]


def test_what_waited_is_sent_once_and_nothing_is_left(tmp_path, shim):
    rig = Rig(tmp_path, shim)
    for _ in range(5):
        rig.feed(1000)
    with rig.running():
        rig.drain()
    rig.check(shim)
    assert [status for status, *_ in shim.requests] == [204] * 5
    assert rig.sender.sent_lines == 5000
    assert rig.sender.link.state is LinkState.OK


def test_a_server_that_is_killed_comes_back_to_everything(tmp_path, shim):
    rig = Rig(tmp_path, shim)
    with rig.running():
        rig.feed(500)
        rig.drain()
        shim.upstream.kill()
        for _ in range(6):
            rig.feed(500)
        wait_until(lambda: rig.sender.link.state is LinkState.BACKOFF, what="it backs off")
        assert rig.spool.pending.bytes > 0
        shim.upstream.start()
        rig.feed(500)
        rig.drain()
    rig.check(shim)
    assert rig.sender.sent_lines == 4000


def test_a_server_that_is_not_there_at_all(tmp_path, shim):
    rig = Rig(tmp_path, shim, url=f"http://127.0.0.1:{free_port()}")
    rig.feed(10)
    with rig.running():
        wait_until(lambda: rig.sender.failures >= 3, what="it tries again and again")
    assert rig.sender.link.reason.endswith("Connection refused")
    assert rig.spool.pending.bytes > 0


def test_a_frozen_server_costs_a_timeout_and_no_line(tmp_path, shim):
    rig = Rig(tmp_path, shim, timeout_s=0.3)
    rig.feed(300)
    shim.upstream.freeze()
    try:
        with rig.running():
            wait_until(lambda: rig.sender.failures >= 2, what="two timeouts")
            assert "imeout" in rig.sender.link.reason
            shim.upstream.thaw()
            rig.feed(300)
            rig.drain()
    finally:
        shim.upstream.thaw()
    rig.check(shim)


def test_a_slow_server_gets_one_request_at_a_time(tmp_path, shim):
    rig = Rig(tmp_path, shim, timeout_s=20.0)
    rig.feed(100)
    shim.hang.clear()
    with rig.running():
        for _ in range(5):
            rig.feed(100)
        assert rig.spool.pending.bytes > 0
        assert shim.requests == []
        shim.hang.set()
        rig.drain()
    rig.check(shim)
    assert len(shim.requests) == 6


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_server_that_is_full_is_asked_later(tmp_path, shim, status):
    rig = Rig(tmp_path, shim)
    shim.statuses += [(status, {"Retry-After": "0"})] * 3
    rig.feed(200)
    with rig.running():
        rig.drain()
    rig.check(shim)
    assert [one for one, *_ in shim.requests] == [status] * 3 + [204]


def test_retry_after_is_obeyed(tmp_path, shim):
    rig = Rig(tmp_path, shim)
    shim.statuses.append((429, {"Retry-After": "1"}))
    rig.feed(5)
    with rig.running():
        wait_until(lambda: rig.sender.link.state is LinkState.BACKOFF)
        assert rig.sender.link._until_s - rig.sender._refilled_s > 0.9
        rig.drain()
    rig.check(shim)


def test_a_broken_answer_is_no_answer(tmp_path, shim):
    """The points are stored, the sender cannot know it: they overwrite themselves."""
    rig = Rig(tmp_path, shim)
    shim.broken = True
    rig.feed(400)
    with rig.running():
        wait_until(lambda: rig.sender.failures >= 2)
        assert rig.sender.link.reason.startswith("BadStatusLine: ")
        shim.broken = False
        rig.drain()
    rig.check(shim)
    assert len(shim.requests) >= 3


def test_a_body_that_is_too_large_goes_in_parts(tmp_path, shim):
    rig = Rig(tmp_path, shim)
    shim.body_max = 5000
    rig.feed(2000)
    with rig.running():
        rig.drain()
    rig.check(shim)
    assert rig.refused() == []


@pytest.mark.parametrize("strict", [True, False])
def test_one_bad_line_of_five_thousand_is_put_aside_alone(tmp_path, shim, strict):
    """Version 2 refuses the batch whole, version 1 stores the other lines: both end the same."""
    shim.strict = strict
    rig = Rig(tmp_path, shim)
    rig.feed(5000, wrong={1234: b"m,s=1 v=notanumber 5"})
    rig.feed(50)
    with rig.running():
        rig.drain()
    rig.check(shim)
    assert rig.refused() == ["m,s=1 v=notanumber 5"]
    (letter,) = read_letters(tmp_path)
    assert letter.bucket == "rt-fast"
    assert "unable to parse" in letter.refused[0].message
    assert rig.letters.lines == 1
    assert rig.sender.sent_lines == 5049
    assert len(shim.requests) <= 28


def test_a_field_of_another_type_is_put_aside_alone(tmp_path, shim):
    rig = Rig(tmp_path, shim)
    rig.feed(100)
    with rig.running():
        rig.drain()
        wrong = b'm,s=3 v="text" %d' % (BASE + 10**9)
        rig.feed(1000, wrong={77: wrong})
        rig.drain()
    rig.check(shim)
    assert rig.refused() == [wrong.decode()]
    assert "field type conflict" in read_letters(tmp_path)[0].refused[0].message


def test_a_wrong_token_holds_everything_until_it_is_mended(tmp_path, shim, monkeypatch):
    monkeypatch.setenv("DC_TEST_TOKEN", "stale")
    rig = Rig(tmp_path, shim)
    rig.feed(300)
    with rig.running():
        wait_until(lambda: rig.sender.link.state is LinkState.HELD)
        rig.feed(300)
        assert rig.sender.link.reason == "unauthorized access"
        assert "stale" not in rig.sender.link.reason
        monkeypatch.setenv("DC_TEST_TOKEN", TOKEN)
        rig.drain()
    rig.check(shim)


def test_a_bucket_that_is_not_there_holds_everything(tmp_path, shim):
    rig = Rig(tmp_path, shim)
    shim.upstream.ask('DROP DATABASE "rt-fast"')
    rig.feed(300)
    with rig.running():
        wait_until(lambda: rig.sender.link.state is LinkState.HELD)
        assert "not found" in rig.sender.link.reason
        shim.make_databases()
        rig.drain()
    rig.check(shim)


def test_what_is_older_than_its_bucket_keeps_is_not_sent(tmp_path, shim):
    rig = Rig(tmp_path, shim)
    for days, bucket in ((8, Bucket.FAST), (8, Bucket.AGGREGATES), (31, Bucket.AGGREGATES)):
        when = NOW - days * DAY_NS
        rig.spool.append(Batch(bucket, b"m v=%di %d" % (days, when), 1, when))
    with rig.running():
        rig.drain()
    assert [row["v"] for row in shim.rows("agg-30s", "m")] == [8]
    assert shim.rows("rt-fast", "m") == []
    assert rig.sender.expired_lines == 2


def test_a_backlog_is_sent_at_its_rate_beside_what_is_new(tmp_path, shim):
    first = Rig(tmp_path, shim)
    for _ in range(20):
        first.feed(100)
    rig = Rig(tmp_path, shim, replay_lines_per_s=400)  # the first is gone: all of it is backlog
    rig.fed, rig._next = first.fed, first._next
    with rig.running():
        wait_until(lambda: rig.sender.sent_lines > 0)
        rig.feed(100)
        wait_until(lambda: rig.spool.next_live() is None, 5, "the new batch is sent")
        assert rig.spool.pending.backlog_bytes > 0
        rig.sender.hurry()
        rig.drain()
    rig.check(shim)


def test_a_crash_between_a_letter_and_its_batch_writes_no_letter_twice(tmp_path, shim):
    rig = Rig(tmp_path, shim)
    rig.feed(20, wrong={3: b"nonsense"})
    record = rig.spool.next_live()
    rig.spool.done = lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        rig.sender.turn()
    rig.writer.close()
    with (tmp_path / "refused.jsonl").open("ab") as file:
        file.write(b'{"torn":')
    again = Rig(tmp_path, shim)
    again.fed = rig.fed
    with again.running():
        again.drain()
    again.check(shim)
    assert again.refused() == ["nonsense"]
    assert again.letters.lines == 1
    assert record is not None


def test_a_full_file_of_letters_replaces_the_one_before(tmp_path, shim):
    rig = Rig(tmp_path, shim)
    rig.letters = rig.sender.letters = DeadLetters(tmp_path, 10_000)
    for _ in range(30):
        rig.feed(2, wrong={0: b"x" * 1000, 1: b"y"})
    with rig.running():
        rig.drain()
    sizes = [path.stat().st_size for path in tmp_path.glob("refused.jsonl*")]
    assert len(sizes) == 2
    assert max(sizes) <= 10_000
    assert rig.letters.lines == 60


def test_a_disk_that_takes_no_letter_forgets_nothing(tmp_path, shim, monkeypatch):
    rig = Rig(tmp_path, shim)
    monkeypatch.setattr("processes.influx.sender.DISK_PAUSE_S", 0.01)
    real = rig.letters.write
    tries = []

    def full(*arguments):
        tries.append(1)
        if len(tries) < 3:
            raise OSError(28, "No space left on device")
        real(*arguments)

    rig.letters.write = full
    rig.feed(20, wrong={3: b"nonsense"})
    with rig.running():
        rig.drain()
    rig.check(shim)
    assert rig.refused() == ["nonsense"]


def test_a_remote_server_gets_gzip(tmp_path, shim, monkeypatch):
    monkeypatch.setattr(client_module, "LOOPBACK", frozenset())
    rig = Rig(tmp_path, shim)
    rig.feed(1000)
    with rig.running():
        rig.drain()
    rig.check(shim)


def test_the_token_comes_from_the_environment_or_a_file_of_ones_own(tmp_path):
    path = tmp_path / "token"
    settings = InfluxSettings(token_file=str(path))
    with pytest.raises(OperatorError, match="no such file"):
        read_token(settings)
    path.write_text("hidden\n")
    path.chmod(0o644)
    with pytest.raises(OperatorError, match="chmod 600") as caught:
        read_token(settings)
    assert "hidden" not in str(caught.value)
    path.chmod(0o600)
    assert read_token(settings) == "hidden"
    path.write_text("")
    with pytest.raises(OperatorError, match="is empty"):
        read_token(settings)
    named = InfluxSettings(token="${SOME_NAME}")
    assert read_token(named, {"SOME_NAME": "hidden"}) == "hidden"
    with pytest.raises(OperatorError, match="export SOME_NAME"):
        read_token(named, {})


def test_what_an_error_says_is_its_message_and_how_long_to_wait():
    body = json.dumps({"code": "x", "message": "y" * 900})
    assert answer_of(429, body, {"Retry-After": "7"}) == (429, "y" * 500, 7.0)
    assert answer_of(400, '{"error":"v1"}', None) == (400, "v1", 0.0)
    assert answer_of(502, "<html>", {"retry-after": "Wed, 21 Oct"}) == (502, "<html>", 0.0)
    assert answer_of(500, None, {}) == (500, "HTTP 500", 0.0)


def test_a_ping_gives_the_version_or_nothing(shim):
    assert ping(InfluxSettings(url=shim.url)) == "shim"
    assert ping(InfluxSettings(url=f"http://127.0.0.1:{free_port()}")) == ""
