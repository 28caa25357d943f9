"""What diversity is worth adds up exactly, on any table."""

import numpy as np
import pytest

from populace.policies.diversity.measures import (
    effective_members,
    error_correlations,
    likelihood_ambiguity,
    logit_mean,
    majority_error,
    pair_diversity,
    squared_ambiguity,
)

TABLES = pytest.mark.parametrize("seed", range(20))


def weights(source: np.random.Generator, members: int) -> np.ndarray:
    drawn = source.random(members)
    return drawn / drawn.sum()


def log_probs(source: np.random.Generator, *shape: int) -> np.ndarray:
    logits = source.normal(scale=2.0, size=shape)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@TABLES
def test_an_ensembles_squared_error_is_the_mean_less_the_ambiguity(seed: int) -> None:
    source = np.random.default_rng(seed)
    found = squared_ambiguity(source.normal(size=(7, 40)), source.normal(size=40), weights(source, 7))

    assert found.ensemble == pytest.approx(found.mean - found.diversity, abs=1e-9)
    assert found.diversity > 0


@TABLES
def test_a_logit_means_loss_is_the_mean_loss_less_what_the_members_are_apart(seed: int) -> None:
    source = np.random.default_rng(seed)
    table, weighed = log_probs(source, 5, 30, 4), weights(source, 5)
    labels = source.integers(4, size=30)

    found = likelihood_ambiguity(table, labels, weighed)
    pooled, diversity = logit_mean(table, weighed)

    assert found.ensemble == pytest.approx(found.mean - found.diversity, abs=1e-9)
    assert np.exp(pooled).sum(1) == pytest.approx(np.ones(30), abs=1e-12)
    apart = (weighed[:, None] * (np.exp(pooled) * (pooled - table)).sum(2)).sum(0)
    assert diversity == pytest.approx(apart, abs=1e-9), "Σ w KL(ḡ ‖ p), label-free"


def test_members_that_are_the_same_are_not_apart() -> None:
    table = np.repeat(log_probs(np.random.default_rng(0), 1, 6, 3), 4, axis=0)

    _, diversity = logit_mean(table, np.full(4, 0.25))

    assert diversity == pytest.approx(np.zeros(6), abs=1e-12)


@TABLES
@pytest.mark.parametrize("members", [1, 4, 9])
def test_a_majoritys_error_is_the_mean_less_good_and_plus_bad_diversity(seed: int, members: int) -> None:
    source = np.random.default_rng(seed)
    wrong = source.random((members, 50)) < 0.4
    # With four members half of them may be wrong: a tie that the rule may break either way.
    ensemble = np.where(wrong.mean(0) == 0.5, source.random(50) < 0.5, wrong.mean(0) > 0.5)

    found = majority_error(wrong, ensemble)

    assert found.ensemble == pytest.approx(found.mean - found.good + found.bad, abs=1e-9)


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
