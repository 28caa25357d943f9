"""95 % intervals of what was counted or averaged. Pure."""

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")

Z = 1.96
DRAWS = 2000


class Interval(NamedTuple):
    """A measured number and the bounds that hold the true one in 95 of 100 repetitions."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        return Interval(self.value * factor, self.low * factor, self.high * factor)


def wilson(hits: int, count: int, z: float = Z) -> tuple[float, float]:
    """The score interval of a proportion (Wilson, 1927)."""
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def share_of(hits: Sequence[bool]) -> Interval:
    """The share of hits, one at least, with Wilson's interval."""
    return Interval(sum(hits) / len(hits), *wilson(sum(hits), len(hits)))


def bootstrap(
    units: Sequence[T], statistic: Callable[[Sequence[T]], float], *, draws: int = DRAWS
) -> Interval:
    """A statistic of independent units, one at least, with its percentile bootstrap (Efron, 1979).

    The same units give the same interval.
    """
    source = random.Random(0)  # noqa: S311 - resampling, not a secret
    drawn = sorted(statistic(source.choices(units, k=len(units))) for _ in range(draws))
    return Interval(statistic(units), drawn[int(0.025 * draws)], drawn[int(0.975 * draws)])


def mean_of(values: Sequence[float]) -> Interval:
    return bootstrap(values, lambda drawn: sum(drawn) / len(drawn))


def ratio_of(pairs: Sequence[tuple[float, float]]) -> Interval:
    """The sum of the first numbers over that of the second, of pairs that belong together; 0 of nothing."""

    def ratio(drawn: Sequence[tuple[float, float]]) -> float:
        below = sum(second for _, second in drawn)
        return sum(first for first, _ in drawn) / below if below else 0.0

    return bootstrap(pairs, ratio)
