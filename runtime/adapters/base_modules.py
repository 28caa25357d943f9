# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers' configurations and from_config are untyped.
"""The names and shapes of a base model's linear layers, against which adapters are checked."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

EXPERT = re.compile(r"(^|[._])experts?([._]|$)")
"""The name of an expert's layer. transformers has all experts of a layer in one parameter, not in layers."""


class LinearShape(NamedTuple):
    """The shape [outputs, inputs] of a linear layer's weight."""

    outputs: int
    inputs: int


@dataclass(frozen=True, slots=True)
class BaseModules:
    """A base's linear layers by dotted name, without the output head, and its fingerprint if it is known."""

    linears: dict[str, LinearShape]
    fingerprint: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The distinct last parts of the layers' names, sorted: PEFT's ``target_modules`` for all layers."""
        return tuple(sorted({name.rsplit(".", 1)[-1] for name in self.linears}))

    def lacking(self, module: str) -> str:
        """Say that an adapter's layer is none of this base."""
        if EXPERT.search(module):
            return f"it adapts experts ({module[:200]}), which take no adapters; adapt attention alone"
        return f"it was made for another base: this one has no layer {module[:200]}"


def read_base_modules(base_directory: Path, fingerprint: str | None = None) -> BaseModules:
    """List the base's linear layers without loading weights: the model is built on torch's meta device."""
    return BaseModules(_linears(base_directory.resolve()), fingerprint)


@functools.lru_cache(maxsize=4)
def _linears(base_directory: Path) -> dict[str, LinearShape]:
    config = AutoConfig.from_pretrained(str(base_directory), local_files_only=True)
    with torch.device("meta"):
        model = cast("PreTrainedModel", AutoModelForCausalLM.from_config(config))
    head = model.get_output_embeddings()
    modules = cast("Iterable[tuple[str, torch.nn.Module]]", model.named_modules())
    return {
        name: LinearShape(module.out_features, module.in_features)
        for name, module in modules
        if isinstance(module, torch.nn.Linear) and module is not head
    }
