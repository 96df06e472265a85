"""What the freqtrade commands do, with an instance that runs or without one.

They speak to the bots themselves, as execution does, and change nothing of an account. A bot that
execution uses comes back to what execution wants of it within a few seconds of a reload or a pause
that the kill switch does not ask for after a restart; to keep entries off for good, pull the
switch.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from config.loader import load
from config.secrets import read_secret
from processes.cli.screen import say, say_json, table
from processes.clock import Clock, measure_offset_ns
from processes.execution.brokers.freqtrade.memory import Memory
from processes.execution.brokers.freqtrade.strategy import SettingsFile, change_strategy
from processes.operations.instance import find_paths
from processes.places import ROOT, is_locked, read_settings
from schemas.brokers import FreqtradeAccount
from schemas.errors import OperatorError, UsageError, VenueError
from venues.freqtrade.client import Access, FreqtradeClient

T = TypeVar("T")
Bots = dict[str, FreqtradeAccount]


def _bots(profile: str, config: Path | None) -> Bots:
    """The accounts that have a bot, as the settings in force have them."""
    paths = find_paths()
    running = is_locked(paths.run)
    settings = read_settings(paths.run)[0] if running else load(profile, file=config)
    accounts = settings.execution.accounts
    found = {name: one for name, one in accounts.items() if isinstance(one, FreqtradeAccount)}
    if not found:
        raise OperatorError("no account of execution.accounts has the broker freqtrade")
    return found


def _choose(bots: Bots, account: str) -> tuple[str, FreqtradeAccount]:
    if not account and len(bots) > 1:
        raise UsageError(f"name one with --account: {', '.join(bots)}")
    name = account or next(iter(bots))
    if name not in bots:
        raise UsageError(f"{name} is no account with a bot; there are {', '.join(bots)}")
    return name, bots[name]


def _ask(
    name: str, account: FreqtradeAccount, question: Callable[[FreqtradeClient], Awaitable[T]]
) -> T:
    """One conversation with a bot."""
    where = f"execution.accounts.{name}"
    password = read_secret(f"{where}.password", account.password)
    access = Access(account.url, account.username, password, "")

    async def inside() -> T:
        async with FreqtradeClient(access) as client:
            return await question(client)

    return asyncio.run(inside())


async def _describe(client: FreqtradeClient) -> dict[str, Any]:
    config, health = await client.show_config(), await client.health()
    count, balances = await client.count(), await client.balance()
    trades = await client.status()
    now_s = Clock(measure_offset_ns()).now_ns() // 10**9
    return {
        "state": config.state,
        "mode": "dry-run" if config.dry_run else "live",
        "version": config.version,
        "exchange": config.exchange,
        "strategy": config.strategy,
        "trades": count.current,
        "trades_most": int(count.max),
        "open_orders": sum(trade.has_open_orders for trade in trades),
        "stake_currency": config.stake_currency,
        "free": f"{balances.free(config.stake_currency):f}",
        "last_round_s": None if health.last_process_ts is None else now_s - health.last_process_ts,
        "whitelist": await client.whitelist(),
    }


def show_bots(profile: str, config: Path | None, *, as_json: bool) -> None:
    """Print how each bot is: `away` is nobody there, `no answer` somebody who says no more."""
    found: dict[str, dict[str, Any]] = {}
    for name, account in _bots(profile, config).items():
        try:
            found[name] = {"url": account.url, **_ask(name, account, _describe), "trouble": ""}
        except VenueError as error:
            state = "no answer" if _ask(name, account, FreqtradeClient.ping) else "away"
            found[name] = {"url": account.url, "state": state, "trouble": str(error)}
    if as_json:
        say_json(found)
        return
    rows = []
    for name, one in found.items():
        if one["trouble"]:
            rows.append([name, one["state"], one["trouble"], "", "", "", ""])
            continue
        ago = "never" if one["last_round_s"] is None else f"{one['last_round_s']} s ago"
        trades = f"{one['trades']} of {one['trades_most']}, {one['open_orders']} with orders"
        money = f"{one['free']} {one['stake_currency']}"
        rows.append([name, one["state"], one["mode"], one["strategy"], trades, money, ago])
    say(table(["account", "state", "mode", "strategy", "trades", "free", "last round"], rows))


def steer(what: str, account: str, profile: str, config: Path | None, *, as_json: bool) -> None:
    """One control call; the bot's own words about it."""
    name, one = _choose(_bots(profile, config), account)
    calls: dict[str, Callable[[FreqtradeClient], Awaitable[str]]] = {
        "start": FreqtradeClient.start,
        "stop": FreqtradeClient.stop,
        "stopentry": FreqtradeClient.stop_entries,
        "reload": FreqtradeClient.reload_config,
    }
    said = _ask(name, one, calls[what])
    if as_json:
        say_json({"account": name, "said": said})
    else:
        say(f"{name}: {said}")


def use_strategy(
    strategy: str, account: str, profile: str, config: Path | None, *, as_json: bool
) -> None:
    """Change a bot's strategy.

    Raises:
        OperatorError: it was not changed.
    """
    name, one = _choose(_bots(profile, config), account)
    if not one.config_file:
        raise OperatorError(
            f"name the bot's own settings file in execution.accounts.{name}.config_file"
        )
    path = ROOT / Path(one.config_file).expanduser()
    file = SettingsFile(path, one.strategies)
    before, after = _ask(name, one, lambda client: change_strategy(client, file, strategy))
    if as_json:
        told = {"before": before, "after": after}
        say_json({"account": name, **{when: msgspec.to_builtins(c) for when, c in told.items()}})
    else:
        say(f"{name}: {before.strategy} -> {after.strategy}; the bot is {after.state}")


def note_absent(
    order: str, account: str, profile: str, config: Path | None, *, as_json: bool
) -> None:
    """Close an order that a live bot does not know, on a person's word.

    Raises:
        OperatorError: no person is waited for.
    """
    name, _ = _choose(_bots(profile, config), account)
    path = find_paths().data / f"{name}.sqlite"
    if not path.exists():
        raise OperatorError(f"{name} has sent no order yet")
    memory = Memory(path)
    try:
        memory.note_absent(order, "dcctl freqtrade absent")
    finally:
        memory.close()
    if as_json:
        say_json({"account": name, "order": order, "absent": True})
    else:
        say(
            f"{order}: noted; {name} closes it when it next asks its bot. dcctl arm lets entries on"
        )
