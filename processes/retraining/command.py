"""dcctl for as long as who typed it lives, and no longer.

usage: python -m processes.retraining.command WORDS...

Its standard input is a pipe; when the other end closes, by death or on purpose, it ends at once.
All that it writes appears whole or not at all, so no instant is a bad one.
"""

import os
import sys

from processes.cli.__main__ import main
from processes.guard import EXIT_ORPHANED, when_alone

if __name__ == "__main__":
    when_alone(sys.stdin.fileno(), lambda: os._exit(EXIT_ORPHANED))
    sys.argv = ["dcctl", *sys.argv[1:]]
    main()
