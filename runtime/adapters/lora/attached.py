"""Many people's adapters on one frozen base: in a batch each token has its owner's.

The tokens of a batch lie in one row, one sequence after the other, so that nothing is padded and ranks may
differ from person to person: each adapter multiplies its own tokens.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from populace.adapters.lora.trainable import TrainableAdapter


class Owned(NamedTuple):
    """The tokens in [start, stop) have this adapter; None: the base alone."""

    start: int
    stop: int
    adapter: TrainableAdapter | None


class AttachedAdapters:
    """Hooks that add what adapters say, within ``running``; outside of it the model is the base."""

    def __init__(self, model: PreTrainedModel, modules: Sequence[str]) -> None:
        """``modules`` are all layers that an adapter may have."""
        self._owned: Sequence[Owned] = ()
        self._hooks = [
            model.get_submodule(name).register_forward_hook(self._hook_of(name)) for name in modules
        ]

    @contextmanager
    def running(self, owned: Sequence[Owned]) -> Generator[None]:
        """Have the forward passes in the block, of one row [1, T], use these adapters.

        ``owned`` are all of the row's tokens in order, without a gap.
        """
        assert not self._owned
        self._owned = owned
        try:
            yield
        finally:
            self._owned = ()

    def detach(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _hook_of(self, name: str) -> Any:
        def add(
            _: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
        ) -> torch.Tensor | None:
            layers = [one.adapter.layers.get(name) if one.adapter else None for one in self._owned]
            if not any(layer is not None for layer in layers):
                return None
            x_TI, y_TO = inputs[0][0], output[0]
            parts = [
                y_TO[one.start : one.stop]
                if layer is None
                else (y_TO[one.start : one.stop].float() + layer(x_TI[one.start : one.stop])).to(y_TO.dtype)
                for one, layer in zip(self._owned, layers, strict=True)
            ]
            return torch.cat(parts)[None]

        return add
