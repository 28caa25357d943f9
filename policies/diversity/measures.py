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


class MajorityError(NamedTuple):
    """``ensemble`` = ``mean`` − ``good`` + ``bad`` (Brown & Kuncheva, "Good and Bad Diversity", 2010).

    All are means over items: how often the ensemble is wrong, and a member on average; the share of members
    that disagree with the ensemble where it is right, and where it is wrong.
    """

    ensemble: float
    mean: float
    good: float
    bad: float


class Ambiguity(NamedTuple):
    """``ensemble`` = ``mean`` − ``diversity``: squared errors (Krogh & Vedelsby, 1995), or nats."""

    ensemble: float
    mean: float
    diversity: float


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


def majority_error(wrong_MN: Flags, ensemble_wrong_N: Flags) -> MajorityError:
    """Decompose the ensemble's error. Exact for any rule of voting, ties included."""
    disagree_N = (wrong_MN != ensemble_wrong_N).mean(0)
    return MajorityError(
        float(ensemble_wrong_N.mean()),
        float(wrong_MN.mean()),
        float(np.where(ensemble_wrong_N, 0.0, disagree_N).mean()),
        float(np.where(ensemble_wrong_N, disagree_N, 0.0).mean()),
    )


def squared_ambiguity(predictions_MN: Floats, targets_N: Floats, weights_M: Floats) -> Ambiguity:
    """(f̄ − y)² = Σ w (f − y)² − Σ w (f − f̄)², means over items. The weights sum to 1."""
    mean_N = weights_M @ predictions_MN
    return Ambiguity(
        float(((mean_N - targets_N) ** 2).mean()),
        float((weights_M @ (predictions_MN - targets_N) ** 2).mean()),
        float((weights_M @ (predictions_MN - mean_N) ** 2).mean()),
    )


def logit_mean(log_probs_MNK: Floats, weights_M: Floats) -> tuple[Floats, Floats]:
    """The normalised weighted geometric mean of distributions, log ḡ [N, K], and −log Z [N].

    −log Z ≥ 0 is the members' mean divergence from ḡ, Σ w KL(ḡ ‖ p), and needs no label.
    """
    pooled_NK = np.einsum("m,mnk->nk", weights_M, log_probs_MNK)
    highest_N1 = pooled_NK.max(1, keepdims=True)
    log_z_N = (highest_N1 + np.log(np.exp(pooled_NK - highest_N1).sum(1, keepdims=True)))[:, 0]
    return pooled_NK - log_z_N[:, None], -log_z_N


def likelihood_ambiguity(log_probs_MNK: Floats, labels_N: NDArray[np.int64], weights_M: Floats) -> Ambiguity:
    """Ensemble NLL = mean member NLL − (−log Z), in nats an item, for the logit mean (Heskes, 1998)."""
    pooled_NK, diversity_N = logit_mean(log_probs_MNK, weights_M)
    items = np.arange(len(labels_N))
    return Ambiguity(
        float(-pooled_NK[items, labels_N].mean()),
        float(-(weights_M @ log_probs_MNK[:, items, labels_N]).mean()),
        float(diversity_N.mean()),
    )
