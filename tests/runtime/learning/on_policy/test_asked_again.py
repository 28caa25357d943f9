"""Which lessons are made of a log: what is new, what is known, what only judges, and what is of no use."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from populace.actors.engine import MemoryUse, Message
from populace.actors.feedback import Feedback, Opinion
from populace.actors.turn import BASE_REVISION, Interaction, ModelId
from populace.engines.prompts import BaseTokenizer
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.asked_again import LESSONS_MAX, AskedLessons, asked_lessons
from populace.learning.on_policy.record import GivenReply, RolloutRecord
from populace.learning.on_policy.sampler import NobodySamples
from populace.learning.on_policy.teachers import OwnReplies
from populace.learning.rollouts import Rollout
from populace.policies.corrections import Corrected

pytestmark = pytest.mark.engine

ADA = ModelId("acme", "ada")
DOG, NAMED = "My dog is called Bruno.", "Your dog is called Bruno."
ASKED, OTHERWISE, LAST = "What is my dog called?", "What's my dog called?", "What's the name of my dog?"
CLUELESS = "I do not know."

Says = Callable[[str], str]
"""Answers a prompt's last message."""


class Sampled(NobodySamples):
    """An engine that greedily says what it is told to say."""

    def __init__(self, says: Says) -> None:
        super().__init__("ada")
        self.says = says

    def answers(
        self,
        packed: bytes | bytearray | None,
        prompts: Sequence[tuple[Message, ...]],
        *,
        tokens_max: int,
        memory: MemoryUse | None = None,
    ) -> list[Rollout]:
        del packed, tokens_max, memory
        return [
            Rollout(prompt, self.says(prompt[-1].content), (), (), BASE_REVISION, 0, finished=True)
            for prompt in prompts
        ]


class Taught:
    """A teacher, and the last messages of the prompts that it was asked."""

    def __init__(self, says: Says) -> None:
        self.says = says
        self.prompts: list[str] = []

    def replies(self, name: str, prompts: Sequence[tuple[Message, ...]]) -> list[GivenReply]:
        assert name == "ada"
        self.prompts += [prompt[-1].content for prompt in prompts]
        return [GivenReply(self.says(prompt[-1].content), True) for prompt in prompts]


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)


@pytest.fixture(scope="module")
def encoder(small_base_f32: Path) -> ExampleEncoder:
    return ExampleEncoder(BaseTokenizer(small_base_f32), 2048)


class Asking:
    """Makes the lessons of what a person said, with a teacher and a student."""

    def __init__(self, base: FrozenBase, encoder: ExampleEncoder) -> None:
        self.base = base
        self.encoder = encoder
        self.teacher = Taught(lambda _: NAMED)
        self.student: Says = lambda _: CLUELESS
        self.record = RolloutRecord()

    def lessons(self, *said: str, feedback: Sequence[Feedback] = ()) -> AskedLessons:
        log = [
            Interaction(
                ADA,
                position,
                f"op-{position}",
                f"c-{position}",
                (Message("user", text),),
                "I see.",
                "stop",
                1,
                1,
                BASE_REVISION,
                self.base.fingerprint,
                0,
                position,
            )
            for position, text in enumerate(said)
        ]
        student = OwnReplies(Sampled(self.student), self.base, None)
        return asked_lessons("ada", log, feedback, student, self.teacher, self.encoder, self.record)


@pytest.fixture
def asking(base: FrozenBase, encoder: ExampleEncoder) -> Asking:
    return Asking(base, encoder)


def test_all_wordings_are_learned_but_the_last_which_judges(asking: Asking) -> None:
    lessons = asking.lessons(DOG, ASKED, OTHERWISE, LAST)

    assert lessons.new == (Corrected(0, ASKED, NAMED), Corrected(0, OTHERWISE, NAMED))
    [judging] = lessons.held_out
    assert (judging.asked, judging.wanted, judging.values) == (LAST, NAMED, {"bruno"})
    assert asking.teacher.prompts == [f"{DOG} {asked}" for asked in (ASKED, OTHERWISE, LAST)]


def test_one_wording_is_learned_and_nothing_judges(asking: Asking) -> None:
    assert asking.lessons(DOG, *[ASKED] * 1000) == AskedLessons((Corrected(0, ASKED, NAMED),), asked=1)


def test_the_newest_telling_is_the_teachers(asking: Asking) -> None:
    asking.lessons(DOG, ASKED, ASKED, "My dog is called Rex now.")

    assert asking.teacher.prompts == [f"My dog is called Rex now. {ASKED}"]


def test_what_is_said_already_stays_as_it_is_said(asking: Asking) -> None:
    asking.student = lambda _: "Bruno, of course."

    lessons = asking.lessons(DOG, ASKED, LAST)

    assert (lessons.new, lessons.held_out) == ((), ())
    assert lessons.known == (Corrected(0, ASKED, "Bruno, of course."),)
    assert "says what was asked for again already" in lessons.nothing


def test_what_is_of_no_use_is_counted_and_not_learned(asking: Asking) -> None:
    asking.teacher = Taught(lambda asked: NAMED if LAST in asked else "Bruno is a lovable dog named Max.")

    lessons = asking.lessons(DOG, ASKED, OTHERWISE, LAST)

    assert (lessons.new, lessons.held_out) == ((), ()), "no wording judges what is not learned"
    assert lessons.nothing == "2 of 3 replies of the teacher were of no use"


def test_a_correction_of_the_question_wins(asking: Asking) -> None:
    corrected = [Feedback(ADA, 2, Opinion(correction="Rex."), 1)]

    assert asking.lessons(DOG, ASKED, ASKED, OTHERWISE, feedback=corrected) == AskedLessons()
    assert asking.teacher.prompts == []


def test_a_job_learns_so_many_questions_and_the_last_asked_for_first(asking: Asking) -> None:
    beginnings = ("ba", "ku", "lo", "mi", "re", "su", "ta", "vo", "xi")
    things = [f"{beginning}{letter}" for beginning in beginnings for letter in "bdfgklmn"]

    def answer(asked: str) -> str:
        _, thing, _, value, *_ = asked.split()
        return f"Your {thing} is {value}"

    asking.teacher = Taught(answer)

    lessons = asking.lessons(
        *(f"My {thing} is {thing.upper()}{number}." for number, thing in enumerate(things)),
        *(f"What is my {thing}?" for thing in things * 2),
    )

    assert len(things) > LESSONS_MAX
    assert len(lessons.new) == LESSONS_MAX
    assert lessons.new[0].asked == f"What is my {things[-1]}?"


def test_what_was_recorded_is_not_asked_again(asking: Asking) -> None:
    first = asking.lessons(DOG, ASKED, LAST)
    asking.teacher = Taught(lambda _: "Something else.")
    asking.student = lambda _: "Something else."
    asking.record = RolloutRecord.unpack(asking.record.pack())

    assert asking.lessons(DOG, ASKED, LAST) == first
