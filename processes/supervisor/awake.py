"""Keeps a Mac from falling asleep for want of a person, as long as the supervisor lives.

A closed lid sleeps all the same. `caffeinate -w` ends with the process it is given, however that
ends; the program is not run inside it, since launchd would then signal caffeinate and not us.
"""

import os
import subprocess
import sys

from processes.logs import Log


def stay_awake(log: Log, platform: str = sys.platform) -> "subprocess.Popen[bytes] | None":
    """Start it, on a Mac; None elsewhere, or where it cannot be had."""
    if platform != "darwin":
        return None
    try:
        return subprocess.Popen(
            ["caffeinate", "-i", "-w", str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        log.warning("this machine may fall asleep: no caffeinate", reason=str(error))
        return None
