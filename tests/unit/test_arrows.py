"""The arrows of the house: which folder may import what, lazy imports too.

A test, not a convention: what may be imported stands in ARROWS, and nothing else is. Folders below
`processes/` do not know each other; the composition roots, which put processes together, do.
"""

import ast
import sys
from functools import cache

import pytest

from tests.helpers import ROOT

TOPS = (
    "shm", "schemas", "venues", "models", "config", "processes", "benchmarks", "deploy", "tests",
)  # fmt: skip
ARROWS: dict[str, set[str]] = {
    # the transport: knows no market word
    "shm": {"numpy", "numba", "llvmlite", "zmq"},
    # every contract as data
    "schemas": {"msgspec", "numpy", "pyarrow"},
    # llvmlite and numba: decoding is compiled; aiohttp: the venues' REST calls
    "venues": {"schemas", "msgspec", "numpy", "numba", "llvmlite", "aiohttp"},
    # numba: the rule model runs inside inference's compiled step
    # lightgbm, sklearn: they fit, and are not there where a fitted model infers
    "models": {"schemas", "msgspec", "numpy", "numba", "mlx", "lightgbm", "sklearn"},
    "config": {"schemas", "msgspec", "yaml"},
    # what every process shares: the files directly below processes/
    "processes": {"config", "schemas", "shm", "msgspec", "numpy", "zmq", "structlog"},
    "processes/databases": {"psycopg"},
    "processes/collector": {"numba", "uvloop", "venues"},
    "processes/features": {"numba"},
    # psutil: how much memory it has
    "processes/inference": {"numba", "mlx", "models", "psutil"},
    # uvloop, venues: brokers of accounts at venues; aiohttp: the control interface of a Freqtrade
    # bot
    "processes/execution": {"numba", "aiohttp", "uvloop", "venues"},
    # venues: an account is ended by its venue's own calls
    "processes/killer": {"venues"},
    # numba: a block's slots are sorted by series and made columns by compiled kernels
    "processes/storage": {"pyarrow", "numba"},
    # urllib3: the client's own errors of connections; orjson: shortest text of float32, a block
    # at a time
    "processes/influx": {"influxdb_client", "urllib3", "orjson"},
    "processes/bridge": {"redis"},
    # venues: past rows come over the venues' REST calls
    "processes/history": {"venues", "pyarrow"},
    # speaks the venues' protocols by itself, so that a misunderstanding cannot confirm itself
    "processes/simulator": {"aiohttp"},
    # venues: which streams a configuration comes to, for the tables of places
    "processes/supervisor": {"venues", "psutil", "prometheus_client"},
    # venues: ingest decodes recordings as the collector does; models: which families there are, and
    # what a trained one says of itself; benchmarks: bench runs them
    # packaging: doctor reads the lock
    "processes/cli": {"venues", "models", "typer", "psutil", "benchmarks", "packaging"},
    # made beforehand, by who changes the tables of metrics and alerts
    "deploy": {"schemas", "yaml", "grafana_foundation_sdk"},
    "processes/archive": set(),
    # models: what a trained one says of itself
    "processes/operations": {"models"},
    # nicegui, fastapi, starlette, uvicorn: pages and API; pyarrow: records of files; psutil: itself
    "processes/console": {"nicegui", "fastapi", "starlette", "uvicorn", "psutil"},
    # psutil: how much memory the machine has left; apprise: the channels
    "processes/alerts": {"psutil", "apprise"},
    "processes/keeper": set(),
    "processes/retraining": set(),
    # what is done with sealed files: looking, proving, packing, asking
    "processes/lake": {"pyarrow", "duckdb"},
    # numba, venues: books are made again as they were made
    "processes/recordings": {"venues", "pyarrow", "numba"},
    # numba, venues: history's slots and a backtest's books; models: which network the chain is
    # given; distributed, matplotlib: sweeps and reports
    "processes/replay": {"venues", "models", "pyarrow", "numba", "distributed", "matplotlib"},
    # venues: simulated frames take the real decoder's way to become rows to learn from; numba:
    # labels, and trades one after another; matplotlib: reports
    "processes/training": {"venues", "models", "numba", "matplotlib"},
}
NOT_FOR = {"processes/simulator": {"venues"}, "shm": {"schemas"}, "models": {"processes"}}
"""Said once more, since these are the arrows that somebody will want."""

FILES: dict[str, dict[str, str]] = {
    "processes/zstd.py": {"pyarrow": "its zstd, for who records frames and who reads them back"},
    "processes/accounts.py": {
        "venues": "a key becomes trading calls, for execution and the killer"
    },
    "processes/lake_stores.py": {"pyarrow": "its file systems, for who reads a lake in a store"},
    "processes/lake_places.py": {"pyarrow": "the same, for files that stand in one"},
    "processes/pages.py": {"matplotlib": "plots of reports, of backtests and of trainings"},
    "processes/lake_files.py": {"pyarrow": "which file counts, for who writes, packs and replays"},
}
"""Single files that may import more than their room, and why."""

ROOTS: dict[str, dict[str, str]] = {
    "processes/cli": {
        "supervisor": "start is the supervisor; stop and doctor clear away what it left",
        "storage": "ingest writes a lake as storage does",
        "databases": "doctor and status show which ledger is used",
        "execution": "status shows the positions that the ledger holds",
        "inference": "doctor proves that kernels can be compiled here",
        "replay": "replay and backtest are commands",
        "recordings": "replay, backtest, train and why name a session and a span of it",
        "training": "train is a command",
        "history": "history downloads, shows, cancels and resumes",
        "influx": "influx makes buckets, shows the spool and sends it",
        "alerts": "alert test sends as the process does, where none runs",
        "lake": "lake lists, shows, verifies, compacts and asks",
        "operations": "no process: what commands and the console look at and do",
    },
    "processes/operations": {
        "execution": "reads the ledger, and the journal's words",
        "recordings": "finds what is behind a decision",
        "history": "downloads are jobs on disk",
        "training": "which models are there, and what speaks against one",
    },
    "processes/console": {
        "operations": "no process: what commands and the console look at and do",
        "execution": "reads the ledger",
        "lake": "lists and shows files",
        "history": "downloads are jobs on disk",
        "alerts": "what needs attention is found by the rules that tell of it",
        "cli": "a download is the command that a person would type",
    },
    "processes/retraining": {"cli": "types the commands that a person would type"},
    "processes/archive": {"lake": "pushes with the lake's own tool, as dcctl lake push does"},
    "processes/execution": {"databases": "no process: the floor below ledger and history"},
    "processes/storage": {"databases": "no process: the floor below ledger and history"},
    "processes/recordings": {"features": "makes feature rows again by the kernels that made them"},
    "processes/replay": {
        **dict.fromkeys(
            ("features", "inference", "execution", "storage", "supervisor"),
            "feeds a recording through the code that made it",
        ),
        "recordings": "no process: the floor below replay and training",
    },
    "processes/training": {
        "recordings": "no process: the floor below replay and training",
        "simulator": "learns from the simulated market",
        "features": "learns from the very rows that inference will see",
    },
}
"""Who may name other processes, which ones, and why."""

LAZY = {
    "apprise": {"processes/alerts"},
    "distributed": {"processes/replay"},
    "lightgbm": {"models"},
    "matplotlib": {"processes/replay", "processes/training", "processes"},
    "mlx": {"models", "processes/inference", "processes/training"},
    "sklearn": {"models"},
}
"""Imported only inside a function: a machine without it must be able to import the module, and what
takes long to import is not waited for by who does not need it."""


@cache
def imports(source: str) -> list[tuple[str, int, bool]]:
    """(module, line, lazy) of every import in a file, wherever it stands."""
    found: list[tuple[str, int, bool]] = []
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(source), False)]
    while waiting:
        node, lazy = waiting.pop()
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, lazy) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide the arrow"
            # `from processes import latch` names processes.latch
            found += [(f"{node.module}.{alias.name}", node.lineno, lazy) for alias in node.names]
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            if called in {"__import__", "import_module"}:
                what = node.args[0]
                assert isinstance(what, ast.Constant), f"line {node.lineno}: import by name"
                found.append((str(what.value), node.lineno, True))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        waiting += [(child, lazy or inside) for child in ast.iter_child_nodes(node)]
    return sorted(found, key=lambda one: one[1])


def room_of(path: str) -> str:
    """`processes/cli/tap.py` is in the room processes/cli, `processes/bus.py` in processes."""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "processes" and len(parts) > 2 else parts[0]


def faults(path: str, source: str, rooms: set[str]) -> list[str]:
    """What a file imports and may not."""
    room = room_of(path)
    allowed = ARROWS[room] | (ARROWS["processes"] if room.startswith("processes/") else set())
    allowed = allowed | set(FILES.get(path, ()))
    found = []
    for module, line, lazy in imports(source):
        parts = module.split(".")
        top = parts[0]
        where = f"{path}:{line}: {room} imports {module}"
        if top in sys.stdlib_module_names:
            continue
        if top in LAZY and not (lazy and room in LAZY[top]):
            found.append(f"{where}, which must stand inside a function of {sorted(LAZY[top])}")
        other = f"processes/{parts[1]}" if top == "processes" and len(parts) > 1 else top
        if other in rooms and other.startswith("processes/") and other != room:
            if parts[1] not in ROOTS.get(room, {}):
                found.append(f"{where}: a process knows no other; what two need moves down a floor")
        elif top != room.split("/")[0] and top not in allowed:
            found.append(f"{where}; it may import {', '.join(sorted(allowed))}")
    return found


def sources() -> dict[str, str]:
    found = {}
    for top in {room.split("/")[0] for room in ARROWS}:
        for path in sorted((ROOT / top).rglob("*.py")):
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    return found


def rooms() -> set[str]:
    folders = (ROOT / "processes").iterdir()
    return {f"processes/{path.name}" for path in folders if (path / "__init__.py").exists()}


def test_every_import_follows_the_arrows():
    found = [fault for path, text in sources().items() for fault in faults(path, text, rooms())]
    assert not found, "\n".join(found)


def test_every_room_has_its_row():
    assert rooms() <= set(ARROWS)
    tops = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert tops == set(TOPS)
    for room, others in ROOTS.items():
        assert room in ARROWS
        assert all(f"processes/{other}" in ARROWS for other in others)
    for room, never in NOT_FOR.items():
        shared = ARROWS["processes"] if room.startswith("processes/") else set()
        assert not never & (ARROWS[room] | shared)


def test_no_permission_outlives_its_use():
    """A row that allows what nobody does invites somebody to do it; what is to come is excepted."""
    to_come = {
        "processes/replay", "processes/training",
        "processes/cli replay", "processes/cli training",
    }  # fmt: skip
    used: dict[str, set[str]] = {}
    for path, text in sources().items():
        for module, _, _ in imports(text):
            parts = module.split(".")
            names = used.setdefault(room_of(path), set())
            names.add(parts[0])
            if parts[0] == "processes" and len(parts) > 1:
                names.add(parts[1])
    idle = [
        f"{room} {name}"
        for table in (ARROWS, ROOTS)
        for room, names in table.items()
        for name in names
        if name not in used.get(room, set()) and room not in to_come
    ]
    # What processes share may stand there for the sake of any room.
    idle = [row for row in idle if not row.startswith("processes ") and row not in to_come]
    assert not idle, idle


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("shm/made_up.py", "from schemas import tape"),
        ("shm/made_up.py", "import msgspec"),
        ("schemas/made_up.py", "import shm.ring"),
        ("schemas/made_up.py", "from processes import latch"),
        ("venues/made_up.py", "from shm.ring import RingWriter"),
        ("venues/bitfinex/made_up.py", "def f():\n    import requests"),
        ("models/made_up.py", "import mlx.core as mx"),
        ("models/made_up.py", "if True:\n    import mlx.core"),
        ("models/made_up.py", "import lightgbm"),
        ("models/made_up.py", "import processes.clock"),
        ("config/made_up.py", "from venues import book"),
        ("processes/made_up.py", "import numba"),
        ("processes/made_up.py", "from processes.execution import orders"),
        ("processes/made_up.py", "import processes.cli.screen"),
        ("processes/collector/made_up.py", "from processes.features.cutter import Cutter"),
        ("processes/collector/made_up.py", "from processes import storage"),
        ("processes/collector/made_up.py", "import pyarrow"),
        ("processes/made_up.py", "import pyarrow"),
        ("processes/features/made_up.py", "import venues.book"),
        ("processes/execution/made_up.py", "class A:\n    def f(self):\n        import psycopg"),
        ("processes/execution/made_up.py", "import mlx"),
        ("processes/simulator/made_up.py", "from venues.bitfinex import kernel"),
        ("processes/storage/made_up.py", "import importlib\nimportlib.import_module('models')"),
        ("processes/supervisor/made_up.py", "from processes.execution.ledger import Ledger"),
        ("processes/cli/made_up.py", "from processes.collector import session"),
        ("processes/cli/made_up.py", "try:\n    import rich\nexcept ImportError:\n    pass"),
    ],
)
def test_a_made_up_import_is_caught(path, line):
    assert faults(path, line, rooms())


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("shm/made_up.py", "import numpy\nfrom shm.errors import NoRoomError\nimport os.path"),
        ("models/made_up.py", "def f():\n    import mlx.core as mx\n    return mx"),
        ("processes/made_up.py", "from processes.latch import Latch"),
        ("processes/storage/made_up.py", "from processes import latch\nimport pyarrow as pa"),
        ("processes/execution/brokers/made_up.py", "from processes.execution.orders import Order"),
        ("processes/cli/made_up.py", "def f():\n    from processes.supervisor import main"),
    ],
)
def test_what_may_be_may_be(path, line):
    assert faults(path, line, rooms()) == []


@pytest.mark.parametrize("line", ["from . import x", "from ..shm import ring", "__import__(name)"])
def test_imports_that_hide_what_they_import_are_refused(line):
    with pytest.raises(AssertionError):
        faults("processes/cli/made_up.py", line, rooms())
