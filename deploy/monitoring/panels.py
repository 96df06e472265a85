"""Panels as all dashboards have them: one look, one grid, every query a row of a list.

A panel says in its description what a reader should make of it.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import QueryVariable, ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="prometheus")
ROWS: Final = DataSourceRef(type_val="influxdb", uid="influxdb-rt-fast")
WINDOWS: Final = DataSourceRef(type_val="influxdb", uid="influxdb-agg-30s")
LOG: Final = DataSourceRef(type_val="influxdb", uid="influxdb-logs")
"""As deploy/grafana/provisioning/datasources names them; of InfluxDB one a bucket."""
WIDTH: Final = 24
GOOD, BAD, TOLERABLE = "green", "red", "orange"


Panel = stat.Panel | timeseries.Panel | table.Panel


class Board(NamedTuple):
    """One dashboard: its rows with their panels."""

    uid: str
    title: str
    says: str
    rows: dict[str, list[Panel]]
    variables: tuple[QueryVariable, ...] = ()
    """Choices at its head."""
    looks_back: str = "1h"
    refresh: str = "5s"


class Series(NamedTuple):
    """One query, what its lines are called, and whom it asks."""

    expression: str
    legend: str
    source: DataSourceRef = SOURCE


class InfluxQuery(Dataquery, Builder[Dataquery]):
    """A query in InfluxQL; Grafana's library has no builder of its own for them.

    Args:
        form: time_series or table.
    """

    def __init__(self, series: Series, reference: str, form: str) -> None:
        self._series, self._reference, self._form = series, reference, form

    def build(self) -> Dataquery:
        """Itself: it is the query as Grafana keeps it."""
        return self

    def to_json(self) -> dict[str, Any]:
        """As Grafana's panels keep it."""
        return {
            "refId": self._reference, "datasource": self._series.source, "rawQuery": True,
            "query": self._series.expression, "resultFormat": self._form,
            "alias": self._series.legend,
        }  # fmt: skip


def _target(number: int, series: Series, form: str = "time_series") -> Builder[Dataquery]:
    reference = chr(ord("A") + number)
    if series.source is not SOURCE:
        return InfluxQuery(series, reference, form)
    return (
        prometheus.Dataquery()
        .expr(series.expression)
        .legend_format(series.legend)
        .ref_id(reference)
    )


def graph(
    title: str, unit: str, says: str, *series: Series, span: int = WIDTH // 2, stacked: bool = False
) -> timeseries.Panel:
    """Lines over time. `unit` is Grafana's word for it: s, ops, bytes, short, percentunit."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(says)
        .unit(unit)
        .datasource(series[0].source)
        .span(span)
        .height(8)
        .line_width(1)
        .fill_opacity(20 if stacked else 6)
        .show_points(look.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .placement(look.LegendPlacement.BOTTOM)
            .display_mode(look.LegendDisplayMode.TABLE)
            .calcs(["lastNotNull", "max"])
        )
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(look.StackingMode.NORMAL))
    for number, one in enumerate(series):
        panel.with_target(_target(number, one))
    return panel


def number(
    title: str,
    unit: str,
    says: str,
    series: Series,
    *,
    steps: Sequence[tuple[float | None, str]] = ((None, GOOD),),
    words: dict[str, str] | None = None,
    span: int = 4,
) -> stat.Panel:
    """One number of now, coloured by the steps it has reached; some have words."""
    colours = [Threshold(value=value, color=colour) for value, colour in steps]
    panel = (
        stat.Panel()
        .title(title)
        .description(says)
        .unit(unit)
        .datasource(series.source)
        .span(span)
        .height(4)
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(colours))
        .color_mode(look.BigValueColorMode.VALUE)
        .graph_mode(look.BigValueGraphMode.NONE if words else look.BigValueGraphMode.AREA)
        .with_target(_target(0, series))
    )
    if words:
        named = {value: ValueMappingResult(text=text) for value, text in words.items()}
        panel.mappings([ValueMap(options=named)])
    return panel


def listing(title: str, says: str, series: Series, span: int = WIDTH // 2) -> table.Panel:
    """What happened, a line each, newest first as the query has it."""
    return (
        table.Panel()
        .title(title)
        .description(says)
        .datasource(series.source)
        .span(span)
        .height(10)
        .filterable(True)
        .with_target(_target(0, series, "table"))
    )
