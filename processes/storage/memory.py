"""Storage's memory, given back: it takes megabytes for a moment, again and again, for months.

Arrow's own allocator keeps what it once had, and so does the C library's after a large file was
sealed. With the C library's alone, asked to give back after each seal, the same work needs half the
memory, and the same after a day as after a minute (docs/performance.md).
"""

import pyarrow as pa


def use_system_memory() -> None:
    """Let Arrow take its memory from the C library."""
    pa.set_memory_pool(pa.system_memory_pool())


def give_back() -> None:
    """Return what is free to the system: all that the C library holds, not Arrow's part alone."""
    pa.default_memory_pool().release_unused()
