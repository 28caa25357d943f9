"""Decides what a reply teaches, by the feedback on it.

A model that learns from all of its own replies only becomes more like itself. So a reply teaches if it was
liked or corrected; one without feedback teaches only on request, as when a log was imported and its
replies are a person's own writing.
"""

from collections.abc import Sequence
from typing import NamedTuple

RATING_LIKED = 0.5
"""A rating above this counts as a thumb up, one below as a thumb down."""


class Said(NamedTuple):
    """One opinion, with the fields of ``Opinion`` in ``actors/feedback.py``."""

    thumb: bool | None = None
    rating: float | None = None
    correction: str | None = None
    reward: float | None = None


class Judgement(NamedTuple):
    """The combination of all opinions on a reply. ``liked`` None: no opinion says so."""

    liked: bool | None = None
    correction: str | None = None
    reward: float | None = None

    @property
    def is_judged(self) -> bool:
        return self != Judgement()


def judgement(opinions: Sequence[Said]) -> Judgement:
    """Combine opinions, which are given oldest first: the newest of each kind counts.

    A rating of exactly the middle is neither a like nor a dislike, and revokes earlier ones.
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
    """The reply that the model should have given, None if that is not known.

    It is the correction, or the reply itself if it was liked; with ``unjudged`` also one without feedback.
    """
    if judged.correction is not None:
        return judged.correction
    if judged.liked or (unjudged and judged.liked is None):
        return reply or None
    return None


def preferred_pair(reply: str, judged: Judgement) -> tuple[str, str] | None:
    """The preferred reply and the one that it is preferred to, None if there is no such pair."""
    if judged.correction is None or judged.correction == reply or not reply:
        return None
    return judged.correction, reply
