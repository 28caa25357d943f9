"""From the members' votes to the population's answer, and what of it may be disclosed."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from populace.actors.aggregation.ballot import Member, Vote, VoteState
from populace.actors.aggregation.question import Question
from populace.actors.turn import BASE_REVISION
from populace.policies.diversity.disclosure import DisclosureRule, tellable
from populace.policies.diversity.votes import log_odds_weights, minimum_bayes_risk, tally

OPEN_CHOICES = 4
"""Without given choices, a vote's weight assumes this many possible answers, of which one is right."""


class MemberVote(NamedTuple):
    """One member's part in an answer. ``answer`` None: it did not vote, or its answer is not disclosed."""

    model: str
    revision: str
    state: VoteState
    answer: str | None
    weight: float
    reason: str
    seconds: float


class Measures(NamedTuple):
    """How the votes are distributed. ``agreement`` is the share of voters, by number, that gave the answer.

    ``disagreement`` is how likely two voters are to differ, ``entropy`` that of the answers in nats. All are
    0 if there are too few voters to disclose them.
    """

    voted: int
    agreement: float
    disagreement: float
    entropy: float


@dataclass(frozen=True, slots=True)
class PopulationAnswer:
    """What a population answers. ``answer`` None: there is none, and ``reason`` says why.

    It is not final while a vote is ``asked``. ``shares`` are the answers' parts of the weight as far as they
    may be disclosed; the rest is summed under None. The tokens are those of all members that replied.
    """

    answer: str | None
    reason: str
    is_tie: bool
    shares: dict[str | None, float]
    votes: tuple[MemberVote, ...]
    measures: Measures
    prompt_tokens: int
    reply_tokens: int

    @property
    def is_final(self) -> bool:
        return all(vote.state != "asked" for vote in self.votes)


def combined(
    question: Question, members: Sequence[Member], votes: Sequence[Vote], rule: DisclosureRule
) -> PopulationAnswer:
    """Combine the votes, one of each member, into one answer."""
    by_place = {vote.place: vote for vote in votes}
    cast = [by_place[place] for place in range(len(members))]
    answers = [vote.answer if vote.state == "voted" else None for vote in cast]
    weights = _weights(question, members)
    voted = sum(answer is not None for answer in answers)
    told = tellable(
        answers, [member.sharing for member in members], is_open=question.kind != "choice", rule=rule
    )
    if question.kind == "text":
        winner, is_tie, sums = _most_alike(answers, weights, told)
    else:
        counted = tally(answers, weights)
        winner, is_tie, sums = counted.answer, counted.is_tie, counted.weights
    reason = _reason(winner, Counter(vote.state for vote in cast), told, rule)
    answer = None if reason or winner is None else question.in_words(winner)
    # Of a group that is too small nothing is disclosed, neither the answers nor whether they agree.
    is_enough = voted >= rule.voted_min
    shown = told if is_enough else set[str]()
    return PopulationAnswer(
        answer,
        reason,
        is_tie and is_enough,
        {
            None if said is None else question.in_words(said): share
            for said, share in _shares(sums, shown).items()
        },
        tuple(
            MemberVote(
                member.name,
                BASE_REVISION if member.adapter is None else member.adapter.digest,
                vote.state,
                None if said is None or said not in shown else question.in_words(said),
                weight,
                vote.reason,
                vote.seconds,
            )
            for member, vote, said, weight in zip(members, cast, answers, weights, strict=True)
        ),
        measures_of(answers, winner) if is_enough else Measures(voted, 0.0, 0.0, 0.0),
        sum(vote.prompt_tokens for vote in cast),
        sum(vote.reply_tokens for vote in cast),
    )


def measures_of(answers: Sequence[str | None], winner: str | None) -> Measures:
    """Measure how the votes are distributed; without any vote, all measures are 0."""
    counts = Counter(answer for answer in answers if answer is not None)
    voted = counts.total()
    if not voted:
        return Measures(0, 0.0, 0.0, 0.0)
    same = sum(count * (count - 1) for count in counts.values())
    pairs = voted * (voted - 1)
    shares = [count / voted for count in counts.values()]
    return Measures(
        voted,
        counts[winner] / voted if winner is not None else 0.0,
        1 - same / pairs if pairs else 0.0,
        -sum(share * math.log(share) for share in shares) + 0.0,
    )


def _weights(question: Question, members: Sequence[Member]) -> list[float]:
    """Each member's weight: equal, or its log-odds on the probes; a member without a profile is at chance."""
    if question.combine == "majority":
        return [1.0] * len(members)
    choices = len(question.choices) or OPEN_CHOICES
    known = [1 / choices if member.accuracy is None else member.accuracy for member in members]
    return log_odds_weights(known, choices)


def _most_alike(
    answers: Sequence[str | None], weights: Sequence[float], told: set[str]
) -> tuple[str | None, bool, dict[str, float]]:
    """The disclosable text that is most like all others, whether it is a tie, and each text's likeness."""
    _, expected = minimum_bayes_risk(answers, weights=weights)
    said = [
        (risk, -at, answer)
        for at, (answer, risk) in enumerate(zip(answers, expected, strict=True))
        if answer is not None
    ]
    allowed = [candidate for candidate in said if candidate[2] in told]
    alike = {answer: risk for risk, _, answer in sorted(said, reverse=True)}
    if not allowed:
        # There are answers, but none of them may be disclosed.
        return (said[0][2] if said else None), False, alike
    return max(allowed)[2], False, alike


def _reason(winner: str | None, states: Counter[VoteState], told: set[str], rule: DisclosureRule) -> str:
    if winner is None:
        if set(states) == {"abstained"}:
            return "everybody abstained"
        return "nobody has voted: " + ", ".join(f"{count} {state}" for state, count in states.most_common())
    if states["voted"] < rule.voted_min:
        return f"{states['voted']} answered, and of fewer than {rule.voted_min} nothing is told"
    if winner not in told:
        return "what won is one member's own words, which that member does not share"
    return ""


def _shares(sums: dict[str, float], shown: set[str]) -> dict[str | None, float]:
    total = sum(sums.values())
    found: dict[str | None, float] = {}
    for answer, weight in sums.items():
        key = answer if answer in shown else None
        found[key] = found.get(key, 0.0) + (weight / total if total > 0 else 0.0)
    return found
