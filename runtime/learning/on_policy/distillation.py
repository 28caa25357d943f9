"""Context distillation: the student learns to reply without a context as the teacher does with it.

Only the teacher reads the context. It is in no sequence that the student is trained on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from populace.actors.engine import Message
from populace.actors.errors import PromptTooLong
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.evaluation import score_alone, token_log_probs
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.context_distillation import (
    ExactDistillation,
    SampledDistillation,
    distillation_sequence,
)
from populace.learning.methods.objective import Objective, TrainSequence
from populace.learning.on_policy.record import Group
from populace.learning.on_policy.rounds import Lessons, parts_of
from populace.learning.on_policy.tasks import ContextQuery
from populace.learning.session import TrainingSession

Teacher = Literal["parent", "student"]


@dataclass(frozen=True, slots=True)
class DistillationOptions:
    """Options of the losses in ``methods/context_distillation.py``.

    The teacher is the fixed parent, or the student with its weights at each step. With ``exact`` the
    divergence is computed over the student's ``top`` likeliest tokens at each place, and ``forward`` weighs
    the forward divergence beside the reverse one. Without, it is estimated from the sampled token, and
    ``advantage_max`` clips the estimate.
    """

    teacher: Teacher = "parent"
    exact: bool = True
    top: int = 256
    forward: float = 0.0
    advantage_max: float = 5.0


class DistillationMethod:
    """The ``OnPolicyMethod`` that minimises the reverse KL divergence of student and teacher.

    ``parent`` None is the base.
    """

    def __init__(
        self,
        queries: Sequence[ContextQuery],
        base: FrozenBase,
        tokenizer: BaseTokenizer,
        parent: TrainableAdapter | None,
        options: DistillationOptions,
        *,
        tokens_max: int,
    ) -> None:
        """Check that every query fits. ``tokens_max`` is the limit for a reply.

        Raises ``PromptTooLong`` if a query with its context leaves less room than that.
        """
        self._queries = queries
        self._base = base
        self._tokenizer = tokenizer
        self._parent = parent
        self._options = options
        for query in queries:
            taught = len(tokenizer.tokens_of(query.taught).ids)
            if taught + tokens_max > base.context_tokens:
                raise PromptTooLong(taught, tokens_max, base.context_tokens)

    @property
    def prompts(self) -> Sequence[tuple[Message, ...]]:
        return [query.prompt for query in self._queries]

    def lessons(self, session: TrainingSession, groups: Sequence[Group], steps: int) -> Lessons:
        objectives: list[Callable[[], Objective]] = [
            partial(self._objective, session, part) for part in parts_of(groups, steps)
        ]
        return Lessons(objectives, {})

    def _objective(self, session: TrainingSession, groups: Sequence[Group]) -> Objective:
        options = self._options
        student = [
            sequence
            for group in groups
            for sequence in self._sequences(group, self._queries[group.at].prompt)
        ]
        taught = [
            sequence
            for group in groups
            for sequence in self._sequences(group, self._queries[group.at].taught)
        ]
        teacher = self._parent if options.teacher == "parent" else session.adapter
        if options.exact:
            scored = score_alone(self._base, teacher, taught)
            return ExactDistillation(student, scored.log_probs, options.top, options.forward)
        return SampledDistillation(
            student,
            [value for group in groups for rollout in group.rollouts for value in rollout.log_probs],
            [value for row in token_log_probs(self._base, teacher, taught) for value in row],
            options.advantage_max,
        )

    def _sequences(self, group: Group, prompt: tuple[Message, ...]) -> list[TrainSequence]:
        prompt_ids = self._tokenizer.tokens_of(prompt).ids
        return [distillation_sequence(prompt_ids, rollout.reply_ids) for rollout in group.rollouts]
