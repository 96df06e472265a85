"""A send gate whose word is at hand."""

from collections.abc import Callable

import numpy as np

from processes.execution.gate import SendGate

AGES = 1 << 62


class Gate(SendGate):
    """A gate with a switch of its own, `level`, that an order's age does not matter to."""

    def __init__(self, now_ns: Callable[[], int] = lambda: 0, within_ns: int = AGES) -> None:
        self.level = np.zeros(1, np.int64)
        super().__init__(int(self.level.ctypes.data), now_ns, within_ns)
