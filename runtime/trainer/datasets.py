"""Makes the datasets of jobs, by method: from the log, the model's own replies, or tasks."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from populace.actors.engine import MemoryUse, Message
from populace.actors.errors import NothingToTrain, TrainingFailed
from populace.actors.feedback import Feedback
from populace.actors.reward_tasks import RewardTask, pack_tasks
from populace.actors.suites import Suite
from populace.actors.training import TrainingJob
from populace.actors.training_options import STEPS_MAX, steps_of
from populace.actors.turn import Interaction
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.corrections import (
    PASSES_MAX,
    CorrectionsCurriculum,
    Taught,
    corrections_of,
)
from populace.learning.curricula import (
    Curriculum,
    LogLessons,
    SupervisedCurriculum,
    preferences,
    supervised,
    thumbs,
)
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOut, HeldOutPeople, HeldOutReplies
from populace.learning.examples import Example, digest_of, examples_of
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.sft import Reads
from populace.learning.on_policy.as_served import AsServed
from populace.learning.on_policy.asked_again import (
    AskedLessons,
    HeldOutQuestion,
    HeldOutQuestions,
    asked_lessons,
)
from populace.learning.on_policy.distillation import DistillationMethod, DistillationOptions
from populace.learning.on_policy.held_out_tasks import HeldOutTasks
from populace.learning.on_policy.log_queries import log_queries
from populace.learning.on_policy.record import RolloutRecord
from populace.learning.on_policy.reward import RewardMethod, RewardOptions
from populace.learning.on_policy.rounds import RolloutCurriculum, RoundOptions
from populace.learning.on_policy.sampler import NobodySamples, Sampler
from populace.learning.on_policy.served_replies import WantedReplies, WantedReply
from populace.learning.on_policy.teachers import OwnReplies, Teacher
from populace.policies.capacity import AdapterRoom, Held
from populace.policies.community import equal_shares
from populace.policies.corrections import Corrected
from populace.policies.hold_out import is_held_out
from populace.policies.lessons import wanted_reply
from populace.policies.told_answers import value_words
from populace.trainer.contributed import Contributions
from populace.trainer.room import fitting_lessons

FORWARD = 0.5
"""Weight of the forward divergence; without it, replies that a model never gives are learned too slowly."""

STEPS_A_ROUND = 2
"""Optimiser steps on each round of rewarded replies, because sampling them takes most of the time."""


class TrainingData(NamedTuple):
    """What a job learns from: the interactions in its range, the feedback before its start, its tasks.

    ``examples`` are those of its file, if it learns from one; ``log`` and ``feedback`` are empty then.
    ``contributions`` are what a community learns from; the log is empty then too.
    ``learns_anew``: all that the job's parent learned is in the log, for a new adapter to learn again.
    ``suite`` is the person's own, by which its candidate is judged beside the revision ``served``; None is
    the base. ``memory`` is how the candidate's replies read the person's memory, None where none is served;
    ``learns_with_memory``: it has what the range told and no more, so it is read in training too.
    """

    log: Sequence[Interaction]
    feedback: Sequence[Feedback]
    tasks: Sequence[RewardTask] = ()
    examples: Sequence[Example] = ()
    contributions: Contributions | None = None
    suite: Suite = ()
    served: str | None = None
    memory: MemoryUse | None = None
    learns_with_memory: bool = False
    learns_anew: bool = False


class Dataset(NamedTuple):
    """The data of a job. ``data_digest`` covers the data to learn from and the held-out data.

    ``taught`` are the corrections that the candidate has to say, and ``steps_max`` is how many are too many.
    ``wanted`` are replies that it is asked for as it is served.
    ``contributors`` are the ids of those whose text a community learns.
    ``wordings`` judges what was asked again and again by questions that were not learned. ``held`` says how
    full of what is learned until it is said the adapter becomes, None if nothing is.
    """

    curriculum: Curriculum
    held_out: HeldOut
    data_digest: str
    taught: Taught | None = None
    steps_max: int | None = None
    wanted: WantedReplies = WantedReplies()
    contributors: tuple[str, ...] = ()
    wordings: HeldOutQuestions | None = None
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class DatasetInputs:
    """What the dataset of one job is made from.

    ``parent`` is the adapter that the job continues from, None the base; ``room`` is the size of what it
    trains. Without a ``sampler``, methods that
    sample replies are refused, unless ``record`` replays what they sampled; what they sample is added to it.
    ``teacher`` answers what was asked again and again, None for the base. ``reading`` is that of
    ``CorrectionsCurriculum``.
    """

    job: TrainingJob
    data: TrainingData
    parent: TrainableAdapter | None
    base: FrozenBase
    tokenizer: BaseTokenizer
    encoder: ExampleEncoder
    sampler: Sampler | None
    room: AdapterRoom
    record: RolloutRecord = field(default_factory=RolloutRecord)
    teacher: Teacher | None = None
    reading: Reads | None = None

    def asked_lessons(self) -> AskedLessons:
        """Ask the teacher what the log asks for again and again; nothing if no engine replies.

        Where replies without feedback are wanted, they are what is learned for their questions.
        """
        if self.job.options.unjudged or (self.sampler is None and not self.record.has_given):
            return AskedLessons()
        name = self.job.model.name
        sampler = self.sampler or NobodySamples(name)
        return asked_lessons(
            name,
            self.data.log,
            self.data.feedback,
            OwnReplies(sampler, self.base, self.parent),
            # What it was taught before would be in its replies too, so the base reads what was told.
            self.teacher or OwnReplies(sampler, self.base, None),
            self.encoder,
            self.record,
        )

    def lessons(self) -> LogLessons:
        options = self.job.options
        is_file = options.training_file is not None
        return LogLessons(
            self.job.model.name,
            self.data.examples if is_file else examples_of(self.data.log, self.data.feedback),
            self.encoder,
            self.base,
            self.parent,
            options.unjudged,
            options.beta,
        )

    def engine(self) -> Sampler:
        if self.sampler is None and self.record.replays:
            return NobodySamples(self.job.model.name)
        if self.sampler is None:
            raise TrainingFailed(self.job.model.name, "this trainer samples from no engine")
        return self.sampler


def _from_log(curriculum_of: Callable[[LogLessons], Curriculum]) -> "Maker":
    def make(inputs: DatasetInputs) -> Dataset:
        lessons = inputs.lessons()
        judged = _judged_by_log(lessons, curriculum_of(lessons))
        return judged._replace(wanted=judged.wanted._replace(learned=_corrected(lessons)))

    return make


def _from_replies(inputs: DatasetInputs) -> Dataset:
    """Learn corrections until they are said, and liked replies for some passes, if no steps are asked for.

    Beside the corrections are the teacher's replies to what was asked again and again.
    """
    if inputs.data.contributions is not None:
        return _from_contributions(inputs, inputs.data.contributions)
    lessons, options = inputs.lessons(), inputs.job.options
    if not options.learns_until_said:
        judged = _judged_by_log(lessons, supervised(lessons))
        return judged._replace(wanted=judged.wanted._replace(learned=_corrected(lessons)))
    asked = inputs.asked_lessons()
    given = lessons.encoder.fitting(corrections_of(inputs.data.log, inputs.data.feedback), _alone)
    # What it says already is only learned again beside something new, so that it is not unlearned.
    made = lessons.encoder.fitting([*asked.new, *asked.known], _alone) if given or asked.new else []
    given, made, held = fitting_lessons(inputs.tokenizer, given, made, inputs.room)
    if not given and not made:
        return _judged_by_log(lessons, _of_liked(inputs, lessons, asked))
    others = replace(lessons, examples=[one for one in lessons.examples if one.judged.correction is None])
    try:
        liked = supervised(others)
    except NothingToTrain:
        liked = None
    known, sequences = zip(*given, *made, strict=True)
    taught = Taught(
        lessons.base,
        known,
        sequences,
        alone=liked is None,
        asked_again=len(made),
        unusable=asked.unusable,
        reading=inputs.reading,
    )
    steps = 0 if liked is None else steps_of(liked.size, options.batch, options.passes)
    learned = CorrectionsCurriculum(lessons.base, sequences, liked, steps, inputs.reading)
    judged = _judged_by_log(others, learned)
    steps_max = min(STEPS_MAX, PASSES_MAX * math.ceil(len(known) / options.batch))
    positions = {one.position for one, _ in made}
    judging = tuple(question for question in asked.held_out if question.position in positions)
    wordings = _wordings(inputs, lessons, judging)
    told: list[object] = [digest_of(lessons.examples), known]
    if wordings is not None:
        told.append([question[:3] for question in wordings.questions])
    say = [WantedReply(*_alone(one)) for one, _ in given]
    # Of a reply to what was asked again the words count that its question has not: they are the told ones.
    say += [WantedReply(*_alone(one), value_words(one.wanted, one.asked)) for one, _ in made]
    return judged._replace(
        data_digest=hashlib.sha256(json.dumps(told).encode()).hexdigest(),
        taught=taught,
        steps_max=max(steps, steps_max),
        wanted=judged.wanted._replace(taught=say),
        wordings=wordings,
        held=held,
    )


def _of_liked(inputs: DatasetInputs, lessons: LogLessons, asked: AskedLessons) -> Curriculum:
    """Learn liked replies alone. Raises ``NothingToTrain``, which says what was asked again."""
    try:
        return supervised(lessons)
    except NothingToTrain as error:
        if inputs.sampler is None or inputs.job.options.unjudged or not inputs.data.log:
            raise
        raise NothingToTrain(lessons.name, f"{error.reason}, and {asked.nothing}") from None


def _alone(one: Corrected | HeldOutQuestion) -> tuple[tuple[Message, ...], str]:
    """The question as a new conversation has it, and the reply."""
    return (Message("user", one.asked),), one.wanted


def _wordings(
    inputs: DatasetInputs, lessons: LogLessons, judging: Sequence[HeldOutQuestion]
) -> HeldOutQuestions | None:
    if not judging:
        return None
    pairs = lessons.encoder.fitting(judging, _alone)
    sampler = inputs.sampler
    return HeldOutQuestions(
        [question for question, _ in pairs],
        [sequence for _, sequence in pairs],
        inputs.base,
        inputs.parent,
        None if sampler is None else AsServed(lessons.name, inputs.base, sampler),
    )


def _from_contributions(inputs: DatasetInputs, contributions: Contributions) -> Dataset:
    """Learn the liked replies of many people, from each about as much, and judge by what each held out."""
    name, encoder, people = inputs.job.model.name, inputs.encoder, contributions.people
    if not people:
        raise NothingToTrain(name, "no model of its tenant had agreed to be learned from when it started")
    taught = [encoder.fitting(person.taught, _replied) for person in people]
    held_out = [encoder.fitting(person.held_out, _replied) for person in people]
    counts = equal_shares([[len(sequence.scored) for _, sequence in pairs] for pairs in taught])
    learned = [pairs[len(pairs) - count :] for pairs, count in zip(taught, counts, strict=True)]
    sequences = [sequence for pairs in learned for _, sequence in pairs]
    if not sequences:
        reason = (
            f"of the {contributions.liked} liked replies of {len(people)} people none is left to learn: "
            "the others are held out, say words that one person alone told, or do not fit into the context"
        )
        raise NothingToTrain(name, reason)
    used = [
        (person.id, digest_of([example for example, _ in (*pairs, *judging)]))
        for person, pairs, judging in zip(people, learned, held_out, strict=True)
    ]
    judged_by = [[sequence for _, sequence in pairs] for pairs in held_out if pairs]
    return Dataset(
        SupervisedCurriculum(sequences),
        HeldOutPeople(inputs.base, judged_by),
        hashlib.sha256(json.dumps(used).encode()).hexdigest(),
        contributors=tuple(person.id for person, pairs in zip(people, learned, strict=True) if pairs),
    )


def _replied(example: Example) -> tuple[Sequence[Message], str]:
    return example.prompt, example.reply


def _from_own_replies(inputs: DatasetInputs) -> Dataset:
    sampler, options, lessons = inputs.engine(), inputs.job.options, inputs.lessons()
    queries = log_queries(
        lessons.name,
        inputs.data.log,
        inputs.data.feedback,
        lessons.examples,
        inputs.tokenizer,
        retrieve=options.retrieve,
        tokens_max=inputs.base.context_tokens - options.reply_tokens,
    )
    method = DistillationMethod(
        queries,
        inputs.base,
        inputs.tokenizer,
        inputs.parent,
        DistillationOptions(forward=FORWARD),
        tokens_max=options.reply_tokens,
    )
    rounds = RoundOptions(replies=options.replies_each, tokens_max=options.reply_tokens)
    return _judged_by_log(lessons, RolloutCurriculum(method, sampler, inputs.base, rounds, inputs.record))


def _from_tasks(inputs: DatasetInputs) -> Dataset:
    options, name, base, tokenizer = inputs.job.options, inputs.job.model.name, inputs.base, inputs.tokenizer
    assert options.reward is not None, "a job that learns from tasks has a reward"
    sampler = inputs.engine()
    room = base.context_tokens - options.reply_tokens
    fitting = [task for task in inputs.data.tasks if len(tokenizer.tokens_of(task.prompt).ids) <= room]
    taught = [task for at, task in enumerate(fitting) if not is_held_out(at)]
    if not taught:
        reason = f"none of its {len(inputs.data.tasks)} tasks has room in the context for a reply"
        raise NothingToTrain(name, reason)
    method = RewardMethod(taught, base, tokenizer, inputs.parent, RewardOptions(options.reward))
    rounds = RoundOptions(replies=options.replies_each, tokens_max=options.reply_tokens, steps=STEPS_A_ROUND)
    held_out = HeldOutTasks(
        name,
        [task for at, task in enumerate(fitting) if is_held_out(at)],
        method.rewards,
        base,
        sampler,
        replies=options.replies_each,
        tokens_max=options.reply_tokens,
        seed=options.seed,
        record=inputs.record,
    )
    digest = hashlib.sha256(pack_tasks(fitting).encode()).hexdigest()
    return Dataset(RolloutCurriculum(method, sampler, base, rounds, inputs.record), held_out, digest)


def _judged_by_log(lessons: LogLessons, curriculum: Curriculum) -> Dataset:
    """Judge the candidate by the held-out examples with the replies that were wanted."""
    held_out: list[TrainSequence] = []
    replies: list[WantedReply] = []
    for example in lessons.examples:
        wanted = wanted_reply(example.reply, example.judged, unjudged=lessons.unjudged)
        if example.is_held_out and wanted is not None:
            sequence = lessons.encoder.sequence(example.prompt, wanted)
            held_out += [] if sequence is None else [sequence]
            replies += (
                [WantedReply(example.prompt, wanted)] if sequence is not None and wanted.strip() else []
            )
    return Dataset(
        curriculum,
        HeldOutReplies(lessons.base, held_out),
        digest_of(lessons.examples),
        wanted=WantedReplies(held_out=replies),
    )


def _corrected(lessons: LogLessons) -> list[WantedReply]:
    """The corrections that are learned, each after the prompt that it is learned for."""
    found = [(example.prompt, example.judged.correction) for example in lessons.taught]
    return [WantedReply(prompt, wanted) for prompt, wanted in found if wanted is not None and wanted.strip()]


Maker = Callable[[DatasetInputs], Dataset]

MAKERS: Mapping[str, Maker] = {
    "sft": _from_replies,
    "preference": _from_log(preferences),
    "thumbs": _from_log(thumbs),
    "distillation": _from_own_replies,
    "rl": _from_tasks,
}
"""The maker of each method's datasets; ``actors/training_methods.py`` has the other part of a method.

It raises ``TrainingFailed``, and ``InvalidRequest`` for an unknown reward.
"""
