# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""The memory inside vLLM's model: hooks on the model and on two linear layers of each attention block.

It needs little of vLLM: the names ``qkv_proj`` and ``o_proj``, which requests are in the step and with
which tokens. Hooks run in eager mode only; a compiled model would need a custom operation in their
place (it would do what a step's ``layer`` and ``add_output`` do).
"""

from collections.abc import Callable
from typing import Any

import torch

from populace.adapters.memory.module import MemoryModule
from populace.engines.vllm_memory.blocks import Scheduled, ServedBlock, hook_blocks
from populace.engines.vllm_memory.compiled import CompiledTokenStep, CompiledWeights
from populace.engines.vllm_memory.message_step import MessageStep, write_mean
from populace.engines.vllm_memory.request import MemoryRequest
from populace.engines.vllm_memory.slots import Slot, SlotTable
from populace.engines.vllm_memory.token_step import TokenStep
from populace.engines.vllm_memory.weights import FusedWeights, Part

Step = TokenStep | CompiledTokenStep | MessageStep


class ServedMemory:
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
        requests_max: int,
        device: torch.device,
        scheduled: Callable[[], list[Scheduled]],
        running: Callable[[], set[str]],
    ) -> None:
        kind = CompiledWeights if device.type == "cpu" else FusedWeights
        self._weights = kind(module, blocks[0].query_part, device)
        self._slots = SlotTable(requests_max)
        shape = module.shape
        layers = len(blocks)
        self._dtype = next(model.parameters()).dtype
        cells = (layers, self._slots.cells)
        self._states = torch.zeros(*cells, shape.states, shape.rank, shape.rank, device=device)
        self._sums = (
            torch.zeros(*cells, blocks[0].layer.widths.hidden, device=device)
            if shape.writes == "message"
            else None
        )
        self._scheduled = scheduled
        self._running = running
        self._step: Step | None = None
        self._after: Callable[[], None] | None = None
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._finish)
        hook_blocks(blocks, lambda: self._step)

    def take(self, key: str, tokens: int) -> bytes | None:
        """Return the state after ``tokens`` as float32 bytes and forget the request; None if not kept."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        cell = None if slot.lost else slot.kept.get(tokens)
        taken = None if cell is None else self._complete(cell, slot.open_tokens[tokens])
        self._slots.close(key)
        return None if taken is None else taken.cpu().numpy().tobytes()

    def _complete(self, cell: int, open_tokens: int) -> torch.Tensor:
        """The state in a cell [L, N, R, R]; a message that was open, the reply, ends and is written."""
        state = self._states[:, cell].clone()
        if self._sums is not None and open_tokens:
            for layer in range(len(state)):
                sums = self._sums[layer, cell].clone()
                write_mean(self._weights, layer, state[layer], sums, open_tokens)
        return state

    def _begin(self, *_: Any) -> None:
        self._slots.end_others(self._running())
        scheduled = self._scheduled()
        if not any(entry.request is not None for entry in scheduled):
            self._step = None
            return
        slots = [None if entry.request is None else self._slot(entry.request) for entry in scheduled]
        before: list[int] = []
        for slot, entry in zip(slots, scheduled, strict=True):
            if slot is not None:
                slot.begin(entry.position)
            before.append(0 if slot is None else slot.cell)
        parts = [
            Part(row, entry.first, entry.last, _writes(entry))
            for row, entry in enumerate(scheduled)
            if entry.request is not None or entry.last - entry.first == 1
        ]
        tokens = max(entry.last for entry in scheduled)
        reads = [entry.request is None or entry.request.reads for entry in scheduled]
        states = self._states.index_select(1, self._index(before))
        step: Step
        if self._sums is None and isinstance(self._weights, CompiledWeights):
            step = CompiledTokenStep(self._weights, states, parts, tokens, reads, self._dtype)
        elif self._sums is None:
            step = TokenStep(self._weights, states, parts, tokens, reads)
        else:
            starts = [0 if slot is None else slot.start_cell for slot in slots]
            step = MessageStep(
                self._weights,
                self._states.index_select(1, self._index(starts)),
                states,
                self._sums.index_select(1, self._index(before)),
                [0 if slot is None else slot.open_tokens.get(slot.seen, 0) for slot in slots],
                parts,
                tokens,
                reads,
            )
        self._step = step
        self._after = lambda: self._store(slots, scheduled, step)

    def _finish(self, *_: Any) -> None:
        if self._step is not None and self._after is not None:
            self._after()
        self._step = self._after = None

    def _store(self, slots: list[Slot | None], scheduled: list[Scheduled], step: Step) -> None:
        states = step.finish()
        rows: list[int] = []
        cells: list[int] = []
        for row, (slot, entry) in enumerate(zip(slots, scheduled, strict=True)):
            if slot is not None:
                open_tokens = step.open_tokens[row] if isinstance(step, MessageStep) else 0
                rows.append(row)
                cells.append(slot.advance(entry.last - entry.first, open_tokens))
        chosen, places = self._index(rows), self._index(cells)
        self._states.index_copy_(
            1, places, states if len(rows) == len(slots) else states.index_select(1, chosen)
        )
        if self._sums is not None and isinstance(step, MessageStep):
            self._sums.index_copy_(1, places, step.sums_LSH.index_select(1, chosen))

    def _slot(self, request: MemoryRequest) -> Slot:
        slot = self._slots.get(request.key)
        if slot is None:
            slot = self._slots.open(request)
            start = self._states[:, slot.start_cell]
            if request.state is None:
                start.zero_()
            else:
                values = torch.frombuffer(bytearray(request.state), dtype=torch.float32)
                start.copy_(values.view(start.shape))
            if self._sums is not None:
                self._sums[:, slot.start_cell].zero_()
        return slot

    def _index(self, numbers: list[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self._states.device)


def _writes(entry: Scheduled) -> tuple[tuple[int, int, bool], ...]:
    if entry.request is None:
        return ()
    shift = entry.first - entry.position
    stop = entry.position + entry.last - entry.first
    return tuple(
        (first + shift, last + shift, ends)
        for first, last, ends in entry.request.written(entry.position, stop)
    )
