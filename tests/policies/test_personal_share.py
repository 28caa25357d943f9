"""The held-out data says how much of a personal part is served."""

import math
import random

import pytest

from populace.policies.evaluation_gate import Measure
from populace.policies.personal_share import best_share, sure_gain

LOWER = [2.0, 2.0, 2.0, 2.0]


def test_the_share_that_is_surely_worth_most_is_taken() -> None:
    scores = {0.0: LOWER, 0.25: [1.9, 1.9, 1.9, 1.8], 0.5: [1.7, 1.8, 1.7, 1.8], 1.0: [0.2, 3.0, 1.0, 2.0]}

    assert best_share(scores, LOWER, "loss") == 0.5, "the mean of all of it is lower, by chance"
    assert best_share(scores, LOWER, "reward") == 0.0
    better = {share: [2.0 + (2.0 - score) for score in of_share] for share, of_share in scores.items()}
    assert best_share(better, LOWER, "reward") == 0.5


def test_what_is_better_on_the_mean_and_worse_for_some_is_not_kept() -> None:
    scores = {0.0: [2.0, 2.0, 2.0], 0.25: [1.9, 2.05, 1.9], 1.0: [1.0, 2.3, 1.5]}

    assert best_share(scores, [2.0, 2.0, 2.0], "loss") == 0.0
    assert best_share({1.0: [1.0, 2.3, 1.5]}, [2.0, 2.0, 2.0], "loss") == 1.0, "nothing else may be served"


@pytest.mark.parametrize("measure", ["loss", "reward"])
def test_of_equal_shares_the_smallest_is_taken(measure: Measure) -> None:
    lower = [1.5, 1.5]

    assert best_share({1.0: [1.0, 2.0], 0.25: [2.0, 1.0], 0.0: lower}, lower, measure) == 0.0
    assert best_share({1.0: [1.0, 2.0], 0.25: [2.0, 1.0]}, lower, measure) == 0.25


def test_one_item_says_nothing() -> None:
    assert best_share({0.0: [5.0], 0.25: [4.0], 1.0: [1.0]}, [5.0], "loss") == 0.0


def test_a_gain_that_is_no_number_is_never_the_best() -> None:
    lower = [5.0, 5.0]

    assert best_share({0.0: lower, 0.5: [math.nan, 1.0], 1.0: [-math.inf, 1.0]}, lower, "loss") == 0.0
    assert best_share({0.5: [math.nan, 1.0], 1.0: [9.0, 9.0]}, lower, "loss") == 1.0
    assert best_share({0.25: [math.nan, 1.0], 1.0: [math.inf, 1.0]}, lower, "reward") == 0.25


@pytest.mark.parametrize("count", [2, 3, 5, 10, 40])
def test_the_bound_is_below_the_truth_nineteen_times_of_twenty(count: int) -> None:
    source = random.Random(count)
    draws = 4000
    above = sum(sure_gain([source.gauss(1.0, 0.5) for _ in range(count)]) > 1.0 for _ in range(draws))

    assert 0.04 < above / draws < 0.06
