"""The findings of a study of votes: accuracy by the number of members, and the diversity that explains it.

All are computed from tables of each member's log-probability of each choice of each item, so that no member
is asked twice. Members are chosen by the probes and measured on the other questions ("asked").

Shape suffixes: M = members, N = items, K = choices, D = draws, S = sizes, k = members that answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from vote.measures import MajorityError, caruana, likelihood_ambiguity, logit_mean, majority_error

from populace.policies.diversity.fits import Fit, logarithmic_fit, saturating_fit
from populace.policies.diversity.landscape import plurality
from populace.policies.diversity.measures import (
    PairDiversity,
    effective_members,
    error_correlations,
    pair_diversity,
)
from populace.policies.diversity.selection import diverse_k, greedy_information_rows, top_k

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

BOOTSTRAPS = 2000
LAW_SIZES_MIN = 3
GROWTH, ROOM = 1.6, 1.25
"""Ratios of a number of members to the one before, and least ratio of all members to the last but one."""

MEMBERS, DRAWN, ONE, MEAN = "random", "random, sampled", "one, sampled", "random, mean"
BEST, DIVERSE, INFORMATION, CARUANA = "the best", "diverse (DPP)", "information", "Caruana"


class Interval(NamedTuple):
    """A mean difference and its 95 % bootstrap interval over items."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Table:
    """Log-probabilities [M, N, K], normalised over the choices, and the indices of the right choices [N]."""

    log_probs: Floats
    labels: Numbers

    @property
    def answers(self) -> Numbers:
        """Each member's likeliest choice of each item. [M, N]"""
        return self.log_probs.argmax(-1)

    @property
    def accuracies(self) -> Floats:
        """Each member's share of right answers. [M]"""
        return (self.answers == self.labels).mean(1)


class Tables(NamedTuple):
    """The tables of the base for the questions, and of the members for the probes and the questions."""

    base: Table
    probes: Table
    asked: Table


@dataclass(frozen=True, slots=True)
class Findings:
    """The findings of one task. Accuracies are shares of the questions.

    ``curves`` has an accuracy for each of ``sizes`` by way to choose and combine members; random choices are
    means over draws. ``best`` is the accuracy of the member that is best on the probes, ``luckiest`` that of
    the one that is best on the questions, which is not known in advance. ``gains`` are those of the vote of
    all. ``diversity`` is −log Z of the members' geometric mean in nats per item: its NLL is that much below
    the mean member's.
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
    """Compute all findings, with ``draws`` random choices of members for each of ``sizes``."""
    source = np.random.default_rng(seed)
    base, probes, asked = tables
    labels_N, answers_MN = asked.labels, asked.answers
    members = len(answers_MN)
    random_DS = {name: np.empty((draws, len(sizes))) for name in (MEMBERS, DRAWN, ONE, MEAN)}
    again_DN = np.empty((draws, len(labels_N)), bool)
    for draw in range(draws):
        order_M = source.permutation(members)
        likeliest_MN = answers_MN[order_M]
        drawn_MN = sampled(asked.log_probs[order_M], source)
        # The control: the first member of this draw answers as often as all together.
        same_MN = sampled(np.repeat(asked.log_probs[order_M[:1]], members, 0), source)
        again_DN[draw] = _voted(asked, same_MN) == labels_N
        for column, size in enumerate(sizes):
            for name, votes_MN in ((MEMBERS, likeliest_MN), (DRAWN, drawn_MN), (ONE, same_MN)):
                random_DS[name][draw, column] = (_voted(asked, votes_MN[:size]) == labels_N).mean()
            mean_NK, _ = logit_mean(asked.log_probs[order_M[:size]], np.full(size, 1 / size))
            random_DS[MEAN][draw, column] = (mean_NK.argmax(1) == labels_N).mean()
    curves = {name: [float(mean) for mean in of_draws_DS.mean(0)] for name, of_draws_DS in random_DS.items()}
    # Members are chosen greedily, so that the first of a larger choice are the smaller choice.
    chosen = chosen_by(probes, max(sizes))
    for name, places in chosen.items():
        curves[name] = []
        for size in sizes:
            first = places[:size]
            # Caruana's method chooses members for the mean of their distributions.
            answers_N = (
                np.exp(asked.log_probs[first]).mean(0).argmax(1)
                if name == CARUANA
                else _voted(asked, answers_MN[first])
            )
            curves[name].append(float((answers_N == labels_N).mean()))
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
    """Return odd numbers, which tie less, each about 1.6 times the one before, and ``members``."""
    sizes = [1]
    while (larger := max(sizes[-1] + 2, round(sizes[-1] * GROWTH) // 2 * 2 + 1)) * ROOM <= members:
        sizes.append(larger)
    return sizes if sizes[-1] == members else [*sizes, members]


def chosen_by(probes: Table, k: int) -> dict[str, list[int]]:
    """Return k members by each way of choosing; Caruana's may have a member several times."""
    quality_M = probes.accuracies
    correlation_MM = error_correlations(probes.answers != probes.labels)
    return {
        BEST: top_k(quality_M, k),
        DIVERSE: diverse_k(quality_M, np.exp(probes.log_probs), k),
        INFORMATION: greedy_information_rows(quality_M, lambda at: correlation_MM[at], k),
        CARUANA: caruana(probes.log_probs, probes.labels, k),
    }


def sampled(log_probs_MNK: Floats, source: np.random.Generator) -> Numbers:
    """Draw a choice from each distribution, as the argmax of log p plus Gumbel noise. [M, N]"""
    return (log_probs_MNK + source.gumbel(size=log_probs_MNK.shape)).argmax(-1)


def _voted(asked: Table, answers_kN: Numbers) -> Numbers:
    return plurality(answers_kN, asked.log_probs.shape[-1])


def _laws(sizes: Sequence[int], accuracies_DS: Floats) -> dict[str, Fit]:
    """Fit both laws, or none if there are fewer sizes than a law has parameters."""
    if len(sizes) < LAW_SIZES_MIN:
        return {}
    return {
        "a + b ln k": logarithmic_fit(sizes, accuracies_DS),
        "c − d k^−e": saturating_fit(sizes, accuracies_DS),
    }


def _gain(vote_N: NDArray[np.bool_], other_N: NDArray[np.bool_] | Floats) -> Interval:
    """Compare accuracies on the same items, with a percentile bootstrap over items (Efron 1979)."""
    differences_N = vote_N.astype(float) - other_N
    source = np.random.default_rng(0)
    items = len(differences_N)
    means: Floats = differences_N[source.integers(items, size=(BOOTSTRAPS, items))].mean(1)
    low, high = (float(np.quantile(means, share)) for share in (0.025, 0.975))
    return Interval(float(differences_N.mean()), low, high)
