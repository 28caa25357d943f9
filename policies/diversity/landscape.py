"""Maps a population: which members answer alike, and what more voters are worth.

Shape suffixes: M = members, N = items, K = choices, D = draws, S = sizes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

ALIKE_MIN = 0.98
"""Members at least this alike, directly or through others, are one cluster."""


def coordinates(similarity_MM: Floats) -> Floats:
    """Places in the plane whose distances approximate √(1 − S) as well as a plane can. [M, 2]

    Classical multidimensional scaling (Torgerson, 1952). The signs of the axes are arbitrary: the furthest
    member on each axis is on its positive side.
    """
    members = len(similarity_MM)
    squares_MM = 1 - similarity_MM
    centring_MM = np.eye(members) - 1 / members
    values_M, vectors_MM = np.linalg.eigh(-centring_MM @ squares_MM @ centring_MM / 2)
    largest = np.argsort(-values_M)[:2]
    places_M2 = np.zeros((members, 2))
    for axis, at in enumerate(largest):
        vector_M = vectors_MM[:, at] * np.sqrt(max(0.0, float(values_M[at])))
        furthest = vector_M[np.argmax(np.abs(vector_M))]
        places_M2[:, axis] = vector_M if furthest >= 0 else -vector_M
    return places_M2


def clusters(similarity_MM: Floats, alike_min: float = ALIKE_MIN) -> list[int]:
    """Each member's cluster, numbered by first member: connected components of the graph of alike members."""
    found = [-1] * len(similarity_MM)
    count = 0
    for first in range(len(found)):
        if found[first] >= 0:
            continue
        waiting = [first]
        found[first] = count
        while waiting:
            at = waiting.pop()
            for other in np.flatnonzero(similarity_MM[at] >= alike_min):
                if found[other] < 0:
                    found[other] = count
                    waiting.append(int(other))
        count += 1
    return found


def vote_curve(
    answers_MN: Numbers, labels_N: Numbers, sizes: Sequence[int], *, draws: int, seed: int = 0
) -> Floats:
    """The accuracy of majority votes of random members, for each draw and number of them. [D, S]

    A tie goes to the tied answer of the member that was drawn first. Answers are numbers of choices, from 0.
    """
    source = np.random.default_rng(seed)
    choices = int(max(answers_MN.max(), labels_N.max())) + 1
    accuracies_DS = np.empty((draws, len(sizes)))
    for draw in range(draws):
        order_M = source.permutation(len(answers_MN))
        for column, size in enumerate(sizes):
            said_N = plurality(answers_MN[order_M[:size]], choices)
            accuracies_DS[draw, column] = (said_N == labels_N).mean()
    return accuracies_DS


def plurality(answers_MN: Numbers, choices: int) -> Numbers:
    """The most frequent answer to each item; a tie goes to the tied answer of the earliest member. [N]

    Answers are numbers of choices, from 0.
    """
    items: Numbers = np.arange(answers_MN.shape[1], dtype=np.int64)
    counts_NK = (answers_MN[:, :, None] == np.arange(choices)).sum(0).astype(float)
    # A fraction of a vote that breaks ties but never outweighs a voter: earlier members have more of it.
    for place, said_N in enumerate(answers_MN):
        counts_NK[items, said_N] += 0.2 / 2.0 ** min(place, 60)
    return counts_NK.argmax(1)
