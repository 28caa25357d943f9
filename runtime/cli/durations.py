"""Spans of time as people type them."""

import re

from populace.actors.errors import InvalidRequest

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


def seconds_in(text: str, option: str) -> int:
    """Return the seconds of a span such as ``90s``, ``12h`` or ``30d``. Raises ``InvalidRequest``."""
    match = re.fullmatch(rf"([0-9]{{1,9}})([{''.join(UNITS)}])", text.strip())
    if match is None:
        message = f"{option} is a number with s, m, h, d, w or y, such as 12h or 30d, and not {text[:80]!r}."
        raise InvalidRequest(message, option)
    return int(match[1]) * UNITS[match[2]]
