"""The connection to Redis: its address, its timeouts, and when it is tried again.

Every call has a deadline, nothing is repeated behind the caller's back, and after a failure Redis
is left alone for a while. The password is taken from the environment here and stays here.
"""

import random
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from processes.backoff import Backoff
from processes.clock import monotonic_s
from schemas.errors import ConfigError
from schemas.settings import BridgeSettings

FAILURES: Final = (redis.RedisError, OSError)
"""What a call may raise when Redis is gone, slow, full, or will not."""
CLIENT_NAME: Final = "data-controller-bridge"


def address(url: str, environment: Mapping[str, str]) -> str:
    """The URL with what it names of the environment.

    Raises:
        ConfigError: a variable is not set.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise ConfigError(
                f"bridge.url names ${{{found[1]}}}, which is not set: export {found[1]}"
            )
        # Left as it is, a slash or an @ in a password would make a part of it the host.
        return quote(environment[found[1]], safe="")

    return re.sub(r"\$\{(\w+)\}", value, url)


class Packer:
    """A command as Redis reads it (RESP), packed in one go.

    In the client's own way, a buffer that grows by each word, goes most of an entry's time.
    """

    def pack(self, *words: bytes | str | float) -> list[bytes]:
        """The bytes of one command; its name may be of two words."""
        name = words[0] if isinstance(words[0], bytes) else str(words[0]).encode()
        packed = [b"$%d\r\n%b\r\n" % (len(part), part) for part in name.split()]
        for word in words[1:]:
            raw = word if isinstance(word, bytes) else str(word).encode()
            packed.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
        return [b"*%d\r\n%b" % (len(packed), b"".join(packed))]


class Link:
    """A Redis that may be away.

    Raises:
        ConfigError: as `address`.
    """

    def __init__(
        self, settings: BridgeSettings, environment: Mapping[str, str], draw: random.Random
    ) -> None:
        self.client: redis.Redis = redis.Redis.from_url(
            address(settings.url, environment),
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            # A repeated write could be a doubled one; whoever calls knows what to repeat.
            retry=Retry(NoBackoff(), 0),
            client_name=CLIENT_NAME,
            protocol=2,
            command_packer=Packer(),
        )
        self.failures = 0
        self.trouble = ""
        """Why Redis cannot be used now; empty while it can."""
        self._backoff = Backoff(settings.backoff_first_s, settings.backoff_longest_s, draw)
        self._not_before_s = 0.0

    def due(self) -> bool:
        """Whether it may be tried."""
        return monotonic_s() >= self._not_before_s

    def failed(self, error: Exception) -> bool:
        """A call has failed; True if the one before had not."""
        news = not self.trouble
        # Of a pipeline's error only what Redis said: the client writes the whole command before it.
        said = str(error).rpartition("caused error: ")[2]
        self.trouble = f"{type(error).__name__}: {said}"[:120]
        self.failures += 1
        self._not_before_s = monotonic_s() + self._backoff.next_s()
        # An answer that comes late must not be taken for that of another question.
        self.client.connection_pool.disconnect()
        return news

    def succeeded(self) -> bool:
        """A call was answered; True if the one before was not."""
        news = bool(self.trouble)
        self.trouble = ""
        self._backoff.succeeded()
        return news

    def close(self) -> None:
        """Give the connections up."""
        self.client.close()
