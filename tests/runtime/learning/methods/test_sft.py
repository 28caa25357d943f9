# pyright: reportUnknownMemberType=false
# tolist is untyped.
import math

import pytest

from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.sft import SupervisedObjective
from tests.runtime.learning.methods.scoring import gradient_of, scored


def test_the_loss_is_the_weighted_mean_of_the_replies_cross_entropy() -> None:
    sequences = [TrainSequence((7, 0, 1), (0.0, 1.0, 1.0)), TrainSequence((7, 2), (0.0, 2.0))]
    passed = scored([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.5, 0.25, 0.25]], [0, 1, 2], [2, 1])

    loss = SupervisedObjective(sequences).loss(passed)

    assert loss.value.item() == pytest.approx((math.log(2) + math.log(2) + 2 * math.log(4)) / 4)
    assert gradient_of(loss.value, passed).tolist() == [[-0.25, 0, 0], [0, -0.25, 0], [0, 0, -0.5]]


def test_a_token_of_no_weight_and_the_first_one_are_not_scored() -> None:
    assert TrainSequence((5, 6, 7, 8), (1.0, 0.0, 1.0, 0.5)).scored == (2, 3)
