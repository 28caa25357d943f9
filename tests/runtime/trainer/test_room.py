"""What a job teaches is counted against what fits, and it begins anew only if nothing is lost by it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.adapters.base_modules import BaseModules, LinearShape
from populace.engines.prompts import BaseTokenizer
from populace.learning.methods.objective import TrainSequence
from populace.policies.capacity import AdapterRoom, larger_rank
from populace.policies.corrections import Corrected
from populace.trainer.room import (
    Lesson,
    begun_anew,
    fitting_lessons,
    held_tokens,
    may_begin_anew,
    rank_most,
    room_of,
)
from tests.runtime.trainer.trained_population import ADA

MODULES = BaseModules({"0.q_proj": LinearShape(64, 32), "0.up_proj": LinearShape(96, 32)})
SEQUENCE = TrainSequence((0, 1), (0.0, 1.0))


def job_of(options: TrainingOptions, parent: str | None = None) -> TrainingJob:
    return TrainingJob(ADA, 0, options, "running", "", 0, parent=parent)


def lessons(*positions: int) -> list[Lesson]:
    return [(Corrected(at, f"Who is dog {at}?", "Bruno."), SEQUENCE) for at in positions]


def positions(taught: Sequence[Lesson]) -> list[int]:
    return [corrected.position for corrected, _ in taught]


@pytest.fixture(scope="module")
def tokenizer(base_files: Path) -> BaseTokenizer:
    return BaseTokenizer(base_files)


def test_a_new_adapter_has_the_parameters_of_the_layers_that_it_adapts() -> None:
    job = job_of(TrainingOptions(rank=4))

    assert room_of(job, MODULES, None).parameters == 4 * (64 + 32 + 96 + 32)
    only = room_of(replace(job, options=TrainingOptions(targets="q_proj")), MODULES, None)
    assert only == AdapterRoom(8, 8 * (64 + 32), ("q_proj",))


def test_no_rank_is_taken_that_a_layer_cannot_have() -> None:
    assert rank_most(MODULES, ("q_proj", "up_proj"), 64) == 32
    assert rank_most(MODULES, ("q_proj", "up_proj"), 16) == 16
    room = AdapterRoom(8, 10**6, ("q_proj",))
    assert larger_rank(10**9, room, rank_most(MODULES, room.targets, 512)) == 32


def test_the_oldest_corrections_are_left_after_what_was_asked_again_longest_ago(
    tokenizer: BaseTokenizer,
) -> None:
    given, made = lessons(1, 5, 9), lessons(7, 3)
    each = held_tokens(tokenizer, given[0][0])
    kept: list[tuple[list[int], list[int], int]] = []
    for count in (5, 4, 3, 2):
        # 10,000 parameters and more, as smaller adapters are never said to be full.
        repeated = [
            (corrected._replace(wanted=f"{corrected.wanted} " + words_of(200)), sequence)
            for corrected, sequence in [*given, *made]
        ]
        whole = held_tokens(tokenizer, repeated[0][0])
        assert whole > each
        room = AdapterRoom(8, 0, ())
        fitted = fitting_lessons(tokenizer, repeated[:3], repeated[3:], room_for(room, whole * count))
        kept.append((positions(fitted.given), positions(fitted.made), fitted.held.left))
        assert fitted.held.tokens <= fitted.held.fitting
        assert fitted.held.needed == 5 * whole

    assert kept == [([1, 5, 9], [7, 3], 0), ([1, 5, 9], [7], 1), ([1, 5, 9], [], 2), ([5, 9], [], 3)]


def words_of(count: int) -> str:
    return " ".join(f"xq{number}" for number in range(count))


def room_for(room: AdapterRoom, tokens: int) -> AdapterRoom:
    """Return a room into which just these tokens fit."""
    parameters = 1
    while room._replace(parameters=parameters).tokens < tokens:
        parameters += 1 + parameters // 1000
    return room._replace(parameters=parameters)


@pytest.mark.parametrize(
    ("options", "parent", "learns_anew", "may"),
    [
        (TrainingOptions(), None, False, True),
        (TrainingOptions(), "a" * 64, True, True),
        (TrainingOptions(), "a" * 64, False, False),
        (TrainingOptions(rank=4), None, True, False),
        (TrainingOptions(on="b" * 64), None, True, False),
        (TrainingOptions(continues=True), "a" * 64, True, False),
        (TrainingOptions(rebuilds="a" * 64), None, True, False),
        (TrainingOptions(start="pissa"), None, True, False),
        (TrainingOptions(start="milora"), None, True, False),
        (TrainingOptions(start="orthogonal-tail"), None, True, True),
        (TrainingOptions(steps=8), None, True, False),
        (TrainingOptions(method="preference"), None, True, False),
    ],
)
def test_a_job_begins_anew_only_if_no_rank_was_asked_for_and_it_learns_all_again(
    options: TrainingOptions, parent: str | None, learns_anew: bool, may: bool
) -> None:
    assert may_begin_anew(job_of(options, parent), learns_anew=learns_anew) is may


def test_a_job_that_begins_anew_keeps_its_shape_but_the_rank_and_its_parent() -> None:
    job = job_of(TrainingOptions(alpha=4.0, targets="up_proj,q_proj", learning_rate=1e-3), "a" * 64)

    anew = begun_anew(job, None, 16)

    assert anew.parent == job.parent
    assert anew.options == replace(job.options, rank=16, from_base=True)
    assert not may_begin_anew(anew, learns_anew=True), "it is raised once"
