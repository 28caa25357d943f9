"""Computes a base's size in memory from its configuration and its files' headers. Loads no weights."""

from math import prod
from pathlib import Path

from populace.base.files import StoredTensor, read_config, stored_tensors
from populace.base.shape import number_in, text_config
from populace.policies.engine_devices import EngineDtype
from populace.policies.engine_memory import BaseSizes

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""The types that are converted when a base is loaded; others, of quantised files, stay as they are."""

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


def read_sizes(directory: Path, dtype: EngineDtype) -> BaseSizes:
    """Read the sizes of a base that is loaded as ``dtype``. Raises ``BaseInvalid``."""
    text = text_config(read_config(directory))
    value_bytes = 4 if dtype == "float32" else 2
    tensors = list(stored_tensors(directory))
    heads = number_in(text, "num_attention_heads", "n_head") or 1
    hidden = number_in(text, "hidden_size", "n_embd") or 1
    return BaseSizes(
        weights_bytes=sum(_loaded_bytes(tensor, value_bytes) for tensor in tensors),
        linear_weights=sum(prod(tensor.shape) for tensor in tensors if _is_linear(tensor)),
        layers=number_in(text, "num_hidden_layers", "n_layer") or 1,
        hidden=hidden,
        intermediate=number_in(text, "intermediate_size", "n_inner") or 4 * hidden,
        heads=heads,
        kv_heads=number_in(text, "num_key_value_heads") or heads,
        head_dim=number_in(text, "head_dim") or hidden // heads,
        vocabulary=number_in(text, "vocab_size") or 1,
        has_experts=number_in(text, *EXPERTS) is not None,
        value_bytes=value_bytes,
    )


def _loaded_bytes(tensor: StoredTensor, value_bytes: int) -> int:
    return prod(tensor.shape) * value_bytes if tensor.dtype in FLOATS else tensor.length


def _is_linear(tensor: StoredTensor) -> bool:
    """Whether it is the weight of a layer that vLLM quantises: not the embedding, nor the head."""
    is_matrix = len(tensor.shape) >= 2 and tensor.dtype in FLOATS
    return is_matrix and not any(part in tensor.name for part in ("embed", "lm_head", "wte", "wpe"))
