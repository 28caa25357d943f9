"""Judges a candidate by what it replies as it is served: to its corrections and to held-out messages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple, TypeVar

from populace.actors.engine import Message
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.on_policy.as_served import AsServed
from populace.learning.rollouts import Rollout
from populace.policies.evaluation_gate import Evaluation
from populace.policies.likeness import likeness
from populace.policies.retrieval import words_of
from populace.policies.served_gate import Known, Learned, Served, ServedReplies
from populace.policies.whole_replies import ends_open

CORRECTIONS_MAX = 64
"""At most this many corrections are asked, evenly from the first given to the last.

A reply takes a CPU's engine a second.
"""

WANTED_MAX = 16
"""At most this many held-out replies are made, and this many of what was learned."""

REPLY_TOKENS = 256
"""The limit of a reply; what is longer is not asked for, since it would never be whole."""

ROOM = 16
"""A reply may have half as many tokens more as the longest wanted one has, and these."""

T = TypeVar("T")


class WantedReply(NamedTuple):
    """A prompt with the reply that was wanted to it. ``told`` are its words that alone have to be in a reply.

    Without any the reply has to have all of it.
    """

    prompt: tuple[Message, ...]
    wanted: str
    told: frozenset[str] = frozenset()


class WantedReplies(NamedTuple):
    """The replies that a candidate is asked for as it is served.

    ``taught`` are corrections that it has to say, and replies to what was asked again, of which it has to
    know what was ``told``; ``learned`` are corrections that it learned without having to say them, and
    ``held_out`` were wanted and are never learned.
    """

    taught: Sequence[WantedReply] = ()
    learned: Sequence[WantedReply] = ()
    held_out: Sequence[WantedReply] = ()


@dataclass(frozen=True, slots=True)
class ServedJudge:
    """A ``ReplyJudge``. ``parent`` None is the base."""

    asks: AsServed
    tokenizer: BaseTokenizer
    parent: TrainableAdapter | None
    replies: WantedReplies

    def judge(self, evaluation: Evaluation, candidate: TrainableAdapter) -> Evaluation:
        """Ask candidate and parent, greedily. Raises ``TrainingFailed`` if no engine answers."""
        taught = self._fitting(self.replies.taught, CORRECTIONS_MAX)
        learned = self._fitting(self.replies.learned, WANTED_MAX)
        held_out = self._fitting(self.replies.held_out, WANTED_MAX)
        asked, unsaid = [one for one in taught if one.told], self._unsaid(taught, candidate)
        served = Served(len(taught) - len(asked), _messages(one for one in unsaid if not one.told))
        if asked:
            parent = len(asked) - len(self._unsaid(asked, self.parent))
            unknown = _messages(one for one in unsaid if one.told)
            served = served._replace(known=Known(len(asked), parent, unknown))
        if learned or held_out:
            wanted, at = [*learned, *held_out], len(learned)
            before, after = self._asked(wanted, self.parent), self._asked(wanted, candidate)
            if learned:
                compared = Learned(_like(learned, before[:at]), _like(learned, after[:at]))
                served = served._replace(learned=compared)
            if held_out:
                served = served._replace(held_out=self._compared(held_out, before[at:], after[at:]))
        return evaluation._replace(served=served)

    def _fitting(self, wanted: Sequence[WantedReply], most: int) -> list[WantedReply]:
        """Choose some evenly from the first to the last; without those that no reply has room for."""
        chosen = list(wanted)
        if len(wanted) > most:
            chosen = [wanted[place * len(wanted) // most] for place in range(most)]
        return [
            one
            for one in chosen
            if self._tokens(one) <= REPLY_TOKENS
            and len(self.tokenizer.tokens_of(one.prompt).ids) + self._room([one]) <= self._context
        ]

    @property
    def _context(self) -> int:
        return self.asks.sampler.context_tokens

    def _asked(self, wanted: Sequence[WantedReply], adapter: TrainableAdapter | None) -> list[Rollout]:
        prompts = [one.prompt for one in wanted]
        longest = max(len(self.tokenizer.tokens_of(prompt).ids) for prompt in prompts)
        room = min(self._room(wanted), self._context - longest)
        return self.asks.replies(adapter, prompts, room)

    def _unsaid(self, taught: Sequence[WantedReply], adapter: TrainableAdapter | None) -> list[WantedReply]:
        if not taught:
            return []
        replies = self._asked(taught, adapter)
        return [one for one, reply in zip(taught, replies, strict=True) if not _says(reply.reply, one)]

    def _room(self, wanted: Sequence[WantedReply]) -> int:
        """Return the limit of the replies in tokens, where these were wanted."""
        return min(REPLY_TOKENS, max(map(self._tokens, wanted)) * 3 // 2 + ROOM)

    def _tokens(self, wanted: WantedReply) -> int:
        return len(self.tokenizer.tokens_of(wanted.wanted).ids)

    def _compared(
        self, wanted: Sequence[WantedReply], before: Sequence[Rollout], after: Sequence[Rollout]
    ) -> ServedReplies:
        return ServedReplies(
            tokens_wanted=fmean(map(self._tokens, wanted)),
            tokens_parent=_tokens(before),
            tokens=_tokens(after),
            broken_parent=_broken(wanted, before),
            broken=_broken(wanted, after),
            empty_parent=_empty(before),
            empty=_empty(after),
            like_parent=_like(wanted, before),
            like=_like(wanted, after),
        )


def _messages(replies: Iterable[WantedReply]) -> tuple[str, ...]:
    return tuple(one.prompt[-1].content for one in replies)


def _says(reply: str, one: WantedReply) -> bool:
    """Whether the told words are in the reply; or all words, one after the other, whatever their case."""
    if one.told:
        return one.told.issubset(words_of(reply))
    words = words_of(one.wanted)
    return (
        f" {' '.join(words)} " in f" {' '.join(words_of(reply))} " if words else one.wanted.strip() in reply
    )


def _like(wanted: Sequence[WantedReply], replies: Sequence[Rollout]) -> list[float]:
    return [likeness(reply.reply, one.wanted) for reply, one in zip(replies, wanted, strict=True)]


def _tokens(replies: Sequence[Rollout]) -> float:
    return fmean(len(reply.reply_ids) for reply in replies)


def _broken(wanted: Sequence[WantedReply], replies: Sequence[Rollout]) -> int:
    """Count the replies that end by themselves in the middle of a sentence, as the wanted ones do not."""
    return sum(
        reply.finished and ends_open(reply.reply) and not ends_open(one.wanted)
        for one, reply in zip(wanted, replies, strict=True)
    )


def _empty(replies: Sequence[Rollout]) -> int:
    return sum(not reply.reply.strip() for reply in replies)
