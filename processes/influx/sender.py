"""The sender: one thread that brings batches from the spool to the server, oldest first.

New batches go before the backlog, which is sent beside them at a limited rate; while a server is
being probed the oldest batch goes alone. It never raises for what a server does, never sends two
requests at once, and forgets a batch only when the server has it, its lines are put aside, or they
are older than their bucket keeps.
"""

import random
import threading
from collections.abc import Callable
from typing import Final, Protocol

from processes.clock import monotonic_s
from processes.influx.dead_letters import DeadLetters
from processes.influx.lines import Bucket
from processes.influx.link import Link, LinkState
from processes.influx.shipment import Answer, Meaning, meaning_of, ship
from processes.influx.spool import Record, Spool
from schemas.settings import BucketSettings, InfluxSettings

DAY_NS: Final = 86_400_000_000_000
IDLE_S: Final = 0.02
DISK_PAUSE_S: Final = 1.0


class Writes(Protocol):
    """Whatever brings a body to a bucket."""

    def write(self, bucket: str, body: bytes) -> Answer:
        """One request."""


class Sender:
    """Sends one spool. `run` is a thread's; everything else may be read by another.

    Args:
        now_ns: the clock. observe: told how long each request took, in ns.
    """

    def __init__(
        self,
        spool: Spool,
        letters: DeadLetters,
        writer: Writes,
        settings: InfluxSettings,
        now_ns: Callable[[], int],
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.sent_lines = 0
        self.expired_lines = 0
        self.failures = 0
        self.spool = spool
        self.letters = letters
        self.link = Link(
            settings.backoff_first_s, settings.backoff_longest_s, settings.hold_s, random.random
        )
        self._writer = writer
        self._settings = settings
        self._now_ns = now_ns
        self._observe = observe
        self._unlimited = False
        self._allowance = 0.0
        self._refilled_s = monotonic_s()
        self._stopping = threading.Event()

    # ---- for others

    def stop(self) -> None:
        """End `run` after the request that is under way."""
        self._stopping.set()

    def hurry(self) -> None:
        """Send what waits as fast as the server takes it, and try now."""
        self._unlimited = True
        self.link.hurry()

    # ---- the thread

    def run(self) -> None:
        """Send until told to stop."""
        while not self._stopping.is_set():
            try:
                if not self.turn():
                    self._stopping.wait(IDLE_S)
            except OSError:
                # The disk does not take a refused line or give a batch: nothing is forgotten.
                self.failures += 1
                self._stopping.wait(DISK_PAUSE_S)

    def turn(self) -> bool:
        """Send what may be sent now, a batch of either kind at most; False if there was nothing.

        Raises:
            OSError: the disk failed; the batch stays.
        """
        now_s = monotonic_s()
        self._refill(now_s)
        if not self.link.may_send(now_s):
            return False
        if self.link.state is LinkState.PROBING:
            record = self.spool.next_backlog() or self.spool.next_live()
            return record is not None and self._send(record)
        live = self.spool.next_live()
        went = live is not None and self._send(live)
        if self.link.state is LinkState.OK and (self._unlimited or self._allowance > 0):
            waiting = self.spool.next_backlog()
            if waiting is not None:
                self._allowance -= waiting.batch.lines
                went = self._send(waiting) or went
        return went

    def _refill(self, now_s: float) -> None:
        rate = self._settings.replay_lines_per_s
        self._allowance = min(self._allowance + rate * (now_s - self._refilled_s), float(rate))
        self._refilled_s = now_s

    def _bucket(self, bucket: Bucket) -> BucketSettings:
        buckets = self._settings.buckets
        return (buckets.fast, buckets.aggregates, buckets.logs)[bucket]

    def _send(self, record: Record) -> bool:
        batch, bucket = record.batch, self._bucket(record.batch.bucket)
        if batch.newest_ns < self._now_ns() - bucket.days * DAY_NS:
            self.expired_lines += batch.lines
            self.spool.done(record)
            return True
        shipped = ship(
            batch.body, lambda body: self._request(bucket.name, body), self._settings.extra_requests
        )
        answer, now_s = shipped.answer, monotonic_s()
        if shipped.meaning is Meaning.LATER:
            self.link.failed(now_s, answer.message, answer.retry_after_s)
            return False
        if shipped.meaning is Meaning.NOT_ALLOWED:
            self.link.not_allowed(now_s, answer.message)
            return False
        refused = sum(len(one.lines) for one in shipped.refused)
        if refused:
            self.letters.write(record, bucket.name, shipped.refused, self._now_ns())
        self.spool.done(record)
        self.sent_lines += batch.lines - refused
        if self.link.taken():
            self.spool.split()
        return True

    def _request(self, bucket: str, body: bytes) -> Answer:
        began_s = monotonic_s()
        answer = self._writer.write(bucket, body)
        self._observe(int((monotonic_s() - began_s) * 1e9))
        if meaning_of(answer.status) is not Meaning.TAKEN:
            self.failures += 1
        return answer
