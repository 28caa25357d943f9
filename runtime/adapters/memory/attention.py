"""Finds a base's attention layers by the names and shapes of its linear layers."""

from collections.abc import Mapping
from typing import NamedTuple

from populace.adapters.base_modules import BaseModules, LinearShape
from populace.adapters.memory.layer import LayerWidths

QUERY = "q_proj"
OUTPUT = "o_proj"


class AttentionLayer(NamedTuple):
    """The dotted name of an attention block in the base, and its widths."""

    name: str
    widths: LayerWidths


def attention_layers(base: BaseModules) -> tuple[AttentionLayer, ...]:
    """List the attention blocks with separate query and output projections, as in Llama and Qwen, in order.

    The result is empty for architectures that name them differently; these cannot have a memory.
    """
    layers = [
        _layer(name.removesuffix(f".{QUERY}"), base.linears)
        for name in base.linears
        if name.endswith(f".{QUERY}")
    ]
    return tuple(layer for layer in layers if layer is not None)


def _layer(name: str, linears: Mapping[str, LinearShape]) -> AttentionLayer | None:
    query, output = linears[f"{name}.{QUERY}"], linears.get(f"{name}.{OUTPUT}")
    if output is None or output.outputs != query.inputs:
        return None
    return AttentionLayer(name, LayerWidths(hidden=query.inputs, query=query.outputs))
