"""Greedy choices against brute force, and what they choose where that is plain to see."""

from collections.abc import Sequence
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pytest

from populace.policies.diversity.measures import error_correlations, error_directions
from populace.policies.diversity.selection import (
    discriminability,
    diverse_k,
    dpp_greedy_rows,
    greedy_information_rows,
    random_k,
    top_k,
)
from populace.policies.diversity.similarity import output_similarity


def dpp_kernel(quality: Sequence[float] | np.ndarray, similarity: np.ndarray) -> np.ndarray:
    return np.asarray(quality)[:, None] * similarity * np.asarray(quality)


def dpp_greedy(kernel_: np.ndarray, k: int) -> list[int]:
    return dpp_greedy_rows(np.diag(kernel_), lambda at: kernel_[at], k)


def dpp_exact(kernel_: np.ndarray, k: int) -> list[int]:
    return list(max(combinations(range(len(kernel_)), k), key=lambda chosen: volume(kernel_, list(chosen))))


def greedy_information(accuracy: Sequence[float] | np.ndarray, correlation: np.ndarray, k: int) -> list[int]:
    return greedy_information_rows(accuracy, lambda at: correlation[at], k)


def kernel(seed: int, members: int = 8) -> np.ndarray:
    source = np.random.default_rng(seed)
    vectors = source.normal(size=(members, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return dpp_kernel(source.uniform(0.5, 2.0, size=members), vectors @ vectors.T)


def volume(kernel_: np.ndarray, chosen: list[int]) -> float:
    return float(np.linalg.det(kernel_[np.ix_(chosen, chosen)]))


@pytest.mark.parametrize("seed", range(20))
def test_each_greedy_choice_is_the_one_that_brute_force_would_make(seed: int) -> None:
    made = kernel(seed)

    chosen = dpp_greedy(made, 4)

    for step, choice in enumerate(chosen):
        before = chosen[:step]
        others = [at for at in range(len(made)) if at not in before]
        assert volume(made, [*before, choice]) == pytest.approx(
            max(volume(made, [*before, other]) for other in others), rel=1e-9
        )


@pytest.mark.parametrize("seed", range(20))
def test_the_greedy_choice_is_nearly_the_best_subset_of_all(seed: int) -> None:
    made = kernel(seed)
    best, greedy = volume(made, dpp_exact(made, 3)), volume(made, dpp_greedy(made, 3))

    # Çivril & Magdon-Ismail, 2009: at worst (1 / k!)² of it.
    assert best / 36 <= greedy <= best * (1 + 1e-9)


def test_the_greedy_choice_is_often_the_best_subset_of_all() -> None:
    found = [sorted(dpp_greedy(kernel(seed), 3)) == dpp_exact(kernel(seed), 3) for seed in range(20)]

    assert sum(found) >= 10, sum(found)


def test_who_says_the_same_is_chosen_once_before_anybody_twice() -> None:
    similarity = np.array([[1.0, 1.0, 0.1], [1.0, 1.0, 0.1], [0.1, 0.1, 1.0]])
    made = dpp_kernel([2.0, 1.9, 1.0], similarity)

    assert dpp_greedy(made, 2) == [0, 2]
    assert dpp_greedy(made, 3) == [0, 2, 1], "asked for three, it answers three"
    assert dpp_greedy(made, 9) == [0, 2, 1]
    assert top_k([2.0, 1.9, 1.0], 2) == [0, 1]


def test_diverse_members_are_those_that_the_whole_kernel_would_choose() -> None:
    source = np.random.default_rng(5)
    logits = source.normal(scale=2.0, size=(40, 12, 4))
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    quality = source.uniform(0.4, 0.8, size=40)

    chosen = diverse_k(quality, probs, 8)

    assert chosen == dpp_greedy(dpp_kernel(quality, output_similarity(probs)), 8)
    assert chosen != top_k(quality, 8)


def test_what_is_equal_goes_to_the_lower_place() -> None:
    assert top_k([1.0, 2.0, 2.0, 1.0], 3) == [1, 2, 0]
    assert dpp_greedy(np.eye(4), 3) == [0, 1, 2]


def test_chance_is_the_same_for_the_same_seed() -> None:
    assert random_k(10, 4, seed=1) == random_k(10, 4, seed=1)
    assert len({tuple(sorted(random_k(10, 4, seed=seed))) for seed in range(20)}) > 10
    assert sorted(random_k(3, 9, seed=0)) == [0, 1, 2]


def test_independent_members_know_more_together_and_correlated_ones_have_a_floor() -> None:
    def equicorrelated(members: int, rho: float) -> np.ndarray:
        return np.full((members, members), rho) + (1 - rho) * np.eye(members)

    alone = discriminability([0.7], np.eye(1))
    assert discriminability([0.7] * 9, np.eye(9)) == pytest.approx(9 * alone, rel=1e-4)
    known = [discriminability([0.7] * count, equicorrelated(count, 0.5)) for count in (1, 4, 64, 256)]
    floors = [NormalDist().cdf(-np.sqrt(one)) for one in known]
    assert floors[0] == pytest.approx(0.3, abs=1e-4)
    assert floors == sorted(floors, reverse=True)
    assert floors[-1] == pytest.approx(0.229, abs=2e-3), "Φ(-μ / √ρ), whatever their number"


def test_information_prefers_a_worse_member_whose_errors_are_others() -> None:
    correlation = np.array([[1.0, 0.95, 0.0], [0.95, 1.0, 0.0], [0.0, 0.0, 1.0]])

    assert greedy_information([0.80, 0.79, 0.70], correlation, 2) == [0, 2]
    assert greedy_information([0.80, 0.79, 0.70], correlation, 5) == [0, 2, 1]


def test_information_is_as_greedy_as_trying_everybody() -> None:
    source = np.random.default_rng(3)
    wrong = source.random((12, 60)) < source.uniform(0.2, 0.45, (12, 1))
    wrong[7] = wrong[2]
    accuracy, correlation = 1 - wrong.mean(1), error_correlations(wrong)

    chosen = greedy_information(accuracy, correlation, 6)

    for place in range(1, 7):
        tried = {
            at: discriminability(accuracy[with_it], correlation[np.ix_(with_it, with_it)])
            for at in range(12)
            if at not in chosen[: place - 1]
            for with_it in [[*chosen[: place - 1], at]]
        }
        assert tried[chosen[place - 1]] == pytest.approx(max(tried.values()), rel=1e-6)
    directions = error_directions(wrong)
    assert chosen == greedy_information_rows(accuracy, lambda at: directions @ directions[at], 6)
