"""How subscriptions are spread over connections."""

from venues.wire import Subscription


def spread(subscriptions: list[Subscription], limit: int) -> list[list[Subscription]]:
    """Spread subscriptions over as few connections as `limit` each allows.

    An instrument's streams stay together, unless that would cost one connection more.
    """
    connections: list[list[Subscription]] = [[] for _ in range(-(-len(subscriptions) // limit))]
    by_instrument: dict[int, list[Subscription]] = {}
    for subscription in subscriptions:
        by_instrument.setdefault(subscription.instrument.index, []).append(subscription)
    apart: list[Subscription] = []
    for group in by_instrument.values():
        home = next((each for each in connections if len(each) + len(group) <= limit), apart)
        home.extend(group)
    for subscription in apart:
        next(each for each in connections if len(each) < limit).append(subscription)
    return connections
