# pyright: reportIncompatibleMethodOverride=false, reportUnknownMemberType=false
# torch's autograd functions are untyped, and each has parameters of its own.
"""Runs the adapters of many personal models on one frozen base in one batch.

The tokens of a batch are packed into one row, one sequence after the other. Each adapter multiplies its own
span of tokens, so that nothing is padded and ranks may differ.

An adapter multiplies in the type of the activations: a processor with bfloat16 products does these four times
as fast as in float32, and a served adapter is rounded to this type anyway. The factors, their gradients and
the optimiser's moments are in float32. A layer with an offset multiplies in float32, since it subtracts two
large products that differ little.

Shape suffixes: N = tokens of a row, T = tokens of a span, I = a layer's inputs, O = its outputs, R = rank,
with that of the offset and of the kept factors if there are any.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from transformers import PreTrainedModel

from populace.adapters.lora.layer import LoraLayer
from populace.adapters.lora.trainable import TrainableAdapter


class LayerSpan(NamedTuple):
    """The layer that multiplies the tokens in [start, stop) of a row."""

    start: int
    stop: int
    layer: LoraLayer


def with_adapters(x_NI: torch.Tensor, y_NO: torch.Tensor, spans: Sequence[LayerSpan]) -> torch.Tensor:
    """Return ``y_NO`` plus each layer's output for its own tokens of ``x_NI``, in the type of ``y_NO``."""
    factors = [factor for span in spans for factor in (span.layer.a, span.layer.b)]
    return cast("torch.Tensor", _WithAdapters.apply(x_NI, y_NO, spans, *factors))


def _factors(layer: LoraLayer, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A [R, I] and s·Bᵀ [R, O], in ``dtype`` or, with an offset, in float32."""
    a_RI, b_RO = layer.a.detach(), layer.b.detach().T * layer.scaling
    if layer.offset is not None:
        dtype = torch.float32
        offset_a_RI, offset_b_OR = layer.offset
        a_RI, b_RO = torch.cat([a_RI, offset_a_RI]), torch.cat([b_RO, offset_b_OR.T * -layer.scaling])
    if layer.kept is not None:
        kept = layer.kept
        a_RI, b_RO = torch.cat([a_RI, kept.a]), torch.cat([b_RO, kept.b.T * kept.scaling])
    return a_RI.to(dtype), b_RO.to(dtype)


class _WithAdapters(torch.autograd.Function):
    """One node of the graph for all spans; one for each product took longer than the products."""

    @staticmethod
    def forward(
        ctx: Any, x_NI: torch.Tensor, y_NO: torch.Tensor, spans: Sequence[LayerSpan], *_: torch.Tensor
    ) -> torch.Tensor:
        added_NO = y_NO.clone()
        saved: list[torch.Tensor] = [x_NI]
        for start, stop, layer in spans:
            a_RI, b_RO = _factors(layer, x_NI.dtype)
            inner_TR = x_NI[start:stop].to(a_RI.dtype) @ a_RI.T
            _add_product(added_NO[start:stop], inner_TR, b_RO)
            saved += [a_RI, b_RO, inner_TR]
        ctx.save_for_backward(*saved)
        ctx.spans = spans
        return added_NO

    @staticmethod
    def backward(ctx: Any, grad_NO: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_NI, *saved = ctx.saved_tensors
        grad_x_NI = torch.zeros_like(x_NI) if ctx.needs_input_grad[0] else None
        of_factors: list[torch.Tensor] = []
        for number, (start, stop, layer) in enumerate(ctx.spans):
            a_RI, b_RO, inner_TR = saved[3 * number : 3 * number + 3]
            grad_TO = grad_NO[start:stop].to(b_RO.dtype)
            grad_inner_TR = grad_TO @ b_RO.T
            if grad_x_NI is not None:
                _add_product(grad_x_NI[start:stop], grad_inner_TR, a_RI)
            # An offset and kept factors are behind the trained rows and are constant.
            own = slice(0, layer.rank)
            of_factors.append((grad_inner_TR[:, own].T @ x_NI[start:stop].to(a_RI.dtype)).float())
            of_factors.append((inner_TR[:, own].T @ grad_TO).T.float() * layer.scaling)
        return grad_x_NI, grad_NO, None, *of_factors


def _add_product(into: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add ``left @ right`` to ``into``, which is rounded once."""
    if left.dtype == into.dtype:
        into.addmm_(left, right)
    else:
        into.copy_(into.to(left.dtype).addmm_(left, right))


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
