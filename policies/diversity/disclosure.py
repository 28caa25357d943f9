"""Decides what an answer of the population may disclose of one member.

A member shares votes, or texts as well. A vote for one of the given choices reveals no more than that; a
number or words are a member's own, and are disclosed if that member shares texts, or if enough members said
the same. And too small a group would reveal its members.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Sharing = Literal["votes", "texts"]


@dataclass(frozen=True, slots=True)
class DisclosureRule:
    """``voted_min`` members must have voted, and ``same_min`` alike for an answer in their own words."""

    voted_min: int = 3
    same_min: int = 2


def tellable(
    answers: Sequence[str | None], sharing: Sequence[Sharing], *, is_open: bool, rule: DisclosureRule
) -> set[str]:
    """The members' answers that may be disclosed. ``is_open``: answers are not among given choices."""
    told: set[str] = set()
    for answer in {said for said in answers if said is not None}:
        by = [share for said, share in zip(answers, sharing, strict=True) if said == answer]
        if not is_open or len(by) >= rule.same_min or "texts" in by:
            told.add(answer)
    return told
