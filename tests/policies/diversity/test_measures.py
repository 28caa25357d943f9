"""What diversity is worth adds up exactly, on any table."""

import numpy as np
import pytest

from populace.policies.diversity.measures import (
    effective_members,
    error_correlations,
    pair_diversity,
)


def test_pairs_are_compared_as_they_answer_and_err() -> None:
    answers = np.array([[0, 1, 2, 0], [0, 1, 1, 1], [0, 0, 2, -1]])

    found = pair_diversity(answers, np.array([0, 1, 2, 1]))

    assert found.disagreement == pytest.approx((2 + 2 + 3) / 12)
    assert found.double_fault == pytest.approx((0 + 1 + 0) / 12)
    wrong = [[0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 1]]
    pairs = [np.corrcoef(wrong[i], wrong[j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found.error_correlation == pytest.approx(np.mean(pairs), abs=1e-9)


def test_correlations_are_those_of_each_pair_and_who_never_errs_goes_with_nobody() -> None:
    wrong = np.array([[0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool)

    found = error_correlations(wrong)

    assert found[:3, :3] == pytest.approx(np.corrcoef(wrong[:3]), abs=1e-9)
    assert found[3] == pytest.approx([0, 0, 0, 1])


def test_of_one_member_and_of_members_that_are_always_right_no_correlation_is_known() -> None:
    assert np.isnan(pair_diversity(np.zeros((1, 3), int), np.zeros(3, int)).disagreement)
    right = pair_diversity(np.zeros((2, 3), int), np.zeros(3, int))
    assert (right.disagreement, right.double_fault) == (0, 0)
    assert np.isnan(right.error_correlation)


@pytest.mark.parametrize(
    ("members", "correlation", "worth"),
    [
        (10, 0.3, 2.7027),
        (100, 0.3, 3.2573),
        (1000, 0.3, 3.3255),
        (8, 0.0, 8.0),
        (8, 1.0, 1.0),
        (8, -0.2, 8.0),
    ],
)
def test_correlated_members_are_worth_fewer(members: int, correlation: float, worth: float) -> None:
    assert effective_members(members, correlation) == pytest.approx(worth, abs=5e-4)
