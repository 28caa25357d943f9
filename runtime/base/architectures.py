"""The architectures that are served and trained: those that tests train and serve in small.

Engines and trainer know layers by their names, and the trainer computes attention by itself. An architecture
that does something else in between would be trained as another model than the one that is served.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from populace.base.files import BaseInvalid


class Architecture(NamedTuple):
    """How an architecture is supported. ``has_experts``: its adapters are of attention alone."""

    families: str
    has_experts: bool = False


SUPPORTED: Mapping[str, Architecture] = {
    "LlamaForCausalLM": Architecture("Llama 2 and 3, SmolLM2"),
    "MistralForCausalLM": Architecture("Mistral 7B, Nemo and Small"),
    "Qwen2ForCausalLM": Architecture("Qwen2 and Qwen2.5"),
    "Qwen3ForCausalLM": Architecture("Qwen3"),
    "Gemma3ForCausalLM": Architecture("Gemma 3 for text"),
    "MixtralForCausalLM": Architecture("Mixtral", has_experts=True),
    "Qwen3MoeForCausalLM": Architecture("Qwen3 with experts", has_experts=True),
}

REFUSED: Mapping[str, str] = {
    "Gemma3ForConditionalGeneration": (
        "it has a vision tower, whose layers would be adapted too; take that for text (Gemma3ForCausalLM)"
    ),
    "Gemma2ForCausalLM": "it caps the scores of attention, which training does not",
    "GptOssForCausalLM": "its attention has sinks, which training does not",
    "Phi3ForCausalLM": "its layers are fused under other names",
}
"""Why some that people may try are not supported."""


def check_architecture(directory: Path, config: Mapping[str, Any]) -> Architecture:
    """Return how the base of this configuration is supported. Raises ``BaseInvalid`` if it is not."""
    stated = config.get("architectures")
    names = [str(name) for name in cast(list[object], stated)] if isinstance(stated, list) else []
    for name in names:
        if name in SUPPORTED:
            return SUPPORTED[name]
    named = ", ".join(names) or f"the model type {config.get('model_type')}"
    why = next((f": {REFUSED[name]}" for name in names if name in REFUSED), "")
    known = ", ".join(SUPPORTED)
    raise BaseInvalid(str(directory), f"{named} is not supported{why}. Supported are {known}")
