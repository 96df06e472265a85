"""Where recorded frames lie: data/frames/<venue>/dt=YYYY-MM-DD/<start>.jsonl.zst.

Each block of lines is one zstd frame, written at once behind the last. A process that is killed in
the middle of a write leaves a torn end, which the next life cuts off and readers pass over. A file
ends at its size or with the hour; the oldest files go when all of them are larger than their
budget.
"""

import os
from pathlib import Path
from typing import Final

from processes.clock import day_of, file_stamp
from processes.files import sync_folder
from processes.zstd import Compressor, whole_bytes

SUFFIX: Final = ".jsonl.zst"
_HOUR_NS: Final = 3_600_000_000_000


class FrameFiles:
    """The files of one venue, one of them open.

    Args:
        folder: the venue's. file_bytes: a file is ended at this size. keep_bytes: the budget.
    """

    def __init__(self, folder: Path, file_bytes: int, keep_bytes: int) -> None:
        self.written = 0
        """Bytes written, compressed."""
        self._folder = folder
        self._file_bytes = file_bytes
        self._keep_bytes = keep_bytes
        self._compressor = Compressor()
        self._descriptor = -1
        self._path = Path()
        self._size = 0
        self._hour = 0

    def salvage(self) -> None:
        """Cut off what an earlier life did not finish writing: only its last file can have that.

        Raises:
            OSError: it cannot.
        """
        files = self.files()
        if not files:
            return
        whole = whole_bytes(files[-1])
        if not whole:
            files[-1].unlink()
        elif whole != files[-1].stat().st_size:
            os.truncate(files[-1], whole)

    def write(self, lines: memoryview, time_ns: int) -> None:
        """Append lines as one frame of their own.

        Raises:
            OSError: nothing of it was kept.
        """
        block = self._compressor.compress(lines)
        if self._size >= self._file_bytes or time_ns // _HOUR_NS != self._hour:
            self.close()
        if self._descriptor < 0:
            self._open(time_ns)
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            self.close()
            raise
        self._size += len(block)
        self.written += len(block)

    def close(self) -> None:
        """End the open file; an empty one goes."""
        if self._descriptor < 0:
            return
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        if not self._size:
            self._path.unlink()
        self._size = 0

    def files(self) -> list[Path]:
        """All files, oldest first."""
        return sorted(self._folder.glob(f"dt=*/*{SUFFIX}"))

    def _open(self, time_ns: int) -> None:
        folder = self._folder / f"dt={day_of(time_ns)}"
        folder.mkdir(parents=True, exist_ok=True)
        stamp = file_stamp(time_ns)
        names = [stamp, *(f"{stamp}_{number:03d}" for number in range(1, 1000))]
        taken = {path.name for path in folder.glob(f"{stamp}*")}
        name = next(f"{each}{SUFFIX}" for each in names if f"{each}{SUFFIX}" not in taken)
        self._path = folder / name
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        sync_folder(folder)
        self._hour = time_ns // _HOUR_NS
        self._size = 0
        self._make_room()

    def _make_room(self) -> None:
        """Remove the oldest files, as many as the budget asks for."""
        files = [(path, path.stat().st_size) for path in self.files() if path != self._path]
        total = sum(size for _, size in files)
        for path, size in files:
            if total + self._file_bytes <= self._keep_bytes:
                return
            path.unlink()
            total -= size
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
