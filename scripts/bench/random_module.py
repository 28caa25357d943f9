"""Random memory modules and states, for measurements and tests."""

from pathlib import Path

import torch

from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule, digest_of

FAR_OPEN = 1e4
"""A gate's bias that no input outweighs."""


def random_module(
    base_directory: Path, fingerprint: str, shape: MemoryShape | None = None, *, strength: float = 0.15
) -> MemoryModule:
    """Return a random module, the same for the same arguments.

    It writes at every token; ``strength`` scales the matrices that add what is read. The gates of a gated
    module open for about half of all inputs.
    """
    layers = attention_layers(read_base_modules(base_directory))
    module = MemoryModule(shape or MemoryShape(), tuple(layer.widths for layer in layers), fingerprint)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale = strength if "delta" in name or "answer_head.repeated" in name else 0.05
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
            if name.endswith("rate_bias"):
                parameter.fill_(-2.0)
    return module


def with_gates(module: MemoryModule, *, open_: bool) -> MemoryModule:
    """Set both gates of a gated module always open or always closed, in place; return the module."""
    assert module.gates is not None
    for bias in (module.gates.read_bias, module.gates.write_bias):
        torch.nn.init.constant_(bias, FAR_OPEN if open_ else -FAR_OPEN)
    return module


def random_state(module: MemoryModule, seed: int = 0) -> bytes:
    """Return a packed random state of the module, the same for the same seed, with no value that is zero."""
    empty = module.fresh_states(1)[:, 0]
    drawn = 0.1 * torch.randn(empty.shape, generator=torch.Generator().manual_seed(seed))
    return module.state_format(digest_of(module.pack())).pack(drawn.numpy())
