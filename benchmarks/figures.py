"""What a benchmark answers: figures by name, each with the peers measured in the same run.

Of several runs the median counts; `low` and `high` are the least and the greatest. A peer's `ratio`
says how many times better the project is: more events a second, or fewer microseconds. It is the
median of the ratios of single rounds, because what disturbs a machine disturbs both of a round. A
peer that is absent is null, and the note says why and what to type.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from msgspec import Struct


class Peer(Struct, frozen=True, kw_only=True):
    """A peer's median in the same run."""

    value: float
    unit: str
    ratio: float


class Figure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer."""

    value: float
    unit: str
    low: float
    high: float
    runs: int
    peers: dict[str, Peer | None] = {}
    note: str = ""


Runs = Sequence[float] | str
"""A peer's runs, or why there are none."""


def figure(
    ours: Sequence[float],
    unit: str,
    peers: Mapping[str, Runs] | None = None,
    *,
    note: str = "",
    less_is_better: bool = False,
) -> Figure:
    """Medians and ratios of interleaved runs."""
    middle = median(ours)
    found: dict[str, Peer | None] = {}
    notes = [note] if note else []
    for name, runs in (peers or {}).items():
        if isinstance(runs, str):
            found[name] = None
            notes.append(f"{name} {runs}")
            continue
        ratios = [mine / other for mine, other in zip(ours, runs, strict=True)]
        ratio = 1 / median(ratios) if less_is_better else median(ratios)
        found[name] = Peer(value=_short(median(runs)), unit=unit, ratio=_short(ratio))
    return Figure(
        value=_short(middle), unit=unit, low=_short(min(ours)), high=_short(max(ours)),
        runs=len(ours), peers=found, note="; ".join(notes),
    )  # fmt: skip


def interleave(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every case once a round, each round beginning with another one; what they returned."""
    names = list(cases)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(cases[name]())
    return found


def _short(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")
