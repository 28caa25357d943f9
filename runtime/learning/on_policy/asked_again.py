"""Turns questions that a person asks again and again into corrections, by a teacher's replies.

The teacher reads the one turn that tells what is asked for, and nothing else of the log. Its reply is learned
only if it is whole and nothing but an answer (``policies/told_answers.py``); what the model says already
without the turn stays as it says it. The last of several wordings of a question is never learned, and judges
whether the model knows the thing or only the words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from populace.actors.engine import Message
from populace.actors.feedback import Feedback, feedback_by_position, judged
from populace.actors.turn import Interaction
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.contexts import CONTEXT_TOKENS_MAX
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import reply_losses
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.on_policy.as_served import AsServed
from populace.learning.on_policy.record import RolloutRecord
from populace.learning.on_policy.teachers import (
    REPLY_TOKENS,
    OwnReplies,
    Teacher,
    recorded_replies,
    teaching_prompt,
)
from populace.policies.asked_again import LoggedTurn, asked_again, logged_turn
from populace.policies.corrections import Corrected
from populace.policies.evaluation_gate import Evaluation
from populace.policies.retrieval import words_of
from populace.policies.told_answers import is_answer, value_words

LESSONS_MAX = 64
"""At most this many questions are learned in one job, the last asked for first."""

TEACHER = "teacher"
"""The teacher in a record, whoever it was: what is made again learns the same replies of another one too."""


class HeldOutQuestion(NamedTuple):
    """A question that is not learned, for what was told at the position, with the teacher's reply.

    ``values`` are the words of the reply that only the turn told.
    """

    position: int
    asked: str
    wanted: str
    values: frozenset[str]


class AskedLessons(NamedTuple):
    """What is to be taught of what was asked for again and again.

    ``new`` are questions with the teacher's replies, ``known`` others with what the model replies already.
    ``held_out`` are other wordings of new questions. Of the ``asked`` replies of the teacher, ``unusable``
    ones are learned in no way.
    """

    new: tuple[Corrected, ...] = ()
    known: tuple[Corrected, ...] = ()
    held_out: tuple[HeldOutQuestion, ...] = ()
    asked: int = 0
    unusable: int = 0

    @property
    def nothing(self) -> str:
        """Say why there is nothing new to learn."""
        if self.unusable:
            return f"{self.unusable} of {self.asked} replies of the teacher were of no use"
        return "it says what was asked for again already" if self.known else "nothing was asked for again"


class _Question(NamedTuple):
    """A question that is asked of the teacher, which reads what was told at the position."""

    position: int
    told: str
    text: str
    is_held_out: bool

    @property
    def prompt(self) -> tuple[Message, ...]:
        return (Message("user", self.text),)

    @property
    def taught(self) -> tuple[Message, ...]:
        return teaching_prompt(self.told, self.text)


def turns_of(log: Sequence[Interaction], feedback: Sequence[Feedback]) -> list[LoggedTurn]:
    """Return what counts of the turns of a log for ``policies/asked_again.py``."""
    opinions = feedback_by_position(feedback)
    turns = [
        logged_turn(turn.position, turn.messages, judged(opinions.get(turn.position, ())), turn.retrieved)
        for turn in log
    ]
    return [turn for turn in turns if turn is not None]


def asked_lessons(
    name: str,
    log: Sequence[Interaction],
    feedback: Sequence[Feedback],
    student: OwnReplies,
    teacher: Teacher,
    encoder: ExampleEncoder,
    record: RolloutRecord,
) -> AskedLessons:
    """Ask the teacher what the person of the model ``name`` asks again and again. Blocks.

    Replies that ``record`` has are not asked for. Questions whose prompt is longer than
    ``CONTEXT_TOKENS_MAX`` with the turn and its words as a reply are left out.
    Raises what ``Teacher.replies`` raises.
    """
    fitting = [
        question
        for question in _questions(turns_of(log, feedback))
        if _fits(encoder.sequence(question.taught, question.told))
    ]
    taught = recorded_replies(teacher, TEACHER, name, [one.taught for one in fitting], record)
    said = recorded_replies(student, student.who, name, [one.prompt for one in fitting], record)
    new: list[Corrected] = []
    known: list[Corrected] = []
    held_out: list[HeldOutQuestion] = []
    unusable = 0
    for question, reply, own in zip(fitting, taught, said, strict=True):
        if not (reply.whole and is_answer(question.told, question.text, reply.text)):
            unusable += 1
            continue
        told = value_words(question.told, question.text).intersection(words_of(reply.text))
        if question.is_held_out:
            held_out.append(HeldOutQuestion(question.position, question.text, reply.text, told))
        elif own.whole and told.issubset(words_of(own.text)):
            known.append(Corrected(question.position, question.text, own.text))
        else:
            new.append(Corrected(question.position, question.text, reply.text))
    # What was known before was judged before: a wording of it says nothing of this training.
    taught_now = {lesson.position for lesson in new}
    judging = tuple(question for question in held_out if question.position in taught_now)
    return AskedLessons(tuple(new), tuple(known), judging, len(fitting), unusable)


@dataclass(frozen=True, slots=True)
class HeldOutQuestions:
    """Judges a candidate by the wordings that were not learned.

    ``parent`` is what the job continues from, None the base. With ``asks`` None only the losses are compared.
    """

    questions: Sequence[HeldOutQuestion]
    sequences: Sequence[TrainSequence]
    base: FrozenBase
    parent: TrainableAdapter | None
    asks: AsServed | None

    def judge(self, evaluation: Evaluation, candidate: TrainableAdapter) -> Evaluation:
        """Add the losses of the teacher's replies, and how many the candidate's own have the told words.

        Raises ``TrainingFailed`` if the engine does not answer.
        """
        asked = evaluation.asked_again
        if asked is None or not self.sequences:
            return evaluation
        parent = fmean(reply_losses(self.base, self.parent, self.sequences))
        loss = fmean(reply_losses(self.base, candidate, self.sequences))
        right = None if self.asks is None else self._right(self.asks, candidate)
        judged_by = asked._replace(
            held_out=len(self.sequences),
            held_out_loss_parent=parent,
            held_out_loss=loss,
            held_out_right=right,
        )
        return evaluation._replace(asked_again=judged_by)

    def _right(self, asks: AsServed, candidate: TrainableAdapter) -> int:
        prompts = [(Message("user", question.asked),) for question in self.questions]
        replies = asks.replies(candidate, prompts, REPLY_TOKENS)
        return sum(
            question.values.issubset(words_of(reply.reply))
            for question, reply in zip(self.questions, replies, strict=True)
        )


def _questions(turns: Sequence[LoggedTurn]) -> list[_Question]:
    """Return the questions for what is due, up to ``LESSONS_MAX`` of them to be learned."""
    told = {turn.position: turn.said for turn in turns}
    questions: list[_Question] = []
    left = LESSONS_MAX
    for asked in asked_again(turns):
        if left <= 0:
            break
        last = len(asked.questions) - 1
        for place, text in enumerate(asked.questions):
            is_held_out = place == last > 0
            if is_held_out or left > 0:
                questions.append(_Question(asked.position, told[asked.position], text, is_held_out))
            left -= not is_held_out
    return questions


def _fits(sequence: TrainSequence | None) -> bool:
    return sequence is not None and len(sequence.ids) <= CONTEXT_TOKENS_MAX
