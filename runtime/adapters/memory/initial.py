# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers' models and torch's initialisers are partly untyped.
"""The initial parameters of a memory module, before it is trained.

The state is empty at first, so a model to which nothing was told computes as the base whatever the output
projections are. They are not zero, since no gradient would reach the other parameters then. As in the
published code they are columns of the base's own projections, scaled to the norm ``gain``.
"""

from collections.abc import Sequence
from typing import cast

import torch
from transformers import PreTrainedModel

from populace.adapters.memory.attention import OUTPUT, QUERY, AttentionLayer
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule

RATE_BIAS = -3.0
"""A token replaces sigmoid(-3) = 5 % of the state. The published -1.5, 18 %, forgets in ten tokens."""

GAIN = 0.3
"""The norm of the output projections' columns; with the published 0.05, 100 steps learned nothing."""


def initial_module(
    model: PreTrainedModel,
    attention: Sequence[AttentionLayer],
    base: str,
    shape: MemoryShape,
    *,
    seed: int,
    gain: float = GAIN,
    rate_bias: float = RATE_BIAS,
) -> MemoryModule:
    """Make a module for the base with the fingerprint ``base``; the same seed gives the same parameters."""
    generator = torch.Generator().manual_seed(seed)
    module = MemoryModule(shape, tuple(layer.widths for layer in attention), base)
    with torch.no_grad():
        for number, place in enumerate(shape.with_memory(attention)):
            layer, block = module.layer(number), model.get_submodule(place.name)
            for weight in (layer.query, layer.key, layer.value):
                torch.nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
            layer.rate_bias.fill_(rate_bias)
            for delta, projection in ((layer.delta_query, QUERY), (layer.delta_output, OUTPUT)):
                if delta is not None:
                    weight = cast("torch.Tensor", block.get_submodule(projection).weight)
                    delta.copy_(gain * _unit_columns(weight, shape.width))
    return module


def _unit_columns(weight: torch.Tensor, count: int) -> torch.Tensor:
    """Return the first ``count`` columns, each scaled to norm 1; zeros where the weight has fewer."""
    columns = torch.zeros(weight.shape[0], count)
    taken = weight[:, :count].float()
    columns[:, : taken.shape[1]] = torch.nn.functional.normalize(taken, dim=0)
    return columns
