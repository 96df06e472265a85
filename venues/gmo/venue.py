"""GMO Coin as the collector sees it: settings, commands, codecs."""

import numpy as np

from schemas.feeds import GmoSettings
from venues.gmo.codec import GmoCodec
from venues.gmo.subscriptions import command
from venues.markets import Markets
from venues.wire import Allot, Publish, Request, Subscription


class GmoVenue:
    """One process's view of the venue; its markets are shared by all connections."""

    name = "gmo"
    ends_are_confirmed = False

    def __init__(self, settings: GmoSettings, url: str) -> None:
        self.markets = Markets()
        self.command_interval_s = settings.command_interval_s
        self._url = url

    def recover(self, slots: np.ndarray, wanted: list[Subscription]) -> None:
        """Ends of knowledge from the tape's newest slots; trades have no ids to recall."""
        self.markets.recover(slots, wanted)

    def plan(self, wanted: list[Subscription]) -> list[list[Subscription]]:
        """One connection carries all symbols; more would share the same command a second."""
        return [wanted]

    async def address(self, wanted: list[Subscription]) -> str:
        """One address for all public channels."""
        del wanted
        return self._url

    def codec(self, wanted: list[Subscription], publish: Publish, connection: int) -> GmoCodec:
        """A decoder for one connection."""
        return GmoCodec(
            self.markets,
            publish,
            subscriptions=wanted,
            connection=connection,
            # An error that comes after the next command would be taken for that one's.
            settle_s=2 * self.command_interval_s,
        )

    def opening(self, connection: int) -> list[str]:
        """Nothing: the venue takes data commands alone."""
        del connection
        return []

    def subscribe(self, wanted: list[Subscription]) -> list[Request]:
        """A command a stream."""
        return [Request(text=command("subscribe", each), subscriptions=[each]) for each in wanted]

    def unsubscribe(self, subscription: Subscription, channel_id: int) -> str:
        """The command to end one."""
        del channel_id
        return command("unsubscribe", subscription)

    def ping(self) -> str:
        """The venue pings us, once a minute."""
        return ""


def open_venue(settings: GmoSettings, url: str) -> GmoVenue:
    """The venue as the collector sees it."""
    return GmoVenue(settings, url)


def open_recording(publish: Publish, allot: Allot) -> GmoCodec:
    """A decoder for recorded frames, of streams that nobody here asked for."""
    return GmoCodec(Markets(), publish, allot=allot, tolerant=True)
