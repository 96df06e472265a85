"""why: the whole chain behind an order or a decision, as text or JSON."""

from math import isnan
from typing import Any

import msgspec

from processes.cli.screen import colour, say, say_json
from processes.clock import utc_text
from processes.operations.chain import Chain, find_chain, slippage_bps
from processes.operations.instance import find_paths
from processes.sessions import latest_settings

FEATURES_A_LINE = 3
LEVELS_SHOWN = 5
_RESULTS = {"passed": "green", "denied": "red", "not asked": "dim"}


def why(what: str, session: str, *, as_json: bool) -> None:
    """Print the chain."""
    paths = find_paths()
    chain = find_chain(paths.data, latest_settings(paths.data).ledger, what, session)
    if as_json:
        told = msgspec.to_builtins(chain)
        say_json(told | {"slippage_bps": slippage_bps(chain)})
        return
    for part in (_decision, _market, _features, _models, _policy, _order):
        for line in part(chain):
            say(line)
    for text in chain.missing:
        say(colour(f"not found: {text}", "yellow"))


def _head(text: str) -> str:
    return colour(f"\n{text}", "bold")


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _decision(chain: Chain) -> list[str]:
    if not chain.decision:
        return [
            colour(chain.reason, "bold"),
            f"  {chain.reason_text}",
            f"  session {chain.session}",
        ]
    text = f"{chain.action.replace('_', ' ')} {chain.venue} {chain.symbol}: {chain.reason}"
    where = f"decision {chain.decision} of session {chain.session}, {utc_text(chain.time_ns)}"
    how = f"strategy {chain.strategy}, rung {chain.rung}, settings {chain.config_generation}"
    switch = f", kill switch {chain.kill_level}" if chain.kill_level != "none" else ""
    return [colour(text, "bold"), f"  {chain.reason_text}", f"  {where}, {how}{switch}"]


def _market(chain: Chain) -> list[str]:
    if not chain.tapes:
        return []
    cut = chain.cut
    seen = ", ".join(f"{tape.ring} up to {tape.sequence}" for tape in chain.tapes)
    lines = [
        _head("market data"),
        f"  cut {cut['cut']} at {utc_text(cut['cut_ns'])} ({cut['reason']}): {seen}",
    ]
    bids, asks = chain.book.get("bids", []), chain.book.get("asks", [])
    for level in range(min(LEVELS_SHOWN, max(len(bids), len(asks)))):
        sides = [
            f"{side[level][1]:>14.8g} @ {side[level][0]:<14.10g}" if level < len(side) else " " * 31
            for side in (bids, asks)
        ]
        lines.append(f"  {'  |  '.join(sides)}".rstrip())
    return lines


def _features(chain: Chain) -> list[str]:
    if not chain.features:
        return []
    invalid = f", invalid {chain.cut['invalid']}" if chain.cut["invalid"] else ""
    lines = [_head(f"features: row {chain.cut['seq']}{invalid}")]
    told = [f"{name} {_number(value)}" for name, value in chain.features.items()]
    width = max(len(text) for text in told) + 2
    lines += [
        "  " + "".join(text.ljust(width) for text in told[at : at + FEATURES_A_LINE]).rstrip()
        for at in range(0, len(told), FEATURES_A_LINE)
    ]
    return lines


def _models(chain: Chain) -> list[str]:
    if not chain.prediction:
        return []
    told = chain.prediction
    lines = [
        _head(
            f"models: prediction {told['seq']}, {told['device']}, version {told['model_version']}"
        )
    ]
    for model, outputs in chain.models.items():
        text = "  ".join(f"{name} {_number(value)}" for name, value in outputs.items())
        lines.append(f"  {model}: {text}")
    return lines


def _policy(chain: Chain) -> list[str]:
    if not chain.decision:
        return []
    source = chain.input.get("kind", "").removeprefix("input_").replace("_", " ")
    lines = [_head(f"decided from a {source or 'prediction'}")]
    told = [
        f"{name} {_number(value)}"
        for name, value in chain.numbers.items()
        if not isnan(value) and (value or name.endswith("_bps"))
    ]
    lines.append(f"  reference price {chain.reference_price:.10g}  " + "  ".join(told))
    if "signal" in chain.input:
        lines.append(f"  signal {chain.input['signal']}")
    if chain.checks:
        checks = [colour(f"{one.code} {one.result}", _RESULTS[one.result]) for one in chain.checks]
        lines.append("  checks: " + ", ".join(checks))
    else:
        lines.append("  checks: none was asked, since nothing was proposed")
    return lines


def _order(chain: Chain) -> list[str]:
    intent = chain.order
    if intent is None:
        return [_head("no order")]
    price = f" at {intent.limit_price}" if intent.limit_price else ""
    closing = ", closing" if intent.reduce_only else ""
    what = f"{intent.side} {intent.quantity} {intent.symbol}, {intent.kind}{price}{closing}"
    lines = [
        _head(f"order {intent.command_id}: {chain.order_state}"),
        f"  {what}, account {intent.account}",
    ]
    for event in chain.events:
        told = msgspec.to_builtins(event)
        kind, time_ns = told.pop("type"), told.pop("time_ns")
        told.pop("command_id")
        text = "  ".join(f"{name} {value}" for name, value in told.items() if value != "")
        lines.append(f"  {utc_text(time_ns)}  {kind}  {text}".rstrip())
    if chain.cost:
        text = "  ".join(f"{name} {value}" for name, value in chain.cost.items())
        worse = slippage_bps(chain)
        slipped = "" if worse is None else f"  slippage {worse:+.2f} bp"
        lines.append(f"  cost: {text}{slipped}")
    return lines
