"""What a population is like, by its members' profiles: who answers like whom, what more voters are worth."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from populace.actors.members import MemberView
from populace.policies.diversity.fits import Fit, logarithmic_fit, saturating_fit
from populace.policies.diversity.landscape import clusters, coordinates, vote_curve
from populace.policies.diversity.measures import effective_members, pair_diversity
from populace.policies.diversity.probes import DIGEST, LABELS
from populace.policies.diversity.similarity import output_similarity

DRAWS = 30
MEMBERS_MAX = 1024
"""More are reported on by those that come first by name: every pair is compared."""


class MemberPlace(NamedTuple):
    """``accuracy`` is on the probes; ``x`` and ``y`` are where it lies among the others."""

    model: str
    accuracy: float
    cluster: int
    x: float
    y: float


class CurvePoint(NamedTuple):
    """The accuracy on the probes of majority votes of ``k`` random members, and its middle 95 %."""

    k: int
    mean: float
    low: float
    high: float


class PopulationReport(NamedTuple):
    """``unprofiled`` are members that nobody knows yet. Fits are there from three sizes on."""

    members: tuple[MemberPlace, ...]
    unprofiled: tuple[str, ...]
    clusters: int
    disagreement: float
    double_fault: float
    error_correlation: float
    effective_members: float
    best: float
    mean: float
    curve: tuple[CurvePoint, ...]
    logarithmic: Fit | None
    saturating: Fit | None

    @property
    def body(self) -> dict[str, Any]:
        """All of it as JSON can have it."""
        plain = self._asdict()
        for name in ("disagreement", "double_fault", "error_correlation", "effective_members"):
            plain[name] = None if np.isnan(plain[name]) else round(plain[name], 6)
        return {
            **plain,
            "members": [one._asdict() for one in self.members],
            "curve": [one._asdict() for one in self.curve],
            "logarithmic": _fit_body(self.logarithmic),
            "saturating": _fit_body(self.saturating),
        }


def population_report(members: Sequence[MemberView]) -> PopulationReport:
    """Report on the members that have a profile, ``MEMBERS_MAX`` at most."""
    known = [one for one in members if one.is_profiled and one.profile and one.profile.probes == DIGEST]
    unprofiled = tuple(one.model.name for one in members if one not in known)
    known = known[:MEMBERS_MAX]
    if not known:
        nothing = float("nan")
        return PopulationReport(
            (), unprofiled, 0, nothing, nothing, nothing, nothing, 0.0, 0.0, (), None, None
        )
    profiles = [one.profile for one in known if one.profile is not None]
    tables_MNK = np.array([one.table for one in profiles])
    answers_MN = tables_MNK.argmax(2)
    similarity_MM = output_similarity(np.exp(tables_MNK))
    places_M2, of_cluster = coordinates(similarity_MM), clusters(similarity_MM)
    pairs = pair_diversity(answers_MN, LABELS)
    sizes = [2**power for power in range(len(known).bit_length()) if 2**power <= len(known)]
    accuracies_DS = vote_curve(answers_MN, LABELS, sizes, draws=DRAWS)
    low_S, high_S = np.quantile(accuracies_DS, (0.025, 0.975), axis=0)
    accuracy = [one.accuracy for one in profiles]
    return PopulationReport(
        tuple(
            MemberPlace(one.model.name, profile.accuracy, cluster, float(x), float(y))
            for one, profile, cluster, (x, y) in zip(known, profiles, of_cluster, places_M2, strict=True)
        ),
        unprofiled,
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


def _fit_body(fit: Fit | None) -> dict[str, Any] | None:
    if fit is None:
        return None
    told = {name: {"value": at[0], "low": at[1], "high": at[2]} for name, at in fit.parameters.items()}
    return {"residual": fit.residual, **told}
