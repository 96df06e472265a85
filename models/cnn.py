"""A causal 1D-CNN over raw order books: four layers, dilations 1, 2, 4, 8, 31 rows deep.

Of the kind of small networks that read the ten best levels of each side instead of features made of
them (Zhang, Zohren, Roberts: DeepLOB, 2019; Briola, Turiel, Aste: Deep Learning modeling of the
Limit Order Book, 2020), kept to 16 channels, so that a step costs microseconds on a processor.
Distances are in basis points of mid and sizes are logarithms against the mean size of the same
book, so that one network reads the books of all markets.
"""

from typing import Final

from models import stack
from models.network import Network
from models.stack import Layer, Layers

LAYERS: Final[Layers] = tuple(
    Layer(f"kernel_{number}", f"bias_{number}", dilation)
    for number, dilation in enumerate((1, 2, 4, 8))
)


class Cnn(Network):
    """The network over the 40 values of the book."""

    family = "cnn"
    layers = LAYERS
    rows_back = stack.rows_back(LAYERS)
    sees = "book"
