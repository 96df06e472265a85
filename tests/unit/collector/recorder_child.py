"""Records numbered frames as fast as it can until it is killed; says when it has begun."""

import sys
import time
from pathlib import Path

from processes.collector.recorder import Recorder
from venues.wire import FrameBatch


def main() -> None:
    """Frames of two connections, some hundred a read."""
    recorder = Recorder(Path(sys.argv[1]), 1 << 17, 1 << 30)
    batch = FrameBatch()
    number = 0
    while True:
        batch.clear()
        for _ in range(200):
            batch.add(b"[7,[%d,1,2.5],%d]" % (number, number * 7919 % 1_000_003))
            number += 1
        recorder.received(number // 200 % 2, batch, time.time_ns())
        recorder.service()
        if number == 20_000:
            print("recording", flush=True)


if __name__ == "__main__":
    main()
