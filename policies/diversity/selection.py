"""Chooses k of N members: by quality, by how they differ, or at random.

Every function returns places in the order in which they were chosen. Ties go to the lower place, so that the
same population chooses the same members.

Shape suffixes: M = members, N = items, K = choices.
"""

import random
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from populace.policies.diversity.similarity import mean_entropies, similarity_to

Floats = NDArray[np.float64]

_GAIN_MIN = 1e-12
"""Below this determinant, members differ by rounding only."""

_RIDGE = 1e-6
"""Independent noise added to each member, so that two members that never differ count as little over one."""


def top_k(quality_M: Sequence[float] | Floats, k: int) -> list[int]:
    """The k members with the highest quality."""
    return [int(at) for at in np.argsort(-np.asarray(quality_M, float), kind="stable")[:k]]


def random_k(members: int, k: int, seed: int) -> list[int]:
    """A random subset, the same for the same seed."""
    return random.Random(f"members {seed}").sample(range(members), min(k, members))  # noqa: S311 - no secret


def dpp_greedy_rows(diagonal_M: Floats, row_of: Callable[[int], Floats], k: int) -> list[int]:
    """Choose k one after the other, each for the greatest det L_S (Chen, Zhang & Zhou, 2018). O(M k²).

    L is the kernel diag(q) S diag(q) of qualities and similarities, of which log det L_S is Σ 2 log q +
    log det S_S (Kulesza & Taskar, 2012). Only the rows of the chosen are computed. Once all others differ
    from the chosen by rounding only, the rest is chosen by their own diagonal.
    """
    members = len(diagonal_M)
    gains_M = diagonal_M.astype(float)
    rows: list[Floats] = []
    chosen: list[int] = []
    left_M = np.ones(members, bool)
    while len(chosen) < min(k, members):
        best = int(np.argmax(np.where(left_M, gains_M, -np.inf)))
        if gains_M[best] <= _GAIN_MIN:
            rest = [at for at in top_k(diagonal_M, members) if left_M[at]]
            return chosen + rest[: k - len(chosen)]
        row_M = _factor_row(row_of(best), rows, best, gains_M[best])
        gains_M = gains_M - row_M**2
        rows.append(row_M)
        chosen.append(best)
        left_M[best] = False
    return chosen


def diverse_k(quality_M: Sequence[float] | Floats, probs_MNK: Floats, k: int) -> list[int]:
    """Choose by quality and by difference in answering probes: a DPP with the outputs' similarity."""
    quality, entropies_M = np.asarray(quality_M, float), mean_entropies(probs_MNK)

    def row_of(at: int) -> Floats:
        return quality[at] * similarity_to(probs_MNK, entropies_M, at) * quality

    return dpp_greedy_rows(quality**2, row_of, k)


def discriminability(accuracy_M: Sequence[float] | Floats, correlation_MM: Floats) -> float:
    """d² = μᵀ R⁻¹ μ with μ = Φ⁻¹(accuracy): the members' joint information under a Gaussian copula of errors.

    Voter i sees the truth ±1 as μ_i with noise of correlation R; the best weighting of all voters is wrong
    with probability Φ(−d), which stops falling when their errors are correlated.
    """
    mu_M = _signals(accuracy_M)
    return float(mu_M @ np.linalg.solve(_regular(correlation_MM), mu_M))


def greedy_information_rows(
    accuracy_M: Sequence[float] | Floats, row_of: Callable[[int], Floats], k: int
) -> list[int]:
    """Choose each for the most information about the truth, given the chosen. O(M k²).

    For a Gaussian channel that is ½ log(1 + d²), which grows with ``discriminability``. The greedy choice
    weighs a member's accuracy against how much its errors agree with those of the chosen; only the chosen
    members' rows of correlations are computed.

    It uses the Cholesky factor of the chosen: for each other member it keeps the residual signal and the
    residual variance of the noise given the chosen; the member would add residual signal² / variance to d².
    """
    signals_M = _signals(accuracy_M)
    noises_M = np.full(len(signals_M), 1.0 + _RIDGE)
    rows: list[Floats] = []
    chosen: list[int] = []
    left_M = np.ones(len(signals_M), bool)
    while len(chosen) < min(k, len(signals_M)):
        # Rounded, so that equal gains compare equal and the lower place comes first.
        best = int(np.argmax(np.where(left_M, np.round(signals_M**2 / noises_M, 12), -1.0)))
        row_M = _factor_row(row_of(best), rows, best, noises_M[best])
        signals_M = signals_M - row_M * signals_M[best] / np.sqrt(noises_M[best])
        noises_M = np.maximum(noises_M - row_M**2, _RIDGE)
        rows.append(row_M)
        chosen.append(best)
        left_M[best] = False
    return chosen


def _factor_row(row_M: Floats, rows: Sequence[Floats], at: int, variance: float) -> Floats:
    """The next row of the Cholesky factor: for ``at``, with its kernel row and residual variance."""
    row_M = row_M.astype(float)
    for other_M in rows:
        row_M = row_M - other_M[at] * other_M
    return row_M / np.sqrt(variance)


def _signals(accuracy_M: Sequence[float] | Floats) -> Floats:
    """Φ⁻¹ of the accuracies, clipped away from 0 and 1."""
    normal = NormalDist()
    return np.array([normal.inv_cdf(min(max(float(accuracy), 1e-6), 1 - 1e-6)) for accuracy in accuracy_M])


def _regular(correlation_MM: Floats) -> Floats:
    """The correlation with ``_RIDGE`` on its diagonal, so that it can be inverted."""
    return correlation_MM + _RIDGE * np.eye(len(correlation_MM))
