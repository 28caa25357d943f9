"""Compares whole replies to general requests with the base's, as the engine gives them.

Sixteen written answers do not show that a model breaks off, rambles or answers a stranger's question with a
name from its person's life: its own replies do.
"""

from collections.abc import Sequence
from typing import Protocol

from populace.actors.engine import Message
from populace.actors.errors import EngineUnavailable, InvalidRequest, Refused, TrainingFailed
from populace.engines.prompts import BaseTokenizer
from populace.learning.evaluation import reply_losses
from populace.learning.frozen_base import FrozenBase
from populace.learning.general_requests import JUDGED
from populace.learning.methods.objective import TrainSequence
from populace.learning.rollouts import Rollout
from populace.policies.evaluation_gate import GeneralReplies
from populace.policies.whole_replies import ends_open

REPLY_TOKENS = 96
"""Long enough to see whether a reply goes on; most replies of the default base are."""


class Answerer(Protocol):
    """Answers as the engine that serves, greedily."""

    def answers(
        self, packed: bytes | bytearray | None, prompts: Sequence[tuple[Message, ...]], *, tokens_max: int
    ) -> list[Rollout]:
        """Return one greedy reply to each prompt with the packed adapter; None is the base.

        Blocks, and raises what ``Engine.prepare`` and ``Engine.generate`` raise.
        """
        ...


class GeneralJudge:
    """Asks base and candidates for whole replies; those of the base are made once."""

    def __init__(
        self,
        base: FrozenBase,
        tokenizer: BaseTokenizer,
        answerer: Answerer,
        requests: Sequence[str] = JUDGED,
    ) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._answerer = answerer
        self._prompts = [(Message("user", request),) for request in requests]
        self._of_base: list[Rollout] = []

    def compare(self, name: str, packed: bytearray, taught: Sequence[str] = ()) -> GeneralReplies:
        """Compare the candidate of the model ``name``, in which the replies ``taught`` were taught.

        Raises ``TrainingFailed`` if the engine cannot answer.
        """
        try:
            if not self._of_base:
                self._of_base = self._answerer.answers(None, self._prompts, tokens_max=REPLY_TOKENS)
            replies = self._answerer.answers(packed, self._prompts, tokens_max=REPLY_TOKENS)
        except (EngineUnavailable, Refused, InvalidRequest) as error:
            raise TrainingFailed(name, f"its replies could not be made: {error}") from error
        told = {text.strip() for text in taught}
        return GeneralReplies(
            tokens_base=_tokens(self._of_base),
            tokens=_tokens(replies),
            broken_base=_broken(self._of_base),
            broken=_broken(replies),
            nats_base=self._nats(self._of_base),
            nats=self._nats(replies),
            leaked=tuple(
                prompt[-1].content
                for prompt, reply, of_base in zip(self._prompts, replies, self._of_base, strict=True)
                if reply.reply.strip() in told and reply.reply != of_base.reply
            ),
            said=tuple(reply.reply for reply in replies),
            said_base=tuple(reply.reply for reply in self._of_base),
        )

    def _nats(self, replies: Sequence[Rollout]) -> float:
        """Return the mean over the replies of the base's loss of their tokens, in nats a token."""
        sequences: list[TrainSequence] = []
        for reply in replies:
            ids = self._tokenizer.tokens_of(reply.prompt).ids
            if reply.reply_ids:
                weights = (0.0,) * len(ids) + (1.0,) * len(reply.reply_ids)
                sequences.append(TrainSequence((*ids, *reply.reply_ids), weights))
        losses = reply_losses(self._base, None, sequences)
        return sum(losses) / len(losses) if losses else 0.0


def _tokens(replies: Sequence[Rollout]) -> float:
    return sum(len(reply.reply_ids) for reply in replies) / len(replies)


def _broken(replies: Sequence[Rollout]) -> float:
    """Return the share of replies that end by themselves in the middle of a sentence."""
    return sum(reply.finished and ends_open(reply.reply) for reply in replies) / len(replies)
