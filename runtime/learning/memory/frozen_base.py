# pyright: reportUnknownMemberType=false
# transformers' loading functions are partly untyped.
"""The base as training has it: frozen, and asked for hidden states again and again."""

from pathlib import Path
from typing import NamedTuple, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from populace.actors.errors import InvalidRequest
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import AttentionLayer, attention_layers
from populace.engines.prompts import BaseTokenizer


class FrozenBase(NamedTuple):
    model: PreTrainedModel
    attention: tuple[AttentionLayer, ...]
    tokenizer: BaseTokenizer
    fingerprint: str


def load_frozen(directory: Path, fingerprint: str) -> FrozenBase:
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
    return FrozenBase(model, attention, BaseTokenizer(directory), fingerprint)


def check_first(first: Path, found: object, wanted: object) -> None:
    """Raise ``InvalidRequest`` if a module to be trained on has another shape."""
    if found != wanted:
        raise InvalidRequest(f"{first} has another shape: {found}.", "first")
