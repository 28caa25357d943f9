"""Feedback: what a person thought of a reply."""

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from populace.actors.errors import InvalidRequest
from populace.actors.turn import ModelId
from populace.policies.lessons import Judgement, Said, judgement

THUMBS = ("up", "down")
CORRECTION_CHARACTERS_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Opinion:
    """One or more of a thumb (True: up), a rating from 0 to 1, what the reply should have been, a reward."""

    thumb: bool | None = None
    rating: float | None = None
    correction: str | None = None
    reward: float | None = None

    def check(self) -> None:
        """Raise ``InvalidRequest`` for an empty opinion and for values out of range."""
        if all(value is None for value in (self.thumb, self.rating, self.correction, self.reward)):
            raise InvalidRequest("Feedback needs a thumb, a rating, a correction or a reward.", "thumb")
        if self.rating is not None and not 0 <= self.rating <= 1:
            raise InvalidRequest(f"A rating is from 0 to 1, not {self.rating}.", "rating")
        if self.reward is not None and not math.isfinite(self.reward):
            raise InvalidRequest(f"A reward is a number, not {self.reward}.", "reward")
        if self.correction is not None:
            if not self.correction.strip():
                raise InvalidRequest("A correction must not be empty.", "correction")
            if len(self.correction) > CORRECTION_CHARACTERS_MAX:
                raise InvalidRequest(
                    f"A correction has at most {CORRECTION_CHARACTERS_MAX} characters, "
                    f"not {len(self.correction)}.",
                    "correction",
                )


@dataclass(frozen=True, slots=True)
class Feedback:
    """A recorded opinion on the interaction at ``position``."""

    model: ModelId
    position: int
    opinion: Opinion
    created_ms: int


def thumb_of(said: object) -> bool | None:
    """Read a thumb as a Python caller gives it. Raises ``InvalidRequest`` for anything else."""
    if said is None or isinstance(said, bool):
        return said
    if isinstance(said, str) and said in THUMBS:
        return said == "up"
    raise InvalidRequest(f"A thumb is True or 'up', or False or 'down', not {said!r}.", "thumb")


def feedback_by_position(feedback: Iterable[Feedback]) -> dict[int, list[Feedback]]:
    """Group the feedback by the position of its interaction."""
    gathered: dict[int, list[Feedback]] = {}
    for given in feedback:
        gathered.setdefault(given.position, []).append(given)
    return gathered


def corrected(feedback: Iterable[Feedback]) -> dict[int, Judgement]:
    """Return the judgements on the replies that were corrected, by position, the last corrected at the end.

    A reply that was corrected more than once was corrected when its newest correction was given.
    """
    given = feedback_by_position(feedback)
    last_ms = {
        position: max(one.created_ms for one in opinions if one.opinion.correction is not None)
        for position, opinions in given.items()
        if any(one.opinion.correction is not None for one in opinions)
    }
    return {at: judged(given[at]) for at in sorted(last_ms, key=lambda at: (last_ms[at], at))}


def judged(feedback: Iterable[Feedback]) -> Judgement:
    """Combine all the feedback on one interaction into a judgement."""
    in_order = sorted(feedback, key=lambda given: given.created_ms)
    return judgement([Said(*astuple(given.opinion)) for given in in_order])
