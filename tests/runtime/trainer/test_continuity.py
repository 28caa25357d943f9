"""Some steps and then some more are all of them in one, for whom the first are kept, and for nobody else."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from populace.actors.feedback import Opinion
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from tests.runtime.trainer.trained_population import ADA, BOB, EVERYTHING, Trained

pytestmark = pytest.mark.engine

HALF = TrainingOptions(rank=4, steps=3, schedule_steps=6, learning_rate=1e-2, batch=3, anchor=0.0)
MORE = replace(HALF, continues=True)
WHOLE = replace(HALF, steps=6)


async def trained(population: Trained, options: TrainingOptions = HALF, model: ModelId = ADA) -> TrainingJob:
    await population.ask(model, options)
    await population.training_loop().round()
    return await population.job(model)


@pytest.fixture
async def taught(population: Trained) -> Trained:
    """A population in which ada and bob were told the same."""
    population.gate = EVERYTHING
    for model in (ADA, BOB):
        await population.teach(model, turns=16)
    return population


async def kept(population: Trained) -> list[str]:
    return [one.revision for one in await population.host.jobs.kept()]


def files(population: Trained) -> list[Path]:
    root = population.sessions.root
    return sorted(root.iterdir()) if root.exists() else []


@pytest.mark.parametrize(
    "changed",
    [
        {"anchor": 1.0},
        {"schedule_steps": None},
        {"method": "preference"},
        {"method": "thumbs"},
    ],
)
async def test_two_jobs_come_to_the_bits_of_one_of_the_steps_of_both(
    taught: Trained, changed: dict[str, Any]
) -> None:
    half = replace(HALF, **changed)
    assert half.steps is not None
    if half.method == "thumbs":
        for model in (ADA, BOB):
            for number in range(16):
                await taught.host.give_feedback(model, number, Opinion(thumb=number % 2 == 0))
        taught.clock.advance(1)
    first = await trained(taught, half)
    second = await trained(taught, replace(half, continues=True))
    # Without a schedule that was told, the first steps had one of their own, in which the others go on.
    schedule = half.schedule_steps or half.steps
    whole = await trained(taught, replace(half, steps=2 * half.steps, schedule_steps=schedule), BOB)

    assert (first.state, second.state) == ("promoted", "promoted"), (first.reason, second.reason)
    assert second.parent == first.candidate
    assert second.candidate == whole.candidate
    assert (second.progress.step, second.progress.steps) == (2 * half.steps, 2 * half.steps)
    assert second.progress.curve == whole.progress.curve[half.steps :]
    made = {one.digest: one for one in await taught.host.list_revisions(ADA)}[second.candidate or ""]
    assert made.lineage is not None
    told = made.lineage.hyper_parameters
    assert (told["continues"], told["continued_at"], told["steps"]) == (
        True,
        half.steps,
        2 * half.steps,
    )
    assert told["schedule_steps"] == schedule


async def test_without_the_moments_it_is_another_training(taught: Trained) -> None:
    await trained(taught)
    second = await trained(taught)
    whole = await trained(taught, WHOLE, BOB)

    assert second.candidate != whole.candidate


async def test_a_third_job_goes_on_with_the_second_and_is_rebuilt_as_one(taught: Trained) -> None:
    await trained(taught, replace(HALF, steps=1))
    await trained(taught, replace(MORE, steps=2))
    third = await trained(taught, MORE)
    whole = await trained(taught, WHOLE, BOB)

    assert third.state == "promoted", third.reason
    assert third.candidate == whole.candidate
    again = await trained(taught, TrainingOptions(rebuilds=third.candidate))
    assert (again.state, again.candidate) == ("promoted", third.candidate), again.reason
    taught.host.check_integrity()


async def test_a_continued_training_that_was_stopped_goes_on_though_the_first_was_dropped(
    taught: Trained,
) -> None:
    await trained(taught)
    await taught.ask(ADA, MORE)
    cut = taught.training_loop()
    [waiting] = await taught.host.jobs.open_jobs()
    await cut._prepare(waiting)
    run = cut._live[ADA]
    run.learner.curriculum.objective(run.learner.session, 3)
    cut._save(run)
    taught.kept_bytes_max = 0
    await taught.training_loop().round()
    job = await taught.job(ADA)

    whole = await trained(taught, WHOLE, BOB)
    assert (job.state, job.candidate) == ("promoted", whole.candidate), job.reason
    assert files(taught) == [], "nothing is kept without a budget"
    await taught.training_loop().round()
    assert await kept(taught) == []


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"batch": 4}, "has batch 3, and is not continued with 4"),
    ({"learning_rate": 1e-3}, "has learning_rate 0.01, and is not continued with 0.001"),
    ({"seed": 1}, "has seed 0, and is not continued with 1"),
    ({"method": "preference"}, "has method sft, and is not continued with preference"),
    ({"anchor": 0.5}, "has anchor 0, and is not continued with 0.5"),
    ({"schedule_steps": 9}, "has schedule_steps 6, and is not continued with 9"),
    ({"rank": 8}, "its adapter has rank 4; 8 has to begin from the base"),
]


async def test_other_options_do_not_continue_it_and_the_one_that_differs_is_named(taught: Trained) -> None:
    first = await trained(taught, replace(HALF, steps=1))

    for changed, reason in OTHERS:
        job = await trained(taught, replace(MORE, **changed))
        assert job.state == "failed"
        assert reason in job.reason

    assert (await taught.host.show_model(ADA)).aliases == {"latest": first.candidate}


async def test_other_data_do_not_continue_it(taught: Trained) -> None:
    await trained(taught)
    await taught.host.give_feedback(ADA, 3, Opinion(correction="Rex."))
    taught.clock.advance(1)

    job = await trained(taught, MORE)

    assert (job.state, "learned from other data" in job.reason) == ("failed", True), job.reason


async def test_what_has_no_revision_or_was_rolled_back_continues_its_own_or_nothing(taught: Trained) -> None:
    nothing = await trained(taught, MORE)
    assert (nothing.state, "no revision yet" in nothing.reason) == ("failed", True)
    first = await trained(taught)
    second = await trained(taught, MORE)
    await taught.host.jobs.roll_back(ADA, second.candidate or "")

    again = await trained(taught, MORE)

    assert (again.parent, again.candidate) == (first.candidate, second.candidate), again.reason
    await taught.host.jobs.roll_back(ADA, second.candidate or "")
    [of_first] = [one for one in await taught.host.jobs.kept() if one.revision == first.candidate]
    taught.sessions.remove(of_first.key)
    job = await trained(taught, MORE)
    assert (job.state, "POPULACE_KEPT_TRAINING_BYTES_MAX" in job.reason) == ("failed", True), job.reason


async def test_an_erased_model_takes_its_kept_training_along(taught: Trained) -> None:
    await trained(taught)
    await trained(taught, HALF, BOB)
    [of_ada, of_bob] = sorted(await taught.host.jobs.kept())
    assert (of_ada.model, of_bob.model) == (ADA, BOB)

    await taught.host.erase_model(ADA)

    assert await taught.host.jobs.kept() == (of_bob,)
    await taught.training_loop().round()
    assert files(taught) == [taught.sessions.path(of_bob.key)]


async def test_what_learned_from_a_forgotten_turn_is_kept_for_nobody(taught: Trained) -> None:
    first = await trained(taught)
    [before] = await taught.host.jobs.kept()
    await taught.host.forgetting.forget(ADA, [3], "forget-1")

    assert await kept(taught) == []
    await taught.training_loop().round()
    assert not taught.sessions.has(before.key)
    taught.host.check_integrity()
    assert first.candidate not in [one.digest for one in await taught.host.list_revisions(ADA)]


async def test_the_budget_drops_what_was_not_used_for_the_longest(taught: Trained) -> None:
    first = await trained(taught)
    second = await trained(taught, MORE)
    third = await trained(taught, replace(HALF, steps=1), BOB)
    rows = {one.revision: taught.sessions.path(one.key) for one in await taught.host.jobs.kept()}
    made = [first.candidate or "", second.candidate or "", third.candidate or ""]
    sizes = [rows[digest].stat().st_size for digest in made]
    for number, digest in enumerate(made):
        os.utime(rows[digest], (number, number))
    await taught.host.jobs.roll_back(ADA, made[1])
    await taught.ask(ADA, replace(MORE, steps=1))
    loop = taught.training_loop()
    [waiting] = await taught.host.jobs.open_jobs()
    await loop._prepare(waiting)
    await taught.host.jobs.cancel(ADA)

    taught.kept_bytes_max = sum(sizes) - 1
    await taught.training_loop().round()

    assert sorted(await kept(taught)) == sorted([made[0], made[2]]), "the first was used since"
    assert len(files(taught)) == 2


async def test_a_trainer_that_dies_before_the_promotion_leaves_no_file(taught: Trained) -> None:
    await taught.ask(ADA, HALF)
    loop = taught.training_loop()
    [opened] = await taught.host.jobs.open_jobs()
    await loop._prepare(opened)
    loop._keep(loop._live[ADA])
    assert len(files(taught)) == 1

    await taught.host.jobs.cancel(ADA)
    await taught.training_loop().round()

    assert files(taught) == []
    assert await kept(taught) == []


async def test_a_trainer_that_dies_within_the_promotion_leaves_what_can_be_continued(taught: Trained) -> None:
    await taught.ask(ADA, HALF)
    taught.engine.failures = 1
    await taught.training_loop().round()
    assert (await taught.job(ADA)).state == "promoting"

    await taught.training_loop().round()
    second = await trained(taught, MORE)

    whole = await trained(taught, WHOLE, BOB)
    assert second.candidate == whole.candidate, second.reason
