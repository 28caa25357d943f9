# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg's functions are partly untyped.
"""Merges several adapters into one.

Every method works on ΔW = s B·A. The average of the factors, which some libraries call "linear", is not
offered: (Σ w B)(Σ w A) contains the product of each member's B with every other member's A, and the factors
of an adapter are unique only up to a rotation, so the average is arbitrary. For two random adapters its error
is 97 %. The interfaces that accept "linear" make the sum and warn.

Shape suffixes: R = rank, S = sum of all ranks, I = inputs, O = outputs, M = members, K = kept entries,
N = all entries of ΔW.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from populace.actors.errors import InvalidRequest
from populace.actors.merging import MergeOptions
from populace.adapters.lora.layer import LoraLayer
from populace.adapters.lora.trainable import TrainableAdapter


class Merged(NamedTuple):
    """The merged adapter; ``kept`` is the share of ‖ΔW‖², over all layers, that reducing the rank kept."""

    adapter: TrainableAdapter
    kept: float


def merge_adapters(
    adapters: Sequence[TrainableAdapter], weights: Sequence[float], options: MergeOptions
) -> Merged:
    """Merge adapters of one base; a layer that a member does not adapt counts as zeros.

    ``sum`` is Σ w ΔW exactly, with the rank of all members together, and ``svd`` its best approximation of a
    given rank (Eckart and Young, 1936). ``ties`` (Yadav et al., 2023) and ``dare`` (Yu et al., 2024) compute
    the full ΔW of every member, one layer at a time. Equal arguments give equal bits. Raises
    ``InvalidRequest`` for invalid options or weights.
    """
    options.check()
    if not adapters or len(adapters) != len(weights) or not all(map(math.isfinite, weights)):
        raise InvalidRequest(
            f"{len(adapters)} adapters need as many finite weights, not {weights}.", "weights"
        )
    generator = torch.Generator().manual_seed(options.seed)
    names = [name for adapter in adapters for name in adapter.layers]
    layers: dict[str, LoraLayer] = {}
    kept = whole = 0.0
    for name in dict.fromkeys(names):
        with torch.no_grad():
            layers[name], kept_square, whole_square = _merged(
                [adapter.layers[name].merged() if name in adapter.layers else None for adapter in adapters],
                weights,
                options,
                generator,
            )
        kept += kept_square
        whole += whole_square
    return Merged(TrainableAdapter(layers), kept / whole if whole else 1.0)


def _merged(
    members: Sequence[LoraLayer | None],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> tuple[LoraLayer, float, float]:
    """Merge one layer; return it with its ‖ΔW‖² after and before the rank was reduced."""
    present = [(layer, weight) for layer, weight in zip(members, weights, strict=True) if layer is not None]
    rank = options.rank or max(layer.rank for layer, _ in present)
    if options.method in ("sum", "svd"):
        a_SI = torch.cat([layer.a for layer, _ in present])
        b_OS = torch.cat([layer.b * (layer.scaling * weight) for layer, weight in present], dim=1)
        if options.method == "sum":
            return _layer(a_SI, b_OS), 1.0, 1.0
        return _truncated(_factored_svd(a_SI, b_OS), rank)
    deltas_MOI = torch.stack([layer.b @ layer.a * layer.scaling for layer, _ in present])
    weights_M = torch.tensor([weight for _, weight in present])
    if options.method == "ties":
        delta_OI = _ties(deltas_MOI, weights_M, options.density)
    else:
        drawn_MOI = torch.rand(deltas_MOI.shape, generator=generator) < options.density
        delta_OI = torch.einsum("m,moi->oi", weights_M, deltas_MOI * drawn_MOI / options.density)
    return _truncated(_Svd(*torch.linalg.svd(delta_OI, full_matrices=False)), rank)


def _ties(deltas_MOI: torch.Tensor, weights_M: torch.Tensor, density: float) -> torch.Tensor:
    """Trim, elect signs, and average the entries that agree; weights apply after the election, as in PEFT."""
    count = max(1, int(density * deltas_MOI[0].numel()))
    flat_MN = deltas_MOI.flatten(1)
    places_MK = flat_MN.abs().topk(count, dim=1).indices
    trimmed_MN = torch.zeros_like(flat_MN).scatter(1, places_MK, flat_MN.gather(1, places_MK))
    sign_N = torch.where(trimmed_MN.sum(0) >= 0, 1.0, -1.0)
    agree_MN = trimmed_MN.sign() == sign_N
    summed_N = (trimmed_MN * agree_MN * weights_M[:, None]).sum(0)
    return (summed_N / agree_MN.sum(0).clamp(min=1)).reshape(deltas_MOI.shape[1:])


class _Svd(NamedTuple):
    """A singular value decomposition: U [O, R], the singular values [R], and Vᵀ [R, I]."""

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor


def _factored_svd(a_SI: torch.Tensor, b_OS: torch.Tensor) -> _Svd:
    """Return the singular value decomposition of B·A by QR of its factors, without computing [O, I]."""
    left_OR, upper_RS = torch.linalg.qr(b_OS)
    right_IR, lower_RS = torch.linalg.qr(a_SI.T)
    u_RR, values_R, v_RR = torch.linalg.svd(upper_RS @ lower_RS.T, full_matrices=False)
    return _Svd(left_OR @ u_RR, values_R, v_RR @ right_IR.T)


def _truncated(svd: _Svd, rank: int) -> tuple[LoraLayer, float, float]:
    """Keep the largest singular values, with their roots in both factors, so that neither is tiny."""
    squares_R = svd.values.square()
    root_R = svd.values[:rank].sqrt()
    layer = _layer(root_R[:, None] * svd.right[:rank], svd.left[:, :rank] * root_R)
    return layer, float(squares_R[:rank].sum()), float(squares_R.sum())


def _layer(a_RI: torch.Tensor, b_OR: torch.Tensor) -> LoraLayer:
    """Return a layer with scaling 1, whatever its rank."""
    return LoraLayer(a_RI, b_OR, alpha=math.sqrt(a_RI.shape[0]), rank_scaled=True)


def weights_of(weights: Mapping[str, float] | None, names: Sequence[str]) -> list[float]:
    """Return the weight of each member in the order of ``names``; None gives each 1 / members.

    Raises ``InvalidRequest`` if the names and the weights' names differ.
    """
    if weights is None:
        return [1.0 / len(names)] * len(names)
    missing = sorted(set(names) ^ set(weights))
    if missing:
        raise InvalidRequest(f"Weights and members differ: {', '.join(missing[:5])}.", "weights")
    return [weights[name] for name in names]
