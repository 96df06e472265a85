"""A child for the supervisor's tests: behaves as SAMPLE_BEHAVIOUR says."""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from schemas.control import ProcessState
from shm.control import ControlBlock
from shm.segment import Segment


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--guard", type=int)
    options = parser.parse_args()
    behaviour = os.environ["SAMPLE_BEHAVIOUR"]
    if behaviour == "dies":
        sys.exit(5)
    control = ControlBlock(Segment.attach(os.environ["SAMPLE_CONTROL"]))
    index = control.find(options.name)
    stopping = threading.Event()

    def watch() -> None:
        os.read(options.guard, 1)
        stopping.set()

    threading.Thread(target=watch, daemon=True).start()
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
        grandchild = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        (options.run / "grandchild").write_text(str(grandchild.pid))
    else:
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    if behaviour != "silent":
        control.take_row(index)
    turn = 0
    while not stopping.wait(0.02):
        turn += 1
        state = ProcessState.READY
        if behaviour == "wavers" and 20 < turn < 40:
            state = ProcessState.STARTING
        if behaviour == "silent" or (behaviour == "hangs" and turn > 10):
            continue
        control.beat(index, time.monotonic_ns(), state)


if __name__ == "__main__":
    main()
