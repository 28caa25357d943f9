"""Decides how much of a personal part is served on top of a lower revision.

The held-out data of the person says it. A share of 0 is the lower revision alone: what a person is served is
never worse than that.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

SHARES = (0.0, 0.25, 0.5, 1.0)
"""The shares that are tried. Multiplying by them is exact: they are powers of two."""


def best_share(scores: Mapping[float, Sequence[float]], measure: Literal["loss", "reward"]) -> float:
    """Return the share whose scores have the best mean, of equal ones the smallest.

    There must be one score at least for each share, in the order of the same held-out items. A mean that is
    NaN or infinite is worse than any other; if all are, the smallest share is returned.
    """
    sign = 1.0 if measure == "loss" else -1.0

    def cost(share: float) -> tuple[float, float]:
        mean = fmean(scores[share])
        return (sign * mean if math.isfinite(mean) else math.inf, share)

    return min(scores, key=cost)
