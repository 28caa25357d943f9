"""Measures how alike two members are: by their outputs, or by what their adapters add to the base.

Shape suffixes: M = members, N = items, K = choices, R = rank, I = inputs, O = outputs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Factors = Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]]
"""The matrices A [R, I] and B [O, R] of each layer of an adapter, scaling included."""


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


def weight_similarity(adapters: Sequence[Factors]) -> Floats:
    """cos(ΔW, ΔW') of each pair over all layers. [M, M]

    tr(ΔWᵀΔW') = tr((BᵀB')(A'Aᵀ)): products of R × R; ΔW [O, I] is never computed. A layer that an adapter
    lacks counts as zeros; an adapter of zeros is like no other, and like itself.
    """
    members = len(adapters)
    products_MM = np.zeros((members, members))
    for i in range(members):
        for j in range(i, members):
            products_MM[i, j] = products_MM[j, i] = _product(adapters[i], adapters[j])
    norms_M = np.sqrt(np.diag(products_MM))
    scale_MM = np.outer(norms_M, norms_M)
    cosine_MM = np.divide(products_MM, scale_MM, out=np.zeros_like(products_MM), where=scale_MM > 0)
    np.fill_diagonal(cosine_MM, 1.0)
    return np.clip(cosine_MM, -1.0, 1.0)


def _product(one: Factors, other: Factors) -> float:
    """⟨ΔW, ΔW'⟩ over the layers that both have."""
    total = 0.0
    for name in one.keys() & other.keys():
        (a_RI, b_OR), (c_RI, d_OR) = one[name], other[name]
        total += float(np.sum((b_OR.T @ d_OR) * (a_RI @ c_RI.T), dtype=np.float64))
    return total


def _entropy(probs: Floats) -> Floats:
    """The Shannon entropy over the last axis, in nats."""
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return -(probs * logs).sum(-1)
