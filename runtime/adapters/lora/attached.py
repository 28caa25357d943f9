"""Runs the adapters of many personal models on one frozen base in one batch.

The tokens of a batch are packed into one row, one sequence after the other. Each adapter multiplies its own
span of tokens, so that nothing is padded and ranks may differ.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from populace.adapters.lora.products import LayerSpan, with_adapters
from populace.adapters.lora.trainable import TrainableAdapter


class AdapterSpan(NamedTuple):
    """The adapter of the tokens in [start, stop); None is the base alone."""

    start: int
    stop: int
    adapter: TrainableAdapter | None


class AttachedAdapters:
    """Hooks that add the adapters' outputs to a model's layers, within ``running`` only."""

    def __init__(self, model: PreTrainedModel, modules: Sequence[str]) -> None:
        """Install the hooks. ``modules`` are the dotted names of all layers that an adapter may have."""
        self._spans: Sequence[AdapterSpan] = ()
        self._hooks = [
            model.get_submodule(name).register_forward_hook(self._hook_of(name)) for name in modules
        ]

    @contextmanager
    def running(self, spans: Sequence[AdapterSpan]) -> Generator[None]:
        """Use these adapters in the forward passes of the block, each of one row [1, tokens].

        The spans must cover all tokens of the row in order, without a gap.
        """
        assert not self._spans
        self._spans = spans
        try:
            yield
        finally:
            self._spans = ()

    def detach(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def _hook_of(self, name: str) -> Any:
        def add(
            _: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
        ) -> torch.Tensor | None:
            spans = [
                LayerSpan(span.start, span.stop, span.adapter.layers[name])
                for span in self._spans
                if span.adapter is not None and name in span.adapter.layers
            ]
            if not spans:
                return None
            return with_adapters(inputs[0][0], output[0], spans)[None]

        return add
