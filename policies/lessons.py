"""What a reply teaches, by what its person thought of it.

A model that learns from whatever it said learns to be more like itself and nothing else. So a reply teaches
when somebody liked it, or said what it should have been; one that nobody judged teaches only on request, as
when a log was imported and its replies are a person's own writing.
"""

from collections.abc import Sequence
from typing import NamedTuple

RATING_LIKED = 0.5
"""A rating of more is as a thumb up, of less as one down."""


class Said(NamedTuple):
    """One opinion, as ``actors/feedback.py`` has it."""

    thumb: bool | None = None
    rating: float | None = None
    correction: str | None = None
    reward: float | None = None


class Judgement(NamedTuple):
    """What all opinions on a reply come to. ``liked`` None: nobody said."""

    liked: bool | None = None
    correction: str | None = None
    reward: float | None = None

    @property
    def is_judged(self) -> bool:
        return self != Judgement()


def judgement(opinions: Sequence[Said]) -> Judgement:
    """Add opinions up, the newest last: of each kind the newest counts.

    A rating of just the middle likes nothing and dislikes nothing, and takes back what was said before.
    """
    liked: bool | None = None
    correction: str | None = None
    reward: float | None = None
    for said in opinions:
        if said.rating is not None:
            liked = None if said.rating == RATING_LIKED else said.rating > RATING_LIKED
        if said.thumb is not None:
            liked = said.thumb
        correction = correction if said.correction is None else said.correction
        reward = reward if said.reward is None else said.reward
    return Judgement(liked, correction, reward)


def wanted_reply(reply: str, judged: Judgement, *, unjudged: bool = False) -> str | None:
    """What the model should have said, None if that is not known.

    A correction, or the reply itself if it was liked; with ``unjudged`` also one that nobody judged.
    """
    if judged.correction is not None:
        return judged.correction
    if judged.liked or (unjudged and judged.liked is None):
        return reply or None
    return None


def preferred_pair(reply: str, judged: Judgement) -> tuple[str, str] | None:
    """The reply that is preferred and the one that it is preferred to, None if nobody compared two."""
    if judged.correction is None or judged.correction == reply or not reply:
        return None
    return judged.correction, reply
