"""How subscriptions are spread over connections."""

from venues.wire import Subscription


def spread(subscriptions: list[Subscription], limit: int) -> list[list[Subscription]]:
    """Spread subscriptions over connections, an instrument's streams together where they fit."""
    connections: list[list[Subscription]] = []
    by_instrument: dict[int, list[Subscription]] = {}
    for subscription in subscriptions:
        by_instrument.setdefault(subscription.instrument.index, []).append(subscription)
    for group in by_instrument.values():
        for start in range(0, len(group), limit):
            part = group[start : start + limit]
            for connection in connections:
                if len(connection) + len(part) <= limit:
                    connection.extend(part)
                    break
            else:
                connections.append(list(part))
    return connections
