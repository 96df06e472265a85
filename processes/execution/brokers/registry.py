"""From settings to brokers: one an account.

What speaks to a network is imported when an account needs it: on paper alone, execution is ready
0.8 s of processor time sooner, at its start and after every crash.
"""

from collections.abc import Callable
from pathlib import Path

from config.secrets import read_secret
from processes.execution.brokers.base import Broker, Events
from processes.execution.brokers.network import BrokerLoop, Session
from processes.execution.brokers.paper import PaperBroker
from processes.execution.gate import SendGate
from processes.live import may_trade
from schemas.brokers import FreqtradeAccount, VenueAccount
from schemas.instruments import Instrument
from schemas.settings import Settings
from shm.readers import RingReader


class Brokerage:
    """What brokers are made from.

    Args:
        readers: makes readers of the tapes for a paper account, newest first.
        healthy: whether execution's main thread is at work.
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
        healthy: Callable[[], bool],
    ) -> None:
        self._healthy = healthy
        self._settings = settings
        self._instruments = instruments
        self._data = data
        self._events = events
        self._gate = gate
        self._now_ns = now_ns
        self._readers = readers

        self._loop = BrokerLoop(events)

    def brokers(self) -> dict[str, Broker]:
        """All accounts' brokers, by account.

        Raises:
            ConfigError: an account's broker cannot be made.
        """
        return {name: self._make(name) for name in self._settings.execution.accounts}

    def _make(self, name: str) -> Broker:
        account = self._settings.execution.accounts[name]
        if isinstance(account, FreqtradeAccount):
            return self._loop.add(name, self._bot(name, account))
        if isinstance(account, VenueAccount) and may_trade(self._data, self._settings, name):
            return self._loop.add(name, self._session(name, account))
        return self._paper(name)

    def _session(self, name: str, account: VenueAccount) -> Session:
        from processes.accounts import open_trading  # noqa: PLC0415
        from processes.execution.brokers.venue import VenueSession  # noqa: PLC0415

        trading = open_trading(name, account, self._settings.rest, self._data, self._now_ns)
        return VenueSession(
            name, trading, self._gate, self._loop.emit, self._now_ns,
            self._healthy, account.dead_man_s,
        )  # fmt: skip

    def _bot(self, name: str, account: FreqtradeAccount) -> Session:
        from processes.execution.brokers.freqtrade.session import FreqtradeSession  # noqa: PLC0415
        from venues.freqtrade.client import Access as BotAccess  # noqa: PLC0415

        return FreqtradeSession(
            name,
            BotAccess(
                account.url,
                account.username,
                read_secret(f"execution.accounts.{name}.password", account.password),
                read_secret(f"execution.accounts.{name}.ws_token", account.ws_token),
            ),
            {item.index: item.pair for item in self._instruments if item.venue == account.venue},
            self._data / f"{name}.sqlite",
            self._loop.emit,
            self._gate,
            self._now_ns,
            live=may_trade(self._data, self._settings, name),
        )

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
