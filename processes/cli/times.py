"""Times as they are typed on the command line."""

import re
from datetime import UTC, datetime

from schemas.errors import UsageError


def parse_time(text: str, option: str) -> int:
    """Milliseconds UTC of what was typed.

    Raises:
        UsageError: it is no time.
    """
    if re.fullmatch(r"\d{10,14}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text}: no time; type 2026-11-21, 2026-11-21T10:00, or milliseconds UTC"
        ) from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
