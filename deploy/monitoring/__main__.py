"""Write deploy/prometheus/ and deploy/grafana/dashboards/; ./scripts/dashboards calls it."""

import json
from pathlib import Path
from typing import Any, Final

import yaml
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType

from deploy.monitoring import boards
from deploy.monitoring.history import history
from deploy.monitoring.panels import Board
from deploy.monitoring.rules import rules_file

DEPLOY: Final = Path(__file__).resolve().parent.parent
HEAD: Final = "# Made by ./scripts/dashboards from the tables of metrics and alerts; do not edit.\n"
TAG: Final = "data-controller"
BOARDS: Final = (
    boards.pipeline, boards.venues, boards.latency, boards.trading, boards.models, boards.machine,
    history,
)  # fmt: skip
"""In the order in which one looks at them."""


def dashboard_of(board: Board) -> Dashboard:
    """A dashboard as Grafana's own library builds it."""
    links = DashboardLink("Data Controller").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    made = (
        Dashboard(f"Data Controller: {board.title}")
        .uid(board.uid)
        .description(board.says)
        .tags([TAG])
        .refresh(board.refresh)
        .time(f"now-{board.looks_back}", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(links.as_dropdown(True).keep_time(True))
    )
    for variable in board.variables:
        made.with_variable(variable)
    for title, panels in board.rows.items():
        made.with_row(Row(title))
        for panel in panels:
            made.with_panel(panel)
    return made


def _numbered(dashboard: dict[str, Any]) -> dict[str, Any]:
    """Panels have numbers, so that a link to one stays true."""
    for number, panel in enumerate(dashboard["panels"], 1):
        panel["id"] = number
    return dashboard


def files() -> dict[Path, str]:
    """Everything that is made, by its place."""
    rules = yaml.safe_dump(rules_file(), sort_keys=False, width=100, allow_unicode=True)
    found = {DEPLOY / "prometheus" / "rules.yml": HEAD + rules}
    for board in (make() for make in BOARDS):
        text = JSONEncoder(sort_keys=True).encode(dashboard_of(board).build())
        body = json.dumps(_numbered(json.loads(text)), indent=1, sort_keys=True, ensure_ascii=False)
        found[DEPLOY / "grafana" / "dashboards" / f"{board.uid}.json"] = body + "\n"
    return found


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
