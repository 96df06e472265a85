"""The real Freqtrade for tests: offline, on loopback, in a process and a folder of its own.

`.ci/run` makes its environment and names its program by DC_FREQTRADE; without that a test that
wants it skips by name, and fails in CI. It trades nothing real: dry-run, or, when a test asks for
it, its live mode with invented keys against a venue whose address is on loopback.
"""

import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.planted import plant, plant_base64
from tests.servers import Server, free_port, server_folder

START_S = 90.0
"""Two seconds when its byte code is compiled, ten when it is not, more on a busy machine."""
STOP_S = 10.0
USER = "exec"
STRATEGY = '''
from freqtrade.strategy import IStrategy


class {name}(IStrategy):
    """Does nothing by itself: entries and exits come over REST."""

    INTERFACE_VERSION = 3
    timeframe = "5m"
    minimal_roi = {{}}
    stoploss = -0.99
    use_exit_signal = False
    can_short = False
    position_adjustment_enable = False

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe["enter_long"] = 0
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe["exit_long"] = 0
        return dataframe
'''


def freqtrade_program() -> str:
    """The program's path; skips the test without one, fails it in CI."""
    path = os.environ.get("DC_FREQTRADE", "")
    if path:
        assert Path(path).is_file(), f"DC_FREQTRADE={path} is no program"
        return path
    missing = "DC_FREQTRADE names no Freqtrade program (.ci/run makes one)"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def config_of(
    venue_url: str, port: int, keys: dict[str, str] | None = None, **changes: Any
) -> dict[str, Any]:
    """The bot's settings; `changes` are laid over the uppermost keys.

    Args:
        keys: invented ones, for its live mode; none = dry-run.

    Raises:
        AssertionError: the venue is not on loopback, which no test's bot may ever leave.
    """
    assert urlsplit(venue_url).hostname == "127.0.0.1", f"{venue_url} is not on loopback"
    return {
        "bot_name": "tests",
        "dry_run": keys is None,
        "dry_run_wallet": 10000,
        "max_open_trades": 3,
        "stake_currency": "USD",
        "stake_amount": 100,
        "timeframe": "5m",
        # Of a live bot the fee is the venue's.
        **({"fee": 0.0026} if keys is None else {}),
        "initial_state": "paused",
        "force_entry_enable": True,
        "cancel_open_orders_on_exit": False,
        "unfilledtimeout": {"entry": 30, "exit": 30, "exit_timeout_count": 0, "unit": "minutes"},
        "order_types": {
            "entry": "limit", "exit": "limit", "force_entry": "limit", "force_exit": "limit",
            "emergency_exit": "market", "stoploss": "market", "stoploss_on_exchange": False,
        },
        "entry_pricing": {"price_side": "other", "use_order_book": False, "order_book_top": 1},
        "exit_pricing": {"price_side": "other", "use_order_book": False, "order_book_top": 1},
        "exchange": {
            "name": "kraken",
            **(keys or {"key": "", "secret": ""}),
            "enable_ws": False,
            "ccxt_config": {
                "enableRateLimit": False,
                "urls": {"api": {"public": venue_url, "private": venue_url}},
            },
            "pair_whitelist": ["BTC/USD", "ETH/USD"],
            "pair_blacklist": [],
        },
        "pairlists": [{"method": "StaticPairList"}],
        "api_server": {
            "enabled": True, "listen_ip_address": "127.0.0.1", "listen_port": port,
            "verbosity": "error", "enable_openapi": False, "CORS_origins": [], "username": USER,
        },
        "internals": {"process_throttle_secs": 1, "heartbeat_interval": 60},
        "strategy": "CommandOnly",
        **changes,
    }  # fmt: skip


def invented_keys() -> dict[str, str]:
    """A venue's key and secret that open nothing: the secret only has to be base64."""
    return {"key": plant("bot-key"), "secret": plant_base64("bot-secret")}


class FreqtradeBot(Server):
    """A bot that can be killed and started again, with its database.

    Args:
        port: of its REST; any free one if none is told. words: its password and socket token.
    """

    start_s = START_S

    def __init__(
        self,
        folder: Path,
        venue_url: str,
        port: int = 0,
        words: Sequence[str] = (),
        **changes: Any,
    ) -> None:
        port = port or free_port()
        self.user = USER
        self.password, self.ws_token = words or (plant("bot-word"), plant("bot-token"))
        self.config = folder / "config.json"
        self.write_config(config_of(venue_url, port, **changes))
        self.strategies = folder / "user" / "strategies"
        self.strategies.mkdir(parents=True)
        self.add_strategy("CommandOnly")
        command = [
            freqtrade_program(), "trade", "--no-color", "-c", str(self.config),
            "--userdir", str(folder / "user"), "--db-url", f"sqlite:///{folder}/bot.sqlite",
        ]  # fmt: skip
        # Nothing of the machine's own: no proxy, no key, no setting of another bot.
        environment = {
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "FREQTRADE__API_SERVER__PASSWORD": self.password,
            "FREQTRADE__API_SERVER__WS_TOKEN": self.ws_token,
            "FREQTRADE__API_SERVER__JWT_SECRET_KEY": secrets.token_urlsafe(32),
        }
        super().__init__(command, port, folder, environment)

    @property
    def url(self) -> str:
        """Where its REST listens."""
        return f"http://127.0.0.1:{self.port}"

    def write_config(self, config: dict[str, Any]) -> None:
        """Put its settings down; obeyed at its next start or reload."""
        self.config.write_text(json.dumps(config, indent=1))

    def read_config(self) -> dict[str, Any]:
        """Its settings as they stand in the file."""
        found: dict[str, Any] = json.loads(self.config.read_text())
        return found

    def add_strategy(self, name: str) -> None:
        """A further strategy that does nothing by itself."""
        (self.strategies / f"{name}.py").write_text(STRATEGY.format(name=name))

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str = "") -> Any:
        """A REST call past the client under test: (status, decoded body or text)."""
        told = json.dumps(body).encode() if body is not None else None
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            told,
            {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            method=method or ("POST" if told is not None else "GET"),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def status(self) -> list[dict[str, Any]]:
        """Its open trades."""
        return list(self.ask("status")[1])

    def ready(self) -> bool:
        """It answers, knows its state, and has had its first turn."""
        try:
            if self.ask("ping")[0] != 200 or self.ask("show_config")[0] != 200:
                return False
            status, health = self.ask("health")
        except (OSError, urllib.error.URLError):
            return False
        return status == 200 and health["last_process_ts"] is not None

    def state(self) -> str:
        """Running, paused, stopped, reload_config; away while it does not answer."""
        try:
            status, config = self.ask("show_config")
        except OSError:
            return "away"
        return str(config["state"]) if status == 200 else "away"

    def log_text(self) -> str:
        """All that it has logged. Holds its WebSocket token."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """In good order, by SIGTERM; by SIGKILL if that takes too long."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
            self.process = None
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def freqtrade_bot(venue_url: str, **changes: Any) -> Iterator[FreqtradeBot]:
    """A running bot, gone afterwards with all that it has written."""
    with server_folder() as folder:
        bot = FreqtradeBot(folder, venue_url, **changes)
        try:
            bot.start()
            yield bot
        finally:
            if bot.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    bot.kill()
