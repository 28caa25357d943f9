# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's unflatten is untyped.
"""A memory module's parameters in the order in which an engine step uses them.

Shape suffixes of this folder: L = layers, T = tokens of the step, S = requests of the step, N = states,
R = rank, W = N x R, J = 4W, H = hidden width, Q = width of the query projection, D = Q + H, P = tokens
of the longest prompt part, or width of all that is projected with the query.
"""

from typing import NamedTuple

import torch
from torch.nn import functional

from populace.adapters.memory.layer import MemoryLayer
from populace.adapters.memory.module import MemoryModule


class FusedWeights:
    """A memory module's parameters in the order in which a step uses them.

    ``query_part`` is the slice of the query projection that this process computes.
    """

    def __init__(self, module: MemoryModule, query_part: slice, device: torch.device) -> None:
        shape = module.shape
        self.shape = shape
        self.query_width = len(range(*query_part.indices(module.layer(0).widths.query)))
        self.hidden_width = module.layer(0).widths.hidden
        layers = [module.layer(number) for number in range(len(module.layers))]
        self.input_LHJ = torch.stack([_inputs(layer) for layer in layers]).to(device)
        self.bias_LJ = torch.stack([_biases(layer) for layer in layers]).to(device)
        self.output_LWD = torch.stack([_output_weights(layer, query_part) for layer in layers]).to(device)

    def project(self, layer: int, hidden_TH: torch.Tensor) -> torch.Tensor:
        """Return the raw projections [T, J]: query and key of each state, then values, then rates."""
        return torch.addmm(self.bias_LJ[layer], hidden_TH.float(), self.input_LHJ[layer])

    def pairs(self, raw_TJ: torch.Tensor) -> torch.Tensor:
        """Make query and key of each state [T, N, 2, R] of the raw projections."""
        size = (-1, self.shape.states, 2, self.shape.rank)
        pairs_TN2R = torch.tanh(raw_TJ[:, : 2 * self.shape.width]).view(size)
        return functional.normalize(pairs_TN2R, dim=-1)

    def value_and_rate(self, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Split the rest of the raw projections [..., 4W] into value and rate [..., N, R]."""
        width = self.shape.width
        size = (self.shape.states, self.shape.rank)
        value = raw[..., 2 * width : 3 * width].unflatten(-1, size)
        return value, torch.sigmoid(raw[..., 3 * width :].unflatten(-1, size))

    def add(self, layer: int, read_TW: torch.Tensor, projected_TP: torch.Tensor) -> torch.Tensor:
        """Add what was read to the query's columns, and return what to add to the output projection."""
        deltas_TD = torch.mm(read_TW, self.output_LWD[layer])
        projected_TP[:, : self.query_width] += deltas_TD[:, : self.query_width]
        return deltas_TD[:, self.query_width :]


def _inputs(layer: MemoryLayer) -> torch.Tensor:
    """[H, J]: query and key of each state, then the values, then the rates."""
    states = (layer.shape.states, layer.shape.rank)
    query_NRH, key_NRH = layer.query.unflatten(0, states), layer.key.unflatten(0, states)
    pairs = torch.stack((query_NRH, key_NRH), dim=1).flatten(0, 2)
    return torch.cat((pairs, layer.value, layer.rate)).detach().t().contiguous()


def _biases(layer: MemoryLayer) -> torch.Tensor:
    return torch.cat((torch.zeros(3 * layer.shape.width), layer.rate_bias)).detach()


def _output_weights(layer: MemoryLayer, query_part: slice) -> torch.Tensor:
    """[W, D], with the scale in it; zeros for a projection to which nothing is added."""
    shape, widths = layer.shape, layer.widths
    query = torch.zeros(widths.query, shape.width) if layer.delta_query is None else layer.delta_query
    output = torch.zeros(widths.hidden, shape.width) if layer.delta_output is None else layer.delta_output
    both = torch.cat((query[query_part], output)) * (shape.alpha / shape.rank)
    return both.detach().t().contiguous()


class Part(NamedTuple):
    """A request's part of a step: its row among the requests, and its tokens [first, last).

    ``writes`` lists, relative to the step, the tokens that write: (first, last, message ends).
    """

    row: int
    first: int
    last: int
    writes: tuple[tuple[int, int, bool], ...]


def reading_tokens(
    parts: list[Part], reads: list[bool], tokens: int, device: torch.device
) -> torch.Tensor | None:
    """Return [T, 1] with 0 for tokens of requests that do not read; None if all do."""
    blind = [part for part in parts if not reads[part.row]]
    if not blind:
        return None
    read_T1 = torch.ones(tokens, 1)
    for part in blind:
        read_T1[part.first : part.last] = 0.0
    return read_T1.to(device)
