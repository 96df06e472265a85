"""Every model family by its name, as it is typed: `dcctl train FAMILY`.

To name a family loads none of the libraries that fit it: MLX, LightGBM and scikit-learn are
imported by the call that needs them.
"""

from typing import Final

from models.baselines import BaseRate, Logistic, Ridge
from models.family import Model
from models.gbdt import GradientBoosting
from models.linear import Ftrl, PassiveAggressive, Sgd

_ALL: Final[tuple[type[Model], ...]] = (
    Sgd, Ftrl, PassiveAggressive, GradientBoosting, Ridge, Logistic, BaseRate,
)  # fmt: skip
FAMILIES: Final[dict[str, type[Model]]] = {model.family: model for model in _ALL}
assert len(FAMILIES) == len(_ALL)
