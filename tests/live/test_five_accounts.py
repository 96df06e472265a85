"""A day with five accounts in one instance, each with a broker of its own: afterwards every order,
fill, fee and position is the venue's, profit and loss come to the last unit, and no secret stands
anywhere.

The sample lasts until every account has traded some; --long for DC_DAY_S seconds, 86400 without it:
DC_DAY_S=900 ./scripts/test --long tests/live/test_five_accounts.py
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from processes.execution.orders import Order
from schemas.trading import OrderState
from shm.segment import instance_id
from tests.conformance.agreement import disagreement
from tests.five_accounts import SUBJECTS, VENUES, FiveAccounts, Subject, five_accounts
from tests.helpers import wait_until
from tests.ledgers import KeptLedger, kept_ledger
from tests.planted import Search, listening
from tests.reckoning import Reckoned, Traded, exact, is_same

pytestmark = [pytest.mark.live, pytest.mark.timeout(90_000)]
SAMPLE_ORDERS = 6
SAMPLE_S = 150.0
LOOK_EVERY = 100
"""So many turns of the waiting, each some milliseconds, between two looks at the ledger."""
SHORTEST_S = 1.0
FLAT_S = 120.0
SMALLEST = Decimal("0.001")
POSITIONS = 4000
BOTS_UNIT = Fraction(1, 10**7)
"""The bot's own profits are binary numbers, each rounded to the eighth decimal."""


@pytest.fixture
def day_s(long_run) -> float:
    """How long the day is; 0 = until everything was seen once."""
    return float(os.environ.get("DC_DAY_S", "86400")) if long_run else 0.0


@pytest.fixture
def day(project, seed, day_s) -> Iterator[FiveAccounts]:
    with five_accounts(project.folder, seed) as one:
        project.environment |= one.secrets.environment
        project.secret_files += one.secrets.files
        # The simulated venues keep some thousands of orders; so many are made in a day.
        project.set(**one.settings(max(SHORTEST_S, day_s / POSITIONS)))
        yield one


def orders_of(kept: KeptLedger, name: str) -> list[Order]:
    return [order for order in kept.orders.values() if order.intent.account == name]


def ledger(project) -> KeptLedger:
    path = project.data / "ledger.sqlite"
    return kept_ledger(path) if path.exists() else KeptLedger({}, {}, {})


def trade(project, day: FiveAccounts, day_s: float) -> None:
    """Let all of them trade, with faults, for a day or until everything was seen."""
    looks = iter(range(10**9))
    end_s = time.monotonic() + day_s

    def over() -> bool:
        day.go_wrong()
        if day_s:
            return time.monotonic() > end_s
        return next(looks) % LOOK_EVERY == 0 and sampled(ledger(project))

    try:
        wait_until(over, day_s + SAMPLE_S, "everything to be seen")
    except AssertionError as error:
        orders = Counter(one.intent.account for one in ledger(project).orders.values())
        raise AssertionError(f"{error}; orders {orders}, faults {day.faults}") from None
    day.go_right()


def sampled(kept: KeptLedger) -> bool:
    """Every account has traded, at every venue in parts, and some order was rejected."""
    filled = Counter(kept.orders[n].intent.account for n, fills in kept.fills.items() if fills)
    parts = {kept.orders[n].intent.account for n, fills in kept.fills.items() if len(fills) > 1}
    rejected = any(order.state is OrderState.REJECTED for order in kept.orders.values())
    return all(filled[name] >= SAMPLE_ORDERS for name in SUBJECTS) and (
        rejected and parts >= set(VENUES)
    )


def stands(kept: KeptLedger) -> list[str]:
    """What is open or held; of what is less than its venue takes back nothing can be sold."""
    orders = [f"{o.intent.account} {o.state.name} {o.text}" for o in kept.orders.values() if o.open]
    held = [f"{symbol} {amount}" for symbol, amount in kept.held.items() if abs(amount) >= SMALLEST]
    return orders + held


def wait_flat(project) -> None:
    try:
        wait_until(lambda: not stands(ledger(project)), FLAT_S, "the ledger to be flat")
    except AssertionError as error:
        print(project.troubles())
        raise AssertionError(f"{error}; there stand {stands(ledger(project))}") from None


def check_account(day: FiveAccounts, one: Subject, kept: KeptLedger, data: Path, told) -> str:
    """Hold one account's ledger against its venue; a line of figures."""
    truth = day.truth(one.name, data)
    rows = {one.order_id(row["id"]): row for row in truth["orders"]}
    orders = orders_of(kept, one.name)
    assert not disagreement(one.ways, rows, truth["fills"], orders, kept.fills)
    fills = sorted(truth["fills"], key=lambda row: int(row["time_ns"]))
    shown = [row for row in told["fills"] if row["account"] == one.name]
    assert amounts(shown, "fee_currency") == amounts(fills, "fee_asset")
    reckoned = {
        symbol: Reckoned(
            one.base[symbol], [Traded.of(row) for row in fills if row["symbol"] == symbol]
        )
        for symbol in one.symbols
    }
    for symbol, mine in reckoned.items():
        check_symbol(symbol, mine, kept, told)
    if one.money:
        check_wallet(one, reckoned, truth["balances"])
    if one.name == "bot":
        said = sum(exact(str(trade["profit_abs"])) for trade in day.bots_trades())
        assert abs(said - reckoned["ETH/USD"].realized) < BOTS_UNIT * len(fills)
    states = Counter(order.state.name for order in orders)
    parts = sum(len(kept.fills[order.intent.command_id]) > 1 for order in orders)
    profit = sum(float(mine.realized) for mine in reckoned.values())
    counts = ", ".join(f"{state.lower()} {n}" for state, n in sorted(states.items()))
    return (
        f"{one.name}: {len(orders)} orders ({counts}; in parts {parts}), {len(fills)} fills, "
        f"profit {profit:.2f} {one.quote}"
    )


def amounts(fills: list[dict[str, Any]], asset: str) -> Counter:
    """Fills as they are at both sides."""
    return Counter(
        (row["symbol"], row["side"], *(Decimal(row[k]) for k in ("price", "quantity", "fee")),
         row[asset] if Decimal(row["fee"]) else "")
        for row in fills
    )  # fmt: skip


def check_symbol(symbol: str, mine: Reckoned, kept: KeptLedger, told) -> None:
    """One symbol: what is held, profit by day and in all, fees; in the ledger and in commands."""
    mine.check()
    flat = not mine.held
    assert exact(str(kept.held[symbol])) == mine.held, symbol
    (position,) = [row for row in told["positions"] if row["symbol"] == symbol]
    assert exact(position["quantity"]) == mine.held
    assert is_same(position["realized"], mine.realized, flat=flat), (symbol, position)
    assert exact(position["fees"]) == mine.fees
    days = {row["day"]: row for row in told["pnl"]["instruments"] if row["symbol"] == symbol}
    assert set(days) == set(mine.by_day)
    for day, amount in mine.by_day.items():
        assert is_same(days[day]["realized_day"], amount, flat=flat and len(days) == 1), symbol
    assert is_same(days[max(days)]["realized"], mine.realized, flat=flat)


def check_wallet(one: Subject, reckoned: dict[str, Reckoned], balances) -> None:
    """The venue's wallet has changed by exactly that."""
    money = sum((mine.money for mine in reckoned.values()), Fraction(0))
    assert exact(balances[one.quote]["total"]) - exact(one.money) == money
    bought = sum((mine.held for mine in reckoned.values()), Fraction(0))
    assert exact(balances.get("BTC", {"total": "0"})["total"]) == bought


def ask_everything(project) -> dict[str, Any]:
    """Every command that shows something; what the ledger's own say."""
    told = {
        "fills": project.json("fills", "--limit", "100000"),
        "positions": project.json("positions", "--all"),
        "pnl": project.json("pnl"),
    }
    for command in (
        ("status",), ("config", "--json"), ("why", "last"), ("orders", "--limit", "1000"),
        ("logs", "-n", "100000"), ("freqtrade", "status"), ("kill", "--drill", "--yes"),
    ):  # fmt: skip
        project.dcctl(*command)
    return told


def test_five_accounts_come_to_the_last_unit_and_show_no_secret(project, day, day_s):
    search = Search({**day.secrets.planted})
    with ExitStack() as stack:
        heard = stack.enter_context(listening(search, project.run))
        project.dcctl("instruments", "refresh")
        project.dcctl("start")
        day.wait_for_bot()
        trade(project, day, day_s)
        project.dcctl("kill", "--level", "flatten", "--yes")
        wait_flat(project)
        wait_until(lambda: day.bot.status() == [], 30, "the bot to be flat")
        told = ask_everything(project)
        memory = search.in_folder(Path("/dev/shm"), f"dc.{instance_id(str(project.run))}.*")
        sockets = search.in_folder(project.run)
        project.dcctl("stop")
    kept = ledger(project)
    lines = [check_account(day, one, kept, project.data, told) for one in SUBJECTS.values()]
    total = sum(Decimal(row["realized_day"]) for row in told["pnl"]["instruments"])
    assert sum(map(Decimal, told["pnl"]["days"].values())) == total
    print("\n".join([*lines, f"faults {json.dumps(day.faults)}"]))
    assert heard.command_lines > 10
    assert heard.messages > 100
    assert not heard.found | {*memory, *sockets}
    check_nothing_is_written_down(project, day)


def check_nothing_is_written_down(project, day: FiveAccounts) -> None:
    """Ledger, journals, lake, sessions, logs, and all that commands have printed."""
    tokens = {f"{whose} {n}": token for n, (token, whose) in enumerate(day.tokens.items())}
    assert set(day.tokens.values()) == {"kraken token", "gmo token"}
    search = Search({**day.secrets.planted, **tokens})
    assert search.in_folder(project.folder, but=day.secrets.files) == []
    assert search.in_text("what commands said", "\n".join(project.said)) == []
    # The search would find it: the tests' own files are among what it was told to leave out.
    assert search.in_folder(project.folder) != []
