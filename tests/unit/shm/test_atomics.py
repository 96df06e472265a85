"""The compiled kernels hold real atomic operations, on x86-64 and cross-compiled for an Apple M1:
the memory argument of `shm/ring.py` rests on it.
"""

import functools
import re

import numpy as np
import pytest
from llvmlite import binding
from numba import njit, types

from shm import atomics, ring

KERNELS = {
    "read_word": (atomics.read_word, 1),
    "write_word": (atomics.write_word, 2),
    "append": (ring.append, 5),
    "take": (ring.take, 4),
}


@functools.cache
def _ir(name: str) -> str:
    kernel, arguments = KERNELS[name]
    fresh = njit(nogil=True)(kernel.py_func)  # code from the cache cannot be inspected
    fresh.compile((types.int64,) * arguments)
    return "\n".join(fresh.inspect_llvm().values())


@functools.cache
def _arm64(name: str) -> str:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    text = re.sub(r'target (triple|datalayout) = ".*"\n', "", _ir(name))
    # The kernel alone: the wrappers that Python calls hold reference counts in x86 intrinsics.
    for block in re.findall(r"(?ms)^define .*?^}\n", text):
        if re.match(r"define[^@]*@(?!_ZN3shm)", block):
            text = text.replace(block, "")
    machine = binding.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(
        cpu="apple-m1", opt=2
    )
    module = binding.parse_assembly(text)
    module.triple = "aarch64-unknown-linux-gnu"
    module.data_layout = str(machine.target_data)
    return machine.emit_assembly(module)


def test_words_are_read_and_written():
    words = np.zeros(4, np.int64)
    at = words.ctypes.data
    atomics.write_word(at, 41)
    atomics.add_to_word(at, 1)
    assert atomics.read_word(at) == words[0] == 42


def test_compare_exchange_changes_only_what_it_expected():
    words = np.array([7], np.int64)
    at = words.ctypes.data
    assert atomics.swap_word(at, 6, 9) == 7
    assert words[0] == 7
    assert atomics.swap_word(at, 7, 9) == 7
    assert words[0] == 9


def test_bits_are_cleared_alone():
    words = np.array([0b0111], np.int64)
    at = words.ctypes.data
    atomics.clear_bits(at, 0b0110)
    assert words[0] == 0b0001


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("read_word", ["load atomic i64, .* acquire"]),
        ("write_word", ["store atomic i64 .* release"]),
        (
            "append",
            [
                "store atomic i64 .* monotonic",
                "fence release",
                "store atomic i64 .* release",
                "fence seq_cst",
                "atomicrmw xchg .* seq_cst",
            ],
        ),
        (
            "take",
            ["load atomic i64, .* acquire", "fence acquire", "load atomic i64, .* monotonic"],
        ),
    ],
)
def test_kernels_hold_their_atomics(name, needed):
    for pattern in needed:
        assert re.search(pattern, _ir(name)), f"{pattern} is missing"


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("read_word", [r"\bldap?r\b"]),
        ("write_word", [r"\bstlr\b"]),
        ("append", [r"\bdmb\s+ish\b", r"\bstlr\b"]),
        ("take", [r"\blda(p?r)\b", r"\bdmb\s+ishld\b"]),
    ],
)
def test_apple_silicon_gets_the_instructions_that_order_memory(name, needed):
    for pattern in needed:
        assert re.search(pattern, _arm64(name)), f"{pattern} is missing"
