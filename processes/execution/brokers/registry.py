"""From settings to brokers: one an account."""

from collections.abc import Callable
from pathlib import Path

from processes.execution.brokers.base import Broker, Events
from processes.execution.brokers.paper import PaperBroker
from processes.execution.gate import SendGate
from schemas.brokers import PaperAccount
from schemas.errors import ConfigError
from schemas.instruments import Instrument
from schemas.settings import Settings
from shm.readers import RingReader


class Brokerage:
    """What brokers are made from.

    Args:
        readers: makes readers of the tapes for a paper account, newest first.
    """

    def __init__(
        self,
        settings: Settings,
        instruments: list[Instrument],
        data: Path,
        events: Events,
        gate: SendGate,
        now_ns: Callable[[], int],
        readers: Callable[[str], list[RingReader]],
    ) -> None:
        self._settings = settings
        self._instruments = instruments
        self._data = data
        self._events = events
        self._gate = gate
        self._now_ns = now_ns
        self._readers = readers

    def brokers(self) -> dict[str, Broker]:
        """All accounts' brokers, by account.

        Raises:
            ConfigError: an account's broker cannot be made.
        """
        return {name: self._make(name) for name in self._settings.execution.accounts}

    def _make(self, name: str) -> Broker:
        account = self._settings.execution.accounts[name]
        if isinstance(account, PaperAccount):
            return self._paper(name)
        raise ConfigError(f"execution.accounts.{name}.broker: only paper can be used yet")

    def _paper(self, name: str) -> PaperBroker:
        quotes = {item.index: item.pair.partition("/")[2] for item in self._instruments}
        return PaperBroker(
            name,
            self._readers(name),
            self._events,
            self._data / f"{name}.sqlite",
            quotes,
            self._settings.execution.paper,
            self._now_ns,
            self._gate,
        )
