"""Combines members' answers into one: votes, and the text that is most like all the others.

An answer that is None or only space is an abstention.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

WEIGHT_MAX = 5.0
"""The limit of one vote in log-odds: a member that was right on every probe does not outvote all others."""

Utility = Callable[[str, str], float]
"""Returns how good the first text would be if the second one were right, from 0 to 1."""


class Tally(NamedTuple):
    """The result of counting votes.

    ``answer`` is None if all members abstained. ``weights`` are those of the answers, greatest first, equal
    ones by their first voter. ``is_tie``: another answer has the same weight. ``voters`` are the places of
    the members that gave the answer, and ``abstained`` of those that abstained.
    """

    answer: str | None
    weights: dict[str, float]
    is_tie: bool
    voters: tuple[int, ...]
    abstained: tuple[int, ...]


def tally(answers: Sequence[str | None], weights: Sequence[float] | None = None) -> Tally:
    """Count the votes; the answer with the greatest weight wins.

    A tie goes to the answer whose first voter comes first: members are in the order in which they were
    chosen, the best first. Votes of weight 0 or below count nothing, unless all are such: then all count
    alike.
    """
    said = [None if answer is None or not answer.strip() else answer.strip() for answer in answers]
    given = [1.0] * len(said) if weights is None else [max(0.0, weight) for weight in weights]
    if not any(weight for answer, weight in zip(said, given, strict=True) if answer is not None):
        given = [1.0] * len(said)
    sums: dict[str, float] = {}
    for answer, weight in zip(said, given, strict=True):
        if answer is not None:
            sums[answer] = sums.get(answer, 0.0) + weight
    ordered = dict(sorted(sums.items(), key=lambda item: -item[1]))
    winner = next(iter(ordered), None)
    most = list(ordered.values())
    return Tally(
        winner,
        ordered,
        len(most) > 1 and math.isclose(most[0], most[1], rel_tol=1e-9),
        tuple(at for at, answer in enumerate(said) if answer is not None and answer == winner),
        tuple(at for at, answer in enumerate(said) if answer is None),
    )


def log_odds_weights(accuracy: Sequence[float], choices: int) -> list[float]:
    """w = log(p (K − 1) / (1 − p)) of each member: the weights that give the most likely answer.

    This holds for independent members whose wrong answers are equally likely (Nitzan & Paroush, 1982). A
    member at chance has the weight 0, one below it a negative weight; all are at most ``WEIGHT_MAX`` in
    magnitude.
    """
    if choices < 2:
        raise ValueError(f"{choices} choices are none")
    found: list[float] = []
    for probability in accuracy:
        share = min(max(probability, 1e-9), 1 - 1e-9)
        weight = math.log(share * (choices - 1) / (1 - share))
        found.append(min(max(weight, -WEIGHT_MAX), WEIGHT_MAX))
    return found


def word_overlap(candidate: str, reference: str) -> float:
    """F1 of the common words, counted with multiplicity (Rajpurkar et al., 2016)."""
    ours, theirs = Counter(_words(candidate)), Counter(_words(reference))
    common = sum((ours & theirs).values())
    return 2 * common / (ours.total() + theirs.total()) if common else float(ours == theirs)


def minimum_bayes_risk(
    texts: Sequence[str | None], utility: Utility = word_overlap, weights: Sequence[float] | None = None
) -> tuple[int | None, list[float]]:
    """Choose the text with the greatest expected utility, if each other were right as likely as its weight.

    argmax_y Σ_j w_j u(y, y_j) (Kumar & Byrne, 2004), over the others. Returns its place, None if all
    abstained, and every text's expected utility, which is 0 for an abstention. A tie goes to the first.
    """
    given = [1.0] * len(texts) if weights is None else [max(0.0, weight) for weight in weights]
    said = [at for at, text in enumerate(texts) if text is not None and text.strip()]
    expected = [0.0] * len(texts)
    for at in said:
        others = [other for other in said if other != at]
        total = sum(given[other] for other in others)
        if total > 0:
            expected[at] = (
                sum(given[other] * utility(str(texts[at]), str(texts[other])) for other in others) / total
            )
    best = max(said, key=lambda at: (expected[at], -at), default=None)
    return best, expected


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
