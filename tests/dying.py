"""Children that are killed at the n-th thing they do to a disk: a real SIGKILL of a real process.

Steps are counted in the child: each open for writing, rename, removal, truncation, write and sync
of what Python does, and each call of the functions that a test names (work that C code does).
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

EVENTS = {"os.rename", "os.remove", "os.truncate", "os.mkdir"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class _Steps:
    def __init__(self, folder: Path, kill_at: int) -> None:
        self._folder = str(folder)
        self._left = kill_at
        self.count = 0

    def step(self) -> None:
        self.count += 1
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS and not (event == "open" and (arguments[2] or 0) & WRITES):
            return
        # What is cut by its descriptor is one of ours: nobody else does that here.
        if isinstance(arguments[0], int) or str(arguments[0]).startswith(self._folder):
            self.step()

    def wrap(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def stepped(*arguments: Any, **options: Any) -> Any:
            self.step()
            return real(*arguments, **options)

        setattr(owner, name, stepped)


def run_and_kill(
    work: Callable[[], object], folder: Path, kill_at: int, also: Sequence[tuple[Any, str]] = ()
) -> int:
    """Do the work in a child that dies before its n-th step in a folder; 0 lets it live.

    Returns:
        0 if it was killed; else how many steps the whole work has.
    """
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of libraries stay behind
        child = os.fork()
    if not child:
        code = 1
        try:
            steps = _Steps(folder, kill_at)
            for owner, name in ((os, "write"), (os, "fsync"), *also):
                steps.wrap(owner, name)
            sys.addaudithook(steps.hear)
            work()
            count = steps.count
            steps._folder = "\0"
            os.writev(write, [str(count).encode()])
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return 0
    assert os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return int(told)
