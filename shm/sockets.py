"""Paths of sockets in the run directory: short enough for macOS, or refused."""

from pathlib import Path

from shm.errors import SharedMemoryError

SOCKET_PATH_BYTES_MAX = 103
"""macOS allows 104 with the end mark."""


def socket_path(directory: Path, name: str) -> str:
    """Path of a socket in the run directory.

    Raises:
        SharedMemoryError: too long for macOS.
    """
    path = str(directory / name)
    if len(path.encode()) > SOCKET_PATH_BYTES_MAX:
        raise SharedMemoryError(
            f"socket path {path} is longer than {SOCKET_PATH_BYTES_MAX} bytes; set paths.run to a "
            "shorter folder"
        )
    return path
