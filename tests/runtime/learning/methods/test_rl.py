# pyright: reportUnknownMemberType=false
# tolist is untyped.
import math

import pytest

from populace.learning.methods.context_distillation import distillation_sequence
from populace.learning.methods.rl import Clipping, PolicyObjective, group_advantages
from tests.runtime.learning.methods.scoring import gradient_of, scored


def test_advantages_are_rewards_beside_their_group_in_its_deviations() -> None:
    assert group_advantages([1.0, 0.0, 0.0, 1.0]) == pytest.approx([1.0, -1.0, -1.0, 1.0], rel=1e-3)
    assert group_advantages([3.0, 1.0], scaled=False) == [1.0, -1.0]


def test_a_group_of_equal_rewards_teaches_nothing() -> None:
    assert group_advantages([0.1, 0.1, 0.1]) == [0.0, 0.0, 0.0]


def test_on_policy_the_gradient_is_the_advantage_of_each_reply() -> None:
    passed = scored([[0.5, 0.5]] * 3, [0, 0, 0], [2, 1])
    sequences = [distillation_sequence([1], [0, 0]), distillation_sequence([1], [0])]
    even = [math.log(0.5)] * 3

    loss = PolicyObjective(sequences, advantages=[1.5, -0.5], sampler=even).loss(passed)

    assert gradient_of(loss.value, passed)[:, 0].tolist() == pytest.approx([-0.5, -0.5, 0.5 / 3])
    assert loss.metrics == {"clipped": 0.0, "mismatch": 0.0}


@pytest.mark.parametrize(
    ("clipping", "advantage", "slope"),
    [
        # ρ = 0.5 / 0.25 = 2 is over 1.2: the clipped side is the smaller gain, and flat.
        ("ppo", 1.0, 0.0),
        # With a negative advantage the unclipped side is the smaller: d(ρ A)/d log π = ρ A.
        ("ppo", -1.0, 2.0),
        # The ratio that multiplies the gradient is cut, and the gradient stays.
        ("cispo", 1.0, -1.2),
        ("cispo", -1.0, 1.2),
    ],
)
def test_what_has_moved_too_far_is_clipped(clipping: Clipping, advantage: float, slope: float) -> None:
    passed = scored([[0.5, 0.5]], [0], [1])
    old = [math.log(0.25)]

    loss = PolicyObjective(
        [distillation_sequence([1], [0])],
        advantages=[advantage],
        sampler=old,
        old=old,
        clipping=clipping,
        high=0.2,
    ).loss(passed)

    assert gradient_of(loss.value, passed)[0, 0].item() == pytest.approx(slope)
    assert loss.metrics["clipped"] == 1.0


@pytest.mark.parametrize(("sampler", "weight"), [(0.4, 0.5 / 0.4), (0.1, 2.0), (0.8, 0.5 / 0.8)])
def test_a_sampler_of_other_numbers_is_corrected_for_up_to_a_bound(sampler: float, weight: float) -> None:
    passed = scored([[0.5, 0.5]], [0], [1])

    loss = PolicyObjective(
        [distillation_sequence([1], [0])], advantages=[1.0], sampler=[math.log(sampler)], mismatch_max=2.0
    ).loss(passed)

    assert gradient_of(loss.value, passed)[0, 0].item() == pytest.approx(-weight)


def test_the_distance_to_the_parent_is_reported() -> None:
    passed = scored([[0.5, 0.5]], [0], [1])

    loss = PolicyObjective(
        [distillation_sequence([1], [0])],
        advantages=[0.0],
        sampler=[math.log(0.5)],
        parent=[math.log(0.25)],
    ).loss(passed)

    assert loss.metrics["kl_parent"] == pytest.approx(0.5 - 1 + math.log(2))
