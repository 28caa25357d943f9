"""Runs a memory module in a transformers model: every forward pass reads and writes memory states.

The hooks are on the attention blocks and, for modules without gates, on their query and output projections,
so any architecture with these can have a memory. Hooks of PEFT adapters on the same layers do not interfere,
as both only add to the output.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from populace.adapters.memory.attention import OUTPUT, QUERY, AttentionLayer
from populace.adapters.memory.gated_layer import Told
from populace.adapters.memory.layer import NOT_WRITTEN, Passed
from populace.adapters.memory.module import MemoryModule


@dataclass
class MemoryPass:
    """The inputs and outputs of one forward pass with a memory.

    ``states`` [B, N, R, R] of each layer are replaced by those after the pass. ``writes`` (bool [B, T]) marks
    the tokens that are written. ``messages`` [B, T] numbers the messages; gated modules and those that write
    means need it. ``reads`` (bool [B]) marks the rows that read; None is all. The outputs of other rows are
    the base's. With ``keeps_hidden`` the inputs [B, T, H] of the layers with a memory are kept in ``hidden``.

    With ``decides``, for a pass over prompts of a gated module, the gates remove from ``writes`` the messages
    whose write gate is closed, and from ``reads`` the rows whose read gate is closed, and only the last token
    reads, from the states after the prompt. In other passes every token of a reading row reads. ``embedded``
    is set to the input [B, T, H] of the base's first attention layer.
    """

    states: list[torch.Tensor]
    writes: torch.Tensor
    messages: torch.Tensor | None = None
    reads: torch.Tensor | None = None
    keeps_hidden: bool = False
    decides: bool = False
    hidden: list[torch.Tensor] = field(default_factory=list[torch.Tensor])
    embedded: torch.Tensor | None = None
    passed: dict[int, Passed] = field(default_factory=dict[int, Passed])


class AttachedMemory:
    """Hooks that apply a memory module within ``running``; outside it the model computes as the base."""

    def __init__(
        self, model: PreTrainedModel, memory: MemoryModule, attention: Iterable[AttentionLayer]
    ) -> None:
        """Install the hooks. ``attention`` lists all attention layers of the base, in order."""
        self._memory = memory
        self._layers = tuple(attention)
        self._current: MemoryPass | None = None
        self._hooks: list[Any] = []
        if memory.shape.gated:
            first = model.get_submodule(self._layers[0].name)
            self._hooks.append(first.register_forward_pre_hook(self._note_embedded, with_kwargs=True))
        for number, layer in enumerate(memory.shape.with_memory(self._layers)):
            self._hook(model.get_submodule(layer.name), number)
        if memory.answer_head is not None:
            self._hooks.append(cast("Any", model.base_model).register_forward_hook(self._answer))

    @contextmanager
    def running(self, current: MemoryPass) -> Generator[MemoryPass]:
        """Have the single forward pass in the block read and write the states of ``current``."""
        assert self._current is None
        self._current = current
        try:
            yield current
        finally:
            self._current = None

    def detach(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, block: torch.nn.Module, number: int) -> None:
        def remember(_: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            current = self._current
            if current is not None:
                hidden_BTH = given_hidden(args, options)
                passed = (
                    self._memory.layer(number)(
                        hidden_BTH, current.states[number], current.writes, current.messages
                    )
                    if self._memory.gates is None
                    else self._passed_gates(number, hidden_BTH, current)
                )
                if current.keeps_hidden:
                    current.hidden.append(hidden_BTH)
                current.passed[number] = passed
                current.states[number] = passed.state

        def add_query(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            return self._added(number, output, query=True)

        def add_output(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            return self._added(number, output, query=False)

        self._hooks.append(block.register_forward_pre_hook(remember, with_kwargs=True))
        if not self._memory.shape.gated:
            self._hooks += [
                block.get_submodule(QUERY).register_forward_hook(add_query),
                block.get_submodule(OUTPUT).register_forward_hook(add_output),
            ]

    def _note_embedded(self, _: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if self._current is not None:
            self._current.embedded = given_hidden(args, options)

    def _passed_gates(self, number: int, hidden_BTH: torch.Tensor, current: MemoryPass) -> Passed:
        """Write to and read from a layer of a gated module; the first layer evaluates the gates for all."""
        layer = self._memory.gated_layer(number)
        if current.decides and number == 0:
            self._decide(hidden_BTH, current)
        state_BNRR = current.states[number]
        if bool(current.writes.any()):
            assert current.messages is not None, "a gated module writes messages"
            assert current.embedded is not None, "the hook on the base's first layer has run"
            written_BT = current.messages.masked_fill(~current.writes, NOT_WRITTEN)
            state_BNRR = layer.store(Told(hidden_BTH, current.embedded), state_BNRR, written_BT)
        read_BTW = layer.answers(hidden_BTH[:, -1:] if current.decides else hidden_BTH, state_BNRR)
        return Passed(None, None, state_BNRR, read_BTW)

    def _decide(self, hidden_BTH: torch.Tensor, current: MemoryPass) -> None:
        gates = self._memory.gates
        assert gates is not None
        assert current.messages is not None, "the write gate decides on messages"
        opens_BT = gates.write(hidden_BTH) > 0
        kept = torch.zeros_like(current.writes)
        for row, message in {
            (int(row), int(current.messages[row, place])) for row, place in current.writes.nonzero()
        }:
            places_P = (current.messages[row] == message).nonzero()[:, 0]
            kept[row, places_P[:-1]] = opens_BT[row, places_P[-1]]
        current.writes = kept
        has_memory_B = kept.any(1) | (current.states[0].flatten(1) != 0).any(1)
        opens_B = (gates.read(hidden_BTH[:, -1]) > 0) & has_memory_B
        current.reads = opens_B if current.reads is None else opens_B & current.reads

    def _answer(self, _: torch.nn.Module, __: Any, output: Any) -> Any:
        """Add the output of the answer head to the last hidden states."""
        current, head = self._current, self._memory.answer_head
        if current is None or head is None or not (current.reads is None or bool(current.reads.any())):
            return output
        hidden_BTH = cast("torch.Tensor", output.last_hidden_state)
        read_BTLW = torch.stack([current.passed[number].read for number in sorted(current.passed)], dim=2)
        tokens = read_BTLW.shape[1]
        output.last_hidden_state = self._sum(
            hidden_BTH, head(hidden_BTH[:, -tokens:], read_BTLW), current.reads
        )
        return output

    @staticmethod
    def _sum(output_BTX: torch.Tensor, delta_BSX: torch.Tensor, reads: torch.Tensor | None) -> torch.Tensor:
        """Add to the last S tokens of the rows that read; every other value keeps its bits."""
        tokens = delta_BSX.shape[1]
        if reads is not None:
            delta_BSX = delta_BSX * reads[:, None, None]
        ends_BSX = (output_BTX[:, -tokens:].float() + delta_BSX).to(output_BTX.dtype)
        before = output_BTX[:, : output_BTX.shape[1] - tokens]
        return ends_BSX if not before.shape[1] else torch.cat((before, ends_BSX), dim=1)

    def _added(self, number: int, output: torch.Tensor, *, query: bool) -> torch.Tensor:
        if self._current is None:
            return output
        passed = self._current.passed[number]
        # A delta is used once and dropped: for a long prompt those of all layers take gigabytes.
        if query:
            delta, self._current.passed[number] = passed.delta_query, passed._replace(delta_query=None)
        else:
            delta, self._current.passed[number] = passed.delta_output, passed._replace(delta_output=None)
        return output if delta is None else self._sum(output, delta, self._current.reads)


def given_hidden(args: tuple[Any, ...], options: dict[str, Any]) -> torch.Tensor:
    """Return the hidden states from the arguments of an attention block."""
    return cast("torch.Tensor", args[0] if args else options["hidden_states"])
