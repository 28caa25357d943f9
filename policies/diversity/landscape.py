"""A population seen from above: who answers like whom, and what more voters are worth.

Shape suffixes: M = members, N = items, K = choices, D = draws, S = sizes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

ALIKE_MIN = 0.98
"""Members that are as alike as that, through others if need be, are one cluster."""


def coordinates(similarity_MM: Floats) -> Floats:
    """Places in the plane whose distances are those of √(1 − S), as well as a plane can. [M, 2]

    Classical multidimensional scaling (Torgerson, 1952). Which way is up means nothing: of each axis the
    member that is furthest out is on its positive side.
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
    """Each member's cluster, numbered by their first members: the connected parts of what is alike."""
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

    A tie goes to the answer of the member that was drawn first among those that tie. Answers are numbers of
    choices, from 0.
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
    """What most members say of each item; a tie goes to the earliest member among those that tie. [N]

    Answers are numbers of choices, from 0.
    """
    items: Numbers = np.arange(answers_MN.shape[1], dtype=np.int64)
    counts_NK = (answers_MN[:, :, None] == np.arange(choices)).sum(0).astype(float)
    # A part of a vote that no second voter outweighs: earlier ones have more of it.
    for place, said_N in enumerate(answers_MN):
        counts_NK[items, said_N] += 0.2 / 2.0 ** min(place, 60)
    return counts_NK.argmax(1)
