# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg's functions are partly untyped.
"""Measures how far two revisions are apart, layer by layer, without computing a layer's full ΔW.

ΔW = s B·A has rank r, so its Frobenius norm comes from r × r products: ‖B·A‖² = tr((Bᵀ·B)(A·Aᵀ)). The
principal angles between the column spaces of two ΔW are the arc cosines of the singular values of Q₁ᵀ·Q₂,
where the columns of Q₁ and Q₂ are orthonormal bases of these spaces (Björck and Golub, 1973).
"""

import math

import torch

from populace.actors.merging import LayerDifference
from populace.adapters.base_modules import read_base_modules
from populace.adapters.lora.layer import LoraLayer
from populace.adapters.lora.trainable import TrainableAdapter
from populace.storage.adapter_store import AdapterStore

RANK_TOLERANCE = 1e-6
"""Singular values of ΔW below this share of the largest one are taken for rounding errors."""


def compare_stored(store: AdapterStore, first: str | None, second: str | None) -> list[LayerDifference]:
    """Compare two adapters of a store by their digests; None is the base.

    Raises ``AdapterInvalid`` and ``AdapterMismatch`` as ``read_adapter`` does.
    """
    base, files = read_base_modules(store.base_directory, store.fingerprint), store.files()

    def read(digest: str | None) -> TrainableAdapter | None:
        if digest is None:
            return None
        return TrainableAdapter.of_revision(files.here(digest), base, rank_max=store.rank_max, digest=digest)

    return compare_adapters(read(first), read(second))


def compare_adapters(
    first: TrainableAdapter | None, second: TrainableAdapter | None
) -> list[LayerDifference]:
    """Compare two adapters of one base, in the order of their layers; None is the base.

    Norms are Frobenius norms of ΔW, the distance is that of the difference, and angles are in degrees.
    """
    layers = {} if first is None else first.layers
    others = {} if second is None else second.layers
    return [_compare(name, layers.get(name), others.get(name)) for name in dict.fromkeys((*layers, *others))]


def _compare(name: str, first: LoraLayer | None, second: LoraLayer | None) -> LayerDifference:
    factors = [_factors(layer) for layer in (first, second) if layer is not None]
    norms = [0.0 if layer is None else _norm(*_factors(layer)) for layer in (first, second)]
    if len(factors) < 2:
        return LayerDifference(name, norms[0], norms[1], max(norms), ())
    (a, b), (other_a, other_b) = factors
    distance = _norm(torch.cat([a, other_a]), torch.cat([b, -other_b], dim=1))
    return LayerDifference(
        name, norms[0], norms[1], distance, _angles(_basis(a, b), _basis(other_a, other_b))
    )


def _factors(layer: LoraLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A [R, I] and B [O, R] in float64, with the scaling in B."""
    merged = layer.merged()
    return merged.a.detach().double(), merged.b.detach().double() * merged.scaling


def _norm(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.sqrt(max(0.0, float(((b.T @ b) * (a @ a.T)).sum())))


def _basis(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return an orthonormal basis [O, rank of B·A] of the column space of B·A."""
    # A = R'ᵀ·Q'ᵀ, where the rows of Q'ᵀ are orthonormal: B·R'ᵀ has the singular values of B·A.
    triangular = torch.linalg.qr(a.T).R
    left, values, _ = torch.linalg.svd(b @ triangular.T, full_matrices=False)
    return left[:, values > RANK_TOLERANCE * max(float(values.max()), torch.finfo(torch.double).tiny)]


def _angles(basis: torch.Tensor, other: torch.Tensor) -> tuple[float, ...]:
    if 0 in (basis.shape[1], other.shape[1]):
        return ()
    cosines = torch.linalg.svdvals(basis.T @ other).clamp(max=1.0)
    return tuple(float(angle) for angle in torch.rad2deg(torch.arccos(cosines)))
