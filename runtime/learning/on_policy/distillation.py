"""Learning to say without a context what the model says with it: the student has none, the teacher has it.

The student reads prompts. What the teacher knows beside them is read by the teacher, and is in no sequence
that is learned from.
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
from populace.learning.on_policy.rounds import Group, Lessons, parts_of
from populace.learning.on_policy.tasks import ContextQuery
from populace.learning.session import TrainingSession

Teacher = Literal["parent", "student"]


@dataclass(frozen=True, slots=True)
class DistillationOptions:
    """``teacher``: the parent, which stays as it is, or the student itself as it is at each step.

    ``exact`` compares the ``top`` likeliest tokens of the student at each place, and with a weight of
    ``forward`` in the other direction; else the sampled one alone, to which ``advantage_max`` belongs. See
    ``methods/context_distillation.py``.
    """

    teacher: Teacher = "parent"
    exact: bool = True
    top: int = 256
    forward: float = 0.0
    advantage_max: float = 5.0


class DistillationMethod:
    """An ``OnPolicyMethod``: the reverse divergence of student and teacher. ``parent`` None is the base."""

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
        """``tokens_max`` are those of a reply.

        Raises ``PromptTooLong`` if a context and its query leave no room for that.
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
        made: list[Callable[[], Objective]] = [
            partial(self._objective, session, part) for part in parts_of(groups, steps)
        ]
        return Lessons(made, {})

    def _objective(self, session: TrainingSession, groups: Sequence[Group]) -> Objective:
        options = self._options
        student = [one for group in groups for one in self._sequences(group, self._queries[group.at].prompt)]
        taught = [one for group in groups for one in self._sequences(group, self._queries[group.at].taught)]
        teacher = self._parent if options.teacher == "parent" else session.adapter
        if options.exact:
            judged = score_alone(self._base, teacher, taught)
            return ExactDistillation(student, judged.log_probs, options.top, options.forward)
        return SampledDistillation(
            student,
            [number for group in groups for one in group.rollouts for number in one.log_probs],
            [number for row in token_log_probs(self._base, teacher, taught) for number in row],
            options.advantage_max,
        )

    def _sequences(self, group: Group, prompt: tuple[Message, ...]) -> list[TrainSequence]:
        asked = self._tokenizer.tokens_of(prompt).ids
        return [distillation_sequence(asked, one.reply_ids) for one in group.rollouts]
