# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg's functions are partly untyped.
"""Two revisions are as far apart as the full matrices that they add."""

import math

import pytest
import torch

from populace.adapters.lora.comparing import compare_adapters
from populace.adapters.lora.layer import LoraLayer
from populace.adapters.lora.trainable import TrainableAdapter

OUTPUTS, INPUTS = 12, 9


def layer(rank: int, seed: int, *, offset: bool = False) -> LoraLayer:
    generator = torch.Generator().manual_seed(seed)
    a, b, first_a, first_b = (
        torch.randn(shape, generator=generator)
        for shape in ((rank, INPUTS), (OUTPUTS, rank), (rank, INPUTS), (OUTPUTS, rank))
    )
    return LoraLayer(a, b, alpha=2.0, rank_scaled=True, offset=(first_a, first_b) if offset else None)


def full(layer: LoraLayer) -> torch.Tensor:
    with torch.no_grad():
        return layer(torch.eye(INPUTS)).T


def spans(*columns: int) -> LoraLayer:
    """A layer whose ΔW writes into these outputs alone."""
    b = torch.zeros(OUTPUTS, len(columns))
    for rank, column in enumerate(columns):
        b[column, rank] = 1.0
    return LoraLayer(torch.eye(len(columns), INPUTS), b, alpha=1.0, rank_scaled=False)


@pytest.mark.parametrize("offset", [False, True])
def test_norms_and_distances_are_those_of_the_full_matrices(offset: bool) -> None:
    one, other = layer(3, 1, offset=offset), layer(2, 2)

    [difference] = compare_adapters(TrainableAdapter({"q": one}), TrainableAdapter({"q": other}))

    assert difference.norm == pytest.approx(float(torch.linalg.matrix_norm(full(one))), rel=1e-5)
    assert difference.other_norm == pytest.approx(float(torch.linalg.matrix_norm(full(other))), rel=1e-5)
    apart = float(torch.linalg.matrix_norm(full(one) - full(other)))
    assert difference.distance == pytest.approx(apart, rel=1e-5)
    assert len(difference.angles) == 2


def test_an_adapter_is_no_distance_and_no_angle_from_itself() -> None:
    adapter = TrainableAdapter({"q": layer(3, 1)})

    [difference] = compare_adapters(adapter, adapter)

    assert difference.distance == pytest.approx(0.0, abs=1e-6 * difference.norm)
    assert difference.angles == pytest.approx([0.0] * 3, abs=1e-4)


@pytest.mark.parametrize(
    ("one", "other", "angles"),
    [
        ((0, 1), (0, 1), [0.0, 0.0]),
        ((0, 1), (1, 2), [0.0, 90.0]),
        ((0, 1), (2, 3, 4), [90.0, 90.0]),
    ],
)
def test_angles_say_how_much_of_their_outputs_two_share(
    one: tuple[int, ...], other: tuple[int, ...], angles: list[float]
) -> None:
    [difference] = compare_adapters(
        TrainableAdapter({"q": spans(*one)}), TrainableAdapter({"q": spans(*other)})
    )

    assert difference.angles == pytest.approx(angles, abs=1e-4)


def test_half_a_right_angle_is_one() -> None:
    slanted = LoraLayer(torch.eye(1, INPUTS), torch.zeros(OUTPUTS, 1), alpha=1.0, rank_scaled=False)
    with torch.no_grad():
        slanted.b[0, 0] = slanted.b[1, 0] = 1.0

    [difference] = compare_adapters(TrainableAdapter({"q": spans(0)}), TrainableAdapter({"q": slanted}))

    assert difference.angles == pytest.approx([45.0])


def test_a_layer_that_one_does_not_adapt_is_all_difference() -> None:
    adapter = TrainableAdapter({"q": layer(2, 1), "v": layer(2, 2)})
    other = TrainableAdapter({"v": layer(2, 2), "o": layer(2, 3)})

    found = {one.module: one for one in compare_adapters(adapter, other)}

    assert list(found) == ["q", "v", "o"]
    assert (found["q"].other_norm, found["q"].distance, found["q"].angles) == (0.0, found["q"].norm, ())
    assert (found["o"].norm, found["o"].distance) == (0.0, found["o"].other_norm)
    assert compare_adapters(None, None) == []


def test_what_is_not_trained_yet_is_the_base() -> None:
    fresh = LoraLayer(torch.ones(2, INPUTS), torch.zeros(OUTPUTS, 2), alpha=1.0, rank_scaled=True)

    [difference] = compare_adapters(TrainableAdapter({"q": fresh}), TrainableAdapter({"q": layer(2, 1)}))

    assert difference.norm == 0
    assert math.isclose(difference.distance, difference.other_norm, rel_tol=1e-9)
    assert difference.angles == ()
