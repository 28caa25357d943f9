# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers' models are partly untyped.
"""A tiny random base of each architecture that is supported, without a tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

WINDOW = 6
"""Tokens that a token sees in the layers with a window."""

CONFIGS: Mapping[str, tuple[Any, Mapping[str, object]]] = {
    "LlamaForCausalLM": (LlamaConfig, {}),
    "MistralForCausalLM": (MistralConfig, {"sliding_window": WINDOW}),
    "Qwen2ForCausalLM": (Qwen2Config, {}),
    "Qwen3ForCausalLM": (Qwen3Config, {"head_dim": 32}),
    "Gemma3ForCausalLM": (
        Gemma3TextConfig,
        {
            "head_dim": 32,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 32,
        },
    ),
    "MixtralForCausalLM": (MixtralConfig, {"num_local_experts": 4}),
    "Qwen3MoeForCausalLM": (
        Qwen3MoeConfig,
        {"head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    ),
}
"""The configuration of each, with what it has of its own."""


def make_tiny_base(
    folder: Path, architecture: str, *, vocabulary: int = 128, dtype: torch.dtype = torch.float32
) -> Path:
    """Write a base of two random layers, whose weights are large enough for attention to matter."""
    torch.manual_seed(0)
    kind, own = CONFIGS[architecture]
    config: Any = kind(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        initializer_range=0.2,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **own,
    )
    model: Any = AutoModelForCausalLM.from_config(config)
    model.to(dtype).save_pretrained(folder)
    return folder
