"""Measures of the study of votes: exact decompositions of an ensemble's error, and Caruana's selection.

Shape suffixes: M = members, N = items, K = choices.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


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
    """``ensemble`` = ``mean`` − ``diversity``: nats an item (Krogh & Vedelsby, 1995)."""

    ensemble: float
    mean: float
    diversity: float


def majority_error(wrong_MN: Flags, ensemble_wrong_N: Flags) -> MajorityError:
    """Decompose the ensemble's error. Exact for any rule of voting, ties included."""
    disagree_N = (wrong_MN != ensemble_wrong_N).mean(0)
    return MajorityError(
        float(ensemble_wrong_N.mean()),
        float(wrong_MN.mean()),
        float(np.where(ensemble_wrong_N, 0.0, disagree_N).mean()),
        float(np.where(ensemble_wrong_N, disagree_N, 0.0).mean()),
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
