"""A gated module's parameters in the order in which an engine step uses them.

Shape suffixes are in ``weights.py``.
"""

import torch

from populace.adapters.memory.gated_layer import Projected, Told
from populace.adapters.memory.module import MemoryModule
from populace.engines.vllm_memory.weights import output_weights


class GatedWeights:
    """A gated module's parameters, those that are used together side by side."""

    def __init__(self, module: MemoryModule, query_part: slice, device: torch.device) -> None:
        assert module.gates is not None
        assert module.recall_head is not None
        self.gates, self.recall_head = module.gates, module.recall_head
        self.layers = layers = [module.gated_layer(number) for number in range(len(module.layers))]
        self.widths = (len(range(*query_part.indices(layers[0].widths.query))), layers[0].widths.hidden)
        self.output_LWD = torch.stack([output_weights(one, query_part) for one in layers]).to(device)
        biases = [
            torch.cat(
                (
                    _or_zeros(layer.query_bias, layer.widths.query)[query_part],
                    _or_zeros(layer.output_bias, layer.widths.hidden),
                )
            )
            for layer in layers
        ]
        self.output_bias_LD = torch.stack(biases).detach().to(device)

    def read(self, number: int, hidden_PH: torch.Tensor, states_PNRR: torch.Tensor) -> torch.Tensor:
        """Return what tokens read [P, W] of a state each."""
        return self.layers[number].read(hidden_PH.unsqueeze(1), states_PNRR).flatten(1)

    def projected(self, number: int, told: Told) -> Projected:
        """Project tokens [1, T, H] of a message."""
        return self.layers[number].projected(told)

    def write(self, number: int, message: Projected, state_NRR: torch.Tensor) -> torch.Tensor:
        """Return the state after a whole message."""
        messages_1T = torch.zeros(message.own.shape[:2], dtype=torch.long, device=message.own.device)
        return self.layers[number].write_projected(message, state_NRR.unsqueeze(0), messages_1T)[0]


def _or_zeros(bias: torch.Tensor | None, width: int) -> torch.Tensor:
    return torch.zeros(width) if bias is None else bias
