"""What every test shares: the kernel cache, the long switch, the recordings, and a clean
machine."""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from config.kernel_cache import use_kernel_cache

use_kernel_cache()
# The first call of a kernel compiles it: no example may be judged by its time.
settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run long tests whole, not a sample")
    parser.addoption("--seed", type=int, default=None, help="seed of the randomised tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
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


@pytest.fixture
def instance() -> str:
    """Six hex digits for segment names that nobody else uses."""
    return secrets.token_hex(3)


def _in_use_elsewhere(name: str) -> bool:
    """Whether a process that no test started has it mapped: another instance on this machine."""
    mine = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    for maps in Path("/proc").glob("[0-9]*/maps"):
        if int(maps.parent.name) in mine:
            continue
        with contextlib.suppress(OSError):
            if f"/{name}" in maps.read_text():
                return True
    return False


@pytest.fixture(autouse=True)
def _no_segment_left() -> Iterator[None]:
    """Whatever a test made in shared memory, it removes; what others make is theirs."""
    shm = Path("/dev/shm")
    if not shm.is_dir():
        yield
        return
    before = {path.name for path in shm.glob("dc.*")}
    yield

    def left() -> set[str]:
        return {path.name for path in shm.glob("dc.*")} - before

    if not left():
        return
    mine = {name for name in left() if not _in_use_elsewhere(name)}
    # Another instance that is just stopping has unmapped what it will unlink in a moment.
    end = time.monotonic() + 3.0
    while mine & left() and time.monotonic() < end:
        threading.Event().wait(0.05)
    mine &= left()
    for name in mine:
        (shm / name).unlink(missing_ok=True)
    assert not mine, f"shared memory left behind: {sorted(mine)}"
