"""What every test shares: the kernel cache, the long switch, the recordings, and a clean
machine."""

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from config.kernel_cache import use_kernel_cache
from tests.leaks import (
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

__all__ = ["pytest_runtest_logreport", "pytest_sessionfinish", "pytest_terminal_summary"]
use_kernel_cache()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell begins a job in the background so, and every child would inherit it: with Ctrl-C
    # ignored, what a test interrupts would go on for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The first call of a kernel compiles it: no example may be judged by its time.
settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run long tests whole, not a sample")
    parser.addoption("--seed", type=int, default=None, help="seed of the randomised tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # The longest first: two processes that share the tests then end together.
    items.sort(key=lambda item: "live" not in item.keywords)
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="long test: ./scripts/test --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def long_run(request: pytest.FixtureRequest) -> bool:
    """True under --long: a sampled test then runs whole."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def seed(request: pytest.FixtureRequest, record_property) -> int:
    """A seed that is printed with a failure and can be given again with --seed."""
    chosen = request.config.getoption("--seed")
    value = chosen if chosen is not None else int(os.environ.get("DC_SEED", "20261121"))
    print(f"seed {value}")
    record_property("seed", value)
    return value


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings, named by DC_FIXTURES."""
    folder = os.environ.get("DC_FIXTURES", "")
    if not folder:
        pytest.skip("DC_FIXTURES names no folder of recordings")
    path = Path(folder)
    assert path.is_dir(), f"DC_FIXTURES={folder} is no folder"
    return path


GIVEN_INSTANCES: set[str] = set()
"""Instance ids that this run has given to its tests."""


@pytest.fixture
def instance() -> str:
    """Six hex digits for segment names that nobody else uses."""
    GIVEN_INSTANCES.add(chosen := secrets.token_hex(3))
    return chosen


@pytest.fixture(autouse=True)
def _no_segment_left() -> Iterator[None]:
    """Whatever a test made in shared memory, it removes."""
    shm = Path("/dev/shm")
    if not shm.is_dir():
        yield
        return
    before = {path.name for path in shm.glob("dc.*")}
    yield
    left = {path.name for path in shm.glob("dc.*")} - before
    if left:
        left = _of_this_run(left)
    for name in left:
        (shm / name).unlink(missing_ok=True)
    assert not left, f"shared memory left behind: {sorted(left)}"


def _of_this_run(names: set[str]) -> set[str]:
    """Segments that this run has left, of all that came while one of its tests ran.

    What a living process maps that no test of ours has started belongs to it. A dead maker cannot
    be asked: while another run of tests is alive, what nobody maps is only ours if its instance id
    is; else a child that the other one has just killed would be laid to our charge.
    """
    ours = psutil.Process()
    own = {ours.pid, *(child.pid for child in ours.children(recursive=True))}
    mapped = set()
    alone = True
    for process in psutil.process_iter():
        if process.pid not in own:
            with contextlib.suppress(psutil.Error):
                alone = alone and not _is_test_run(process.cmdline())
                mapped |= {Path(region.path).name for region in process.memory_maps()}
    there = {path.name for path in Path("/dev/shm").glob("dc.*")}  # others end while we look
    names = (names & there) - mapped
    return names if alone else {name for name in names if name.split(".")[1] in GIVEN_INSTANCES}


def _is_test_run(command: list[str]) -> bool:
    """Whether it is Python with pytest, and not a shell that names it."""
    return any(Path(word).name in {"pytest", "py.test"} for word in command[1:4])
