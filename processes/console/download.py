"""`dcctl history download` or `resume` for the console: ends in order when the console ends."""

import os
import signal
import sys

from processes.cli.__main__ import main
from processes.guard import when_alone

if __name__ == "__main__":
    os.nice(5)
    when_alone(sys.stdin.fileno(), lambda: os.kill(os.getpid(), signal.SIGINT))
    sys.argv = ["dcctl", "history", *sys.argv[1:]]
    main()
