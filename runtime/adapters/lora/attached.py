# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's split is untyped.
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
            # Split and not sliced: a slice's gradient is as large as what it was cut from.
            sizes = [one.stop - one.start for one in self._owned]
            parts = [
                y_NO if layer is None else (y_NO.float() + layer(x_NI)).to(y_NO.dtype)
                for x_NI, y_NO, layer in zip(
                    inputs[0][0].split(sizes), output[0].split(sizes), layers, strict=True
                )
            ]
            return torch.cat(parts)[None]

        return add
