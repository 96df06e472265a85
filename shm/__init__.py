"""The transport: rings, control block and counters in POSIX shared memory. Knows no market word."""
