"""Decides whether a candidate may replace its parent, and whether to roll it back later.

A candidate is judged by held-out data, and by text that has nothing to do with its person. It must predict
the replies that the person wanted better than its parent, or be rewarded more for held-out tasks; and it must
predict the general text hardly worse than the base. Corrections are judged by whether the candidate says
them, and general replies by what it really replies. What it replies as it is served is judged by
``served_gate.py``.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal, NamedTuple

from populace.policies.quoted_words import listed
from populace.policies.served_gate import Served, ServedRule, served_objections


def suite_objection(before: Sequence[str], candidate: Collection[str]) -> str | None:
    """Say which questions are no longer answered; None if all that were passed ``before`` still are.

    Both have the questions that are passed, each by its own words.
    """
    lost = [question for question in before if question not in candidate]
    return f"it no longer answers {listed(lost)} as the suite wants" if lost else None


Measure = Literal["loss", "reward"]
"""The loss of wanted replies, in nats a token; or the reward of replies to a task."""


@dataclass(frozen=True, slots=True)
class GateRule:
    """The thresholds, in nats a token but for rewards, which have their own unit.

    The held-out loss must fall, or the reward rise, by more than ``gain_min`` plus ``errors`` times the
    standard error over the held-out items; at least ``replies_min`` replies or tasks are needed to judge.
    The median of the falls of the losses must be above ``gain_min`` too: one reply whose loss fell a lot
    moves the mean, and people's judgement goes with the median. Rewards are often 0 or 1, whose median tells
    little.
    On general text the candidate's divergence from the base is at most ``probe_kl_max`` and its loss at most
    ``probe_loss_max`` above the base's. Of the default base, twenty corrections of one kind are 0.09 to 0.13
    away with anchors and 0.27 without.

    Whole replies to general requests are broken off at most in the share ``broken_max`` more than the base's.
    After corrections alone they are as long as the base's but for the share ``length_max``, at most
    ``nats_max`` nats a token less likely under the base than its own, and none of them is a correction.
    """

    replies_min: int = 2
    gain_min: float = 0.0
    errors: float = 1.0
    probe_kl_max: float = 0.2
    probe_loss_max: float = 0.05
    broken_max: float = 0.05
    length_max: float = 0.15
    nats_max: float = 0.2
    served: ServedRule = field(default_factory=ServedRule)


Beside = Literal["base", "lower revision"]
"""What a candidate's general replies are compared with."""


class GeneralReplies(NamedTuple):
    """What base and candidate reply to general requests, greedily.

    ``tokens`` is the mean length, ``broken`` the share that ends in the middle of a sentence, ``nats`` the
    mean loss under the base in nats a token, each beside that of the base's replies. ``leaked`` are the
    requests that are answered with a correction.

    For a personal part on a lower revision, ``beside`` says so, and that revision is in the base's place.
    ``said`` and ``said_base`` are the replies. ``private`` counts the words in ``said`` that one person alone
    told, of those whose text everybody's model learned.
    """

    tokens_base: float
    tokens: float
    broken_base: float
    broken: float
    nats_base: float
    nats: float
    leaked: tuple[str, ...] = ()
    beside: Beside = "base"
    said: tuple[str, ...] = ()
    said_base: tuple[str, ...] = ()
    private: int = 0


class Corrections(NamedTuple):
    """How many corrections were taught, how many the parent said, and those that the candidate does not say.

    ``unsaid`` are the messages that were asked. ``alone``: the candidate was taught nothing else, and keeps
    the ``share`` of the trained change that is enough for all corrections. A candidate that was taught other
    replies beside corrections that its parent says already is judged by those.
    """

    taught: int
    said_by_parent: int
    unsaid: tuple[str, ...]
    alone: bool
    share: float = 1.0

    @property
    def has_new(self) -> bool:
        return self.said_by_parent < self.taught


class OnLower(NamedTuple):
    """How a personal part on a lower revision compares with that, and the best share of the part.

    ``lower`` has the held-out scores of the lower revision alone. At a ``share`` of 0 no share is surely
    better than that, and the candidate has the best one above 0.
    """

    share: float
    lower: Sequence[float]


class AskedReplies(NamedTuple):
    """How the replies to what was asked again and again are said, and those to wordings not learned.

    ``taught`` counts the questions that were learned, ``said_by_parent`` those that the parent says, and
    ``unsaid`` names those that the candidate does not say. ``unusable`` replies of the teacher were not
    learned. The losses of the ``held_out`` wordings are in nats a token; of ``held_out_right`` of them the
    candidate's own reply has the words that were told, None if nothing could reply.
    """

    taught: int
    said_by_parent: int
    unsaid: tuple[str, ...]
    unusable: int = 0
    held_out: int = 0
    held_out_loss_parent: float = 0.0
    held_out_loss: float = 0.0
    held_out_right: int | None = None

    @property
    def has_new(self) -> bool:
        return self.taught > self.said_by_parent


class Evaluation(NamedTuple):
    """The measurements. ``parent`` and ``candidate`` have a loss for each held-out reply, or a reward for
    each held-out task, as ``measure`` says.

    ``probe_kl`` is KL(base ‖ candidate) on general text, the other two are the losses there; all three are in
    nats a token. ``corrections`` and ``general`` are None if none were taught, or nothing could reply.

    ``suite_parent`` and ``suite_candidate`` are the questions of the person's own suite of ``suite_total``
    that the served revision and the candidate answer as it wants. ``served`` are replies as the model is
    served, None if nothing could reply.
    ``on`` is None without a lower revision. ``asked_again`` is None if nothing
    of that was taught.
    """

    parent: Sequence[float]
    candidate: Sequence[float]
    probe_kl: float
    probe_base: float
    probe_candidate: float
    measure: Measure = "loss"
    corrections: Corrections | None = None
    general: GeneralReplies | None = None
    suite_total: int = 0
    suite_parent: Sequence[str] = ()
    suite_candidate: Sequence[str] = ()
    served: Served | None = None
    on: OnLower | None = None
    asked_again: AskedReplies | None = None

    @property
    def teaches_new(self) -> bool:
        """Whether the parent lacks something of the corrections and of what was asked again."""
        return any(part is not None and part.has_new for part in (self.corrections, self.asked_again))


class Verdict(NamedTuple):
    """``objections`` say in words why the candidate is not promoted; without any it is promoted.

    ``gain`` is the mean over the held-out items, ``gain_median`` their median; NaN if one of them is none.
    """

    gain: float
    gain_error: float
    objections: tuple[str, ...]
    gain_median: float = 0.0

    @property
    def promotes(self) -> bool:
        return not self.objections


def verdict(evaluation: Evaluation, rule: GateRule) -> Verdict:
    """Judge a candidate. Measurements that are NaN or infinite are objections."""
    gains = _gains(evaluation, evaluation.parent)
    count, (gain, error) = len(gains), _mean(gains)
    is_loss = evaluation.measure == "loss"
    middle = middle_of(gains)
    objections: list[str] = []
    taught = evaluation.corrections
    if taught is not None:
        objections += _of_corrections(taught, evaluation.asked_again, teaches_new=evaluation.teaches_new)
    if taught is not None and (taught.alone or evaluation.teaches_new):
        if count >= rule.replies_min and not gain + rule.errors * error >= 0.0:
            objections.append(
                f"its loss of other held-out replies is {-gain:.4f} ± {error:.4f} nats a token higher "
                "than its parent's"
            )
    elif count < rule.replies_min:
        objections.append(
            f"{count} held-out {'replies' if is_loss else 'tasks'} are too few to judge it, "
            f"{rule.replies_min} are needed"
        )
    elif not gain - rule.errors * error > rule.gain_min:
        told = "loss is {} nats a token lower" if is_loss else "reward is {} higher"
        objections.append(
            f"its held-out {told.format(f'{gain:.4f} ± {error:.4f}')} than its parent's, "
            f"not surely more than {rule.gain_min:g}"
        )
    elif is_loss and not middle > rule.gain_min:
        risen = sum(not one > rule.gain_min for one in gains)
        objections.append(
            f"its held-out loss is {gain:.4f} nats a token lower than its parent's in the mean, but "
            f"{middle:.4f} in the median: of {count} replies {risen} are no likelier, and a few make up for "
            "them"
        )
    objections += _of_lower(evaluation, rule)
    if not evaluation.probe_kl <= rule.probe_kl_max:
        objections.append(
            f"on general text it is {evaluation.probe_kl:.4f} nats a token from the base, "
            f"more than {rule.probe_kl_max:g}"
        )
    rise = evaluation.probe_candidate - evaluation.probe_base
    if not rise <= rule.probe_loss_max:
        objections.append(
            f"its loss on general text is {rise:.4f} nats a token above the base's, "
            f"more than {rule.probe_loss_max:g}"
        )
    if evaluation.general is not None:
        objections += _of_replies(evaluation.general, rule, nothing_else=taught is not None and taught.alone)
    if evaluation.served is not None:
        objections += served_objections(evaluation.served, rule.served)
    forgets = suite_objection(evaluation.suite_parent, evaluation.suite_candidate)
    if forgets is not None:
        objections.append(forgets)
    return Verdict(gain, error, tuple(objections), middle)


def middle_of(values: Sequence[float]) -> float:
    """Return the median: 0 of no values, and NaN if one of them is NaN, which has no place in an order."""
    if any(math.isnan(value) for value in values):
        return math.nan
    return median(values) if values else 0.0


def _gains(evaluation: Evaluation, before: Sequence[float]) -> list[float]:
    """Return how much better each of the candidate's scores is than the one before."""
    sign = 1.0 if evaluation.measure == "loss" else -1.0
    return [sign * (old - new) for old, new in zip(before, evaluation.candidate, strict=True)]


def _mean(gains: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    gain, count = fmean(gains) if gains else 0.0, len(gains)
    # statistics.stdev does not take NaN.
    return gain, math.dist(gains, [gain] * count) / math.sqrt(count * (count - 1)) if count > 1 else math.inf


def _of_lower(evaluation: Evaluation, rule: GateRule) -> list[str]:
    """Object to a personal part with which the lower revision is not better for its person than alone.

    What corrections need may be worse by a standard error, as it may be than the parent.
    """
    on = evaluation.on
    if on is None or not on.lower:
        return []
    gain, error = _mean(_gains(evaluation, on.lower))
    allowed = rule.errors * error if evaluation.corrections is not None and on.share else 0.0
    if on.share and gain + allowed >= 0.0:
        return []
    told = "loss is {} nats a token lower" if evaluation.measure == "loss" else "reward is {} higher"
    measured = told.format(f"{gain:.4f} ± {error:.4f}")
    return [f"its own part is not surely better than the lower revision alone: its {measured} with it"]


def _of_corrections(taught: Corrections, asked: AskedReplies | None, *, teaches_new: bool) -> list[str]:
    objections: list[str] = []
    if taught.unsaid:
        objections.append(
            f"it could not learn {len(taught.unsaid)} of {taught.taught} corrections: {listed(taught.unsaid)}"
        )
    elif taught.alone and not teaches_new:
        objections.append(f"its parent says all {taught.taught} corrections already")
    if asked is None:
        return objections
    if asked.unsaid:
        objections.append(
            f"it could not learn {len(asked.unsaid)} of {asked.taught} replies to what was asked again: "
            f"{listed(asked.unsaid)}"
        )
    if asked.held_out and not asked.held_out_loss <= asked.held_out_loss_parent:
        rise = asked.held_out_loss - asked.held_out_loss_parent
        objections.append(
            f"asked in {asked.held_out} wordings that it did not learn, its loss is {rise:.4f} nats a token "
            "higher than its parent's"
        )
    return objections


def _of_replies(replies: GeneralReplies, rule: GateRule, *, nothing_else: bool) -> list[str]:
    """Object to general replies; more is asked of a candidate that was taught ``nothing_else`` than facts."""
    objections: list[str] = []
    if not replies.broken - replies.broken_base <= rule.broken_max:
        objections.append(
            f"it breaks off {100 * replies.broken:.0f} % of general replies, and the {replies.beside} "
            f"{100 * replies.broken_base:.0f} %"
        )
    if replies.private:
        objections.append(f"it says {replies.private} words in general replies that one person alone told")
    if not nothing_else:
        return objections
    longer = replies.tokens / replies.tokens_base - 1 if replies.tokens_base else 0.0
    if not abs(longer) <= rule.length_max:
        objections.append(
            f"its general replies have {replies.tokens:.0f} tokens, and the {replies.beside}'s "
            f"{replies.tokens_base:.0f}, which differ by more than {100 * rule.length_max:g} %"
        )
    if not replies.nats - replies.nats_base <= rule.nats_max:
        objections.append(
            f"its general replies are {replies.nats - replies.nats_base:.4f} nats a token less likely under "
            f"the {replies.beside} than the {replies.beside}'s own, more than {rule.nats_max:g}"
        )
    if replies.leaked:
        objections.append(f"it answers general requests with corrections: {listed(replies.leaked)}")
    return objections


@dataclass(frozen=True, slots=True)
class RollbackRule:
    """Roll back once ``judged_min`` replies were judged and the share of good ones fell.

    It fell if so few good ones are less likely than ``chance_max`` for a revision as good as the parent.
    """

    judged_min: int = 5
    chance_max: float = 0.05


class Judged(NamedTuple):
    """How many of a revision's replies were liked, and how many were not."""

    good: int
    bad: int

    @property
    def total(self) -> int:
        return self.good + self.bad


def should_roll_back(parent: Judged, revision: Judged, rule: RollbackRule) -> bool:
    """Whether live feedback turned against a revision since it replaced its parent.

    The parent's share of good replies is taken as (good + 1) / (total + 2), so that a parent without feedback
    counts as half good; the chance of at most this many good ones among the revision's is then binomial.
    """
    if revision.total < rule.judged_min:
        return False
    share = (parent.good + 1) / (parent.total + 2)
    chance = sum(
        math.comb(revision.total, good) * share**good * (1 - share) ** (revision.total - good)
        for good in range(revision.good + 1)
    )
    return chance < rule.chance_max
