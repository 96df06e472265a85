"""What numbers of settings may be, by what they count."""

from typing import Annotated

from msgspec import Meta

Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
BasisPoints = Annotated[float, Meta(ge=0)]
Decimals = Annotated[str, Meta(pattern=r"^\d+(\.\d+)?$")]
"""An amount of money or goods as decimal text."""
