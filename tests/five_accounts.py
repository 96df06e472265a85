"""Five accounts in one running instance, one a broker: paper, Kraken, Bitfinex, GMO Coin, and a
real Freqtrade bot; and what each account's venue says of it.

The venues are the simulator on real sockets, in this process, so that their keys are in nothing
that the instance is given but its environment. The bot is in dry-run: it is its own venue, at
the simulated Kraken's prices. The paper account's venue is the broker's own file.
"""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Context
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from schemas.settings import SimulatorAccount
from tests.conformance import brokers
from tests.conformance.agreement import VenueWays
from tests.crash_world import PAPER, paper_truth
from tests.exchange import StandingExchange, standing_exchange
from tests.freqtrade import USER, FreqtradeBot, freqtrade_program
from tests.planted import plant, plant_base64
from tests.servers import free_port, server_folder

BOT_DIGITS: Final = Context(prec=16)
"""What a bot says are binary numbers; the ledger takes so many digits of them."""
PACE_S: Final = 0.8
"""Between two faults."""


class Subject(Struct, frozen=True, kw_only=True):
    """One account."""

    name: str
    symbols: tuple[str, ...]
    notional: str
    """Size of an entry, in quote currency."""
    base: dict[str, str]
    """The asset that each symbol buys."""
    quote: str = "USD"
    ways: VenueWays = PAPER
    """How its venue's orders are held against the ledger's."""
    order_id: Callable[[str], str] = str
    money: str = ""
    """What it begins with, of the quote currency; empty where it has no wallet."""


SUBJECTS: Final = {
    one.name: one
    for one in (
        Subject(
            name="paper", symbols=("tETHUSD",), notional="20000", base={"tETHUSD": "ETH"},
        ),
        Subject(
            name="kraken", symbols=("BTC/USD",), notional="60000", base={"BTC/USD": "BTC"},
            ways=brokers.KRAKEN, order_id=brokers.KRAKEN.order_id, money="10000000",
        ),
        Subject(
            name="bitfinex", symbols=("tBTCUSD",), notional="60000", base={"tBTCUSD": "BTC"},
            ways=brokers.BITFINEX, money="10000000",
        ),
        Subject(
            name="gmo", symbols=("BTC", "BTC_JPY"), notional="9000000",
            base={"BTC": "BTC", "BTC_JPY": "BTC"}, quote="JPY", ways=brokers.GMO,
            money="3000000000",
        ),
        Subject(name="bot", symbols=("ETH/USD",), notional="300", base={"ETH/USD": "ETH"}),
    )
}  # fmt: skip
VENUES: Final = ("kraken", "bitfinex", "gmo")
SERVED: Final = {
    "bitfinex": ("tBTCUSD", "tETHUSD"),
    "kraken": ("BTC/USD", "ETH/USD"),
    "gmo": ("BTC", "BTC_JPY"),
}
FAULTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("hold_fills", {"share": "0.4", "seconds": 0.7}),
    ("reject_order", {}),
    ("late_fills", {"count": 2, "seconds": 0.5}),
    ("doubled_events", {"count": 4}),
    ("insufficient_funds", {}),
    ("out_of_order_events", {"count": 2}),
    ("late_answer", {"seconds": 0.5}),
)
NAMED_FAULTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("lose_answer", {"command": "order", "how": "silent"}),
    ("lose_request", {"command": "order", "how": "silent"}),
)
"""Where an order carries our name; where it does not, one that is like another calls a person. What
was lost is known to be lost only after half a minute, so it comes seldom."""
RARELY: Final = 0.04


STEP_BPS: Final = 8.0
BOT_S: Final = 240.0
"""Longest wait for the bot, which starts beside all the others."""
FAR_BPS: Final = 300.0
SWINGING: Final = ("tETHUSD", "BTC_JPY")


class Secrets:
    """What nobody may find written down: keys, secrets, words and tokens, by the setting's name."""

    def __init__(self, folder: Path) -> None:
        self.planted = {
            "kraken key": plant("kraken-key"),
            "kraken secret": plant_base64("kraken-secret"),
            "bitfinex key": plant("bitfinex-key"),
            "bitfinex secret": plant("bitfinex-secret"),
            "gmo key": plant("gmo-key"),
            "gmo secret": plant("gmo-secret"),
            "bot word": plant("bot-word"),
            "bot token": plant("bot-token"),
        }
        self.files = [folder / "bitfinex-secret", folder / "gmo-secret"]
        for path, name in zip(self.files, ("bitfinex secret", "gmo secret"), strict=True):
            path.touch(0o600)
            path.write_text(self.planted[name])
        self.references = {
            name: f"${{{name.replace(' ', '_').upper()}}}" for name in self.planted
        } | {
            "bitfinex secret": f"file:{self.files[0]}",
            "gmo secret": f"command:cat {self.files[1]}",
        }

    @property
    def environment(self) -> dict[str, str]:
        """What the instance's environment must have."""
        return {
            reference[2:-1]: self.planted[name]
            for name, reference in self.references.items()
            if reference.startswith("${")
        }


class FiveAccounts:
    """The venues, the bot, and the settings of an instance that trades with them."""

    def __init__(
        self,
        exchange: StandingExchange,
        bot: FreqtradeBot,
        started: "Future[None]",
        secrets: Secrets,
        seed: int,
    ) -> None:
        self.exchange = exchange
        self.bot = bot
        self.wait_for_bot = started.result
        """Returns when it answers."""
        self.secrets = secrets
        self.faults: dict[str, int] = {}
        """How often each was asked for."""
        self.tokens: dict[str, str] = {}
        """Of private sockets, as far as they were seen, and whose they are."""
        self._draw = random.Random(seed)
        self._decks: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self._first: dict[str, int] = {}
        """Prices in ticks that markets began at."""
        self._next_s = 0.0

    def settings(self, horizon_s: float) -> dict[str, Any]:
        """Of the profile: every market, every account, entries as soon as may be.

        Args:
            horizon_s: how long a position is held, about.
        """
        port, found = self.exchange.port, {}
        for venue, symbols in SERVED.items():
            ways = self._ways(venue)
            found[f"venues__{venue}"] = {
                "enabled": True,
                "url": f"ws://127.0.0.1:{port}{PUBLIC[venue]}",
                "symbols": symbols,
            }
            address = f"http://127.0.0.1:{port}{ways.rest}"
            found[f"rest__{venue}__url"] = address
        return found | {
            "simulator__enabled": False,
            "rest__bitfinex__private_url": f"http://127.0.0.1:{port}/bitfinex",
            "rest__bitfinex__rates__private": 6000.0,
            "rest__kraken__rates__private": 6000.0,
            "rest__kraken__rates__public": 6000.0,
            "execution__accounts": {name: self._account(one) for name, one in SUBJECTS.items()},
            "strategy__enter_threshold": 0.05,
            "strategy__min_expected_value_bps": -1000.0,
            "strategy__cooldown_s": 0.0,
            "strategy__horizon_s": horizon_s,
            "features__cut_interval_s": 0.5,
            "risk__allow_short": True,
            "risk__rates": {"JPY": "0.0066"},
            "risk__max_order_notional": "1000000",
            "risk__max_position_notional": "1000000",
            "risk__max_total_notional": "10000000",
            "risk__max_daily_loss": "1000000000",
            "risk__max_drawdown": "0",
            "risk__max_orders_per_minute": 100_000,
            "risk__triggers": {
                name: {"at": 0, "again_below": 0} if name not in AMOUNTS
                else {"at": "0", "again_below": "0"}
                for name in (*AMOUNTS, "order_rejects", "unknown_orders")
            },
        }  # fmt: skip

    @staticmethod
    def _ways(venue: str) -> brokers.BrokerSubject:
        ways = SUBJECTS[venue].ways
        assert isinstance(ways, brokers.BrokerSubject)
        return ways

    def _account(self, one: Subject) -> dict[str, Any]:
        venue = "kraken" if one.name == "bot" else "bitfinex" if one.name == "paper" else one.name
        told: dict[str, Any] = {
            "broker": "freqtrade" if one.name == "bot" else one.name,
            "instruments": [f"{venue}:{symbol}" for symbol in one.symbols],
            "order_notional": one.notional,
        }
        named = self.secrets.references
        if one.name == "bot":
            told |= {
                "url": self.bot.url, "username": USER, "ask_every_s": 1,
                "password": named["bot word"], "ws_token": named["bot token"],
            }  # fmt: skip
        elif one.name in VENUES:
            ways = self._ways(one.name)
            told |= {
                "key": named[f"{one.name} key"], "secret": named[f"{one.name} secret"],
                "socket_url": f"ws://127.0.0.1:{self.exchange.port}{ways.socket}",
                "rest_url": f"http://127.0.0.1:{self.exchange.port}{ways.rest}",
                "ask_every_s": 5,
            }  # fmt: skip
        return told

    # ---- what goes wrong

    def go_wrong(self) -> None:
        """Ask for a fault of some venue, when one is due."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + PACE_S
        self._swing()
        venue = self._draw.choice(VENUES)
        if self._ways(venue).named and self._draw.random() < RARELY:
            kind, told = self._draw.choice(NAMED_FAULTS)
        else:
            # Every kind once before any comes again.
            deck = self._decks.setdefault(venue, [])
            if not deck:
                deck += self._draw.sample(FAULTS, len(FAULTS))
            kind, told = deck.pop()
        self.faults[kind] = self.faults.get(kind, 0) + 1
        self._fault(kind, venue, **told)
        self._note_tokens()

    def _swing(self) -> None:
        """Markets that can be sold short swing; the others rise, or nothing would be entered.

        One that has come far begins anew.
        """
        for venue, symbols in SERVED.items():
            for symbol in symbols:
                most, least = (STEP_BPS, -STEP_BPS if symbol in SWINGING else 0.0)
                self._move(venue, symbol, self._draw.uniform(least, most))

    def _move(self, venue: str, symbol: str, bps: float) -> None:
        market = self.exchange.exchange.venues[venue].histories[symbol].market
        bid = self.exchange.call(lambda: market.best(1))
        if bid is None:
            return
        first = self._first.setdefault(symbol, bid)
        is_far = abs(bid / first - 1) > FAR_BPS / 1e4
        price = market.tick * (first if is_far else round(bid * (1 + bps / 1e4)))
        self.exchange.fault("move", venue=venue, symbol=symbol, price=f"{price:f}")

    def go_right(self) -> None:
        """No fault from now on but those that are under way."""
        for venue in VENUES:
            self._fault("release_fills", venue)
            for kind, told in FAULTS[1:] + NAMED_FAULTS:
                self._fault(kind, venue, **told | {"count": 0})

    def _fault(self, kind: str, venue: str, **told: Any) -> None:
        self.exchange.fault(kind, venue=venue, account=self._key(venue), **told)

    def _key(self, venue: str) -> str:
        return self.secrets.planted[f"{venue} key"]

    # ---- what is so

    def truth(self, name: str, data: Path) -> dict[str, Any]:
        """An account's orders and fills as its venue has them, in the simulator's words."""
        if name == "paper":
            told = paper_truth(data / "paper.sqlite")
            return told | {"fills": [{**row, "symbol": "tETHUSD"} for row in told["fills"]]}
        if name == "bot":
            return self._bots_truth()
        return self.exchange.account(name, self._key(name))

    def bots_trades(self) -> list[dict[str, Any]]:
        """All of them, open and closed."""
        found = self.bot.status()
        while True:
            page = self.bot.ask(f"trades?limit={PAGE}&offset={len(found)}")[1]["trades"]
            found += page
            if len(page) < PAGE:
                return found

    def _bots_truth(self) -> dict[str, Any]:
        """What the bot's own trades are; an order of a dry bot is filled at once."""
        orders, fills = [], []
        for trade in self.bots_trades():
            for row in trade["orders"]:
                side = row["ft_order_side"]
                fee = trade["fee_open_cost" if side == "buy" else "fee_close_cost"]
                filled = str(row["filled"])
                orders.append(
                    {"id": row["order_id"], "status": FILLED[row["status"]], "filled": filled,
                     "cause": "user", "side": side, "quantity": str(row["amount"])}
                )  # fmt: skip
                fills.append(
                    {"order_id": row["order_id"], "symbol": trade["pair"], "side": side,
                     "price": str(row["safe_price"]), "quantity": filled,
                     "fee": f"{BOT_DIGITS.create_decimal(str(fee)):f}",
                     "fee_asset": trade["quote_currency"],
                     "time_ns": row["order_filled_timestamp"] * 10**6}
                )  # fmt: skip
        return {"orders": orders, "fills": fills, "commands": {"order": len(orders)}}

    def _note_tokens(self) -> None:
        """What the venues give out for their private sockets is a secret as well."""
        desks = {name: self.exchange.exchange.venues[name].desk for name in ("kraken", "gmo")}
        self.tokens |= self.exchange.call(
            lambda: {
                **dict.fromkeys(desks["kraken"].tokens._tokens, "kraken token"),
                **dict.fromkeys(desks["gmo"].tokens._rows, "gmo token"),
            }
        )


PAGE: Final = 500
FILLED: Final = {"closed": "filled", "open": "open", "canceled": "canceled"}
PUBLIC: Final = {"bitfinex": "/ws/2", "kraken": "/kraken/v2", "gmo": "/gmo/ws/public/v1"}
AMOUNTS: Final = ("daily_loss", "drawdown")


@contextmanager
def five_accounts(folder: Path, seed: int) -> Iterator[FiveAccounts]:
    """Venues and bot for the time of the block, the markets moving. The bot may still be
    starting."""
    freqtrade_program()
    secrets = Secrets(folder)
    served = {f"{'' if name == 'bitfinex' else f'{name}_'}symbols": s for name, s in SERVED.items()}
    accounts = tuple(
        SimulatorAccount(
            venue=venue,  # type: ignore[arg-type]
            key=secrets.planted[f"{venue} key"],
            secret=secrets.planted[f"{venue} secret"],
            balances={SUBJECTS[venue].quote: SUBJECTS[venue].money},
        )
        for venue in VENUES
    )
    with (
        server_folder() as bots_folder,
        standing_exchange(
            seed=seed, past_s=30.0, events_per_s=15.0, kraken_tier="unlimited", accounts=accounts,
            **served,
        ) as exchange,
        ThreadPoolExecutor(1) as starter,
    ):  # fmt: skip
        exchange.exchange.frozen = False
        words = (secrets.planted["bot word"], secrets.planted["bot token"])
        bot = FreqtradeBot(bots_folder, f"{exchange.url}/kraken", free_port(), words)
        bot.start_s = BOT_S
        started = starter.submit(bot.start)
        try:
            yield FiveAccounts(exchange, bot, started, secrets, seed)
        finally:
            started.exception()
            if bot.process is not None:
                bot.kill()
