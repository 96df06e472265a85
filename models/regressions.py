"""Regressions that a model is made of, as plain coefficients: multinomial logistic, and ridge.

The first is fitted by scikit-learn with L-BFGS, the second solved; neither draws anything, so the
same samples give the same numbers. Whoever predicts with them needs no scikit-learn.
"""

import numpy as np

from models.samples import CLASSES


def fit_logistic(
    rows: np.ndarray, labels: np.ndarray, *, penalty: float, shares: np.ndarray | None = None
) -> np.ndarray:
    """Coefficients (F + 1, 3) of the logits of up, flat and down, the offsets last.

    A class that never came gets the offset of one that comes once in as many samples as there are.

    Args:
        rows: (n, F) float64, standardised. labels: (n), at least two different ones.
        penalty: what half a squared coefficient costs in the mean loss of a sample.
        shares: (n) how much each sample counts; alike without them.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  (takes a second to load)

    total = float(len(rows) if shares is None else shares.sum())
    fitted = LogisticRegression(C=1 / (penalty * total), max_iter=1000, tol=1e-6)
    fitted.fit(rows, labels, sample_weight=shares)
    found = np.zeros((rows.shape[1] + 1, CLASSES))
    found[-1] = -np.log(total)
    there = fitted.classes_.astype(int)
    slopes, offsets = fitted.coef_, fitted.intercept_
    if len(there) == 2:  # the log-odds of the second against the first
        slopes = np.vstack([-slopes / 2, slopes / 2])
        offsets = np.array([-offsets[0] / 2, offsets[0] / 2])
    found[:-1, there] = slopes.T
    found[-1, there] = offsets
    return found


def fit_ridge(
    rows: np.ndarray, moves: np.ndarray, *, penalty: float, shares: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Coefficients (F + 1) of the move, the offset last and free of penalty; and what is left.

    Solves (X'X / n + penalty) w = X'y / n on centred rows. What is left is one standard deviation
    of the residuals, in the unit of the moves.

    Args:
        rows: (n, F) float64, standardised. moves: (n). shares: (n), alike without them.
    """
    share = np.full(len(rows), 1 / len(rows)) if shares is None else shares / shares.sum()
    middle, offset = share @ rows, share @ moves
    centred = rows - middle
    square = (centred * share[:, None]).T @ centred + penalty * np.eye(rows.shape[1])
    slopes = np.linalg.solve(square, centred.T @ (share * (moves - offset)))
    found = np.append(slopes, offset - middle @ slopes)
    left = moves - rows @ slopes - found[-1]
    freedom = max(1 - (rows.shape[1] + 1) * float(share @ share), 0.1)
    return found, max(float(np.sqrt(share @ (left * left) / freedom)), 1e-6)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Chances (..., 3) of logits (..., 3)."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    chances: np.ndarray = weights / weights.sum(axis=-1, keepdims=True)
    return chances
