# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg's functions are partly untyped.
"""How far two revisions are apart, layer by layer, without ever making a layer's full ΔW.

ΔW = s B·A has the rank r, so that all of it is in r × r products: ‖B·A‖² = tr((Bᵀ·B)(A·Aᵀ)), Frobenius' norm.
The principal angles between the spaces that two ΔW write into are the arc cosines of the singular values of
Q₁ᵀ·Q₂, where the columns of Q are an orthonormal basis of each (Björck and Golub, 1973).
"""

import math

import torch

from populace.actors.merging import LayerDifference
from populace.adapters.base_modules import read_base_modules
from populace.adapters.lora.layer import LoraLayer
from populace.adapters.lora.trainable import TrainableAdapter
from populace.storage.adapter_store import AdapterStore

RANK_TOLERANCE = 1e-6
"""A direction with less of ΔW than this share of its largest singular value is rounding."""


def compare_stored(store: AdapterStore, one: str | None, other: str | None) -> list[LayerDifference]:
    """Compare two adapters of a store by their digests; None is the base itself.

    Raises ``AdapterInvalid`` and ``AdapterMismatch``.
    """
    base, files = read_base_modules(store.base_directory, store.fingerprint), store.files()

    def read(digest: str | None) -> TrainableAdapter | None:
        if digest is None:
            return None
        return TrainableAdapter.of_revision(files.path(digest), base, rank_max=store.rank_max, digest=digest)

    return compare_adapters(read(one), read(other))


def compare_adapters(one: TrainableAdapter | None, other: TrainableAdapter | None) -> list[LayerDifference]:
    """Compare two adapters of one base, in the order of their layers; None is the base itself."""
    mine = {} if one is None else one.layers
    theirs = {} if other is None else other.layers
    return [_compare(name, mine.get(name), theirs.get(name)) for name in dict.fromkeys((*mine, *theirs))]


def _compare(name: str, one: LoraLayer | None, other: LoraLayer | None) -> LayerDifference:
    factors = [_factors(layer) for layer in (one, other) if layer is not None]
    norms = [0.0 if layer is None else _norm(*_factors(layer)) for layer in (one, other)]
    if len(factors) < 2:
        return LayerDifference(name, norms[0], norms[1], max(norms), ())
    (a, b), (other_a, other_b) = factors
    distance = _norm(torch.cat([a, other_a]), torch.cat([b, -other_b], dim=1))
    return LayerDifference(
        name, norms[0], norms[1], distance, _angles(_basis(a, b), _basis(other_a, other_b))
    )


def _factors(layer: LoraLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """A [R, I] and B [O, R] in float64, with the scaling in B."""
    merged = layer.merged()
    return merged.a.detach().double(), merged.b.detach().double() * merged.scaling


def _norm(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.sqrt(max(0.0, float(((b.T @ b) * (a @ a.T)).sum())))


def _basis(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """An orthonormal basis of the outputs that B·A reaches: [O, its rank]."""
    # A = R'ᵀ·Q'ᵀ with orthonormal rows Q'ᵀ, which change no singular value: B·R'ᵀ has those of B·A.
    triangular = torch.linalg.qr(a.T).R
    left, values, _ = torch.linalg.svd(b @ triangular.T, full_matrices=False)
    return left[:, values > RANK_TOLERANCE * max(float(values.max()), torch.finfo(torch.double).tiny)]


def _angles(basis: torch.Tensor, other: torch.Tensor) -> tuple[float, ...]:
    if 0 in (basis.shape[1], other.shape[1]):
        return ()
    cosines = torch.linalg.svdvals(basis.T @ other).clamp(max=1.0)
    return tuple(float(angle) for angle in torch.rad2deg(torch.arccos(cosines)))
