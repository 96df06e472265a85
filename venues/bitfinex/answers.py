"""Who waits for which answer on one connection to Bitfinex.

A notification does not repeat a number of ours but the order it is about: a new one by its client
id, a known one by its id. The answer to a command about several names none, so that only one such
may be under way. An error of the connection names nobody: then all who wait learn that the outcome
is not known.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from schemas.account import CommandAnswer
from schemas.errors import RateLimitedError, RefusedError, VenueError
from venues.bitfinex.account import FAILURE
from venues.trading import NotSentError


class Answers:
    """Those that are waited for, by command and the order's name."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], asyncio.Future[str]] = {}

    @contextmanager
    def awaited(
        self, command: str, names: Sequence[str]
    ) -> Iterator[Sequence[asyncio.Future[str]]]:
        """Wait for answers, each the id of an order, as long as the context lasts.

        Args:
            names: of the orders, in what the answers repeat; an empty one of several orders.

        Raises:
            NotSentError: one of these is under way already.
        """
        keys = [(command, name) for name in names]
        if len(set(keys)) < len(keys) or any(key in self._waiting for key in keys):
            raise NotSentError(f"{command}: the same is under way")
        loop = asyncio.get_running_loop()
        answers = [loop.create_future() for _ in keys]
        self._waiting |= zip(keys, answers, strict=True)
        try:
            yield answers
        finally:
            for key in keys:
                answer = self._waiting.pop(key)
                if answer.done() and not answer.cancelled():
                    answer.exception()  # seen, if the wait ended before it came

    def take(self, answer: CommandAnswer) -> None:
        """What the venue has answered; late ones of which nobody wants to know are nothing."""
        command = answer.command.removesuffix("-req")
        if not command:
            self.fail(lambda: _error(answer))
            return
        error = None if answer.accepted else _error(answer)
        for name in (answer.client_order_id, answer.order_id, ""):
            if self.settle(command, name, answer.order_id, error):
                return

    def settle(
        self, command: str, name: str, order_id: str, error: VenueError | None = None
    ) -> bool:
        """Give an answer to who waits for it; whether anybody did."""
        waiting = self._waiting.get((command, name))
        if waiting is None or waiting.done():
            return False
        if error is None:
            waiting.set_result(order_id)
        else:
            waiting.set_exception(error)
        return True

    def fail(self, error: Callable[[], Exception]) -> None:
        """No answer will come any more."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error())


def _error(answer: CommandAnswer) -> VenueError:
    """What a bad answer raises: a refusal says that it was not done, anything else does not."""
    text = f"Bitfinex: {answer.code} {answer.text[:80]}"
    if answer.command and answer.code != FAILURE:
        return RefusedError(answer.text[:100], code=answer.code)
    if "ratelimit" in answer.text.lower():
        return RateLimitedError(text, code=answer.code)
    return VenueError(text, code=answer.code)
