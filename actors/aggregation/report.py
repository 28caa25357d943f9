"""Describes a population by its members' profiles: which answer alike, and what more voters are worth."""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from populace.actors.members import MemberView
from populace.policies.diversity.disclosure import Sharing
from populace.policies.diversity.fits import Fit, logarithmic_fit, saturating_fit
from populace.policies.diversity.landscape import clusters, coordinates, vote_curve
from populace.policies.diversity.measures import effective_members, pair_diversity
from populace.policies.diversity.probes import DIGEST, LABELS
from populace.policies.diversity.similarity import output_similarity

DRAWS = 30
MEMBERS_MAX = 1024
"""At most this many members are compared, the first by name: every pair is compared."""


class MemberPlace(NamedTuple):
    """A member's ``accuracy`` on the probes and what it shares; its place on the map is ``x``, ``y``."""

    model: str
    accuracy: float
    cluster: int
    x: float
    y: float
    sharing: Sharing


class CurvePoint(NamedTuple):
    """The accuracy on the probes of majority votes of ``k`` random members, and its middle 95 %."""

    k: int
    mean: float
    low: float
    high: float


class PopulationReport(NamedTuple):
    """A population's map and curve.

    ``total`` members take part, and ``profiled`` of them have a current profile. Of these at most
    ``MEMBERS_MAX`` are placed in ``members``, and ``unprofiled`` names as many of the others. Fits need at
    least three sizes.
    """

    members: tuple[MemberPlace, ...]
    unprofiled: tuple[str, ...]
    total: int
    profiled: int
    clusters: int
    disagreement: float
    double_fault: float
    error_correlation: float
    effective_members: float
    best: float
    mean: float
    curve: tuple[CurvePoint, ...]
    logarithmic: Fit | None = None
    saturating: Fit | None = None


def population_report(members: Sequence[MemberView]) -> PopulationReport:
    """Report on the members that have a profile, ``MEMBERS_MAX`` at most."""
    profiled = [member for member in members if _is_known(member)]
    named = (member.model.name for member in members if not _is_known(member))
    unprofiled = tuple(islice(named, MEMBERS_MAX))
    known = profiled[:MEMBERS_MAX]
    if not known:
        nothing = float("nan")
        return PopulationReport(
            (), unprofiled, len(members), 0, 0, *(nothing,) * 4, best=0.0, mean=0.0, curve=()
        )
    profiles = [member.profile for member in known if member.profile is not None]
    tables_MNK = np.array([profile.table for profile in profiles])
    answers_MN = tables_MNK.argmax(2)
    similarity_MM = output_similarity(np.exp(tables_MNK))
    places_M2, of_cluster = coordinates(similarity_MM), clusters(similarity_MM)
    pairs = pair_diversity(answers_MN, LABELS)
    sizes = [2**power for power in range(len(known).bit_length()) if 2**power <= len(known)]
    accuracies_DS = vote_curve(answers_MN, LABELS, sizes, draws=DRAWS)
    low_S, high_S = np.quantile(accuracies_DS, (0.025, 0.975), axis=0)
    accuracy = [profile.accuracy for profile in profiles]
    return PopulationReport(
        tuple(
            MemberPlace(member.model.name, profile.accuracy, cluster, float(x), float(y), member.sharing)
            for member, profile, cluster, (x, y) in zip(known, profiles, of_cluster, places_M2, strict=True)
        ),
        unprofiled,
        len(members),
        len(profiled),
        max(of_cluster) + 1,
        pairs.disagreement,
        pairs.double_fault,
        pairs.error_correlation,
        effective_members(len(known), pairs.error_correlation)
        if not np.isnan(pairs.error_correlation)
        else float("nan"),
        max(accuracy),
        sum(accuracy) / len(accuracy),
        tuple(
            CurvePoint(size, float(mean), float(low), float(high))
            for size, mean, low, high in zip(sizes, accuracies_DS.mean(0), low_S, high_S, strict=True)
        ),
        logarithmic_fit(sizes, accuracies_DS) if len(sizes) > 2 else None,
        saturating_fit(sizes, accuracies_DS) if len(sizes) > 2 else None,
    )


def _is_known(member: MemberView) -> bool:
    """Whether the member's present revision was asked the probes of this release."""
    return member.is_profiled and member.profile is not None and member.profile.probes == DIGEST
