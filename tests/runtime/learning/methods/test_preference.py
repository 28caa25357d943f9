# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# tolist is untyped.
import math

import pytest

from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.preference import PreferenceObjective, ThumbsObjective
from tests.runtime.learning.methods.scoring import gradient_of, scored


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def one_token(count: int) -> list[TrainSequence]:
    return [TrainSequence((3, 0), (0.0, 1.0))] * count


def test_dpo_is_the_log_odds_of_the_chosen_reply_beside_the_reference() -> None:
    passed = scored([[0.8, 0.2], [0.1, 0.9]], [0, 0], [1, 1])
    objective = PreferenceObjective(one_token(2), [math.log(0.4), math.log(0.2)], beta=0.5)

    loss = objective.loss(passed)

    margin = math.log(0.8 / 0.4) - math.log(0.1 / 0.2)
    assert loss.value.item() == pytest.approx(-math.log(sigmoid(0.5 * margin)))
    assert loss.metrics == {"margin": pytest.approx(margin), "preferred": 1.0}
    slope = 0.5 * (1 - sigmoid(0.5 * margin))
    assert gradient_of(loss.value, passed)[:, 0].tolist() == pytest.approx([-slope, slope])


def test_dpo_adds_up_the_tokens_of_a_reply() -> None:
    pair = [TrainSequence((3, 0, 1), (0.0, 1.0, 1.0)), TrainSequence((3, 1), (0.0, 1.0))]
    passed = scored([[0.5, 0.5], [0.5, 0.5], [0.75, 0.25]], [0, 1, 1], [2, 1])

    loss = PreferenceObjective(pair, [0.0, 0.0], beta=1.0).loss(passed)

    assert loss.metrics["margin"] == pytest.approx(math.log(0.25) - math.log(0.25))
    assert loss.value.item() == pytest.approx(math.log(2))


def test_kto_pushes_up_what_was_liked_and_down_what_was_not() -> None:
    passed = scored([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1]], [0, 0, 0], [1, 1, 1])
    reference = [math.log(0.3), math.log(0.2), math.log(0.6)]

    loss = ThumbsObjective(one_token(3), reference, up=[True, False], beta=1.0).loss(passed)

    zero = math.log(0.9 / 0.6)
    up = 1 - sigmoid(math.log(0.6 / 0.3) - zero)
    down = 1 - sigmoid(zero - math.log(0.6 / 0.2))
    assert loss.value.item() == pytest.approx((up + down) / 2)
    assert loss.metrics["z0"] == pytest.approx(zero)
    slopes = gradient_of(loss.value, passed)[:, 0].tolist()
    assert slopes[0] < 0 < slopes[1]
    assert slopes[2] == 0, "what replies gain anyway has no gradient"


def test_kto_takes_no_reference_point_below_zero() -> None:
    passed = scored([[0.5, 0.5], [0.1, 0.9]], [0, 0], [1, 1])

    loss = ThumbsObjective(one_token(2), [math.log(0.5), math.log(0.4)], up=[True], beta=1.0).loss(passed)

    assert loss.metrics["z0"] == 0
    assert loss.value.item() == pytest.approx(0.5)


def test_kto_gives_ups_and_downs_as_much_weight_together() -> None:
    passed = scored([[0.5, 0.5]] * 4, [0] * 4, [1] * 4)
    even = [math.log(0.5)] * 4

    loss = ThumbsObjective(one_token(4), even, up=[True, True, True, False], beta=1.0).loss(passed)

    slopes = gradient_of(loss.value, passed)[:, 0].tolist()
    assert sum(slopes[:3]) == pytest.approx(-slopes[3])


@pytest.mark.parametrize("up", [True, False])
def test_kto_learns_from_thumbs_that_all_point_one_way(up: bool) -> None:
    passed = scored([[0.5, 0.5]] * 2, [0] * 2, [1] * 2)

    loss = ThumbsObjective(one_token(2), [math.log(0.5)] * 2, up=[up, up], beta=1.0).loss(passed)

    slopes = gradient_of(loss.value, passed)[:, 0]
    assert bool((slopes < 0).all() if up else (slopes > 0).all())
