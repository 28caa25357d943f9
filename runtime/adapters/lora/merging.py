# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg's functions are partly untyped.
"""One adapter of many: what they add to the base together.

All of it is on ΔW = s B·A. The average of the factors, which some libraries call "linear", is not among it:
(Σ w B)(Σ w A) has a product of one's B with the other's A for every pair, and a factor may be turned by any
rotation without changing its adapter, so that the average says nothing of either. Of two random adapters it
is off by 97 %. Who asks for it gets the sum, and is told.

Shape suffixes: R = rank, S = ranks of all together, I = inputs, O = outputs, M = members.
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
    """``kept`` is the share of ‖ΔW‖², over all layers, that the cut to a rank left."""

    adapter: TrainableAdapter
    kept: float


def merge_adapters(
    adapters: Sequence[TrainableAdapter], weights: Sequence[float], options: MergeOptions
) -> Merged:
    """Merge adapters of one base; a layer that one does not adapt counts as zeros of it.

    ``ties`` and ``dare`` make each layer's full ΔW of every member, one layer at a time. The same arguments
    merge to the same bits. Raises ``InvalidRequest``.
    """
    options.check()
    if not adapters or len(adapters) != len(weights) or not all(map(math.isfinite, weights)):
        raise InvalidRequest(
            f"{len(adapters)} adapters need as many finite weights, not {weights}.", "weights"
        )
    generator = torch.Generator().manual_seed(options.seed)
    names = [name for one in adapters for name in one.layers]
    layers: dict[str, LoraLayer] = {}
    kept = whole = 0.0
    for name in dict.fromkeys(names):
        with torch.no_grad():
            made, of_layer, of_whole = _merged(
                [one.layers[name].merged() if name in one.layers else None for one in adapters],
                weights,
                options,
                generator,
            )
        layers[name] = made
        kept += of_layer
        whole += of_whole
    return Merged(TrainableAdapter(layers), kept / whole if whole else 1.0)


def _merged(
    members: Sequence[LoraLayer | None],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> tuple[LoraLayer, float, float]:
    """One layer, with ‖ΔW‖² as it is and as it was before it was cut."""
    have = [(one, weight) for one, weight in zip(members, weights, strict=True) if one is not None]
    rank = options.rank or max(one.rank for one, _ in have)
    if options.method in ("sum", "svd"):
        a_SI = torch.cat([one.a for one, _ in have])
        b_OS = torch.cat([one.b * (one.scaling * weight) for one, weight in have], dim=1)
        if options.method == "sum":
            return _layer(a_SI, b_OS), 1.0, 1.0
        return _cut(_reduced(a_SI, b_OS), rank)
    deltas_MOI = torch.stack([one.b @ one.a * one.scaling for one, _ in have])
    weights_M = torch.tensor([weight for _, weight in have])
    if options.method == "ties":
        delta_OI = _elected(deltas_MOI, weights_M, options.density)
    else:
        drawn_MOI = torch.rand(deltas_MOI.shape, generator=generator) < options.density
        delta_OI = torch.einsum("m,moi->oi", weights_M, deltas_MOI * drawn_MOI / options.density)
    return _cut(_Singular(*torch.linalg.svd(delta_OI, full_matrices=False)), rank)


def _elected(deltas_MOI: torch.Tensor, weights_M: torch.Tensor, density: float) -> torch.Tensor:
    """Trim, elect signs, and average what agrees; weights count after the election, as in PEFT."""
    count = max(1, int(density * deltas_MOI[0].numel()))
    flat_MN = deltas_MOI.flatten(1)
    places_MK = flat_MN.abs().topk(count, dim=1).indices
    trimmed_MN = torch.zeros_like(flat_MN).scatter(1, places_MK, flat_MN.gather(1, places_MK))
    sign_N = torch.where(trimmed_MN.sum(0) >= 0, 1.0, -1.0)
    agree_MN = trimmed_MN.sign() == sign_N
    summed_N = (trimmed_MN * agree_MN * weights_M[:, None]).sum(0)
    return (summed_N / agree_MN.sum(0).clamp(min=1)).reshape(deltas_MOI.shape[1:])


class _Singular(NamedTuple):
    """U [O, R], the singular values [R], and Vᵀ [R, I]."""

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor


def _reduced(a_SI: torch.Tensor, b_OS: torch.Tensor) -> _Singular:
    """The singular value decomposition of B·A by those of its factors: nothing of [O, I] is made."""
    left_OR, upper_RS = torch.linalg.qr(b_OS)
    right_IR, lower_RS = torch.linalg.qr(a_SI.T)
    u_RR, values_R, v_RR = torch.linalg.svd(upper_RS @ lower_RS.T, full_matrices=False)
    return _Singular(left_OR @ u_RR, values_R, v_RR @ right_IR.T)


def _cut(found: _Singular, rank: int) -> tuple[LoraLayer, float, float]:
    """Leave the largest singular values, half of each in either factor: neither is small in bfloat16."""
    squares_R = found.values.square()
    root_R = found.values[:rank].sqrt()
    layer = _layer(root_R[:, None] * found.right[:rank], found.left[:, :rank] * root_R)
    return layer, float(squares_R[:rank].sum()), float(squares_R.sum())


def _layer(a_RI: torch.Tensor, b_OR: torch.Tensor) -> LoraLayer:
    """A layer whose product counts once, whatever its rank."""
    return LoraLayer(a_RI, b_OR, alpha=math.sqrt(a_RI.shape[0]), rank_scaled=True)


def weights_of(weights: Mapping[str, float] | None, names: Sequence[str]) -> list[float]:
    """Each member's weight by its name; without any all count alike, and together 1."""
    if weights is None:
        return [1.0 / len(names)] * len(names)
    missing = sorted(set(names) ^ set(weights))
    if missing:
        raise InvalidRequest(f"Weights and members differ: {', '.join(missing[:5])}.", "weights")
    return [weights[name] for name in names]
