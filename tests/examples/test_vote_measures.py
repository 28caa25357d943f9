"""What diversity is worth in the study of votes adds up exactly, on any table."""

import numpy as np
import pytest
from vote.measures import caruana, likelihood_ambiguity, logit_mean, majority_error

TABLES = pytest.mark.parametrize("seed", range(20))


def weights(source: np.random.Generator, members: int) -> np.ndarray:
    drawn = source.random(members)
    return drawn / drawn.sum()


def log_probs(source: np.random.Generator, *shape: int) -> np.ndarray:
    logits = source.normal(scale=2.0, size=shape)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


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


def test_caruana_takes_a_member_as_often_as_it_helps() -> None:
    right, wrong = np.log([0.99, 0.01]), np.log([0.01, 0.99])
    # The first two are each sure of half of the items and wrong about the others, the third of a third.
    table = np.array([[right, wrong, right], [wrong, right, wrong], [wrong, wrong, right]])

    chosen = caruana(table, np.array([0, 0, 0]), 6)

    assert chosen[:2] == [0, 1], "together they know all"
    assert (chosen.count(0), chosen.count(1), chosen.count(2)) in ((4, 2, 0), (3, 3, 0))
    losses = [-np.log(np.exp(table[chosen[: n + 1]])[:, :, 0].mean(0)).mean() for n in range(2)]
    assert losses[1] < losses[0]
