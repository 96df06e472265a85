"""A process that ends with the one that started it, however that ended.

Who starts it holds one end of a pipe and writes nothing; the operating system closes that end even
after SIGKILL. The other end is a descriptor of the child, its standard input or another one.
"""

import os
import threading
from collections.abc import Callable
from typing import Final

EXIT_ORPHANED: Final = 70
"""Exit code of a process that ended since it was alone."""


def when_alone(descriptor: int, act: Callable[[], object]) -> None:
    """Do something, in a thread of its own, as soon as the other end of a pipe is closed."""

    def watch() -> None:
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            pipe.read(1)
        act()

    threading.Thread(target=watch, name="guard", daemon=True).start()
