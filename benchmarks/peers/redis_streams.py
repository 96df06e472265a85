"""Redis Streams from one process to another, by redis-py with hiredis. Runs in `.venv-peers`.

    python benchmarks/peers/redis_streams.py SOCKET

Says that it is ready, then obeys lines `saturated BATCH COUNT` (XADD in pipelines of BATCH, 1 is
none) and `paced COUNT RATE`. The receiver blocks in XREAD, a thousand entries at most at a time.
"""

import json
import multiprocessing
import sys
from collections.abc import Iterable
from typing import Any

import redis

from benchmarks.events import EVENT, Send, percentiles_us, receive_all, send_all, send_paced

STREAM = "events"
FIELD = b"e"


def consume(address: str, pipe: Any) -> None:
    """The receiving process: obeys (first, count) until it is told None."""
    client = redis.Redis(unix_socket_path=address)
    last = "0-0"
    unpack = EVENT.unpack

    def receive() -> Iterable[tuple[Any, ...]]:
        nonlocal last
        # redis-py types the replies of every protocol and setting at once.
        told: Any = client.xread({STREAM: last}, count=1000, block=1000)
        (_, entries), *_ = told
        last = entries[-1][0]
        return [unpack(fields[FIELD]) for _, fields in entries]

    while (order := pipe.recv()) is not None:
        pipe.send("ready")
        pipe.send(receive_all(receive, *order))


def sender(client: Any, batch: int) -> Send:
    """What sends an event, in pipelines of `batch`."""
    if batch == 1:
        return lambda event: client.xadd(STREAM, {FIELD: bytes(event)})
    pipeline = client.pipeline(transaction=False)
    held = 0

    def send(event: bytearray) -> None:
        nonlocal held
        pipeline.xadd(STREAM, {FIELD: bytes(event)})
        held += 1
        if held == batch:
            pipeline.execute()
            held = 0

    return send


def main() -> None:
    """Serve standard input."""
    address = sys.argv[1]
    client = redis.Redis(unix_socket_path=address)
    client.ping()
    spawn = multiprocessing.get_context("spawn")
    pipe, other = spawn.Pipe()
    receiver = spawn.Process(target=consume, args=(address, other), daemon=True)
    receiver.start()
    print(json.dumps({"ready": True}), flush=True)
    sent = 0
    for line in sys.stdin:
        kind, *numbers = line.split()
        count = int(numbers[1] if kind == "saturated" else numbers[0])
        pipe.send((sent + 1, count))
        assert pipe.recv() == "ready"
        if kind == "saturated":
            began_ns = send_all(sender(client, int(numbers[0])), sent + 1, count)
        else:
            began_ns = send_paced(sender(client, 1), sent + 1, count, float(numbers[1]))
        done_ns, latencies = pipe.recv()
        sent += count
        # What was read is of no more use; the last entry stays, as the place to read on from.
        client.xtrim(STREAM, maxlen=1, approximate=False)
        answer = {"per_s": count / (done_ns - began_ns) * 1e9, **percentiles_us(latencies)}
        print(json.dumps(answer), flush=True)
    pipe.send(None)
    receiver.join(5)


if __name__ == "__main__":
    main()
