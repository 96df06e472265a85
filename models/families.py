"""Every model family by its name, as it is typed: `dcctl train FAMILY`.

To name a family loads none of the libraries that fit it: MLX, LightGBM and scikit-learn are
imported by the call that needs them.
"""

from typing import Final

from models.baselines import BaseRate, Logistic, Ridge
from models.cnn import Cnn
from models.family import Model
from models.gbdt import GradientBoosting
from models.linear import Ftrl, PassiveAggressive, Sgd
from models.regime import Regime
from models.rules import BollingerTouch, DonchianBreakout, MovingAverageCross, RsiThresholds
from models.tcn import Tcn

_ALL: Final[tuple[type[Model], ...]] = (
    Sgd, Ftrl, PassiveAggressive, GradientBoosting, Tcn, Cnn, Regime, Ridge, Logistic, BaseRate,
    MovingAverageCross, RsiThresholds, BollingerTouch, DonchianBreakout,
)  # fmt: skip
FAMILIES: Final[dict[str, type[Model]]] = {model.family: model for model in _ALL}
assert len(FAMILIES) == len(_ALL)
