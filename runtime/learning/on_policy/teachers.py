"""Teachers answer what a person asks again and again, from the turn that tells it: the base, or another.

A teacher's replies are recorded with the training, so that it is made again of the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from populace.actors.context import reading_prompt
from populace.actors.engine import Message
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.record import GivenReply, RolloutRecord
from populace.learning.on_policy.sampler import Sampler
from populace.policies.whole_replies import ends_open
from populace.storage.packed.adapter import PackedAdapter

REPLY_TOKENS = 64
"""An answer to a question about one turn is short; one that is longer is cut, and then not whole."""


def teaching_prompt(told: str, question: str) -> tuple[Message, ...]:
    """Return the prompt in which a teacher answers a question from what was told, after three examples.

    In the form of retrieval the default base answers 3 of 15 such questions with nothing but the answer,
    as a conversation 2, and in this form 14; of 18 others, 16.
    """
    return reading_prompt((Message("user", question),), told)


class Teacher(Protocol):
    """Gives replies that a model is taught."""

    def replies(self, name: str, prompts: Sequence[tuple[Message, ...]]) -> list[GivenReply]:
        """Return a reply of at most ``REPLY_TOKENS`` tokens to each prompt of the model ``name``; blocks.

        Raises ``TrainingFailed`` if the teacher does not reply, which says what to do, and what
        ``Sampler.answers`` raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class OwnReplies:
    """The greedy replies of an adapter, None for the base, by the engine that serves."""

    sampler: Sampler
    base: FrozenBase
    adapter: TrainableAdapter | None

    @property
    def who(self) -> str:
        """The digest of the adapter, or the fingerprint of the base."""
        packed = self._packed()
        return self.base.fingerprint if packed is None else PackedAdapter(memoryview(packed)).digest

    def replies(self, name: str, prompts: Sequence[tuple[Message, ...]]) -> list[GivenReply]:
        del name
        said = self.sampler.answers(self._packed(), prompts, tokens_max=REPLY_TOKENS)
        return [
            GivenReply(reply.reply.strip(), reply.finished and not ends_open(reply.reply)) for reply in said
        ]

    def _packed(self) -> bytearray | None:
        return None if self.adapter is None else self.adapter.pack(self.base.fingerprint, self.base.dtype)


def recorded_replies(
    teacher: Teacher, who: str, name: str, prompts: Sequence[tuple[Message, ...]], record: RolloutRecord
) -> list[GivenReply]:
    """Return the reply to each prompt that is recorded as that of ``who``; ask for those that are missing."""
    known = [record.given(who, prompt) for prompt in prompts]
    missing = [prompt for prompt, reply in zip(prompts, known, strict=True) if reply is None]
    if missing:
        for prompt, reply in zip(missing, teacher.replies(name, missing), strict=True):
            record.give(who, prompt, reply)
    replies = [record.given(who, prompt) for prompt in prompts]
    return [reply for reply in replies if reply is not None]
