"""Atomic words and fences: the only way in which this project touches a word two processes share.

Why not plain loads and stores? Numba compiles through LLVM, which may delete, merge, hoist or
reorder plain memory operations, on x86 too: of `word = odd; copy; word = even` it keeps one store,
and it turns `while word == seen: pass` into an endless loop. And Apple Silicon reorders stores with
stores and loads with loads in the processor. The operations below are LLVM atomics: on x86-64 they
are ordinary moves (and `mfence` or a locked instruction where a full fence is needed), on arm64
they become `ldar`/`ldapr`, `stlr`, `dmb ish` and `dmb ishld`. That is what the C11 memory model
asks for, so an argument made with acquire, release and fences holds on both.

Intrinsics take addresses as int64; words are 8 bytes, 8-byte aligned, signed. They can be called
from compiled kernels only. The functions at the end are the same operations for Python callers.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

import shm.numba_manners  # noqa: F401  (before any kernel is compiled or loaded)

_WORD = ir.IntType(64)


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _WORD.as_pointer())


def _loader(ordering: str) -> Any:
    def load(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load_atomic(_pointer(builder, args[0]), ordering, 8)

        return types.int64(types.int64), codegen

    return intrinsic(load)


def _storer(ordering: str) -> Any:
    def store(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store_atomic(args[1], _pointer(builder, args[0]), ordering, 8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return intrinsic(store)


def _fence(ordering: str) -> Any:
    def fence(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.void(), codegen

    return intrinsic(fence)


def _exchanger(operation: str) -> Any:
    def exchange(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.atomic_rmw(operation, _pointer(builder, args[0]), args[1], "seq_cst")

        return types.int64(types.int64, types.int64), codegen

    return intrinsic(exchange)


load_relaxed = _loader("monotonic")
load_acquire = _loader("acquire")
store_relaxed = _storer("monotonic")
store_release = _storer("release")
fence_acquire = _fence("acquire")
fence_release = _fence("release")
fence_full = _fence("seq_cst")
exchange = _exchanger("xchg")
fetch_or = _exchanger("or")
fetch_and = _exchanger("and")


@intrinsic
def compare_exchange(typingctx: Any, address: Any, expected: Any, value: Any) -> Any:
    """Store `value` if the word is `expected`; the old word either way."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pair = builder.cmpxchg(_pointer(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 0)

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def memory(typingctx: Any, address: Any) -> Any:
    """An address as a pointer, for `numba.carray`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Ask for the cache line at an address, which need not be memory of ours, without waiting."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number, place = ir.IntType(32), ir.IntType(8).as_pointer()
        form = ir.FunctionType(ir.VoidType(), [place, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [place], form)
        read, keep, data = number(0), number(3), number(1)
        builder.call(ask, [builder.inttoptr(args[0], place), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def address_of(buffer: Any) -> int:
    """Where a buffer begins. The buffer must outlive every use of the address."""
    return int(np.frombuffer(buffer, dtype=np.uint8).ctypes.data)


@njit(cache=True, nogil=True)
def read_word(address: int) -> int:
    """One word, acquire."""
    return load_acquire(address)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def write_word(address: int, value: int) -> None:
    """One word, release."""
    store_release(address, value)


@njit(cache=True, nogil=True)
def swap_word(address: int, expected: int, value: int) -> int:
    """Compare and exchange; the word as it was."""
    return compare_exchange(address, expected, value)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def add_to_word(address: int, value: int) -> None:
    """Add to a word that only this process writes."""
    store_relaxed(address, load_relaxed(address) + value)


@njit(cache=True, nogil=True)
def clear_bits(address: int, bits: int) -> None:
    """Clear bits of a word that several processes write."""
    fetch_and(address, ~bits)
