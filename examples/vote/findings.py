"""What one table says of a population: accuracy by the number of members, and what the gain is made of.

The table has how likely each member finds each choice of each item. Everything is counted from it: no member
is asked twice. Members are chosen by the probes and judged by what is asked.

Shape suffixes: M = members, N = items, K = choices, D = draws, S = sizes, k = members that answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from populace.policies.diversity.fits import Fit, logarithmic_fit, saturating_fit
from populace.policies.diversity.landscape import plurality
from populace.policies.diversity.measures import (
    MajorityError,
    PairDiversity,
    effective_members,
    error_correlations,
    likelihood_ambiguity,
    logit_mean,
    majority_error,
    pair_diversity,
)
from populace.policies.diversity.selection import caruana, diverse_k, greedy_information, top_k

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

BOOTSTRAPS = 2000
LAW_SIZES_MIN = 3
GROWTH, ROOM = 1.6, 1.25
"""From a number of members to the next, and from the last but one to all at least."""
MEMBERS, DRAWN, ONE, MEAN = "random", "random, sampled", "one, sampled", "random, mean"
BEST, DIVERSE, INFORMATION, CARUANA = "the best", "diverse (DPP)", "information", "Caruana"


class Interval(NamedTuple):
    """``low`` and ``high`` hold the middle 95 % of what the items drawn again would give."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Table:
    """Natural logarithms [M, N, K] that sum to one over choices, and the right choices [N]."""

    log_probs: Floats
    labels: Numbers

    @property
    def answers(self) -> Numbers:
        """Each member's likeliest choices. [M, N]"""
        return self.log_probs.argmax(-1)

    @property
    def accuracies(self) -> Floats:
        """Of each member. [M]"""
        return (self.answers == self.labels).mean(1)


class Tables(NamedTuple):
    """What the base makes of what is asked, as one member; what members make of the probes, and of that."""

    base: Table
    probes: Table
    asked: Table


@dataclass(frozen=True, slots=True)
class Findings:
    """Accuracies are shares of what is asked.

    ``curves`` has one for each size and way to choose and to combine; the random ones are means over draws.
    ``best`` is the accuracy of the member that did best on the probes, ``luckiest`` that of whichever did
    best on what is asked, which nobody knows before. ``gains`` are differences to the vote of all.
    ``diversity`` is −log Z of all members' mean in nats an item, by which its NLL is below the mean member's.
    """

    sizes: Sequence[int]
    curves: dict[str, list[float]]
    base: float
    member: float
    best: float
    luckiest: float
    gains: dict[str, Interval]
    fits: dict[str, dict[str, Fit]]
    pairs: PairDiversity
    effective: float
    majority: MajorityError
    diversity: float


def findings_of(tables: Tables, sizes: Sequence[int], *, draws: int, seed: int = 0) -> Findings:
    """Count everything, for each number of members in ``sizes`` over ``draws`` random choices of them."""
    source = np.random.default_rng(seed)
    base, probes, asked = tables
    labels_N, answers_MN = asked.labels, asked.answers
    members = len(answers_MN)
    random_DS = {name: np.empty((draws, len(sizes))) for name in (MEMBERS, DRAWN, ONE, MEAN)}
    again_DN = np.empty((draws, len(labels_N)), bool)
    for draw in range(draws):
        order_M = source.permutation(members)
        said_MN = answers_MN[order_M]
        drawn_MN = sampled(asked.log_probs[order_M], source)
        # As often the same one: whoever is first in this draw.
        same_MN = sampled(np.repeat(asked.log_probs[order_M[:1]], members, 0), source)
        again_DN[draw] = _voted(asked, same_MN) == labels_N
        for column, size in enumerate(sizes):
            for name, votes_MN in ((MEMBERS, said_MN), (DRAWN, drawn_MN), (ONE, same_MN)):
                random_DS[name][draw, column] = (_voted(asked, votes_MN[:size]) == labels_N).mean()
            mean_NK, _ = logit_mean(asked.log_probs[order_M[:size]], np.full(size, 1 / size))
            random_DS[MEAN][draw, column] = (mean_NK.argmax(1) == labels_N).mean()
    curves = {name: [float(one) for one in found_DS.mean(0)] for name, found_DS in random_DS.items()}
    # One after the other: fewer are the first of more.
    chosen = chosen_by(probes, max(sizes))
    for name, places in chosen.items():
        curves[name] = []
        for size in sizes:
            first = places[:size]
            # Caruana's are chosen for the mean of their distributions.
            said_N = (
                np.exp(asked.log_probs[first]).mean(0).argmax(1)
                if name == CARUANA
                else _voted(asked, answers_MN[first])
            )
            curves[name].append(float((said_N == labels_N).mean()))
    best = chosen[BEST][0]
    voted_N = _voted(asked, answers_MN)
    right_MN = answers_MN == labels_N
    pairs = pair_diversity(answers_MN, labels_N)
    weights_M = np.full(members, 1 / members)
    return Findings(
        list(sizes),
        curves,
        float(base.accuracies[0]),
        float(right_MN.mean()),
        float(right_MN[best].mean()),
        float(right_MN.mean(1).max()),
        {
            "the base": _gain(voted_N == labels_N, base.answers[0] == labels_N),
            "a member": _gain(voted_N == labels_N, right_MN.mean(0)),
            "the best member": _gain(voted_N == labels_N, right_MN[best]),
            "one member as often": _gain(voted_N == labels_N, again_DN.mean(0)),
        },
        {name: _laws(sizes, random_DS[name]) for name in (MEMBERS, DRAWN, ONE)},
        pairs,
        effective_members(members, pairs.error_correlation),
        majority_error(~right_MN, voted_N != labels_N),
        likelihood_ambiguity(asked.log_probs, labels_N, weights_M).diversity,
    )


def sizes_up_to(members: int) -> list[int]:
    """Odd numbers that grow by about a half, and all: an even number may tie."""
    found = [1]
    while (larger := max(found[-1] + 2, round(found[-1] * GROWTH) // 2 * 2 + 1)) * ROOM <= members:
        found.append(larger)
    return found if found[-1] == members else [*found, members]


def chosen_by(probes: Table, k: int) -> dict[str, list[int]]:
    """Who answers, by each way of choosing; Caruana's may have a member more than once."""
    quality_M = probes.accuracies
    correlation_MM = error_correlations(probes.answers != probes.labels)
    return {
        BEST: top_k(quality_M, k),
        DIVERSE: diverse_k(quality_M, np.exp(probes.log_probs), k),
        INFORMATION: greedy_information(quality_M, correlation_MM, k),
        CARUANA: caruana(probes.log_probs, probes.labels, k),
    }


def sampled(log_probs_MNK: Floats, source: np.random.Generator) -> Numbers:
    """Draw a choice of each distribution: the greatest of log p and a Gumbel noise. [M, N]"""
    return (log_probs_MNK + source.gumbel(size=log_probs_MNK.shape)).argmax(-1)


def _voted(asked: Table, said_kN: Numbers) -> Numbers:
    return plurality(said_kN, asked.log_probs.shape[-1])


def _laws(sizes: Sequence[int], accuracies_DS: Floats) -> dict[str, Fit]:
    """None if there are fewer sizes than a law has parameters."""
    if len(sizes) < LAW_SIZES_MIN:
        return {}
    return {
        "a + b ln k": logarithmic_fit(sizes, accuracies_DS),
        "c − d k^−e": saturating_fit(sizes, accuracies_DS),
    }


def _gain(ours_N: NDArray[np.bool_], theirs_N: NDArray[np.bool_] | Floats) -> Interval:
    """Compare on the same items, which are drawn again with replacement (a percentile bootstrap)."""
    differences_N = ours_N.astype(float) - theirs_N
    source = np.random.default_rng(0)
    items = len(differences_N)
    means: Floats = differences_N[source.integers(items, size=(BOOTSTRAPS, items))].mean(1)
    low, high = (float(np.quantile(means, share)) for share in (0.025, 0.975))
    return Interval(float(differences_N.mean()), low, high)
