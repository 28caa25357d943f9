"""A memory module inside a model of transformers: every forward pass reads and writes states.

The hooks sit on the attention blocks and their two linear layers, so that any architecture with those
has a memory. What else is hooked there (PEFT's adapters) does not matter: both add to one sum.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from populace.adapters.memory.attention import OUTPUT, QUERY, AttentionLayer
from populace.adapters.memory.layer import Passed
from populace.adapters.memory.module import MemoryModule


@dataclass
class MemoryPass:
    """One forward pass: which of its tokens write, and the states [B, N, R, R] of each layer.

    ``states`` are those before the pass, and after it those that it left. ``writes`` is bool [B, T];
    ``messages`` [B, T] numbers the messages, for modules that write means. ``reads`` is bool [B]: for the
    others nothing is added to the projections; None: all read. With ``keeps_hidden`` the layers' inputs
    [B, T, H] are kept in ``hidden``.
    """

    states: list[torch.Tensor]
    writes: torch.Tensor
    messages: torch.Tensor | None = None
    reads: torch.Tensor | None = None
    keeps_hidden: bool = False
    hidden: list[torch.Tensor] = field(default_factory=list[torch.Tensor])
    passed: dict[int, Passed] = field(default_factory=dict[int, Passed])


class AttachedMemory:
    """Hooks that add what a memory says, within ``running``; outside of it the model is the base."""

    def __init__(
        self, model: PreTrainedModel, memory: MemoryModule, attention: Iterable[AttentionLayer]
    ) -> None:
        self._memory = memory
        self._current: MemoryPass | None = None
        self._hooks: list[Any] = []
        for number, layer in enumerate(attention):
            self._hook(model.get_submodule(layer.name), number)

    @contextmanager
    def running(self, current: MemoryPass) -> Generator[MemoryPass]:
        """Have the forward pass in the block, one only, read and write the states of ``current``."""
        assert self._current is None
        self._current = current
        try:
            yield current
        finally:
            self._current = None

    def detach(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, block: torch.nn.Module, number: int) -> None:
        def remember(_: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            current = self._current
            if current is not None:
                hidden_BTH = cast("torch.Tensor", args[0] if args else options["hidden_states"])
                passed = self._memory.layer(number)(
                    hidden_BTH, current.states[number], current.writes, current.messages
                )
                if current.keeps_hidden:
                    current.hidden.append(hidden_BTH)
                current.passed[number] = passed
                current.states[number] = passed.state

        def add_query(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            return self._added(number, output, query=True)

        def add_output(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            return self._added(number, output, query=False)

        self._hooks += [
            block.register_forward_pre_hook(remember, with_kwargs=True),
            block.get_submodule(QUERY).register_forward_hook(add_query),
            block.get_submodule(OUTPUT).register_forward_hook(add_output),
        ]

    def _added(self, number: int, output: torch.Tensor, *, query: bool) -> torch.Tensor:
        if self._current is None:
            return output
        passed = self._current.passed[number]
        # A delta is used once, and those of a long prompt's layers would be gigabytes together.
        if query:
            delta, self._current.passed[number] = passed.delta_query, passed._replace(delta_query=None)
        else:
            delta, self._current.passed[number] = passed.delta_output, passed._replace(delta_output=None)
        if delta is None:
            return output
        if self._current.reads is not None:
            delta = delta * self._current.reads[:, None, None]
        return (output.float() + delta).to(output.dtype)
