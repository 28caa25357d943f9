"""How soon people have to be served again after a loss."""

from collections.abc import Sequence

from scripts.bench.report import Aim, percentile

SERVED_SECONDS_MAX = 15.0


def served_aim(after: str, seconds: Sequence[float]) -> Aim:
    """Compare the times until people were served again with the aim."""
    p99 = round(percentile(seconds, 99), 2)
    return Aim(f"time to serve again after {after}, p99", p99, SERVED_SECONDS_MAX, "s", at_most=True)
