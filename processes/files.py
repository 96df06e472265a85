"""Files that must be whole or not there: written beside, synced, renamed; and where files are."""

import os
from collections.abc import Iterator
from pathlib import Path


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder below one and itself, with the names of its folders and of its files.

    A folder that vanishes meanwhile is passed over, where Python's own `rglob` would fail.
    """
    for folder, folders, files in os.walk(root):
        yield Path(folder), folders, files


def write_whole(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replace a file's content so that a crash leaves the old or the new, never a part.

    Args:
        mode: of the new file, before anything is in it; None = the usual one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
