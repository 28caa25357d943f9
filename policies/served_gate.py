"""Judges a candidate's replies as they are served: by the serving engine, with its person's memory.

A loss is measured on the weights alone, and a reply is made by weights and memory together: of 22 corrections
of a style that were learned to a loss of 0.137 not one was said as the model is served.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from populace.policies.quoted_words import listed


@dataclass(frozen=True, slots=True)
class ServedRule:
    """The thresholds. Corrections have to be said, at least in the share ``said_min``: of many the memory may
    turn a word of one. Of what was asked again more has to be known than by the parent, or as much if that is
    the share ``known_min``: the log answers what is left, as it did before.

    Of the held-out replies no more are empty than the parent's, and at most one, or the share ``broken_max``,
    more are broken off. Their mean length is at most ``length_max`` times that of the wanted ones and at
    least the inverse, unless the parent's is as far off. They are not less like the wanted ones than the
    parent's, by ``less_like_min`` and by ``errors`` standard errors: of a few replies the error alone refuses
    what is the wording of one (docs/measurements/2026-12-01-gate.md).
    """

    said_min: float = 0.95
    known_min: float = 0.75
    broken_max: float = 0.15
    length_max: float = 2.0
    less_like_min: float = 0.1
    errors: float = 1.0


class ServedReplies(NamedTuple):
    """What parent and candidate reply to held-out messages, beside the replies that were wanted.

    ``tokens…`` are mean lengths, ``broken…`` and ``empty…`` count replies that stop in the middle of a
    sentence where the wanted ones do not, and empty ones; ``like…`` has the likeness of each to the wanted
    one, from 0 to 1.
    """

    tokens_wanted: float
    tokens_parent: float
    tokens: float
    broken_parent: int
    broken: int
    empty_parent: int
    empty: int
    like_parent: Sequence[float]
    like: Sequence[float]


class Learned(NamedTuple):
    """How like the replies of parent and candidate are to the corrections that were learned, from 0 to 1."""

    parent: Sequence[float]
    candidate: Sequence[float]


class Known(NamedTuple):
    """To how many ``questions`` that were asked again the ``parent`` replies with what was told.

    ``unknown`` are the questions to which the candidate does not.
    """

    questions: int
    parent: int
    unknown: tuple[str, ...] = ()

    @property
    def candidate(self) -> int:
        return self.questions - len(self.unknown)


class Served(NamedTuple):
    """The replies as served. ``corrections`` counts those that were asked of the candidate, which has to say
    them; ``unsaid`` are the messages of those that it does not. ``known`` is what was asked again, None
    without any. ``learned`` are for methods that learn corrections and have not to say them; None for others,
    or without any.
    """

    corrections: int = 0
    unsaid: tuple[str, ...] = ()
    learned: Learned | None = None
    held_out: ServedReplies | None = None
    known: Known | None = None


def served_objections(served: Served, rule: ServedRule) -> list[str]:
    """Say in words what speaks against the candidate as it is served."""
    objections: list[str] = []
    said = served.corrections - len(served.unsaid)
    if served.corrections and not said >= rule.said_min * served.corrections:
        objections.append(
            f"as it is served, with its memory, it says {said} of {served.corrections} corrections, and not "
            f"{listed(served.unsaid)}"
        )
    if (known := served.known) is not None:
        as_many = known.candidate >= max(rule.known_min * known.questions, known.parent)
        if not (known.candidate > known.parent or as_many):
            objections.append(
                f"as it is served, with its memory, it knows {known.candidate} of {known.questions} things "
                f"that were asked again, its parent {known.parent}, and not {listed(known.unknown)}"
            )
    if served.learned is not None and served.learned.parent:
        before, after = fmean(served.learned.parent), fmean(served.learned.candidate)
        if not after > before:
            objections.append(
                f"as it is served, its replies are no more like the {len(served.learned.parent)} corrections "
                f"that it learned than its parent's: {after:.2f}, and {before:.2f} before"
            )
    if served.held_out is not None:
        objections += _of_held_out(served.held_out, rule)
    return objections


def _of_held_out(replies: ServedReplies, rule: ServedRule) -> list[str]:
    count, objections = len(replies.like), list[str]()
    if replies.empty > replies.empty_parent:
        objections.append(
            f"as it is served, {replies.empty} of {count} held-out replies are empty, and of its parent's "
            f"{replies.empty_parent}"
        )
    if replies.broken - replies.broken_parent > max(1.0, rule.broken_max * count):
        objections.append(
            f"as it is served, it breaks off {replies.broken} of {count} held-out replies, and its parent "
            f"{replies.broken_parent}"
        )
    off, off_parent = (
        abs(math.log(max(tokens, 1.0) / max(replies.tokens_wanted, 1.0)))
        for tokens in (replies.tokens, replies.tokens_parent)
    )
    if off > max(math.log(rule.length_max), off_parent):
        objections.append(
            f"as it is served, its held-out replies have {replies.tokens:.0f} tokens, where "
            f"{replies.tokens_wanted:.0f} were wanted and its parent's have {replies.tokens_parent:.0f}"
        )
    gains = [after - before for before, after in zip(replies.like_parent, replies.like, strict=True)]
    if len(gains) > 1:
        gain = fmean(gains)
        error = math.dist(gains, [gain] * count) / math.sqrt(count * (count - 1))
        if gain <= -rule.less_like_min and gain + rule.errors * error < 0.0:
            objections.append(
                f"as it is served, its held-out replies are {-gain:.2f} ± {error:.2f} less like the wanted "
                f"ones than its parent's"
            )
    return objections
