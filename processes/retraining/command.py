"""dcctl for as long as who typed it lives, and no longer.

usage: python -m processes.retraining.command GUARD WORDS...

GUARD is the number of a pipe's reading end; when the other end closes, by death or on purpose, the
command ends at once. All that it writes appears whole or not at all, so no instant is a bad one.
"""

import os
import sys
import threading

from processes.cli.__main__ import main

EXIT_ALONE = 70


def _watch(guard: int) -> None:
    with os.fdopen(guard, "rb", buffering=0) as pipe:
        pipe.read(1)
    os._exit(EXIT_ALONE)


if __name__ == "__main__":
    threading.Thread(target=_watch, args=(int(sys.argv[1]),), daemon=True).start()
    sys.argv = ["dcctl", *sys.argv[2:]]
    main()
