"""Panels as all dashboards have them: one look, one grid, every query a row of a list.

A panel says in its description what a reader should make of it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="prometheus")
"""As deploy/grafana/provisioning/datasources names it."""
WIDTH: Final = 24
GOOD, BAD, TOLERABLE = "green", "red", "orange"


class Series(NamedTuple):
    """One query and what its lines are called."""

    expression: str
    legend: str


def _target(number: int, series: Series) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(series.expression)
        .legend_format(series.legend)
        .ref_id(chr(ord("A") + number))
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
        .datasource(SOURCE)
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
        .datasource(SOURCE)
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
