# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's profiler is partly untyped.
"""Where the time of a training step goes, and how fast this machine multiplies matrices at best."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

FORWARD = "base's products, forwards"
BACKWARD = "base's products, backwards"
ADAPTERS = "adapters"
ATTENTION = "attention"
LOGITS = "logits and their logarithms"
OPTIMISER = "optimiser"
REST = "norms, activations, copies"

REPEATS = 9
"""Only the fastest of these repetitions counts: a peak is what nothing disturbed."""


class Part(NamedTuple):
    """A part of a step and its wall time in seconds."""

    name: str
    seconds: float


class Peak(NamedTuple):
    """The fastest products with a base's matrices in one type, in operations per second."""

    dtype: str
    flops: float


def part_of(names: Sequence[str], shapes: Sequence[Sequence[int]], vocabulary: int) -> str:
    """Return the part of an operation. ``names`` are its own and those of what called it, outwards."""
    if any("WithAdapters" in name for name in names):
        return ADAPTERS
    if any("scaled_dot_product" in name for name in names):
        return ATTENTION
    if any("Optimizer" in name or "clip_grad" in name for name in names):
        return OPTIMISER
    if any(vocabulary in shape for shape in shapes) or any("Softmax" in name for name in names):
        return LOGITS
    if names[0] in ("aten::mm", "aten::addmm"):
        return BACKWARD if any("autograd::engine" in name for name in names) else FORWARD
    return REST


def parts_of(step: Callable[[], object], vocabulary: tuple[int, int]) -> list[Part]:
    """Profile one call of ``step``; ``vocabulary`` is the shape of the output embeddings, words last.

    The profiler itself costs some time for each operation, which is a part of the parts.
    """
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        step()
    seconds: dict[str, float] = dict.fromkeys(
        (FORWARD, BACKWARD, ADAPTERS, ATTENTION, LOGITS, OPTIMISER, REST), 0.0
    )
    for event in profiled.events() or ():
        shapes = [shape for shape in event.input_shapes or () if shape]
        seconds[part_of(_names(event), shapes, vocabulary[1])] += event.self_cpu_time_total / 1e6
    return [Part(name, spent) for name, spent in seconds.items()]


def matmul_peak(shapes: Sequence[tuple[int, int]], tokens: int, dtype: torch.dtype) -> Peak:
    """Multiply ``tokens`` rows with a matrix of each shape, and return the fastest of all."""
    fastest = 0.0
    for inputs, outputs in shapes:
        rows, matrix = torch.ones(tokens, inputs, dtype=dtype), torch.ones(inputs, outputs, dtype=dtype)
        for _ in range(REPEATS):
            began = time.perf_counter()
            torch.matmul(rows, matrix)
            fastest = max(fastest, 2 * tokens * inputs * outputs / (time.perf_counter() - began))
    return Peak(str(dtype).removeprefix("torch."), fastest)


def products_of(
    linears: Sequence[tuple[int, int]], *, tokens: int, scored: int, vocabulary: tuple[int, int]
) -> float:
    """Return the operations of a frozen base's products, forwards and for the gradient of the activations."""
    layers = sum(one * other for one, other in linears)
    return 4.0 * (tokens * layers + scored * vocabulary[0] * vocabulary[1])


def _names(event: Any) -> list[str]:
    names: list[str] = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    return names
