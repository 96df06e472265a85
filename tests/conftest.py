"""What every test shares: the kernel cache, the long switch, the recordings, and a clean
machine."""

import contextlib
import os
import secrets
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
        left -= _mapped_by_others()  # an instance that runs beside the tests keeps its memory
    for name in left:
        (shm / name).unlink(missing_ok=True)
    assert not left, f"shared memory left behind: {sorted(left)}"


def _mapped_by_others() -> set[str]:
    """Segments that processes map which no test of ours has started."""
    ours = psutil.Process()
    own = {ours.pid, *(child.pid for child in ours.children(recursive=True))}
    found = set()
    for process in psutil.process_iter():
        if process.pid not in own:
            with contextlib.suppress(psutil.Error):
                found |= {Path(region.path).name for region in process.memory_maps()}
    return found
