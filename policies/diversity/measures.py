"""Measures how much members of a population differ, and what that is worth when they answer together.

Each identity here is exact, so that a diversity is exactly its part of the ensemble's gain. None should be
maximised by itself: diversity is a third term beside bias and variance (Wood et al., "A Unified Theory of
Diversity in Ensemble Learning", 2023).

Shape suffixes: M = members, N = items, K = choices.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class PairDiversity(NamedTuple):
    """Means over pairs of members.

    ``disagreement`` is how often two answer differently, ``double_fault`` how often both are wrong,
    ``error_correlation`` ρ that of being wrong, over the pairs in which both are sometimes wrong and
    sometimes right; NaN if there is none.
    """

    disagreement: float
    double_fault: float
    error_correlation: float


def pair_diversity(answers_MN: NDArray[np.int64], labels_N: NDArray[np.int64]) -> PairDiversity:
    """Compare each pair's answers, which are numbers of choices; -1 means no answer, and is wrong."""
    wrong_MN = answers_MN != labels_N
    first, second = np.triu_indices(len(answers_MN), k=1)
    if not len(first):
        return PairDiversity(np.nan, np.nan, np.nan)
    varies_M = (wrong_MN.mean(1) > 0) & (wrong_MN.mean(1) < 1)
    correlations = error_correlations(wrong_MN)[first, second][varies_M[first] & varies_M[second]]
    return PairDiversity(
        float((answers_MN[first] != answers_MN[second]).mean()),
        float((wrong_MN[first] & wrong_MN[second]).mean()),
        float(correlations.mean()) if len(correlations) else np.nan,
    )


def error_correlations(wrong_MN: Flags) -> Floats:
    """ρ of being wrong of each pair of members; 0 if one of the two is always or never wrong. [M, M]"""
    directions_MN = error_directions(wrong_MN)
    found_MM = directions_MN @ directions_MN.T
    np.fill_diagonal(found_MM, 1.0)
    return found_MM


def error_directions(wrong_MN: Flags) -> Floats:
    """Unit vectors whose products are ρ; zeros for a member that is always or never wrong. [M, N]"""
    centred_MN = wrong_MN - wrong_MN.mean(1, keepdims=True)
    spread_M1 = np.sqrt((centred_MN**2).sum(1, keepdims=True))
    return np.divide(centred_MN, spread_M1, out=np.zeros_like(centred_MN), where=spread_M1 > 0)


def effective_members(members: int, correlation: float) -> float:
    """M / (1 + (M − 1) ρ): the number of independent voters whose mean vote has the same variance.

    With ρ > 0 no number of members is worth more than 1 / ρ. A correlation below 0 counts as 0.
    """
    return members / (1 + (members - 1) * max(0.0, correlation))
