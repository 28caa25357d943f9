"""Compares whole replies to general requests with the base's, as the engine gives them.

Sixteen written answers do not show that a model breaks off, rambles or answers a stranger's question with a
name from its person's life: its own replies do.
"""

from collections.abc import Sequence
from typing import Protocol

from populace.actors.engine import MemoryUse, Message
from populace.actors.errors import EngineUnavailable, InvalidRequest, Refused, TrainingFailed
from populace.engines.prompts import BaseTokenizer
from populace.learning.evaluation import reply_losses
from populace.learning.frozen_base import FrozenBase
from populace.learning.general_requests import JUDGED
from populace.learning.lower_part import LowerPart
from populace.learning.methods.objective import TrainSequence
from populace.learning.rollouts import Rollout
from populace.policies.evaluation_gate import GeneralReplies
from populace.policies.whole_replies import ends_open

REPLY_TOKENS = 96
"""Long enough to see whether a reply goes on; most replies of the default base are."""


class Answerer(Protocol):
    """Answers as the engine that serves, greedily."""

    @property
    def context_tokens(self) -> int:
        """How many tokens prompt and reply may have together."""
        ...

    def answers(
        self,
        packed: bytes | bytearray | None,
        prompts: Sequence[tuple[Message, ...]],
        *,
        tokens_max: int,
        memory: MemoryUse | None = None,
    ) -> list[Rollout]:
        """Return one greedy reply to each prompt with the packed adapter; None is the base.

        Each reads ``memory``, which is to write nothing, if the engine has a memory module. Blocks, and
        raises what ``Engine.prepare`` and ``Engine.generate`` raise.
        """
        ...


class GeneralJudge:
    """Asks base and candidates for whole replies; those of the base are made once.

    Of lower revisions the replies of the newest are kept: most people have the same one.
    """

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
        self._of_lower: tuple[str, list[Rollout]] = ("", [])

    @property
    def size(self) -> int:
        """The number of requests."""
        return len(self._prompts)

    def compare(
        self,
        name: str,
        packed: bytes | bytearray,
        taught: Sequence[str] = (),
        lower: LowerPart | None = None,
    ) -> GeneralReplies:
        """Compare the candidate of the model ``name``, in which the replies ``taught`` were taught.

        It is compared with the base, or with the ``lower`` revision on which it was trained. Raises
        ``TrainingFailed`` if the engine cannot answer.
        """
        try:
            before = self._replies_before(lower)
            replies = self._answerer.answers(packed, self._prompts, tokens_max=REPLY_TOKENS)
        except (EngineUnavailable, Refused, InvalidRequest) as error:
            raise TrainingFailed(name, f"its replies could not be made: {error}") from error
        told = {text.strip() for text in taught}
        return GeneralReplies(
            tokens_base=_tokens(before),
            tokens=_tokens(replies),
            broken_base=_broken(before),
            broken=_broken(replies),
            nats_base=self._nats(before, lower),
            nats=self._nats(replies, lower),
            leaked=tuple(
                prompt[-1].content
                for prompt, reply, other in zip(self._prompts, replies, before, strict=True)
                if reply.reply.strip() in told and reply.reply != other.reply
            ),
            beside="base" if lower is None else "lower revision",
            said=tuple(reply.reply for reply in replies),
            said_base=tuple(reply.reply for reply in before),
        )

    def _replies_before(self, lower: LowerPart | None) -> list[Rollout]:
        if lower is None:
            if not self._of_base:
                self._of_base = self._answerer.answers(None, self._prompts, tokens_max=REPLY_TOKENS)
            return self._of_base
        if self._of_lower[0] != lower.digest:
            replies = self._answerer.answers(lower.packed, self._prompts, tokens_max=REPLY_TOKENS)
            self._of_lower = (lower.digest, replies)
        return self._of_lower[1]

    def _nats(self, replies: Sequence[Rollout], lower: LowerPart | None) -> float:
        """Return the mean over the replies of the loss of their tokens under the base, in nats a token.

        With a ``lower`` revision it is that under this one.
        """
        sequences: list[TrainSequence] = []
        for reply in replies:
            ids = self._tokenizer.tokens_of(reply.prompt).ids
            if reply.reply_ids:
                weights = (0.0,) * len(ids) + (1.0,) * len(reply.reply_ids)
                sequences.append(TrainSequence((*ids, *reply.reply_ids), weights))
        losses = reply_losses(self._base, None if lower is None else lower.adapter, sequences)
        return sum(losses) / len(losses) if losses else 0.0


def _tokens(replies: Sequence[Rollout]) -> float:
    return sum(len(reply.reply_ids) for reply in replies) / len(replies)


def _broken(replies: Sequence[Rollout]) -> float:
    """Return the share of replies that end by themselves in the middle of a sentence."""
    return sum(reply.finished and ends_open(reply.reply) for reply in replies) / len(replies)
