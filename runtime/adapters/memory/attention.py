"""Where a base's attention layers are, told from the names and shapes of its linear layers."""

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
    """List the blocks that have a query and an output projection, as Llama's and Qwen's do, in order.

    Empty for an architecture with other names: it cannot have a memory.
    """
    found = [
        _layer(name.removesuffix(f".{QUERY}"), base.linears)
        for name in base.linears
        if name.endswith(f".{QUERY}")
    ]
    return tuple(one for one in found if one is not None)


def _layer(name: str, linears: Mapping[str, LinearShape]) -> AttentionLayer | None:
    query, output = linears[f"{name}.{QUERY}"], linears.get(f"{name}.{OUTPUT}")
    if output is None or output.outputs != query.inputs:
        return None
    return AttentionLayer(name, LayerWidths(hidden=query.inputs, query=query.outputs))
