"""95 % confidence intervals of shares, means and ratios. Pure functions."""

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")

Z = 1.96
DRAWS = 2000


class Interval(NamedTuple):
    """An estimate and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        """Return the interval in a unit that is ``factor`` times smaller; the factor is not negative."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    @property
    def percent(self) -> str:
        """The interval of a share for people: ``40 % [22, 61]``."""
        return f"{100 * self.value:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def wilson(hits: int, count: int, z: float = Z) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson 1927) at ``z`` standard errors; not for 0 of 0."""
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def share_of(hits: Sequence[bool]) -> Interval:
    """Return the share of hits with Wilson's interval; ``hits`` is not empty."""
    return Interval(sum(hits) / len(hits), *wilson(sum(hits), len(hits)))


def bootstrap(
    units: Sequence[T], statistic: Callable[[Sequence[T]], float], *, draws: int = DRAWS
) -> Interval:
    """Return a statistic of independent units with its percentile bootstrap (Efron 1979); no ``units`` fails.

    Resampling is seeded, so that the same units give the same interval.
    """
    source = random.Random(0)  # noqa: S311 - resampling, not a secret
    drawn = sorted(statistic(source.choices(units, k=len(units))) for _ in range(draws))
    return Interval(statistic(units), drawn[int(0.025 * draws)], drawn[int(0.975 * draws)])


def mean_of(values: Sequence[float]) -> Interval:
    """Return the mean with its bootstrap interval; ``values`` is not empty."""
    return bootstrap(values, lambda drawn: sum(drawn) / len(drawn))


def ratio_of(pairs: Sequence[tuple[float, float]]) -> Interval:
    """Return the ratio of the sums of first and second numbers, resampled in pairs; 0 for x / 0."""

    def ratio(drawn: Sequence[tuple[float, float]]) -> float:
        below = sum(second for _, second in drawn)
        return sum(first for first, _ in drawn) / below if below else 0.0

    return bootstrap(pairs, ratio)
