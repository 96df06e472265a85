"""The dashboard that asks InfluxDB: what was seen, predicted and decided last week, and why.

In InfluxQL, which InfluxDB 2 answers for a bucket as for a database of the bucket's name (its
"virtual" mapping), and which Debian's influxd answers too, so that tests ask a real server.
Measurements and fields are those of `processes/influx`; a test asks for each of them.

Source: docs.influxdata.com/influxdb/v2, "Manage DBRP mappings"; grafana.com, "InfluxDB query
editor", macros.
"""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableRefresh,
    VariableSort,
)

from deploy.monitoring.panels import (
    LOG,
    ROWS,
    WIDTH,
    WINDOWS,
    Board,
    Panel,
    Series,
    graph,
    listing,
)

_CHOSEN: Final = '"venue" =~ /^$venue$/ AND "symbol" =~ /^$symbol$/'
_EACH: Final = '"venue", "symbol"'
_NAMED: Final = "$tag_venue $tag_symbol"
LONGEST: Final = 200
"""Lines of a listing."""


def _lines(
    asked: str, measurement: str, source: DataSourceRef, by: str = _EACH, named: str = _NAMED
) -> Series:
    text = (
        f'SELECT {asked} FROM "{measurement}" WHERE $timeFilter AND {_CHOSEN} '  # noqa: S608
        f"GROUP BY time($__interval), {by} fill(none)"
    )
    return Series(text, named, source)


def _windows(what: str, field: str, measurement: str = "features_30s") -> Series:
    return _lines(f'{what}("{field}")', measurement, WINDOWS)


def _log(asked: str, measurement: str, where: str = "") -> Series:
    chosen = f" AND {where}" if where else ""
    text = (
        f'SELECT {asked} FROM "{measurement}" WHERE $timeFilter{chosen} '  # noqa: S608
        f"ORDER BY time DESC LIMIT {LONGEST}"
    )
    return Series(text, "", LOG)


def _choice(tag: str) -> QueryVariable:
    return (
        QueryVariable(tag)
        .label(tag)
        .datasource(WINDOWS)
        .query(f'SHOW TAG VALUES FROM "features_30s" WITH KEY = "{tag}"')
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def history() -> Board:
    """What was it like last week?"""
    market: list[Panel] = [
        graph(
            "Reference price", "none", "Of the feature rows, which are kept for seven days.",
            _lines('mean("reference_price")', "features", ROWS),
        ),
        graph(
            "Spread", "none", "Basis points; the mean of windows of 30 s, and the widest.",
            _windows("mean", "spread_bps_mean"),
            _lines('max("spread_bps_max")', "features_30s", WINDOWS, named=f"{_NAMED} widest"),
        ),
        graph(
            "Volatility", "none", "Realised, of 60 s; basis points.",
            _windows("mean", "volatility_60s_bps_mean"),
        ),
        graph(
            "Order flow", "none", "Imbalance of the five best levels over 5 s: above 0 is buying.",
            _windows("mean", "ofi_5_5s_mean"),
        ),
        graph(
            "Trades", "none", "Signed share of what was traded in 60 s: 1 is buying only.",
            _windows("mean", "trade_imbalance_60s_mean"),
        ),
        graph(
            "Age of the book", "s", "At the cut; what stands still here was no market.",
            _windows("max", "book_age_s_max"),
        ),
    ]  # fmt: skip
    predicted: list[Panel] = [
        graph(
            "Chance of up less chance of down", "percentunit", "The blend, means of 30 s.",
            _lines('mean("blend_up_mean") - mean("blend_down_mean")', "predictions_30s", WINDOWS),
        ),
        graph(
            "Expected move", "none", "The blend; basis points.",
            _windows("mean", "blend_move_bps_mean", "predictions_30s"),
        ),
        graph(
            "Expected value of decisions", "none", "After costs, the best; basis points.",
            _lines('max("expected_value_bps")', "decisions", ROWS),
        ),
        graph(
            "From market event to decision", "µs", "p99.",
            _lines('percentile("latency_us", 99)', "decisions", ROWS),
        ),
    ]  # fmt: skip
    decided: list[Panel] = [
        graph(
            "What acted or was denied", "short", "Decisions, by action and reason.",
            _lines('count("cut")', "audit", LOG, '"action", "reason"', "$tag_action $tag_reason"),
            span=WIDTH, stacked=True,
        ),
        graph(
            "Position", "none", "In the base currency.",
            _lines('last("position")', "decisions", ROWS),
        ),
        graph(
            "Realised profit", "none", "In the quote currency, since the ledger began.",
            _lines('last("realized_pnl")', "decisions", ROWS),
        ),
        listing(
            "Decisions that acted or were denied", "dcctl why takes the command's id.",
            _log(
                '"venue", "symbol", "strategy", "action", "reason", "text", "quantity", '
                '"limit_price", "command_id"',
                "audit", _CHOSEN,
            ),
            span=WIDTH,
        ),
    ]  # fmt: skip
    happened: list[Panel] = [
        listing(
            "Kill switch", "Each move.", _log('"level", "level_code", "before"', "kill_switch")
        ),
        listing(
            "Feeds", "Gaps, resyncs, connects and refusals as they stand on the tape.",
            _log('"venue", "symbol", "channel", "marker", "reason", "lost"', "markers"),
        ),
        listing("Processes", "", _log('"process", "state", "text"', "processes")),
        listing(
            "Models", "Each rung that was taken.",
            _log('"rung", "rung_code", "text"', "model_chain"),
        ),
        listing("Settings", "Each reload.", _log('"generation", "keys"', "settings")),
    ]  # fmt: skip
    return Board(
        "dc-history", "History", "What was seen, predicted and decided, and why?",
        {"Market": market, "Predictions": predicted, "Decisions": decided, "Log": happened},
        (_choice("venue"), _choice("symbol")), looks_back="24h", refresh="1m",
    )  # fmt: skip
