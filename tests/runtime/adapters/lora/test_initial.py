# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg and tolist are untyped.
"""Where an adapter begins, against what each way promises of the weight that it adapts."""

import math

import pytest
import torch

from populace.actors.training_options import STARTS, Start
from populace.adapters.lora.initial import WITHOUT_OFFSET, Factors, initial_factors
from populace.adapters.lora.layer import LoraLayer

WEIGHT = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
SCALING = 2.0


def begun(start: Start, weight: torch.Tensor = WEIGHT, rank: int = 3) -> Factors:
    return initial_factors(weight, rank, SCALING, start, torch.Generator().manual_seed(2))


@pytest.mark.parametrize("start", STARTS)
def test_an_adapter_changes_nothing_before_it_is_trained(start: Start) -> None:
    first = begun(start)
    offset = (first.a.clone(), first.b.clone()) if first.is_offset else None
    layer = LoraLayer(first.a, first.b, alpha=SCALING * math.sqrt(3), rank_scaled=True, offset=offset)

    assert torch.equal(layer(torch.randn(4, 9)), torch.zeros(4, 6))
    assert first.is_offset == (start not in WITHOUT_OFFSET)


@pytest.mark.parametrize("weight", [WEIGHT, WEIGHT.T.contiguous()], ids=["wide", "tall"])
def test_the_orthogonal_tail_is_where_the_weight_does_least(weight: torch.Tensor) -> None:
    first = begun("orthogonal-tail", weight)

    assert torch.allclose(first.a @ first.a.T, torch.eye(3), atol=1e-5)
    assert first.b.count_nonzero() == 0
    values = torch.zeros(weight.shape[1])
    values[: min(weight.shape)] = torch.linalg.svdvals(weight)
    least = values[-3:].square().sum().sqrt()
    assert float(torch.linalg.matrix_norm(weight @ first.a.T)) == pytest.approx(float(least), abs=1e-5)


def test_pissa_begins_with_the_principal_part_of_the_weight() -> None:
    first = begun("pissa")

    left, values, right = torch.linalg.svd(WEIGHT, full_matrices=False)
    principal = left[:, :3] @ values[:3].diag() @ right[:3]
    assert torch.allclose(SCALING * first.b @ first.a, principal, atol=1e-5)


@pytest.mark.parametrize("weight", [WEIGHT, WEIGHT.T.contiguous()], ids=["wide", "tall"])
def test_the_exact_tail_has_the_last_singular_vectors_of_both_sides_and_not_their_values(
    weight: torch.Tensor,
) -> None:
    first = begun("olora-tail", weight)

    assert first.is_offset
    assert torch.allclose(first.a @ first.a.T, torch.eye(3), atol=1e-5)
    assert torch.allclose(first.b.T @ first.b, torch.eye(3), atol=1e-5)
    # Uᵀ·W·V of paired singular vectors is Σ, whatever their signs.
    least = torch.linalg.svdvals(weight)[-3:]
    assert torch.allclose(first.b.T @ weight @ first.a.T, least.diag(), atol=1e-5)


@pytest.mark.parametrize("weight", [WEIGHT, WEIGHT.T.contiguous()], ids=["wide", "tall"])
def test_milora_begins_with_the_minor_part_of_the_weight(weight: torch.Tensor) -> None:
    first = begun("milora", weight)

    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    minor = left[:, -3:] @ values[-3:].diag() @ right[-3:]
    assert first.is_offset
    assert torch.allclose(SCALING * first.b @ first.a, minor, atol=1e-5)
    root = (values[-3:] / SCALING).sqrt()
    assert torch.allclose(first.a.norm(dim=1), root, atol=1e-5), "each factor has the root of the values"
    assert torch.allclose(first.b.norm(dim=0), root, atol=1e-5)


@pytest.mark.parametrize("start", ["pissa", "milora"])
def test_at_full_rank_the_principal_and_the_minor_part_are_the_whole_weight(start: Start) -> None:
    first = begun(start, rank=6)

    assert torch.allclose(SCALING * first.b @ first.a, WEIGHT, atol=1e-5)


def test_olora_begins_with_orthogonal_columns_that_span_the_weights_first() -> None:
    first = begun("olora")

    assert torch.allclose(first.b.T @ first.b, torch.eye(3), atol=1e-5)
    assert torch.allclose(first.b @ first.a[:, :3], WEIGHT[:, :3], atol=1e-5)


def test_a_uniform_start_follows_from_its_seed() -> None:
    first = begun("uniform")

    assert torch.equal(first.a, begun("uniform").a)
    assert float(first.a.abs().max()) <= 1 / math.sqrt(9)
    assert len(first.a.unique()) == first.a.numel()
