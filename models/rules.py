"""Rule strategies as models: they need no training and give the same five outputs."""

import numpy as np

from schemas.features import COLUMN

OUTPUTS = 5


def moving_average_cross(values: np.ndarray) -> np.ndarray:
    """The fast mean of mid against the slow one, measured in what the market usually moves.

    Args:
        values: (rows, columns) feature values.

    Returns (rows, 5) float32: up, flat and down sum to 1; the expected move is the distance of the
    means (the trend goes on as far as it has come); its spread is the minute's volatility.
    """
    cross = values[:, COLUMN["mean_cross_bps"]]
    volatility = np.maximum(values[:, COLUMN["volatility_60s_bps"]], np.float32(0.01))
    strength = np.tanh(np.float32(4.0) * cross / volatility)
    out = np.empty((len(values), OUTPUTS), np.float32)
    out[:, 0] = np.maximum(strength, np.float32(0))
    out[:, 1] = np.float32(1) - np.abs(strength)
    out[:, 2] = np.maximum(-strength, np.float32(0))
    out[:, 3] = cross
    out[:, 4] = volatility
    return out
