"""From members' answers to one: votes, and the text that is most like all the others.

An answer of None or of nothing but space is an abstention and does not vote.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

WEIGHT_MAX = 5.0
"""Of one vote in log-odds: nobody who was right on every probe outvotes all others."""

Utility = Callable[[str, str], float]
"""How well the first text would do if the second one were right, from 0 to 1."""


class Tally(NamedTuple):
    """What an ensemble says.

    ``answer`` is None if everybody abstained. ``weights`` are those of the answers, the winner's first, by
    their first voter where they are equal. ``is_tie``: another answer has as much. ``voters`` are the places
    of those who said it, and ``abstained`` of those who said nothing.
    """

    answer: str | None
    weights: dict[str, float]
    is_tie: bool
    voters: tuple[int, ...]
    abstained: tuple[int, ...]


def tally(answers: Sequence[str | None], weights: Sequence[float] | None = None) -> Tally:
    """Count the votes; the answer with the greatest weight wins.

    A tie goes to the answer whose first voter comes first: members are in the order in which they were
    chosen, the best first. Votes of weight 0 or below count nothing, but for when all are: then everybody's
    counts alike.
    """
    said = [None if answer is None or not answer.strip() else answer.strip() for answer in answers]
    given = [1.0] * len(said) if weights is None else [max(0.0, weight) for weight in weights]
    if not any(weight for answer, weight in zip(said, given, strict=True) if answer is not None):
        given = [1.0] * len(said)
    sums: dict[str, float] = {}
    for answer, weight in zip(said, given, strict=True):
        if answer is not None:
            sums[answer] = sums.get(answer, 0.0) + weight
    ordered = dict(sorted(sums.items(), key=lambda one: -one[1]))
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
    """w = log(p (K − 1) / (1 − p)) of each member: the weights of the most likely answer.

    For independent members whose wrong answers are alike likely (Nitzan & Paroush, 1982). A member at chance
    counts nothing, one below it less than nothing; at most ``WEIGHT_MAX`` either way.
    """
    if choices < 2:
        raise ValueError(f"{choices} choices are none")
    found: list[float] = []
    for one in accuracy:
        share = min(max(one, 1e-9), 1 - 1e-9)
        weight = math.log(share * (choices - 1) / (1 - share))
        found.append(min(max(weight, -WEIGHT_MAX), WEIGHT_MAX))
    return found


def word_overlap(candidate: str, reference: str) -> float:
    """F1 of the words that both have, as often as both have them (Rajpurkar et al., 2016)."""
    ours, theirs = Counter(_words(candidate)), Counter(_words(reference))
    common = sum((ours & theirs).values())
    return 2 * common / (ours.total() + theirs.total()) if common else float(ours == theirs)


def minimum_bayes_risk(
    texts: Sequence[str | None], utility: Utility = word_overlap, weights: Sequence[float] | None = None
) -> tuple[int | None, list[float]]:
    """Choose the text with the greatest expected utility, if each other were right as likely as its weight.

    argmax_y Σ_j w_j u(y, y_j) (Kumar & Byrne, 2004), over the others. Answers its place, None if everybody
    abstained, and every text's expectation; an abstention's is 0. A tie goes to the first.
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
