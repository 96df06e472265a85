"""Which models a prediction was made by: what its `model_version` is the fingerprint of.

A line-up is kept in the session's folder before the first prediction that names it. It says all
that a replay needs to make the same bits again: each version, the row after which it began to
follow the market, and what an online model had learnt by then.
"""

import hashlib

import msgspec
from msgspec import Struct


class Standing(Struct, frozen=True, kw_only=True):
    """One model that spoke."""

    place: str
    """One of `schemas.predictions.MODELS`, or `blend`."""
    family: str
    version: str = ""
    """Of the registry, or of the shipped model; empty = a rule, which has none."""
    fingerprint: int = 0
    """Of its manifest."""
    after: int = 0
    """It has followed the feature rows after this sequence; 0 of one that few rows make up."""
    learner: str = ""
    """What it goes on from, in the session's folder; empty = from what it was trained to."""
    learns: bool = False
    """Whether it learns from the rows after that."""
    waiting: int = 0
    """Rows of an instrument whose labels it waits for, at the most."""
    gap_s: float = 0.0
    """Rows of an instrument further apart have a gap between, which no label leads over."""


class LineUp(Struct, frozen=True, kw_only=True):
    """All that spoke, in the order of the places."""

    standings: tuple[Standing, ...]

    def encode(self) -> bytes:
        """As it is kept."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @property
    def version(self) -> int:
        """The 63 bits that predictions carry."""
        digest = hashlib.blake2b(msgspec.json.encode(self), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1

    def of(self, place: str) -> Standing | None:
        """Who stood in a place."""
        return next((one for one in self.standings if one.place == place), None)
