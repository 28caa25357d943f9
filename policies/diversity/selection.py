"""Chooses k of N members: by quality, by how they differ, or at random.

Every function returns places in the order in which they were chosen. Ties go to the lower place, so that the
same population chooses the same members.

Shape suffixes: M = members, N = items, K = choices.
"""

import random
from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from populace.policies.diversity.similarity import mean_entropies, similarity_to

Floats = NDArray[np.float64]

EXACT_SUBSETS_MAX = 200_000

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


def dpp_kernel(quality_M: Sequence[float] | Floats, similarity_MM: Floats) -> Floats:
    """L = diag(q) S diag(q), so that log det L_S = Σ 2 log q + log det S_S (Kulesza & Taskar, 2012)."""
    quality = np.asarray(quality_M, float)
    return quality[:, None] * similarity_MM * quality


def dpp_greedy(kernel_MM: Floats, k: int) -> list[int]:
    """Choose k one after the other, each for the greatest det L_S (Chen, Zhang & Zhou, 2018). O(M k²).

    Once all others differ from the chosen by rounding only, the rest is chosen by their own diagonal.
    """
    return dpp_greedy_rows(np.diag(kernel_MM), lambda at: kernel_MM[at], k)


def dpp_greedy_rows(diagonal_M: Floats, row_of: Callable[[int], Floats], k: int) -> list[int]:
    """As ``dpp_greedy``, from the rows of the chosen alone: the kernel of thousands is never computed."""
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


def dpp_exact(kernel_MM: Floats, k: int) -> list[int]:
    """The k members with the greatest det L_S, in the order of places. Tries every subset.

    Raises ``ValueError`` for more than ``EXACT_SUBSETS_MAX`` subsets.
    """
    members = len(kernel_MM)
    subsets = 1
    for at in range(k):
        subsets = subsets * (members - at) // (at + 1)
    if subsets > EXACT_SUBSETS_MAX:
        raise ValueError(f"{subsets} subsets are too many to try")
    found = max(
        combinations(range(members), k), key=lambda places: np.linalg.det(kernel_MM[np.ix_(places, places)])
    )
    return list(found)


def discriminability(accuracy_M: Sequence[float] | Floats, correlation_MM: Floats) -> float:
    """d² = μᵀ R⁻¹ μ with μ = Φ⁻¹(accuracy): the members' joint information under a Gaussian copula of errors.

    Voter i sees the truth ±1 as μ_i with noise of correlation R; the best weighting of all voters is wrong
    with probability Φ(−d), which stops falling when their errors are correlated: see ``error_floor``.
    """
    mu_M = _signals(accuracy_M)
    return float(mu_M @ np.linalg.solve(_regular(correlation_MM), mu_M))


def error_floor(accuracy_M: Sequence[float] | Floats, correlation_MM: Floats) -> float:
    """Φ(−d): how often the best weighting of these members is wrong about two choices."""
    return NormalDist().cdf(-np.sqrt(max(0.0, discriminability(accuracy_M, correlation_MM))))


def greedy_information(accuracy_M: Sequence[float] | Floats, correlation_MM: Floats, k: int) -> list[int]:
    """Choose each for the most information about the truth, given the chosen.

    For a Gaussian channel that is ½ log(1 + d²), which grows with ``discriminability``. The greedy choice
    weighs a member's accuracy against how much its errors agree with those of the chosen.
    """
    return greedy_information_rows(accuracy_M, lambda at: correlation_MM[at], k)


def greedy_information_rows(
    accuracy_M: Sequence[float] | Floats, row_of: Callable[[int], Floats], k: int
) -> list[int]:
    """As ``greedy_information``, from the chosen members' correlations alone. O(M k²).

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


def caruana(log_probs_MNK: Floats, labels_N: NDArray[np.int64], k: int) -> list[int]:
    """Choose k with replacement, each for the lowest NLL of the mean distribution with the chosen.

    Greedy forward selection from a library of models (Caruana et al., 2004). A member may be chosen again,
    which gives it weight. The labels are those of a probe set, not of the question.
    """
    items = np.arange(len(labels_N))
    probs_MN = np.exp(log_probs_MNK[:, items, labels_N])
    total_N = np.zeros(len(labels_N))
    chosen: list[int] = []
    for count in range(1, k + 1):
        with np.errstate(divide="ignore"):
            losses_M = -np.log((total_N + probs_MN) / count).mean(1)
        best = int(np.argmin(losses_M))
        chosen.append(best)
        total_N = total_N + probs_MN[best]
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
