# pyright: reportUnknownMemberType=false
# transformers' loading functions are partly untyped.
"""The frozen base on which memory modules are trained."""

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
    """A loaded base with its attention layers, tokenizer and fingerprint."""

    model: PreTrainedModel
    attention: tuple[AttentionLayer, ...]
    tokenizer: BaseTokenizer
    fingerprint: str


def load_base(directory: Path, fingerprint: str) -> LoadedBase:
    """Load a base in bfloat16 with frozen weights. Raises ``InvalidRequest`` if it cannot have a memory."""
    model = cast(
        "PreTrainedModel",
        AutoModelForCausalLM.from_pretrained(
            str(directory),
            dtype=torch.bfloat16,
            local_files_only=True,
            # Sequences are short, and the backward passes of the fused kernels are slow on a CPU.
            attn_implementation="eager",
        ).eval(),
    )
    model.requires_grad_(False)
    attention = attention_layers(read_base_modules(directory, fingerprint))
    if not attention:
        raise InvalidRequest(
            "This base cannot have a memory: its attention has no layers named q_proj and o_proj.", "base"
        )
    return LoadedBase(model, attention, BaseTokenizer(directory), fingerprint)


def read_first(first: Path, base: LoadedBase, shape: MemoryShape) -> MemoryModule:
    """Read the module from which training continues.

    Raises ``InvalidRequest`` if it has another shape, and as ``MemoryModule.read``.
    """
    module = MemoryModule.read(first, base.fingerprint, base.attention)
    if module.shape != shape:
        raise InvalidRequest(f"{first} has another shape than {shape}: {module.shape}.", "first")
    return module
