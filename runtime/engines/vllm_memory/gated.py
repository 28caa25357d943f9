# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""A gated memory inside vLLM's model: see ``populace.adapters.memory.module`` for what it does.

Where nothing is written and no gate is open a step costs nothing: no hook does anything.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from populace.adapters.memory.module import MemoryModule
from populace.engines.vllm_memory.blocks import (
    Scheduled,
    ServedBlock,
    first_output,
    hook_inputs,
)
from populace.engines.vllm_memory.gated_requests import GatedRequest, GatedRequests
from populace.engines.vllm_memory.gated_step import GatedStep, RowStep


class ServedGatedMemory:
    """States of the requests in flight, and the hooks that read and write them.

    ``scheduled`` answers, at the start of a model's forward pass, whose tokens are in it; ``running``
    the keys of the requests that have not ended.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        module: MemoryModule,
        blocks: list[ServedBlock],
        *,
        device: torch.device,
        scheduled: Callable[[], list[Scheduled]],
        running: Callable[[], set[str]],
    ) -> None:
        module = module.to(device)
        self._module = module
        self._requests = GatedRequests(lambda: module.fresh_states(1)[:, 0].to(device))
        self._scheduled = scheduled
        self._running = running
        self._step: GatedStep | None = None
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._finish)
        hook_inputs(blocks[0], self._embed)
        for number, block in enumerate(module.shape.with_memory(blocks)):
            hook_inputs(block, partial(self._layer, number))

    def take(self, key: str, tokens: int) -> bytes | None:
        """Return the state that the request's prompt left as float32 bytes, and forget the request.

        None: not kept. A reply writes nothing, so ``tokens`` does not matter.
        """
        taken = self._requests.take(key)
        return None if taken is None else taken.cpu().numpy().tobytes()

    def _begin(self, *_: Any) -> None:
        self._requests.end_others(self._running())
        rows: list[RowStep] = []
        for entry in self._scheduled():
            if entry.request is not None:
                known = self._requests.of(entry.request)
                known.begin(entry.position)
                rows.append(row_step(known, entry))
        used = [row for row in rows if row.parts or row.reading is not None]
        self._step = GatedStep(self._module, rows, used) if used else None
        if self._step is None:
            for row in rows:
                row.known.seen += row.tokens

    def _embed(self, embedded_TH: torch.Tensor) -> None:
        if self._step is not None:
            self._step.embed(embedded_TH)

    def _layer(self, number: int, hidden_TH: torch.Tensor) -> None:
        if self._step is not None:
            self._step.layer(number, hidden_TH)

    def _finish(self, _: torch.nn.Module, __: Any, output: Any) -> None:
        if self._step is not None:
            self._step.finish(first_output(output))
            self._step = None


def row_step(known: GatedRequest, entry: Scheduled) -> RowStep:
    """Return a request's part of a step.

    A reply begins to read with the last token of its prompt, whose gate decides for all of it.
    """
    tokens = entry.last - entry.first
    turn = known.request.prompt_tokens - 1
    decides = entry.position <= turn < entry.position + tokens
    reading = None
    if known.request.reads and (decides or known.opened) and entry.position + tokens > turn:
        reading = (entry.first + max(0, turn - entry.position), entry.last)
    return RowStep(known, tokens, known.parts(entry.first, tokens), reading, decides)
