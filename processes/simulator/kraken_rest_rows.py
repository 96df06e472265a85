"""Orders and fills as Kraken's REST writes them: old names, texts with the pair's decimals.

Amounts of money have at least the venue's five decimals, and more where there are more: nothing is
rounded away that a ledger is held against. A mean price is rounded at the tenth decimal. Source:
REST pages get-open-orders, get-closed-orders, get-trade-history.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from processes.simulator.balances import atoms_text, fixed_atoms_text
from processes.simulator.kraken_books import PairText, order_text
from processes.simulator.kraken_executions import REASONS
from processes.simulator.kraken_listing import old_asset, rest_name
from processes.simulator.market import BookSide, Market
from processes.simulator.numbers import UNIT_DECIMALS, fixed_text, plain_text
from processes.simulator.orders import AccountFill, AccountOrder

MONEY_DECIMALS = 5
AVERAGE_DECIMALS = 10


class RestText:
    """Rows of one venue's markets."""

    def __init__(self, markets: Mapping[str, Market]) -> None:
        self._markets = markets

    def pair(self, symbol: str) -> PairText:
        """Numbers of a pair."""
        return PairText(self._markets[symbol])

    def description(self, symbol: str, side: BookSide, units: int, ticks: int | None) -> str:
        """An order in words: buy 0.17000000 ETHUSD @ limit 2900.00."""
        price = "market" if ticks is None else f"limit {self.pair(symbol).price(ticks)}"
        deed = "buy" if side == 1 else "sell"
        return f"{deed} {fixed_text(units, UNIT_DECIMALS)} {altname(symbol)} @ {price}"

    def order(self, order: AccountOrder, *, trades: bool) -> dict[str, Any]:
        """An order; with the ids of its fills if that was asked for."""
        request, text = order.request, self.pair(order.symbol)
        price = "0" if order.ticks is None else text.price(order.ticks)
        row: dict[str, Any] = {
            "refid": None,
            "userref": request.extra.get("userref") or None,
            "status": "closed" if order.status == "filled" else order.status,
            "opentm": order.created_ns / 1e9,
            "starttm": 0,
            "expiretm": request.expires_ns // 10**9,
            "descr": {
                "pair": altname(order.symbol),
                "type": "buy" if order.side == 1 else "sell",
                "ordertype": request.kind,
                "price": price,
                "price2": "0",
                "leverage": "none",
                "order": self.description(order.symbol, order.side, order.units, order.ticks),
                "close": "",
            },
            "vol": fixed_text(order.units, UNIT_DECIMALS),
            "vol_exec": fixed_text(order.filled_units, UNIT_DECIMALS),
            "cost": money_text(order.cost),
            "fee": money_text(order.fee),
            "price": _average(order.average, text.decimals),
            "stopprice": "0.00000",
            "limitprice": "0.00000",
            "misc": "",
            "oflags": "fciq,post" if request.post_only else "fciq",
        }
        if request.client_id:
            row["cl_ord_id"] = request.client_id
        if not order.is_open:
            row |= {"closetm": order.closed_ns / 1e9, "reason": REASONS[order.cause] or None}
        if trades and order.fills:
            row["trades"] = [order_text(number, "T") for number in order.fills]
        return row

    def fill(self, fill: AccountFill, kind: str) -> dict[str, Any]:
        """A fill; `kind` is its order's type."""
        return {
            "ordertxid": order_text(fill.order_id),
            "postxid": order_text(fill.order_id, "T"),
            "pair": rest_name(fill.symbol),
            "time": fill.time_ns / 1e9,
            "type": "buy" if fill.side == 1 else "sell",
            "ordertype": kind,
            "price": self.pair(fill.symbol).price(fill.ticks),
            "cost": money_text(fill.cost),
            "fee": money_text(fill.fee),
            "vol": fixed_text(fill.units, UNIT_DECIMALS),
            "margin": "0.00000",
            "leverage": "0",
            "misc": "",
            "trade_id": fill.trade_id,
            "maker": fill.maker,
        }


def altname(symbol: str) -> str:
    """A pair's short old name: XBTUSD."""
    return "".join(map(old_asset, symbol.split("/")))


def money_text(atoms: int) -> str:
    """Five decimals, or all there are."""
    exact, fixed = atoms_text(atoms), fixed_atoms_text(atoms, MONEY_DECIMALS)
    return fixed if Decimal(exact) == Decimal(fixed) else exact


def _average(value: Decimal, decimals: int) -> str:
    """A mean price with the pair's decimals, or as many as it takes."""
    text = plain_text(round(value, AVERAGE_DECIMALS))
    return text if -int(Decimal(text).as_tuple().exponent) > decimals else f"{value:.{decimals}f}"
