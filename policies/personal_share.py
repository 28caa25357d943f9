"""Decides how much of a personal part is served on top of a lower revision.

The held-out data of the person says it. A share of 0 is the lower revision alone: a person is not served
worse than that by chance, so a share counts by what it is surely worth, and not by its mean.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean
from typing import Literal

SHARES = (0.0, 0.25, 0.5, 1.0)
"""The shares that are tried. Multiplying by them is exact: they are powers of two."""

SURE = 0.95
"""How sure it has to be that a share is better than the lower revision alone."""

_FEW = (6.314, 2.920, 2.353, 2.132)
"""Student's t for ``SURE``, one-sided, with 1 to 4 degrees of freedom; for more it is expanded."""


def best_share(
    scores: Mapping[float, Sequence[float]], lower: Sequence[float], measure: Literal["loss", "reward"]
) -> float:
    """Return the share that is surely better than the lower revision by most, of equal ones the smallest.

    ``scores`` and ``lower`` have one score at least, in the order of the same held-out items. What a share is
    surely worth is the lower 95 % bound of its mean gain over ``lower``, by Student's t of the paired gains,
    and 0 for a share of 0. One item says nothing; NaN and infinite gains are worth less than any other.
    """
    sign = 1.0 if measure == "loss" else -1.0

    def cost(share: float) -> tuple[float, float]:
        gains = [sign * (before - after) for before, after in zip(lower, scores[share], strict=True)]
        return (-sure_gain(gains) if share else 0.0, share)

    return min(scores, key=cost)


def sure_gain(gains: Sequence[float]) -> float:
    """Return the one-sided lower 95 % bound of the mean of these gains; −∞ if there is none."""
    count = len(gains)
    if count < 2 or not all(map(math.isfinite, gains)):
        return -math.inf
    mean = fmean(gains)
    error = math.dist(gains, [mean] * count) / math.sqrt(count * (count - 1))
    return mean - _student(count - 1) * error


def _student(freedom: int) -> float:
    """Return Student's t for ``SURE``, by Abramowitz and Stegun, 26.7.5, beyond the table."""
    if freedom <= len(_FEW):
        return _FEW[freedom - 1]
    z = NormalDist().inv_cdf(SURE)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
