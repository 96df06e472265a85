"""The supervisor: owns the shared memory, starts, watches and restarts children, answers dcctl."""
