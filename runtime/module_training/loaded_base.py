# pyright: reportUnknownMemberType=false
# transformers' loading functions are partly untyped.
"""The base as memory modules are trained on it: frozen, for its hidden states."""

from pathlib import Path
from typing import NamedTuple, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from populace.actors.errors import InvalidRequest
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import AttentionLayer, attention_layers
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.engines.prompts import BaseTokenizer


class LoadedBase(NamedTuple):
    model: PreTrainedModel
    attention: tuple[AttentionLayer, ...]
    tokenizer: BaseTokenizer
    fingerprint: str


def load_base(directory: Path, fingerprint: str) -> LoadedBase:
    """Load a base. Raises ``InvalidRequest`` for one that cannot have a memory."""
    model = cast(
        "PreTrainedModel",
        AutoModelForCausalLM.from_pretrained(
            str(directory),
            dtype=torch.bfloat16,
            local_files_only=True,
            # Sequences are short, and the fused kernels' backward passes slow on a CPU.
            attn_implementation="eager",
        ).eval(),
    )
    model.requires_grad_(False)
    attention = attention_layers(read_base_modules(directory, fingerprint))
    if not attention:
        raise InvalidRequest("This base's attention has no layers that a memory can be attached to.", "base")
    return LoadedBase(model, attention, BaseTokenizer(directory), fingerprint)


def read_first(first: Path, base: LoadedBase, shape: MemoryShape) -> MemoryModule:
    """Read a module that is to be trained on. Raises ``InvalidRequest`` if it has another shape."""
    module = MemoryModule.read(first, base.fingerprint, base.attention)
    if module.shape != shape:
        raise InvalidRequest(f"{first} has another shape: {module.shape}.", "first")
    return module
