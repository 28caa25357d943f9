"""Chooses which members answer a question, as the question says, by how they answered the probes.

No member is run to be chosen. A member without a profile of its present revision counts as one at chance that
is like no other. It comes behind the profiled ones, or it would be chosen for being different.
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
    ordered = sorted(members, key=lambda member: member.model)
    if question.select == "random":
        return [ordered[at] for at in random_k(len(ordered), question.k, question.seed)]
    known = [member for member in ordered if accuracy_of(member, probes) is not None]
    others = [member for member in ordered if accuracy_of(member, probes) is None]
    places = _places(question, known, labels_N) if known else []
    found = [known[at] for at in places] + others
    return found[: question.k]


def accuracy_of(member: MemberView, probes: str) -> float | None:
    """The share of probes that the member answers right; None without a profile of its present revision."""
    profile = member.profile
    return profile.accuracy if profile and member.is_profiled and profile.probes == probes else None


def _places(question: Question, known: Sequence[MemberView], labels_N: NDArray[np.int64]) -> list[int]:
    profiles = [member.profile for member in known if member.profile is not None]
    accuracy_M = [profile.accuracy for profile in profiles]
    if question.select == "best":
        return top_k(accuracy_M, question.k)
    log_probs_MNK = np.array([profile.table for profile in profiles])
    if question.select == "diverse":
        return diverse_k(accuracy_M, np.exp(log_probs_MNK), question.k)
    wrong_MN = log_probs_MNK.argmax(2) != labels_N
    directions_MN = error_directions(wrong_MN)
    return greedy_information_rows(accuracy_M, lambda at: directions_MN @ directions_MN[at], question.k)
