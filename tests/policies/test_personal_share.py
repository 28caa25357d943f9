"""The held-out data says how much of a personal part is served."""

import math

import pytest

from populace.policies.evaluation_gate import Measure
from populace.policies.personal_share import SHARES, best_share


def test_the_share_with_the_best_mean_is_taken() -> None:
    scores = dict(zip(SHARES, ([2.0, 2.0], [1.9, 1.7], [1.2, 2.2], [1.0, 3.2]), strict=True))

    assert best_share(scores, "loss") == 0.5
    assert best_share(scores, "reward") == 1.0


@pytest.mark.parametrize("measure", ["loss", "reward"])
def test_of_equal_shares_the_smallest_is_taken(measure: Measure) -> None:
    assert best_share({1.0: [1.0, 2.0], 0.25: [2.0, 1.0], 0.0: [1.5, 1.5]}, measure) == 0.0
    assert best_share({1.0: [1.0, 2.0], 0.25: [2.0, 1.0]}, measure) == 0.25


def test_a_mean_that_is_no_number_is_never_the_best() -> None:
    assert best_share({0.0: [5.0], 0.5: [math.nan], 1.0: [-math.inf]}, "loss") == 0.0
    assert best_share({0.5: [math.nan], 1.0: [9.0]}, "loss") == 1.0
    assert best_share({0.25: [math.nan], 1.0: [math.inf]}, "reward") == 0.25
