"""From wanted to acknowledged: the loop that drives one connection's subscriptions.

The wanted set comes from the configuration and is never derived from what is live. The state of
each stream is written down here; whatever is neither acknowledged nor on its way is asked for.
"""

from enum import Enum
from math import inf

from msgspec import Struct

from venues.wire import Subscription


class State(Enum):
    """Where a subscription stands."""

    WANTED = "wanted"
    ASKED = "asked"
    LIVE = "live"
    ENDING = "ending"
    REFUSED = "refused"


class Entry(Struct):
    """One subscription's state, since when, and its channel."""

    subscription: Subscription
    state: State = State.WANTED
    since_s: float = 0.0
    channel_id: int = 0
    text: str = ""
    tries: int = 0
    """Requests sent on this connection without an answer."""
    retry_s: float = inf
    """When a stream that was never answered is asked for again."""


class Desk:
    """All subscriptions of one connection.

    Args:
        timeout_s: a request that is not answered for this long is sent again, up to `tries` times.
            Then the stream counts as refused (Bitfinex never answers for a `deriv:` key that does
            not exist) and is asked for every `retry_s`, with nobody waiting for it.
    """

    def __init__(
        self,
        wanted: list[Subscription],
        timeout_s: float,
        *,
        tries: int = 3,
        retry_s: float = 600.0,
    ) -> None:
        self._entries = [Entry(subscription) for subscription in wanted]
        self._timeout_s = timeout_s
        self._tries = tries
        self._retry_s = retry_s

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, subscription: Subscription) -> None:
        """Want one more."""
        self._entries.append(Entry(subscription))

    def take_out(self, subscription: Subscription) -> None:
        """Want one no longer."""
        self._entries = [e for e in self._entries if e.subscription is not subscription]

    def reset(self) -> None:
        """A new connection: everything is to be asked for, refused ones too.

        What was never answered is still waited for by nobody.
        """
        for entry in self._entries:
            entry.channel_id, entry.tries = 0, 0
            if entry.retry_s < inf:
                entry.state, entry.retry_s = State.REFUSED, 0.0
            else:
                entry.state, entry.text = State.WANTED, ""

    def due(self, now_s: float) -> list[Subscription]:
        """What to ask for now: the wanted, and requests that were never answered.

        Time runs for a request from `sent`: it may have to wait for its turn.
        """
        found = []
        for entry in self._entries:
            again = self._is_late(entry, now_s) and entry.tries < self._tries
            if entry.state == State.WANTED or again:
                entry.state, entry.since_s = State.ASKED, inf
                entry.tries += 1
                found.append(entry.subscription)
            elif entry.state == State.REFUSED and now_s >= entry.retry_s:
                entry.retry_s = now_s + self._retry_s
                found.append(entry.subscription)
        return found

    def give_up(self, now_s: float) -> list[Subscription]:
        """Take streams that were asked for often enough as refused; those that are news."""
        found = []
        for entry in self._entries:
            if self._is_late(entry, now_s) and entry.tries >= self._tries:
                entry.state, entry.retry_s = State.REFUSED, now_s + self._retry_s
                entry.text = f"no answer to {entry.tries} requests"
                found.append(entry.subscription)
        return found

    def sent(self, subscription: Subscription, now_s: float) -> None:
        """A request, or the end of one, has gone out."""
        for entry in self._of(subscription):
            entry.since_s = now_s

    def any_asked(self) -> bool:
        """Whether a request has gone out on this connection."""
        return any(
            entry.state is not State.WANTED and entry.since_s != inf for entry in self._entries
        )

    def is_stuck(self, now_s: float) -> bool:
        """An unsubscription was never confirmed: only a new connection helps."""
        return any(
            entry.state == State.ENDING and now_s - entry.since_s > self._timeout_s
            for entry in self._entries
        )

    def acknowledged(self, subscription: Subscription, channel_id: int) -> None:
        """The venue sends it."""
        for entry in self._of(subscription):
            entry.state, entry.channel_id, entry.text = State.LIVE, channel_id, ""
            entry.tries, entry.retry_s = 0, inf

    def refused(self, subscription: Subscription, text: str, *, permanent: bool) -> None:
        """The venue will not send it; a passing refusal is asked again after the timeout."""
        for entry in self._of(subscription):
            entry.state = State.REFUSED if permanent else State.ASKED
            entry.text, entry.tries, entry.retry_s = text, 0, inf

    def ending(self, subscription: Subscription) -> None:
        """An unsubscription is on its way; it is asked for again once that is confirmed."""
        for entry in self._of(subscription):
            entry.state, entry.since_s = State.ENDING, inf

    def ended(self, channel_id: int) -> None:
        """The venue has stopped sending a channel."""
        for entry in self._entries:
            if entry.channel_id == channel_id and entry.state == State.ENDING:
                entry.state, entry.channel_id = State.WANTED, 0

    def counts(self) -> tuple[int, int, int]:
        """(acknowledged, refused, all)."""
        states = [entry.state for entry in self._entries]
        return states.count(State.LIVE), states.count(State.REFUSED), len(states)

    def entries(self) -> list[Entry]:
        """Each of them as it stands."""
        return list(self._entries)

    def refusals(self) -> list[str]:
        """What was refused and why."""
        return [
            f"{e.subscription.instrument.symbol} {e.subscription.stream.channel}: {e.text}"
            for e in self._entries
            if e.state == State.REFUSED
        ]

    def _is_late(self, entry: Entry, now_s: float) -> bool:
        return entry.state == State.ASKED and now_s - entry.since_s > self._timeout_s

    def _of(self, subscription: Subscription) -> list[Entry]:
        return [entry for entry in self._entries if entry.subscription is subscription]
