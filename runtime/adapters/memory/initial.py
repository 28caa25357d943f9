# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers' models and torch's initialisers are partly untyped.
"""The first parameters of a memory module, before it is trained.

The state is empty at first, so whatever the output projections are, an untold model is the base.
They are not zero, for then nothing would tell the other parameters what is worth writing: as in the
published code they are columns of the base's own projections, of length ``gain`` each.
"""

from collections.abc import Sequence
from typing import cast

import torch
from transformers import PreTrainedModel

from populace.adapters.memory.attention import OUTPUT, QUERY, AttentionLayer
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule

RATE_BIAS = -3.0
"""sigmoid(-3) = 0.05 of the state gives way for each token. The published -1.5 forgets in ten tokens."""

GAIN = 0.3
"""With the published 0.05 nothing was learned on a base of 135 M parameters in 100 steps."""


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
    """Make a module for the base model; the same seed gives the same parameters."""
    generator = torch.Generator().manual_seed(seed)
    module = MemoryModule(shape, tuple(one.widths for one in attention), base)
    with torch.no_grad():
        for number, one in enumerate(shape.with_memory(attention)):
            layer, block = module.layer(number), model.get_submodule(one.name)
            for weight in (layer.query, layer.key, layer.value):
                torch.nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
            layer.rate_bias.fill_(rate_bias)
            for delta, projection in ((layer.delta_query, QUERY), (layer.delta_output, OUTPUT)):
                if delta is not None:
                    weight = cast("torch.Tensor", block.get_submodule(projection).weight)
                    delta.copy_(gain * _unit_columns(weight, shape.width))
    return module


def _unit_columns(weight: torch.Tensor, count: int) -> torch.Tensor:
    """The first ``count`` columns, each of length 1; zeros where the weight has fewer."""
    columns = torch.zeros(weight.shape[0], count)
    taken = weight[:, :count].float()
    columns[:, : taken.shape[1]] = torch.nn.functional.normalize(taken, dim=0)
    return columns
