"""The multinomial logistic regression that scikit-learn fits, as plain coefficients.

Fitted by L-BFGS, which draws nothing: the same samples give the same numbers. Whoever predicts with
them needs no scikit-learn.
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
        penalty: half of the squared coefficients' weight in the mean loss of a sample.
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


def softmax(logits: np.ndarray) -> np.ndarray:
    """Chances (..., 3) of logits (..., 3)."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    chances: np.ndarray = weights / weights.sum(axis=-1, keepdims=True)
    return chances
