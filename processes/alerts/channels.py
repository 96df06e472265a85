"""Channels and the heartbeat: what each is told now, one message at a time each.

A channel has one courier at work at the most, so one that hangs costs itself `timeout_s` a try and
the others nothing. What waits for it meanwhile stands in the book, which has its own bounds.
"""

from collections.abc import Callable, Sequence
from typing import Final

from config.secrets import read_address
from processes.alerts.book import Book, Item
from processes.alerts.courier import Errand, Outcome
from processes.alerts.delivery import Delivery
from processes.alerts.messages import body_of, title_of, type_of
from processes.clock import monotonic_s
from processes.logs import Log
from schemas.alerts import AlertSettings, HeartbeatSettings
from schemas.errors import ConfigError

TEST_TITLE: Final = "test"
TEST_BODY: Final = "This is a test of dcctl alert test. Nothing is wrong."


class Channel:
    """One channel and its courier."""

    def __init__(self, name: str, settings: AlertSettings, label: str) -> None:
        self.name = name
        self.told = 0
        self.failed = 0
        self._settings = settings.channels[name]
        self._label = label
        self._delivery: Delivery | None = None
        self._items: Sequence[Item] = ()
        self._is_test = False
        self._test_wanted = False
        self.tested: Outcome | None = None
        """What came of the last test; None while it is under way."""

    def test(self) -> None:
        """Send a test next."""
        self._test_wanted, self.tested = True, None

    def turn(self, book: Book, now_ns: int) -> Outcome | None:
        """Look after the courier, or send one; what came of a message, when something did."""
        if self._delivery is not None:
            return self._look(book, now_ns)
        if self._test_wanted:
            self._test_wanted, self._is_test = False, True
            return self._send(f"{self._label}: {TEST_TITLE}", TEST_BODY)
        if items := book.next_message(self.name, now_ns):
            self._is_test, self._items = False, items
            outcome = self._send(title_of(self._label, items), body_of(items), type_of(items))
            if outcome is not None:
                self._count(book, outcome, now_ns)
            return outcome
        return None

    @property
    def is_busy(self) -> bool:
        """Whether a courier is at work."""
        return self._delivery is not None

    def _send(self, title: str, body: str, kind: str = "info") -> Outcome | None:
        try:
            url = read_address(f"alerts.channels.{self.name}.url", self._settings.url)
        except ConfigError as error:
            outcome = Outcome(str(error))
            self.tested = outcome if self._is_test else self.tested
            return outcome
        self._delivery = Delivery(
            Errand(
                kind="notify", url=url, timeout_s=self._settings.timeout_s, title=title, body=body,
                type=kind,  # type: ignore[arg-type]
            )
        )  # fmt: skip
        return None

    def _look(self, book: Book, now_ns: int) -> Outcome | None:
        assert self._delivery is not None
        if not self._delivery.is_over():
            return None
        outcome = self._delivery.outcome()
        self.end()
        if self._is_test:
            self.tested = outcome
        else:
            self._count(book, outcome, now_ns)
        return outcome

    def _count(self, book: Book, outcome: Outcome, now_ns: int) -> None:
        if outcome.reason:
            self.failed += 1
            book.refused(self.name, outcome.reason, now_ns)
        else:
            self.told += 1
            book.taken(self.name, self._items, now_ns)

    def end(self) -> None:
        """End the courier."""
        if self._delivery is not None:
            self._delivery.end()
            self._delivery = None


class Heartbeat:
    """Fetches an address again and again while all is well."""

    def __init__(self, settings: HeartbeatSettings, log: Log) -> None:
        self.taken = 0
        self.failed = 0
        self.reason = ""
        self._settings = settings
        self._log = log
        self._delivery: Delivery | None = None
        self._next_s = 0.0

    def turn(self, is_well: Callable[[], bool]) -> None:
        """Look after the courier, or send one."""
        if self._delivery is not None:
            if self._delivery.is_over():
                self._note(self._delivery.outcome().reason)
                self.end()
            return
        if not self._settings.url or monotonic_s() < self._next_s or not is_well():
            return
        self._next_s = monotonic_s() + self._settings.every_s
        try:
            url = read_address("alerts.heartbeat.url", self._settings.url)
        except ConfigError as error:
            self._note(str(error))
            return
        errand = Errand(kind="fetch", url=url, timeout_s=self._settings.timeout_s)
        self._delivery = Delivery(errand)

    def _note(self, reason: str) -> None:
        self.taken += not reason
        self.failed += bool(reason)
        if reason != self.reason:
            (self._log.warning if reason else self._log.info)("heartbeat", reason=reason or "taken")
        self.reason = reason

    def end(self) -> None:
        """End the courier."""
        if self._delivery is not None:
            self._delivery.end()
            self._delivery = None
