"""Which rings there are: their layouts, sizes, and who writes them."""

from typing import Any

import numpy as np
from msgspec import Struct

from schemas import decisions, features, predictions, tape
from schemas.settings import Settings


class RingSpec(Struct, frozen=True, kw_only=True):
    """One ring."""

    name: str
    writer: str
    dtype: Any
    layout: int
    capacity: int

    @property
    def slot_bytes(self) -> int:
        """Size of a slot."""
        return int(np.dtype(self.dtype).itemsize)


def enabled_venues(settings: Settings) -> list[str]:
    """Venues with a collector, in the order of their tapes."""
    return list(settings.venues.enabled())


def ring_layout(name: str) -> tuple[np.dtype[Any], int]:
    """The slot layout of a ring and its fingerprint."""
    modules = {"features": features, "predictions": predictions, "decisions": decisions}
    module: Any = tape if name.startswith("tape.") else modules[name]
    return module.SLOT, module.FINGERPRINT


def ring_specs(settings: Settings) -> list[RingSpec]:
    """All rings of a configuration."""
    sizes = settings.rings
    wanted = [(f"tape.{v}", f"collector.{v}", sizes.tape) for v in enabled_venues(settings)]
    wanted += [
        ("features", "features", sizes.features),
        ("predictions", "inference", sizes.predictions),
        ("decisions", "execution", sizes.decisions),
    ]
    specs = []
    for name, writer, capacity in wanted:
        dtype, layout = ring_layout(name)
        specs.append(
            RingSpec(name=name, writer=writer, dtype=dtype, layout=layout, capacity=capacity)
        )
    return specs
