"""Decides when to refuse, and how long to ask the caller to wait."""

RETRY_AFTER_S_MIN = 1.0
RETRY_AFTER_S_MAX = 60.0


def retry_after_s(waiting: int, mean_turn_s: float) -> float:
    """Estimate when a queue of ``waiting`` turns will have room: half of it served, within bounds."""
    return min(max(RETRY_AFTER_S_MIN, waiting * mean_turn_s / 2), RETRY_AFTER_S_MAX)
