"""What an answer of the population may tell of one member.

Who takes part shares votes, or texts as well. A vote for one of the choices that were asked says no more than
that; a number or words are a member's own, and are told if that member shares texts, or if enough said the
same that they are nobody's in particular. And a group of too few is a member in disguise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Sharing = Literal["votes", "texts"]


@dataclass(frozen=True, slots=True)
class DisclosureRule:
    """``voted_min`` members must have answered, and ``same_min`` alike for an answer that is their own."""

    voted_min: int = 3
    same_min: int = 2


def tellable(
    answers: Sequence[str | None], sharing: Sequence[Sharing], *, is_open: bool, rule: DisclosureRule
) -> set[str]:
    """Which of the members' answers may be told. ``is_open``: they are not among choices that were given."""
    told: set[str] = set()
    for answer in {one for one in answers if one is not None}:
        by = [share for one, share in zip(answers, sharing, strict=True) if one == answer]
        if not is_open or len(by) >= rule.same_min or "texts" in by:
            told.add(answer)
    return told
