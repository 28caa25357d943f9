"""What the readings of ``personal_style.py`` say: gains in nats a token, and who is told by their writing.

Everything is paired: the same entries are read under every condition. Intervals are the middle 95 % of means
over people and seeds that are drawn again with replacement (a percentile bootstrap, Efron 1979), so they say
how much other people and other seeds would have changed it.

Shape suffixes: S = seeds, P = people, E = one person's entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = Sequence[Sequence[float]]
"""A number for each held-out entry of each person."""

DRAWS = 4000
GROUP = 4
"""Entries that are judged together, besides one and all."""


@dataclass(frozen=True, slots=True)
class BaseReadings:
    """The base's log-likelihoods in nats, of the entries by themselves and behind retrieved ones."""

    alone: Numbers
    retrieval: Numbers


@dataclass(frozen=True, slots=True)
class SeedReadings:
    """The log-likelihoods of one seed's adapters in nats: ``adapters[i]`` is person i's reading everybody.

    ``pooled`` is one adapter's that was trained on all, ``both`` each person's own with retrieved entries
    in the prompt. ``further`` is of adapters that went on from the pooled one with a person's own entries,
    ``further_other`` of another person's such adapter, ``further_both`` of one's own with retrieved entries.
    ``objections`` are the gate's against each person's adapter that began at the base, ``divergence`` is how
    far that is from the base on general text, KL in nats a token.
    """

    adapters: Sequence[Numbers]
    pooled: Numbers
    both: Numbers
    further: Numbers
    further_other: Numbers
    further_both: Numbers
    objections: Sequence[Sequence[str]]
    divergence: Sequence[float]


@dataclass(frozen=True, slots=True)
class Readings:
    """``tokens`` counts what was scored of each entry."""

    labels: Sequence[str]
    tokens: Numbers
    base: BaseReadings
    seeds: Sequence[SeedReadings]


class Finding(NamedTuple):
    """A mean over people and seeds, the interval around it, and each seed's own mean."""

    name: str
    mean: float
    low: float
    high: float
    each_seed: tuple[float, ...]


class Findings(NamedTuple):
    """``losses[i][j]`` is person j's held-out loss under person i's adapter, ``base[j]`` under none.

    In nats a token, and of all seeds. ``promoted`` is the share of adapters that the gate lets through.
    """

    losses: list[list[float]]
    base: list[float]
    gains: list[Finding]
    differences: list[Finding]
    told: list[Finding]
    promoted: float
    divergence: float


def findings_of(readings: Readings) -> Findings:
    """Sum it all up."""
    people, seeds = range(len(readings.labels)), readings.seeds
    losses_SPP = np.array([[losses(readings.tokens, table) for table in seed.adapters] for seed in seeds])
    base_P = np.array(losses(readings.tokens, readings.base.alone))
    own_SP = base_P - losses_SPP[:, people, people]
    others_SP = base_P - (losses_SPP.sum(1) - losses_SPP[:, people, people]) / (len(people) - 1)

    def gains(tables: Sequence[Numbers]) -> NDArray[np.float64]:
        return base_P - np.array([losses(readings.tokens, table) for table in tables])

    pooled_SP = gains([seed.pooled for seed in seeds])
    both_SP = gains([seed.both for seed in seeds])
    further_SP = gains([seed.further for seed in seeds])
    further_other_SP = gains([seed.further_other for seed in seeds])
    further_both_SP = gains([seed.further_both for seed in seeds])
    retrieval_SP = np.tile(
        base_P - np.array(losses(readings.tokens, readings.base.retrieval)), (len(seeds), 1)
    )
    told = {
        "from all, by one entry": [told_share(seed.adapters, 1) for seed in seeds],
        f"from all, by {GROUP} entries": [told_share(seed.adapters, GROUP) for seed in seeds],
        "from all, by all entries": [told_share(seed.adapters, None) for seed in seeds],
        "from one other, by one entry": [told_from_another(seed.adapters) for seed in seeds],
    }
    return Findings(
        losses_SPP.mean(0).tolist(),
        base_P.tolist(),
        [
            finding("another's adapter", others_SP),
            finding("everybody's adapter", pooled_SP),
            finding("own adapter", own_SP),
            finding("retrieval", retrieval_SP),
            finding("own adapter + retrieval", both_SP),
            finding("another's, from everybody's", further_other_SP),
            finding("own, from everybody's", further_SP),
            finding("the same + retrieval", further_both_SP),
        ],
        [
            finding("own over another's", own_SP - others_SP),
            finding("own over everybody's", own_SP - pooled_SP),
            finding("own over retrieval", own_SP - retrieval_SP),
            finding("both over retrieval", both_SP - retrieval_SP),
            finding("both over own", both_SP - own_SP),
            finding("own from everybody's over everybody's", further_SP - pooled_SP),
            finding("own from everybody's over another's such", further_SP - further_other_SP),
            finding("own from everybody's over own", further_SP - own_SP),
        ],
        [finding(name, np.array(shares)) for name, shares in told.items()],
        fmean(not objections for seed in seeds for objections in seed.objections),
        fmean(one for seed in seeds for one in seed.divergence),
    )


def losses(tokens: Numbers, log_probs: Numbers) -> list[float]:
    """The mean loss of each person's entries together, in nats a token."""
    return [-sum(one) / sum(counts) for one, counts in zip(log_probs, tokens, strict=True)]


def told_share(adapters: Sequence[Numbers], group: int | None) -> list[float]:
    """How many of a person's groups of entries their own adapter finds likelier than any other does.

    Groups follow each other in time; a last one that is not full is left out, unless it is the only one.
    None takes all entries together. Gains over the base would say the same: that is one for all adapters.
    """
    shares: list[float] = []
    for person in range(len(adapters)):
        log_probs_PE = np.array([table[person] for table in adapters])
        entries = log_probs_PE.shape[1]
        size = min(group or entries, entries)
        groups = [log_probs_PE[:, at : at + size].sum(1) for at in range(0, entries - size + 1, size)]
        shares.append(fmean(float(one.argmax() == person) for one in groups))
    return shares


def told_from_another(adapters: Sequence[Numbers]) -> list[float]:
    """How often a person's own adapter finds an entry likelier than another's does, over entries and others.

    By chance half: who learned more, and is better at everybody, gains here what the others lose.
    """
    shares: list[float] = []
    for person in range(len(adapters)):
        log_probs_PE = np.array([table[person] for table in adapters])
        others_PE = np.delete(log_probs_PE, person, axis=0)
        shares.append(float((log_probs_PE[person] > others_PE).mean()))
    return shares


def finding(name: str, values_SP: NDArray[np.float64]) -> Finding:
    """Average, and draw people and seeds again to see by how much they matter."""
    source = np.random.default_rng(0)
    seeds, people = values_SP.shape
    means = [
        values_SP[source.integers(seeds, size=seeds)][:, source.integers(people, size=people)].mean()
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    each_seed = tuple(float(one) for one in values_SP.mean(1))
    return Finding(name, float(values_SP.mean()), float(low), float(high), each_seed)
