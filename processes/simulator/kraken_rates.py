"""How fast an account may place, change and cancel: Kraken's counter of a pair.

Every command adds to it, more for orders that are young, and it falls with time. An order or a
change that would lift it above the tier's maximum is refused; a cancel counts and is always taken
(not documented; the safer reading for whoever must get out). Source: guide spot-ratelimits.
"""

from typing import Literal

from msgspec import Struct

Tier = Literal["starter", "intermediate", "pro", "unlimited"]
Deed = Literal["add", "amend", "edit", "cancel"]
TIERS: dict[Tier, tuple[float, float]] = {
    "starter": (60.0, 1.0),
    "intermediate": (125.0, 2.34),
    "pro": (180.0, 3.75),
    "unlimited": (float("inf"), 0.0),
}
"""Maximum, and what is taken off a second."""
FIXED: dict[Deed, float] = {"add": 1.0, "amend": 1.0, "edit": 1.0, "cancel": 0.0}
BY_AGE: dict[Deed, tuple[tuple[float, float], ...]] = {
    "add": (),
    "amend": ((5, 3), (10, 2), (15, 1)),
    "edit": ((5, 6), (10, 5), (15, 4), (45, 2), (90, 1)),
    "cancel": ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1)),
}
"""(age of the order in seconds, what is added below it)."""


def weight(deed: Deed, age_ns: int) -> float:
    """What a command adds."""
    by_age = (more for below_s, more in BY_AGE[deed] if age_ns < below_s * 1e9)
    return FIXED[deed] + next(by_age, 0.0)


class RateCounter(Struct):
    """One account's counter of one pair."""

    level: float = 0.0
    at_ns: int = 0

    def takes(self, tier: Tier, deed: Deed, age_ns: int, now_ns: int) -> bool:
        """Count a command; False if it is refused, and then it does not count."""
        most, decay = TIERS[tier]
        passed_s = (now_ns - self.at_ns) / 1e9
        self.level = max(0.0, self.level - decay * passed_s)
        self.at_ns = now_ns
        more = weight(deed, age_ns)
        if deed != "cancel" and self.level + more > most:
            return False
        self.level += more
        return True
