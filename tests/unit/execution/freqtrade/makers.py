"""Readings, trades and commands for tests of what is decided from them."""

from decimal import Decimal

from processes.execution.brokers.freqtrade.command import Command
from processes.execution.brokers.freqtrade.reading import Reading
from schemas.trading import Intent
from venues.freqtrade.answers import (
    Balances,
    CurrencyBalance,
    Health,
    ShowConfig,
)
from venues.freqtrade.trades import BotOrder, BotTrade

T0 = 1_795_000_000_000_000_000
OPENED_MS = T0 // 10**6
SECOND = 10**9
TAG = "0" * 32
EXIT_ID = "e" * 32


def config(**more) -> ShowConfig:
    return ShowConfig(**{
        "version": "2026.9", "dry_run": True, "trading_mode": "spot", "stake_currency": "USD",
        "max_open_trades": Decimal(3), "force_entry_enable": True, "state": "running",
        "runmode": "dry_run", "exchange": "kraken", "bot_name": "b", "strategy": "CommandOnly",
        "position_adjustment_enable": False, **more,
    })  # fmt: skip


def order(number="dry_run_buy", filled="0", amount="1", side="buy", **more) -> BotOrder:
    done, whole = Decimal(filled), Decimal(amount)
    return BotOrder(**{
        "order_id": number, "status": "open" if done < whole else "closed", "amount": whole,
        "safe_price": Decimal(100), "ft_order_side": side, "order_type": "limit",
        "is_open": done < whole, "filled": done, "order_timestamp": OPENED_MS, **more,
    })  # fmt: skip


def trade(*orders, **more) -> BotTrade:
    return BotTrade(**{
        "trade_id": 1, "pair": "ETH/USD", "base_currency": "ETH", "quote_currency": "USD",
        "is_open": True, "is_short": False, "amount": Decimal(0), "amount_requested": Decimal(1),
        "strategy": "CommandOnly", "open_timestamp": OPENED_MS, "has_open_orders": True,
        "orders": list(orders), "enter_tag": TAG, "fee_open": Decimal("0.0026"),
        "fee_close": Decimal("0.0026"), "amount_precision": Decimal("1E-8"), "precision_mode": 4,
        **more,
    })  # fmt: skip


def reading(*trades, after_s=1.0, free="10000", live=False, closed=(), **more) -> Reading:
    shown = config(**({"dry_run": False, "runmode": "live"} if live else {}), **more)
    return Reading(
        begun_ns=T0 + int(after_s * SECOND),
        config=shown,
        health=Health(1, 1, 1),
        open=list(trades),
        closed=list(closed),
        balances=Balances(
            [CurrencyBalance("USD", Decimal(free), Decimal(free), Decimal(0))], "USD"
        ),
    )


def entry(**more) -> Command:
    intent = Intent(
        command_id=TAG, instrument=0, symbol="ETH/USD", side="buy", quantity="1", kind="limit",
        limit_price="100", decided_ns=T0,
    )  # fmt: skip
    return Command(**{
        "intent": intent, "pair": "ETH/USD", "role": "entry", "tag": TAG, "sent_ns": T0, "told": [],
        **more,
    })  # fmt: skip


def leaving(quantity="1", **more) -> Command:
    intent = Intent(
        command_id=EXIT_ID, instrument=0, symbol="ETH/USD", side="sell", quantity=quantity,
        kind="market", reduce_only=True, decided_ns=T0,
    )  # fmt: skip
    return Command(**{
        "intent": intent, "pair": "ETH/USD", "role": "exit", "tag": TAG, "opened_ms": OPENED_MS,
        "sent_ns": T0, "told": [], **more,
    })  # fmt: skip
