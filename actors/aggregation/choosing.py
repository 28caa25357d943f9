"""Which members answer a question: of those who may, as the question says, by how they answered the probes.

Nobody is run to be chosen. Who has no profile of what it would answer with is taken for one at chance that is
like nobody else, and comes behind those who are known, or they would be chosen for being strange.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from populace.actors.aggregation.question import Question
from populace.actors.errors import PopulationTooSmall
from populace.actors.members import MemberView
from populace.policies.diversity.measures import error_directions
from populace.policies.diversity.selection import diverse_k, greedy_information_rows, random_k, top_k


def chosen_members(
    question: Question, members: Sequence[MemberView], labels_N: NDArray[np.int64], probes: str
) -> list[MemberView]:
    """Choose ``question.k`` of the members, in the order in which they were chosen.

    ``labels_N`` are the right choices of the probe set with the digest ``probes``. Raises
    ``PopulationTooSmall``.
    """
    if question.k > len(members):
        raise PopulationTooSmall(question.k, len(members))
    ordered = sorted(members, key=lambda one: one.model)
    if question.select == "random":
        return [ordered[at] for at in random_k(len(ordered), question.k, question.seed)]
    known = [one for one in ordered if accuracy_of(one, probes) is not None]
    others = [one for one in ordered if accuracy_of(one, probes) is None]
    places = _places(question, known, labels_N) if known else []
    found = [known[at] for at in places] + others
    return found[: question.k]


def accuracy_of(member: MemberView, probes: str) -> float | None:
    """The share of probes that it answers right, None if it has no profile of what it would answer with."""
    profile = member.profile
    return profile.accuracy if profile and member.is_profiled and profile.probes == probes else None


def _places(question: Question, known: Sequence[MemberView], labels_N: NDArray[np.int64]) -> list[int]:
    profiles = [one.profile for one in known if one.profile is not None]
    accuracy_M = [one.accuracy for one in profiles]
    if question.select == "best":
        return top_k(accuracy_M, question.k)
    log_probs_MNK = np.array([one.table for one in profiles])
    if question.select == "diverse":
        return diverse_k(accuracy_M, np.exp(log_probs_MNK), question.k)
    wrong_MN = log_probs_MNK.argmax(2) != labels_N
    directions_MN = error_directions(wrong_MN)
    return greedy_information_rows(accuracy_M, lambda at: directions_MN @ directions_MN[at], question.k)
