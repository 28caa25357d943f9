"""What there is to learn by each method, and why there is nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from populace.actors.engine import Message
from populace.actors.errors import NothingToTrain
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.curricula import (
    Curriculum,
    LogLessons,
    PreferenceCurriculum,
    SupervisedCurriculum,
    ThumbsCurriculum,
    batch_places,
    preferences,
    supervised,
    thumbs,
)
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import reply_log_probs
from populace.learning.examples import Example
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.policies.hold_out import is_held_out
from populace.policies.lessons import Judgement

pytestmark = pytest.mark.engine

Method = Callable[[LogLessons], Curriculum]

TAUGHT = [position for position in range(20) if not is_held_out(position)]
UP, DOWN = Judgement(liked=True), Judgement(liked=False)


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(small_base_f32: Path) -> BaseTokenizer:
    return BaseTokenizer(small_base_f32)


@pytest.fixture(scope="module")
def encoder(tokenizer: BaseTokenizer) -> ExampleEncoder:
    return ExampleEncoder(tokenizer, 64)


def example(place: int, judged: Judgement = UP, reply: str = "It is so.") -> Example:
    return Example(TAUGHT[place], (Message("user", f"Is it {place}?"),), reply, judged, is_held_out=False)


def session(base: FrozenBase, seed: int = 0) -> TrainingSession:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=2), "uniform", seed=1)
    return TrainingSession("ada", adapter, StepOptions(steps=4, learning_rate=1e-2, seed=seed))


def texts(tokenizer: BaseTokenizer, sequences: Sequence[TrainSequence]) -> list[str]:
    return [tokenizer.text([one.ids[place] for place in one.scored]) for one in sequences]


def test_sft_learns_what_was_liked_or_corrected(
    base: FrozenBase, encoder: ExampleEncoder, tokenizer: BaseTokenizer
) -> None:
    examples = [
        example(0, UP, "Yes."),
        example(1, DOWN, "No."),
        example(2, Judgement(liked=False, correction="Never."), "Always."),
        example(3, Judgement(), "Perhaps."),
    ]

    judged = supervised(LogLessons("ada", examples, encoder, base, None))
    every = supervised(LogLessons("ada", examples, encoder, base, None, unjudged=True))

    assert isinstance(judged, SupervisedCurriculum)
    assert isinstance(every, SupervisedCurriculum)
    assert texts(tokenizer, judged.sequences) == ["Yes.", "Never."]
    assert texts(tokenizer, every.sequences) == ["Yes.", "Never.", "Perhaps."]


def test_preference_learns_what_was_corrected_beside_what_the_parent_says(
    base: FrozenBase, encoder: ExampleEncoder, tokenizer: BaseTokenizer
) -> None:
    examples = [example(0), example(1, Judgement(correction="Better so."), "Not so.")]

    curriculum = preferences(LogLessons("ada", examples, encoder, base, None))

    assert isinstance(curriculum, PreferenceCurriculum)
    assert curriculum.size == 1
    assert texts(tokenizer, curriculum.sequences) == ["Better so.", "Not so."]
    assert curriculum.reference == reply_log_probs(base, None, curriculum.sequences)


def test_thumbs_learn_from_ups_and_downs_and_each_reply_after_anothers_prompt(
    base: FrozenBase, encoder: ExampleEncoder, tokenizer: BaseTokenizer
) -> None:
    examples = [example(0, UP, "Yes."), example(1, DOWN, "No."), example(2, Judgement(), "Perhaps.")]

    curriculum = thumbs(LogLessons("ada", examples, encoder, base, None))

    assert isinstance(curriculum, ThumbsCurriculum)
    assert list(curriculum.up) == [True, False]
    assert texts(tokenizer, curriculum.mismatched) == ["Yes.", "No."]
    assert curriculum.mismatched[0].ids != curriculum.sequences[0].ids


@pytest.mark.parametrize("method", [supervised, preferences, thumbs])
def test_every_method_learns_what_it_is_about(
    base: FrozenBase, encoder: ExampleEncoder, method: Method
) -> None:
    judged = [Judgement(liked=place % 2 == 0, correction="Better so.") for place in range(6)]
    examples = [example(place, one, f"Not so {place}.") for place, one in enumerate(judged)]
    curriculum = method(LogLessons("ada", examples, encoder, base, None))
    learning = session(base)

    losses = [
        outcome.loss
        for _ in range(4)
        for outcome in take_step(base, [(learning, curriculum.objective(learning, 6))])
        if isinstance(outcome, StepReport)
    ]

    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("method", "examples", "reason"),
    [
        (supervised, [], "its log has no interaction"),
        (supervised, [example(0)._replace(is_held_out=True)], "all 1 new interactions are held out"),
        (
            supervised,
            [example(0, DOWN), example(1, Judgement())],
            "none of its 2 new replies was liked or corrected",
        ),
        (supervised, [example(0, reply="long " * 90)], "each of its 1 examples is longer than the context"),
        (preferences, [example(0, UP), example(1, DOWN)], "none of its 2 new replies was corrected"),
        (thumbs, [example(0, Judgement(reward=1.0))], "none of its 1 new replies was liked or disliked"),
    ],
)
def test_where_there_is_nothing_to_learn_it_is_said_why(
    base: FrozenBase, encoder: ExampleEncoder, method: Method, examples: Sequence[Example], reason: str
) -> None:
    with pytest.raises(NothingToTrain, match=reason):
        method(LogLessons("ada", examples, encoder, base, None))


def test_an_epoch_is_every_example_once_in_an_order_of_its_own(base: FrozenBase) -> None:
    learning, orders = session(base), list[list[int]]()
    for epoch in range(3):
        places: list[int] = []
        for step in range(5):
            learning.step = 5 * epoch + step
            places += batch_places(learning, 10, 2)
        orders.append(places)

    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    other = session(base, seed=1)
    other.step = 0
    assert batch_places(other, 10, 10) != orders[0]


def test_a_batch_is_never_more_than_there_is(base: FrozenBase) -> None:
    learning = session(base)
    for step in range(4):
        learning.step = step
        assert sorted(batch_places(learning, 3, 8)) == [0, 1, 2]
