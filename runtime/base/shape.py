"""The shape of a base by its ``config.json``: how it can be computed and spread over GPUs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from populace.base.architectures import check_architecture
from populace.base.files import read_config
from populace.policies.engine_devices import BaseShape

WITHOUT_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
"""Model types whose activations overflow in float16, which vLLM refuses for them."""


def read_shape(directory: Path) -> BaseShape:
    """Read the shape of a base in a directory. Raises ``BaseInvalid``."""
    config = read_config(directory)
    text = text_config(config)
    heads = number_in(text, "num_attention_heads", "n_head") or 1
    quantisation = config.get("quantization_config")
    quantised = cast(Mapping[str, Any], quantisation) if isinstance(quantisation, dict) else None
    return BaseShape(
        heads=heads,
        kv_heads=number_in(text, "num_key_value_heads") or heads,
        quantized=None if quantised is None else str(quantised.get("quant_method", "of an unnamed method")),
        without_float16=text.get("model_type") in WITHOUT_FLOAT16,
        has_experts=check_architecture(directory, config).has_experts,
    )


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a configuration that is of the language model: all of it, or what is nested."""
    nested = config.get("text_config")
    return cast(Mapping[str, Any], nested) if isinstance(nested, dict) else config


def number_in(config: Mapping[str, Any], *keys: str) -> int | None:
    """Return the first of these that is a positive whole number, None if none is."""
    values = (config.get(key) for key in keys)
    return next((value for value in values if type(value) is int and value > 0), None)
