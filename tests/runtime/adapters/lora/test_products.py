# pyright: reportUnknownMemberType=false
# torch's autograd is partly untyped.
"""Adapters of many people on one row add what each adds alone, with its gradients, in either type."""

import pytest
import torch

from populace.adapters.lora.attached import LayerSpan, with_adapters
from populace.adapters.lora.layer import Kept, LoraLayer

INPUTS, OUTPUTS, TOKENS = 24, 40, 19


def layer_of(rank: int, seed: int, *, offset: bool = False, kept: bool = False) -> LoraLayer:
    generator = torch.Generator().manual_seed(seed)
    a, b, other_a, other_b = (
        torch.randn(shape, generator=generator) for shape in ((rank, INPUTS), (OUTPUTS, rank)) * 2
    )
    return LoraLayer(
        a,
        b,
        alpha=4.0,
        rank_scaled=True,
        offset=(other_a, other_b) if offset else None,
        kept=Kept(other_a, other_b, 0.3) if kept else None,
    )


def spans() -> list[LayerSpan]:
    """Two people with a person between them, and tokens behind them, that have no adapter here."""
    return [LayerSpan(0, 7, layer_of(3, 1)), LayerSpan(9, 16, layer_of(2, 2, offset=True))]


def row(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(TOKENS, width, generator=generator) for width in (INPUTS, OUTPUTS))
    return x.to(dtype).requires_grad_(), y.to(dtype).requires_grad_()


def by_definition(x: torch.Tensor, y: torch.Tensor, of: list[LayerSpan]) -> torch.Tensor:
    added = torch.zeros(TOKENS, OUTPUTS)
    for start, stop, layer in of:
        added = torch.cat([added[:start], added[start:stop] + layer(x[start:stop]), added[stop:]])
    return y.float() + added


def gradients(of: list[LayerSpan], x: torch.Tensor, y: torch.Tensor, out: torch.Tensor) -> list[torch.Tensor]:
    factors = [factor for span in of for factor in (span.layer.a, span.layer.b)]
    weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
    return list(torch.autograd.grad((out.float() * weights).sum(), [x, y, *factors]))


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_the_row_and_all_gradients_are_those_of_each_layer(dtype: torch.dtype, close: float) -> None:
    of = [*spans(), LayerSpan(16, TOKENS, layer_of(2, 3, kept=True))]
    x, y = row(dtype)

    added, wanted = with_adapters(x, y, of), by_definition(x, y, of)

    assert added.dtype == dtype
    assert (added.float() - wanted).norm() < close * wanted.norm()
    for own, other in zip(gradients(of, x, y, added), gradients(of, x, y, wanted), strict=True):
        assert own.dtype == other.dtype
        assert own.shape == other.shape
        assert (own.float() - other.float()).norm() < close * other.float().norm()


def test_tokens_without_an_adapter_keep_the_bases_output_to_the_bit() -> None:
    x, y = row(torch.bfloat16)

    added = with_adapters(x, y, spans())

    assert torch.equal(added[7:9], y[7:9])
    assert torch.equal(added[16:], y[16:])
    assert not torch.equal(added[:7], y[:7])


def test_an_offset_that_nothing_was_learned_beyond_changes_nothing_in_bfloat16() -> None:
    first = layer_of(4, 5)
    offset = (first.a.detach().clone(), first.b.detach().clone())
    layer = LoraLayer(*offset, alpha=4.0, rank_scaled=True, offset=offset)
    x, y = row(torch.bfloat16)

    added = with_adapters(x, y, [LayerSpan(0, TOKENS, layer)])

    assert torch.allclose(added.float(), y.float(), atol=1e-4)


def test_the_first_layers_factors_learn_though_its_inputs_do_not() -> None:
    of = spans()[:1]
    x, y = row(torch.float32)
    added = with_adapters(x.detach(), y.detach(), of)

    added.sum().backward()

    assert of[0].layer.a.grad is not None
    assert torch.allclose(
        of[0].layer.a.grad, torch.autograd.grad(by_definition(x, y, of).sum(), of[0].layer.a)[0], atol=1e-4
    )
