"""What the network remembers of each instrument, and the arrays that its steps are made in.

Kernels find all of it by one table of addresses (`kernels.py` says what stands where), so the
arrays are made once, with the network, and never move.
"""

import numpy as np

from models.tcn import BATCHES, DEPTH, HIDDEN_DEPTH, OUTPUTS, Stepper
from processes.inference import kernels
from processes.inference.places import Places
from schemas import predictions
from schemas.features import CATALOGUE


class Batch:
    """The arrays of one batch size, and where they stand."""

    def __init__(self, rows: int, columns: int, hidden: int) -> None:
        self.rows = rows
        self.inputs = np.zeros((rows, columns), np.float32)
        self.first = np.zeros((rows, hidden), np.float32)
        self.second = np.zeros((rows, hidden), np.float32)
        self.hidden = np.zeros((rows, hidden), np.float32)
        self.deeper = np.zeros((rows, hidden), np.float32)
        arrays = (self.inputs, self.first, self.second, self.hidden, self.deeper)
        self.inputs_at, self.first_at, self.second_at, self.hidden_at, self.deeper_at = (
            int(array.ctypes.data) for array in arrays
        )

    def step(self, stepper: Stepper) -> None:
        """Compute what stands in inputs, first and second."""
        self.hidden[:], self.deeper[:] = stepper(self.inputs, self.first, self.second)


class Memory:
    """What the network remembers of each instrument, and the table of addresses of it all."""

    def __init__(self, places: Places, instruments: int, weights: dict[str, np.ndarray]) -> None:
        columns = len(CATALOGUE)
        hidden = weights["B"].shape[1] if weights else 1
        shapes = {
            "mean": (columns,), "scale": (columns,), "A": (3 * columns, hidden), "a": (hidden,),
            "B": (3 * hidden, hidden), "b": (hidden,), "C": (hidden, OUTPUTS), "c": (OUTPUTS,),
        }  # fmt: skip
        w = {
            name: np.ascontiguousarray(weights.get(name, np.zeros(shape)), np.float32)
            for name, shape in shapes.items()
        }
        self.out = np.zeros(instruments, predictions.SLOT)
        self.out_address = int(self.out.ctypes.data)
        self._arrays: dict[int, np.ndarray] = {
            kernels.A_NEWEST: np.zeros(instruments, np.int64),
            kernels.A_COUNTS: np.zeros(instruments, np.int64),
            kernels.A_RECENT: np.zeros((instruments, DEPTH), np.int64),
            kernels.A_MEMBERS: np.zeros((instruments * HIDDEN_DEPTH, 2), np.int64),
            kernels.A_MEAN: w["mean"],
            kernels.A_SCALE: w["scale"],
            kernels.A_INPUTS: np.zeros((instruments, DEPTH, columns), np.float32),
            kernels.A_HIDDEN: np.zeros((instruments, HIDDEN_DEPTH, hidden), np.float32),
            kernels.A_NETWORK: np.zeros((instruments, OUTPUTS), np.float32),
            kernels.A_OUT: self.out,
            kernels.A_FIRST: w["A"],
            kernels.A_FIRST_BIAS: w["a"],
            kernels.A_SECOND: w["B"],
            kernels.A_SECOND_BIAS: w["b"],
            kernels.A_HEAD: w["C"],
            kernels.A_HEAD_BIAS: w["c"],
            kernels.A_SAID: places.said,
            kernels.A_REGIMES: places.regimes,
            kernels.A_LAYERS: places.layers,
        }
        self._table = np.zeros(kernels.TABLE, np.int64)
        for place, array in self._arrays.items():
            self._table[place] = array.ctypes.data
        self._table[kernels.N_INSTRUMENTS] = instruments
        self._table[kernels.N_HIDDEN] = hidden
        self.table = int(self._table.ctypes.data)
        self.batches = [Batch(rows, columns, hidden) for rows in BATCHES]

    def forget(self) -> None:
        """Begin anew, as if no row had ever come."""
        self._arrays[kernels.A_INPUTS][:] = 0
        self._arrays[kernels.A_HIDDEN][:] = 0
