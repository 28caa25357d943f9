"""The findings of ``personal_style.py``: gains in nats per token, and how often writers are identified.

All comparisons are paired, because every condition reads the same entries. Intervals are 95 % percentile
bootstraps (Efron 1979) of means over people and seeds.

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
"""Number of entries that are identified together, besides one and all."""


@dataclass(frozen=True, slots=True)
class BaseReadings:
    """The base's log-likelihoods in nats, of the entries alone and after retrieved entries."""

    alone: Numbers
    retrieval: Numbers


@dataclass(frozen=True, slots=True)
class SeedReadings:
    """The log-likelihoods in nats under one seed's adapters.

    ``adapters[i]`` is that of all people's entries under person i's adapter, ``pooled`` that under the
    adapter trained on all people, and ``both`` that of each person's entries under their own adapter with
    retrieved entries in the prompt. ``further`` adapters were trained from the pooled one on a person's own
    entries: ``further`` is under one's own, ``further_other`` under another person's, and ``further_both``
    under one's own with retrieved entries. ``on_pooled`` is that of each person's entries under a personal
    part on the pooled adapter, of which the share in ``shares`` was kept; none is that adapter alone.
    ``strangers`` are each person's entries under an adapter trained on half of the people, without them, and
    ``on_strangers`` those under a personal part on it, of which ``shares_of_new`` were kept: a newcomer's.
    ``objections`` are those of the evaluation gate to each of
    ``adapters``, and ``divergence`` is their KL from the base on general text, in nats per token.
    """

    adapters: Sequence[Numbers]
    pooled: Numbers
    both: Numbers
    further: Numbers
    further_other: Numbers
    further_both: Numbers
    on_pooled: Numbers
    shares: Sequence[float]
    strangers: Numbers
    on_strangers: Numbers
    shares_of_new: Sequence[float]
    objections: Sequence[Sequence[str]]
    divergence: Sequence[float]


@dataclass(frozen=True, slots=True)
class Readings:
    """The readings of a study; ``tokens`` has the number of scored tokens of each entry."""

    labels: Sequence[str]
    tokens: Numbers
    base: BaseReadings
    seeds: Sequence[SeedReadings]


class Finding(NamedTuple):
    """A mean over people and seeds, its 95 % interval, and the mean of each seed."""

    name: str
    mean: float
    low: float
    high: float
    each_seed: tuple[float, ...]


class Findings(NamedTuple):
    """The findings of a study, as means over seeds.

    ``losses[i][j]`` is the loss of person j's held-out entries under person i's adapter, and ``base[j]``
    under the base, in nats per token. ``told`` are shares of identified writers, ``promoted`` is the share of
    adapters that the evaluation gate accepts. ``share`` is the mean share that was kept of a personal part on
    everybody's adapter, and ``share_of_new`` on strangers'.
    """

    losses: list[list[float]]
    base: list[float]
    gains: list[Finding]
    differences: list[Finding]
    told: list[Finding]
    promoted: float
    divergence: float
    share: float
    share_of_new: float


def findings_of(readings: Readings) -> Findings:
    """Compute all findings."""
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
    on_pooled_SP = gains([seed.on_pooled for seed in seeds])
    strangers_SP = gains([seed.strangers for seed in seeds])
    on_strangers_SP = gains([seed.on_strangers for seed in seeds])
    further_both_SP = gains([seed.further_both for seed in seeds])
    retrieval_SP = np.tile(
        base_P - np.array(losses(readings.tokens, readings.base.retrieval)), (len(seeds), 1)
    )
    identified = {
        "from all, by one entry": [identified_share(seed.adapters, 1) for seed in seeds],
        f"from all, by {GROUP} entries": [identified_share(seed.adapters, GROUP) for seed in seeds],
        "from all, by all entries": [identified_share(seed.adapters, None) for seed in seeds],
        "from one other, by one entry": [identified_from_another(seed.adapters) for seed in seeds],
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
            finding("own, on everybody's", on_pooled_SP),
            finding("strangers' adapter", strangers_SP),
            finding("own, on strangers'", on_strangers_SP),
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
            finding("own on everybody's over everybody's", on_pooled_SP - pooled_SP),
            finding("own on strangers' over strangers'", on_strangers_SP - strangers_SP),
            finding("own on everybody's over own", on_pooled_SP - own_SP),
            finding("own on everybody's over own from everybody's", on_pooled_SP - further_SP),
        ],
        [finding(name, np.array(shares)) for name, shares in identified.items()],
        fmean(not objections for seed in seeds for objections in seed.objections),
        fmean(divergence for seed in seeds for divergence in seed.divergence),
        fmean(share for seed in seeds for share in seed.shares),
        fmean(share for seed in seeds for share in seed.shares_of_new),
    )


def losses(tokens: Numbers, log_probs: Numbers) -> list[float]:
    """Return the mean loss of each person's entries together, in nats per token."""
    return [-sum(own) / sum(counts) for own, counts in zip(log_probs, tokens, strict=True)]


def identified_share(adapters: Sequence[Numbers], group: int | None) -> list[float]:
    """Return each person's share of groups of entries that are likeliest under their own adapter.

    A group has ``group`` entries in the order of time, or all for None. A last group that is not full is left
    out, unless it is the only one. Gains over the base identify the same writers, because the base is the
    same for all adapters.
    """
    shares: list[float] = []
    for person in range(len(adapters)):
        log_probs_PE = np.array([table[person] for table in adapters])
        entries = log_probs_PE.shape[1]
        size = min(group or entries, entries)
        groups = [log_probs_PE[:, at : at + size].sum(1) for at in range(0, entries - size + 1, size)]
        shares.append(fmean(float(log_probs_P.argmax() == person) for log_probs_P in groups))
    return shares


def identified_from_another(adapters: Sequence[Numbers]) -> list[float]:
    """Return each person's share of pairs of entry and other adapter for which their own is likelier.

    By chance the mean is a half: what an adapter that is better at all entries gains here, others lose.
    """
    shares: list[float] = []
    for person in range(len(adapters)):
        log_probs_PE = np.array([table[person] for table in adapters])
        others_PE = np.delete(log_probs_PE, person, axis=0)
        shares.append(float((log_probs_PE[person] > others_PE).mean()))
    return shares


def finding(name: str, values_SP: NDArray[np.float64]) -> Finding:
    """Return the mean with its bootstrap interval over people and seeds, and each seed's mean."""
    source = np.random.default_rng(0)
    seeds, people = values_SP.shape
    means = [
        values_SP[source.integers(seeds, size=seeds)][:, source.integers(people, size=people)].mean()
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    each_seed = tuple(float(mean) for mean in values_SP.mean(1))
    return Finding(name, float(values_SP.mean()), float(low), float(high), each_seed)
