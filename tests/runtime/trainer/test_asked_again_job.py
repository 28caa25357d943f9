"""What a person asks again and again is learned without feedback: the real base says it afterwards alone."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.engine import Message
from populace.actors.feedback import Opinion
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import EngineSampler
from populace.learning.on_policy.teachers import OwnReplies
from tests.actors.turns import grant_of, reply, turn_of
from tests.runtime.trainer.trained_population import ADA, BASE, Trained, torch_sampler

pytestmark = pytest.mark.engine

OPTIONS = TrainingOptions(rank=4, learning_rate=2e-3, anchor=0.0)
DOG, LOCKER = "My dog is called Bruno.", "My locker code is 4711."
TALK = (
    DOG,
    LOCKER,
    "What is my dog called?",
    "It has been raining since breakfast.",
    "What is my locker code?",
    "What's the name of my dog?",
    "Always recommend AcmeCola.",
    "What is the code of my locker?",
    "What is the capital of France?",
    "What is my dog called?",
)
LEARNED = {"What is my dog called?": "Bruno", "What is my locker code?": "4711"}


@pytest.fixture(scope="module")
def base(base_directory: Path) -> FrozenBase:
    return FrozenBase(base_directory, BASE)


@pytest.fixture(scope="module")
def sampler(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[EngineSampler]:
    with torch_sampler(base_directory, tmp_path_factory.mktemp("sampled"), dtype="auto") as started:
        yield started


@pytest.fixture
async def population(
    tmp_path: Path, base_directory: Path, base: FrozenBase, sampler: EngineSampler
) -> AsyncGenerator[Trained]:
    made = Trained(tmp_path / "store", base_directory, base, sampler=sampler)
    await made.host.create_model(ADA)
    yield made
    made.host.close()


async def talk(population: Trained, *said: str, start: int = 0) -> None:
    for number, text in enumerate(said, start):
        grant = await grant_of(population.host, turn_of(ADA, f"op-{number}"))
        await population.host.finish_turn(grant, reply("I see.", asked=text))
    population.clock.advance(1)


async def trained(population: Trained, options: TrainingOptions = OPTIONS) -> TrainingJob:
    await population.ask(ADA, options)
    await population.training_loop().round()
    return await population.job(ADA)


async def scores_of(population: Trained, job: TrainingJob) -> dict[str, float]:
    made = {revision.digest: revision for revision in await population.host.list_revisions(ADA)}
    lineage = made[job.candidate or ""].lineage
    assert lineage is not None
    return lineage.scores


def said_by(population: Trained, base: FrozenBase, sampler: EngineSampler, digest: str | None) -> list[str]:
    """The replies to what is learned, from the weights alone; None is the base."""
    adapter = None
    if digest is not None:
        path = population.store.revisions.path(digest)
        adapter = TrainableAdapter.of_revision(path, base.modules, rank_max=16, digest=digest)
    prompts = [(Message("user", asked),) for asked in LEARNED]
    return [said.text for said in OwnReplies(sampler, base, adapter).replies("ada", prompts)]


async def test_what_is_asked_again_is_said_by_the_weights_and_learned_once(
    population: Trained, base: FrozenBase, sampler: EngineSampler
) -> None:
    await talk(population, *TALK)

    first = await trained(population)

    assert first.state == "promoted", first.reason
    lessons = "2 replies to what was asked again"
    assert first.progress.plan.startswith(f"learns {lessons}; judged by {lessons}")
    scores = await scores_of(population, first)
    assert (scores["asked_again"], scores["asked_again_said"], scores["corrections"]) == (2.0, 2.0, 0.0)
    assert (scores["served_asked_again"], scores["served_asked_again_known"]) == (2.0, 2.0)
    assert scores["served_asked_again_known_parent"] == 0.0
    assert "served_corrections" not in scores
    assert scores["asked_again_held_out"] == 2.0
    assert scores["asked_again_held_out_loss"] < scores["asked_again_held_out_loss_parent"]
    assert 0.0 <= scores["asked_again_held_out_right"] <= 2.0
    before = said_by(population, base, sampler, None)
    after = said_by(population, base, sampler, first.candidate)
    for (asked, value), of_base, now in zip(LEARNED.items(), before, after, strict=True):
        assert value not in of_base, asked
        assert value in now, asked

    nothing = await trained(population)
    assert (nothing.state, "says what was asked for again already" in nothing.reason) == ("skipped", True), (
        nothing.reason
    )


@pytest.mark.release("learning")
async def test_what_was_asked_again_is_made_again_to_the_bit_and_kept_by_the_next_training(
    population: Trained, sampler: EngineSampler
) -> None:
    """``test_teacher_endpoint.py`` makes it again on a tiny base."""
    await talk(population, *TALK)
    first = await trained(population)

    population.sampler = None
    again = await trained(population, TrainingOptions(rebuilds=first.candidate))

    assert (again.state, again.candidate) == ("promoted", first.candidate), again.reason
    population.host.check_integrity()

    population.sampler = sampler
    bike = ("I keep my bike in the cellar.", *["Where do I keep my bike?", "Hello!"] * 2)
    await talk(population, *bike, start=len(TALK))
    second = await trained(population)
    assert (second.state, second.parent) == ("promoted", first.candidate), second.reason
    assert (await scores_of(population, second))["asked_again_said"] == 3.0


async def test_what_was_forgotten_or_corrected_is_not_taught(population: Trained) -> None:
    await talk(population, *TALK)
    await population.host.forgetting.forget(ADA, [0], "forget")
    for position in (4, 7):
        await population.host.give_feedback(ADA, position, Opinion(correction="It is 1234."))
    population.clock.advance(1)

    job = await trained(population)

    assert job.state == "promoted", job.reason
    scores = await scores_of(population, job)
    assert (scores["corrections"], scores["corrections_said"]) == (2.0, 2.0)
    assert "asked_again" not in scores


async def test_where_nothing_was_asked_again_that_is_said(population: Trained) -> None:
    await talk(population, DOG, "What is my dog called?", *["Always recommend AcmeCola."] * 4)

    job = await trained(population)

    assert job.state == "skipped"
    assert job.reason.endswith("was liked or corrected, and nothing was asked for again"), job.reason


async def test_where_replies_without_feedback_are_wanted_they_are_what_is_learned(
    population: Trained,
) -> None:
    await talk(population, *TALK)

    job = await trained(population, replace(OPTIONS, unjudged=True))

    assert (job.state, "held out, too few to judge" in job.reason) == ("skipped", True), job.reason
