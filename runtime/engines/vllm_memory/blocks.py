# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""The blocks that a memory inside vLLM is attached to, and the values that it gets for each step."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, cast

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


class LayerStep(Protocol):
    """A memory's part of a step: ``layer`` is called for each block in order, then ``add_output``."""

    def layer(self, number: int, hidden_TH: torch.Tensor, projected_TP: torch.Tensor) -> None: ...

    def add_output(self, output_TH: torch.Tensor) -> None: ...


def hook_blocks(blocks: Iterable[ServedBlock], step: Callable[[], LayerStep | None]) -> None:
    """Hook the blocks so that the current step, if any, adds to their query and output projections."""
    for number, served in enumerate(blocks):
        _hook(number, served.block, step)


def hook_inputs(block: ServedBlock, show: Callable[[torch.Tensor], None]) -> None:
    """Call ``show`` with the input of a block's attention before it computes."""

    def shown(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        show(inputs[0])

    block.block.get_submodule(QKV).register_forward_pre_hook(shown)


def _hook(number: int, block: torch.nn.Module, step: Callable[[], LayerStep | None]) -> None:
    def add_query(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        current = step()
        if current is not None:
            current.layer(number, inputs[0], first_output(output))

    def add_output(_: torch.nn.Module, __: Any, output: Any) -> None:
        current = step()
        if current is not None:
            current.add_output(first_output(output))

    block.get_submodule(QKV).register_forward_hook(add_query)
    block.get_submodule(OUTPUT).register_forward_hook(add_output)


def first_output(output: Any) -> torch.Tensor:
    """Return a module's first output: vLLM's linear layers, and some models, return a tuple."""
    return cast("torch.Tensor", output[0] if isinstance(output, tuple) else output)
