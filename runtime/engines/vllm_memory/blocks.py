# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""What a memory inside vLLM is attached to, and what it is told of each step."""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import torch

from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.layer import LayerWidths
from populace.engines.vllm_memory.request import MemoryRequest

QKV = "qkv_proj"
OUTPUT = "o_proj"


class Scheduled(NamedTuple):
    """A request's tokens in a step: [first, last) of the step, the first at ``position`` of the request."""

    request: MemoryRequest | None
    first: int
    last: int
    position: int


class ServedBlock(NamedTuple):
    """An attention block of vLLM's model, and the part of the query projection that is here."""

    layer: AttentionLayer
    block: torch.nn.Module
    query_part: slice


def served_blocks(model: torch.nn.Module, rank: int, ranks: int) -> list[ServedBlock]:
    """Find the attention blocks, in the order of the layers; this is process ``rank`` of ``ranks``."""
    blocks: list[ServedBlock] = []
    for name, module in model.named_modules():
        if name.endswith(f".{QKV}"):
            block: Any = model.get_submodule(name.removesuffix(f".{QKV}"))
            width = int(block.q_size)
            widths = LayerWidths(hidden=int(cast("Any", module).input_size), query=width * ranks)
            layer = AttentionLayer(name.removesuffix(f".{QKV}"), widths)
            blocks.append(ServedBlock(layer, block, slice(rank * width, (rank + 1) * width)))
    return blocks


def attention_of(blocks: Iterable[ServedBlock]) -> tuple[AttentionLayer, ...]:
    return tuple(served.layer for served in blocks)
