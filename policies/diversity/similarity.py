"""Measures how alike two members are by their outputs.

Shape suffixes: M = members, N = items, K = choices.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def output_similarity(probs_MNK: Floats) -> Floats:
    """1 − JSD / log 2 of each pair, mean over items: 1 is always the same, 0 never the same. [M, M]

    JSD(p, q) = H((p + q) / 2) − (H(p) + H(q)) / 2 (Lin, "Divergence Measures Based on the Shannon Entropy",
    1991).
    """
    entropies_M = mean_entropies(probs_MNK)
    return np.array([similarity_to(probs_MNK, entropies_M, at) for at in range(len(probs_MNK))])


def mean_entropies(probs_MNK: Floats) -> Floats:
    """Each member's mean entropy over items, in nats. [M]"""
    return _entropy(probs_MNK).mean(1)


def similarity_to(probs_MNK: Floats, entropies_M: Floats, at: int) -> Floats:
    """One row of ``output_similarity``, for members with these ``mean_entropies``. [M]"""
    mixed_M = mean_entropies((probs_MNK[at] + probs_MNK) / 2)
    divergence_M = mixed_M - (entropies_M[at] + entropies_M) / 2
    return np.clip(1 - divergence_M / np.log(2), 0.0, 1.0)


def _entropy(probs: Floats) -> Floats:
    """The Shannon entropy over the last axis, in nats."""
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return -(probs * logs).sum(-1)
