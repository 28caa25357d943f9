"""Makes the datasets of jobs, by method: from the log, the model's own replies, or tasks."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from populace.actors.errors import NothingToTrain, TrainingFailed
from populace.actors.feedback import Feedback
from populace.actors.reward_tasks import RewardTask, pack_tasks
from populace.actors.training import TrainingJob, TrainingOptions
from populace.actors.turn import Interaction
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.curricula import Curriculum, make_curriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOut, HeldOutReplies
from populace.learning.examples import Example, digest_of, examples_of
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.on_policy.distillation import DistillationMethod, DistillationOptions
from populace.learning.on_policy.held_out_tasks import HeldOutTasks
from populace.learning.on_policy.log_queries import log_queries
from populace.learning.on_policy.reward import RewardMethod, RewardOptions
from populace.learning.on_policy.rounds import RolloutCurriculum, RoundOptions
from populace.learning.on_policy.sampler import Sampler
from populace.policies.hold_out import is_held_out
from populace.policies.lessons import wanted_reply

FORWARD = 0.5
"""Weight of the forward divergence; without it, replies that a model never gives are learned too slowly."""

STEPS_A_ROUND = 2
"""Optimiser steps on each round of rewarded replies, because sampling them takes most of the time."""


class TrainingData(NamedTuple):
    """What a job learns from: the interactions in its range, the feedback before its start, its tasks."""

    log: Sequence[Interaction]
    feedback: Sequence[Feedback]
    tasks: Sequence[RewardTask] = ()


class Dataset(NamedTuple):
    """The data of a job. ``data_digest`` covers the data to learn from and the held-out data."""

    curriculum: Curriculum
    held_out: HeldOut
    data_digest: str


class DatasetBuilder:
    """Makes datasets for one base. Without a ``sampler``, methods that sample replies are refused."""

    def __init__(
        self,
        base: FrozenBase,
        tokenizer: BaseTokenizer,
        encoder: ExampleEncoder,
        sampler: Sampler | None,
    ) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._sampler = sampler

    def make(self, job: TrainingJob, data: TrainingData, parent: TrainableAdapter | None) -> Dataset:
        """Make a job's dataset. Raises ``TrainingFailed``, and ``InvalidRequest`` for an unknown reward."""
        options, name = job.options, job.model.name
        if options.method == "rl":
            return self._of_tasks(name, options, data.tasks, parent)
        examples = examples_of(data.log, data.feedback)
        if options.method == "distillation":
            curriculum = self._of_own_replies(name, options, data, examples, parent)
        else:
            curriculum = make_curriculum(
                options.method, name, examples, self._encoder, self._base, parent, unjudged=options.unjudged
            )
        held_out = HeldOutReplies(self._base, self._wanted(examples, unjudged=options.unjudged))
        return Dataset(curriculum, held_out, digest_of(examples))

    def _of_own_replies(
        self,
        name: str,
        options: TrainingOptions,
        data: TrainingData,
        examples: Sequence[Example],
        parent: TrainableAdapter | None,
    ) -> Curriculum:
        sampler = self._engine(name)
        queries = log_queries(
            name,
            data.log,
            data.feedback,
            examples,
            self._tokenizer,
            retrieve=options.retrieve,
            tokens_max=self._base.context_tokens - options.reply_tokens,
        )
        method = DistillationMethod(
            queries,
            self._base,
            self._tokenizer,
            parent,
            DistillationOptions(forward=FORWARD),
            tokens_max=options.reply_tokens,
        )
        rounds = RoundOptions(replies=options.replies_each, tokens_max=options.reply_tokens)
        return RolloutCurriculum(method, sampler, self._base, rounds)

    def _of_tasks(
        self,
        name: str,
        options: TrainingOptions,
        tasks: Sequence[RewardTask],
        parent: TrainableAdapter | None,
    ) -> Dataset:
        assert options.reward is not None, "a job of rl has a reward"
        sampler = self._engine(name)
        fitting = [task for task in tasks if self._fits(task, options.reply_tokens)]
        taught = [task for at, task in enumerate(fitting) if not is_held_out(at)]
        if not taught:
            raise NothingToTrain(name, f"none of its {len(tasks)} tasks has room in the context for a reply")
        method = RewardMethod(taught, self._base, self._tokenizer, parent, RewardOptions(options.reward))
        rounds = RoundOptions(
            replies=options.replies_each, tokens_max=options.reply_tokens, steps=STEPS_A_ROUND
        )
        held_out = HeldOutTasks(
            name,
            [task for at, task in enumerate(fitting) if is_held_out(at)],
            options.reward,
            self._base,
            sampler,
            replies=options.replies_each,
            tokens_max=options.reply_tokens,
            seed=options.seed,
        )
        digest = hashlib.sha256(pack_tasks(fitting).encode()).hexdigest()
        return Dataset(RolloutCurriculum(method, sampler, self._base, rounds), held_out, digest)

    def _engine(self, name: str) -> Sampler:
        if self._sampler is None:
            raise TrainingFailed(name, "this trainer samples from no engine")
        return self._sampler

    def _fits(self, task: RewardTask, reply_tokens: int) -> bool:
        return len(self._tokenizer.tokens_of(task.prompt).ids) + reply_tokens <= self._base.context_tokens

    def _wanted(self, examples: Sequence[Example], *, unjudged: bool) -> list[TrainSequence]:
        """Return the held-out examples with the replies that were wanted."""
        found: list[TrainSequence] = []
        for example in examples:
            reply = (
                wanted_reply(example.reply, example.judged, unjudged=unjudged)
                if example.is_held_out
                else None
            )
            sequence = None if reply is None else self._encoder.sequence(example.prompt, reply)
            if sequence is not None:
                found.append(sequence)
        return found
