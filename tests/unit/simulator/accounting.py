"""What must be true of an account whatever has happened, reckoned anew from its truth alone."""

from decimal import Decimal, localcontext
from typing import Any


def check(truth: dict[str, Any], begin: dict[str, str], assets: dict[str, tuple[str, str]]) -> None:
    """Hold an account's orders, fills and balances against each other, to the last unit.

    Args:
        truth: what the simulator says. begin: balances at first. assets: (base, quote) by symbol;
            spot symbols only.
    """
    with localcontext() as context:
        context.prec = 60
        _check(truth, begin, assets)


def _check(truth, begin, assets) -> None:
    totals = {asset: Decimal(text) for asset, text in begin.items()}
    filled: dict[str, Decimal] = {}
    cost: dict[str, Decimal] = {}
    for fill in truth["fills"]:
        base, quote = assets[fill["symbol"]]
        sign = 1 if fill["side"] == "buy" else -1
        quantity, price = Decimal(fill["quantity"]), Decimal(fill["price"])
        assert quantity > 0
        assert quantity * price == Decimal(fill["cost"])
        totals[base] = totals.get(base, Decimal(0)) + sign * quantity
        totals[quote] = totals.get(quote, Decimal(0)) - sign * quantity * price
        totals[fill["fee_asset"]] -= Decimal(fill["fee"])
        filled[fill["order_id"]] = filled.get(fill["order_id"], Decimal(0)) + quantity
        cost[fill["order_id"]] = cost.get(fill["order_id"], Decimal(0)) + quantity * price
    found = {asset: Decimal(row["total"]) for asset, row in truth["balances"].items()}
    assert {a: v for a, v in found.items() if v} == {a: v for a, v in totals.items() if v}

    held: dict[str, Decimal] = {}
    owned = [number for order in truth["orders"] for number in order["fills"]]
    assert len(owned) == len(set(owned))
    assert set(owned) == {fill["id"] for fill in truth["fills"]}
    for order in truth["orders"]:
        done = filled.get(order["id"], Decimal(0))
        assert Decimal(order["filled"]) == done <= Decimal(order["quantity"])
        assert Decimal(order["cost"]) == cost.get(order["id"], Decimal(0))
        paid = (Decimal(f["fee"]) for f in truth["fills"] if f["order_id"] == order["id"])
        assert Decimal(order["fee"]) == sum(paid, Decimal(0))
        assert (order["status"] == "filled") == (done == Decimal(order["quantity"]))
        if order["status"] != "open":
            assert Decimal(order["held"]) == 0
            continue
        base, quote = assets[order["symbol"]]
        left = Decimal(order["quantity"]) - done
        if order["side"] == "sell":
            assert (order["held_asset"], Decimal(order["held"])) == (base, left)
        else:
            assert order["held_asset"] == quote
            assert Decimal(order["held"]) >= left * Decimal(order["price"])
        held[order["held_asset"]] = held.get(order["held_asset"], Decimal(0)) + Decimal(
            order["held"]
        )
    for asset, row in truth["balances"].items():
        assert Decimal(row["held"]) == held.get(asset, Decimal(0))
        assert Decimal(row["total"]) - Decimal(row["held"]) == Decimal(row["available"]) >= 0
