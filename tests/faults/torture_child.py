"""One process of the ring's torture: a writer, a reader, or a writer that breaks the protocol.

Every slot carries a checksum over all its words, made by the writer and compared by the reader: an
oracle that knows nothing of sequences, fences or reserves.

usage: torture_child ROLE INSTANCE NAME SEED [COUNT]

COUNT ends a writer after so many slots and a reader after so many bad ones; 0 is never.
"""

import json
import signal
import sys

from config.kernel_cache import use_kernel_cache

use_kernel_cache()

import numpy as np  # noqa: E402
from numba import carray, njit  # noqa: E402

from shm.atomics import (  # noqa: E402
    fence_release,
    load_relaxed,
    memory,
    read_word,
    store_relaxed,
    store_release,
)
from shm.ring import COMMITTED, RESERVE, SLOTS  # noqa: E402
from shm.segment import Segment, segment_name  # noqa: E402
from tests.helpers import TEST_SLOT, TestRing  # noqa: E402

WORDS = 16
DAWDLE = 50_000


@njit(cache=True, nogil=True)
def mix(value):
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def checksum(slots, index):
    total = np.uint64(0)
    for word in range(WORDS):
        if word != 1:
            total = mix(total + slots[index, word] + np.uint64(word))
    return total


@njit(cache=True, nogil=True)
def fill(address, count, first, state):
    """`count` slots of noise with their checksums, as sequence `first` onwards."""
    slots = carray(memory(address), (count, WORDS), np.uint64)
    for index in range(count):
        slots[index, 0] = np.uint64(first + index)
        for word in range(2, WORDS):
            state = mix(state + np.uint64(0x9E3779B97F4A7C15))
            slots[index, word] = state
        slots[index, 1] = checksum(slots, index)
    return state


@njit(cache=True, nogil=True)
def count_bad(address, count):
    slots = carray(memory(address), (count, WORDS), np.uint64)
    bad = 0
    for index in range(count):
        if slots[index, 1] != checksum(slots, index):
            bad += 1
    return bad


@njit(cache=True, nogil=True)
def spin(turns):
    state = np.uint64(1)
    for _ in range(turns):
        state = mix(state)
    return state


@njit(cache=True, nogil=True)
def append_broken(ring, capacity, address, count, reserve_too):
    """Commits before it has written; without `reserve_too` it claims nothing either.

    Half the block is written, then the writer dawdles, as one that lost its core would: however
    loaded the machine, the ring is broken for most of the time.
    """
    source = carray(memory(address), (count, WORDS), np.uint64)
    target = carray(memory(ring + SLOTS), (capacity, WORDS), np.uint64)
    committed = load_relaxed(ring + COMMITTED)
    if reserve_too:
        store_relaxed(ring + RESERVE, committed + count)
        fence_release()
        for index in range(count):
            target[(committed + index) & (capacity - 1), 0] = np.uint64(committed + index + 1)
        store_release(ring + COMMITTED, committed + count)
    for index in range(count):
        if index == count // 2:
            # Into the block's last slot, which is written over below.
            target[(committed + count - 1) & (capacity - 1), 2] ^= spin(DAWDLE)
        place = (committed + index) & (capacity - 1)
        for word in range(WORDS):
            target[place, word] = source[index, word]
    if not reserve_too:
        store_release(ring + COMMITTED, committed + count)


def write(made: TestRing, seed: int, count: int, broken: str) -> None:
    """Full speed, in blocks of 1 to 512."""
    writer = made.writer()
    draw = np.random.default_rng(seed)
    block = np.zeros(512, TEST_SLOT)
    state = np.uint64(seed + 1)
    while count <= 0 or writer.committed < count:
        number = int(draw.integers(1, 513))
        state = fill(block.ctypes.data, number, writer.committed + 1, state)
        if broken:
            append_broken(
                made.ring.address, writer.capacity, block.ctypes.data, number, broken == "early"
            )
        else:
            writer.append_at(block.ctypes.data, number)


def read(made: TestRing, name: str, seed: int, most_bad: int) -> None:
    """Read until told to stop or until so many were bad, with pauses; every slot is checked."""
    reader = made.reader(name, limit=1024)
    began = reader.position
    draw = np.random.default_rng(seed)
    report = {"good": 0, "bad": 0, "blocks": 0, "lapped": 0, "misnumbered": 0}
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    while True:
        before = reader.position
        block = reader.read()
        if len(block):
            bad = count_bad(block.ctypes.data, len(block))
            first = before + reader.lost_before + 1
            report["misnumbered"] += int(block["sequence"][0]) != first
            report["bad"] += bad
            report["good"] += len(block) - bad
            report["blocks"] += 1
            report["lapped"] += reader.lost_before > 0
            reader.acknowledge()
        elif stopping:
            break
        if most_bad and report["bad"] >= most_bad:
            break
        if draw.random() < 0.02:
            spin(int(draw.integers(1, 400_000)))
    report |= {"position": reader.position, "lost": reader.lost, "began": began}
    print(json.dumps(report), flush=True)


def main() -> None:
    role, instance, name, seed, *rest = sys.argv[1:]
    made = TestRing(
        Segment.attach(segment_name(instance, "t")), Segment.attach(segment_name(instance, "t.r"))
    )
    assert read_word(made.ring.address)
    if role == "reader":
        read(made, name, int(seed), int(rest[0]))
    else:
        write(made, int(seed), int(rest[0]), {"writer": ""}.get(role, role))


if __name__ == "__main__":
    main()
