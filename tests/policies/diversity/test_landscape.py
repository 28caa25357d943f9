"""The map keeps distances, clusters who is alike, and a curve of votes is what counting gives."""

from collections import Counter

import numpy as np
import pytest

from populace.policies.diversity.landscape import clusters, coordinates, vote_curve


def test_members_lie_as_far_apart_as_they_differ() -> None:
    places = np.array([[0.0, 0.0], [0.3, 0.0], [0.0, 0.4], [0.3, 0.4]])
    squares = ((places[:, None] - places[None]) ** 2).sum(-1)

    found = coordinates(1 - squares)

    assert ((found[:, None] - found[None]) ** 2).sum(-1) == pytest.approx(squares, abs=1e-9)
    assert found == pytest.approx(coordinates(1 - squares)), "the same population has the same map"


@pytest.mark.parametrize("members", [1, 2])
def test_few_members_have_places_too(members: int) -> None:
    assert coordinates(np.eye(members)).shape == (members, 2)


def test_clusters_are_who_is_alike_through_others() -> None:
    similarity = np.eye(5)
    for one, other in ((0, 2), (2, 4)):
        similarity[one, other] = similarity[other, one] = 0.99
    similarity[1, 3] = similarity[3, 1] = 0.9

    assert clusters(similarity) == [0, 1, 0, 2, 0]
    assert clusters(similarity, 0.85) == [0, 1, 0, 1, 0]


def by_counting(said: list[int]) -> int:
    counts = Counter(said)
    most = max(counts.values())
    return next(answer for answer in said if counts[answer] == most)


def test_a_curve_of_votes_is_what_counting_gives_ties_included() -> None:
    source = np.random.default_rng(3)
    answers, labels = source.integers(3, size=(7, 50)), source.integers(3, size=50)
    sizes = (1, 2, 3, 4, 7)

    found = vote_curve(answers, labels, sizes, draws=4, seed=5)

    again = np.random.default_rng(5)
    for draw in range(4):
        order = again.permutation(7)
        for column, size in enumerate(sizes):
            said = answers[order[:size]]
            right = [by_counting(list(said[:, item])) == labels[item] for item in range(50)]
            assert found[draw, column] == pytest.approx(np.mean(right))
