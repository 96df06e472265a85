"""The arrays of a model, taken out of a dictionary and looked at before anybody computes with them.

Kernels do not check bounds: an array of another shape would be read beyond its end.
"""

import numpy as np
from numpy.typing import DTypeLike

from models.base import ModelError


def taken(
    weights: dict[str, np.ndarray], name: str, *shape: int | None, dtype: DTypeLike = np.float64
) -> np.ndarray:
    """A copy of an array of this shape (None: any length), contiguous.

    Raises:
        ModelError: it is missing, or of another shape or type.
    """
    found = weights.get(name)
    if found is None:
        raise ModelError(f"the weights hold no {name}: train the model anew")
    wanted = np.dtype(dtype)
    fits = len(found.shape) == len(shape) and all(
        length is None or length == there for length, there in zip(shape, found.shape, strict=True)
    )
    if not fits or found.dtype != wanted:
        told = ", ".join("any" if length is None else str(length) for length in shape)
        raise ModelError(
            f"{name} in the weights is {found.shape} {found.dtype}, not ({told}) {wanted}: "
            "train the model anew"
        )
    return np.array(found, wanted, order="C")
