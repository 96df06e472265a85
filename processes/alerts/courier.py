"""One message to one channel, in a process of its own, which whoever waits for it may kill.

usage: python -m processes.alerts.courier     with one `Errand` as a line of JSON on standard input

The input stays open for as long as somebody wants the message to be sent: at its end this process
and all that a channel's library has started end at once, and after the errand's time in any case.
Addresses come by the input alone, never by the command line, and nothing that a library says goes
out: of a failure only what `Outcome` can hold.
"""

import logging
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Final, Literal

import msgspec
from msgspec import Struct

from processes.guard import when_alone

CODE: Final = re.compile(r"error=(\d{3})\b")
UNKNOWN: Final = "Apprise knows no such address, or something is missing in it"
REFUSED: Final = "it was not taken: refused, or nobody there"
GRACE_S: Final = 1.0
Type = Literal["info", "success", "warning", "failure"]


class Errand(Struct, frozen=True, kw_only=True):
    """What is to be done."""

    kind: Literal["notify", "fetch"]
    url: str
    timeout_s: float
    title: str = ""
    body: str = ""
    type: Type = "info"


class Outcome(Struct, frozen=True):
    """What came of it: empty = it was taken; else why not, without a word of the address."""

    reason: str = ""


class _Codes(logging.Handler):
    """HTTP codes that a library logs; the rest of its words may hold the address."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found = ""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(ValueError, TypeError):
            code = CODE.search(record.getMessage())
            self.found = code[1] if code else self.found


def _notify(errand: Errand) -> Outcome:
    # A fifth of a second that nobody else should wait for.
    import apprise  # noqa: PLC0415

    logger, codes = logging.getLogger("apprise"), _Codes()
    logger.handlers, logger.propagate = [codes], False
    asset = apprise.AppriseAsset(
        app_id="Data Controller",
        app_desc="Data Controller",
        async_mode=False,
        secure_logging=True,
        storage_mode=apprise.PersistentStoreMode.MEMORY,  # it would keep tokens on disk
    )
    channel = apprise.Apprise.instantiate(errand.url, asset=asset)
    if channel is None:
        return Outcome(UNKNOWN)
    taken = channel.notify(title=errand.title, body=errand.body, notify_type=errand.type)
    if taken:
        return Outcome()
    return Outcome(f"it answered with error {codes.found}" if codes.found else REFUSED)


def _fetch(errand: Errand) -> Outcome:
    try:
        with urllib.request.urlopen(errand.url, timeout=errand.timeout_s) as answer:  # noqa: S310
            answer.read(1)
    except urllib.error.HTTPError as error:
        return Outcome(f"it answered with error {error.code}")
    except (OSError, ValueError) as error:
        return Outcome(f"nobody there ({type(error).__name__})")
    return Outcome()


def _end_all() -> None:
    """End this process and those that it started."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Do the errand, print the outcome."""
    errand = msgspec.json.decode(sys.stdin.buffer.readline(), type=Errand)
    signal.signal(signal.SIGALRM, lambda *_: _end_all())
    signal.setitimer(signal.ITIMER_REAL, errand.timeout_s + GRACE_S)
    when_alone(sys.stdin.fileno(), _end_all)
    try:
        outcome = _notify(errand) if errand.kind == "notify" else _fetch(errand)
    except Exception as error:  # noqa: BLE001  (a hundred libraries; none may say more than this)
        outcome = Outcome(f"it failed ({type(error).__name__})")
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
    sys.stdout.buffer.flush()
    os._exit(0)  # the watching thread sits in a read


if __name__ == "__main__":
    main()
