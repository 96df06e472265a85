"""usage: python -m processes.killer.main --data FOLDER --level LEVEL [--drill]

Prints one line of JSON: what became of each account. Exit 0 if nothing is left of what was asked, 1
otherwise. Waits a moment for execution's death, and refuses to work beside it: two hands at one
account would close a position twice.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import IO, Final

import msgspec

from config.secrets import read_secret
from processes.accounts import open_trading
from processes.clock import Clock, measure_offset_ns, monotonic_s, nap
from processes.killer.bots import BotEmergency
from processes.killer.emergency import Emergency, Ended
from processes.live import may_trade
from processes.logs import open_log
from processes.sessions import latest_settings
from processes.standing import hold_orders, note_order, orders_of_all, read_standing
from schemas.brokers import FreqtradeAccount, VenueAccount
from schemas.errors import DataControllerError, OperatorError
from schemas.instruments import Tables
from schemas.settings import Settings
from schemas.trading import KillLevel
from venues.freqtrade.client import Access, FreqtradeClient

DEADLINE_S: Final = 60.0
DRILL_S: Final = 20.0
DEATH_S: Final = 5.0


async def end_all(
    data: Path, settings: Settings, level: KillLevel, clock: Clock, *, drill: bool
) -> list[Ended]:
    """Every account at a venue at once; one that cannot be begun with holds up no other."""
    standing = read_standing(data)
    orders = orders_of_all(data, standing)
    runs, ended = [], []
    for name, account in settings.execution.accounts.items():
        if isinstance(account, FreqtradeAccount):
            try:
                bot = _bot(data, settings, name, account, clock)
            except DataControllerError as error:
                ended.append(Ended(account=name, texts=[str(error)]))
                continue
            runs.append(bot.run(level, DRILL_S if drill else DEADLINE_S, drill=drill))
            continue
        if not isinstance(account, VenueAccount) or not may_trade(data, settings, name):
            continue
        try:
            trading = open_trading(name, account, settings.rest, data, clock.now_ns)
        except DataControllerError as error:
            ended.append(Ended(account=name, texts=[str(error)]))
            continue
        emergency = Emergency(
            name,
            trading,
            [one for one in orders if one.intent.account == name],
            [held for held in standing.positions if held.account == name],
            lambda intent, venue_order_id: note_order(data, intent, venue_order_id),
            clock.now_ns,
            standing.traded,
        )
        runs.append(emergency.run(level, DRILL_S if drill else DEADLINE_S, drill=drill))
    return ended + list(await asyncio.gather(*runs))


def _bot(
    data: Path, settings: Settings, name: str, account: FreqtradeAccount, clock: Clock
) -> BotEmergency:
    """A bot's end.

    Raises:
        ConfigError: its password is not where the settings say.
    """
    password = read_secret(f"execution.accounts.{name}.password", account.password)
    path = data / "state" / "instruments.json"
    tables = msgspec.json.decode(path.read_bytes(), type=Tables) if path.exists() else Tables()
    return BotEmergency(
        name,
        FreqtradeClient(Access(account.url, account.username, password, "")),
        {item.pair: item for item in tables.instruments if item.venue == account.venue},
        lambda intent: note_order(data, intent),
        clock.now_ns,
        may_be_live=may_trade(data, settings, name),
    )


def main(arguments: list[str] | None = None) -> int:
    """Do it and say it."""
    parser = argparse.ArgumentParser(prog="killer")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--level", choices=[level.name.lower() for level in KillLevel if level])
    parser.add_argument("--drill", action="store_true")
    told = parser.parse_args(arguments)
    level, clock = KillLevel[told.level.upper()], Clock(measure_offset_ns())
    try:
        settings = latest_settings(told.data)
        log = open_log(told.logs, "killer", settings.log, clock.now_ns)
        lock = None if told.drill else _hold(told.data)
        ended = asyncio.run(end_all(told.data, settings, level, clock, drill=told.drill))
    except DataControllerError as error:
        sys.stdout.write(msgspec.json.encode({"error": str(error)}).decode() + "\n")
        return 1
    for one in ended:
        log.warning("drill" if told.drill else "ended", **msgspec.to_builtins(one))
    sys.stdout.write(msgspec.json.encode(ended).decode() + "\n")
    if lock is not None:
        lock.close()
    if told.drill:
        return int(any(one.connected_ms is None for one in ended))
    return int(not all(one.is_done for one in ended))


def _hold(data: Path) -> IO[str]:
    deadline_s = monotonic_s() + DEATH_S
    while True:
        try:
            return hold_orders(data)
        except OperatorError:
            if monotonic_s() > deadline_s:
                raise
            nap(0.01)


if __name__ == "__main__":
    sys.exit(main())
