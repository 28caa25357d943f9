"""A job trains a personal part on a lower revision, which its revision contains, names and is better than."""

from collections.abc import AsyncGenerator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from populace.actors.errors import InvalidRequest
from populace.actors.hosts import Revision
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.storage.records.errors import RevisionNotFound
from tests.runtime.trainer.trained_population import ADA, BOB, EVERYTHING, OPTIONS, Trained

pytestmark = pytest.mark.engine

FEW = replace(OPTIONS, steps=2, learning_rate=3e-3)


@pytest.fixture
async def population(tmp_path: Path, small_base_f32: Path, base: FrozenBase) -> AsyncGenerator[Trained]:
    """A population whose community is bob's model."""
    made = Trained(tmp_path / "store", small_base_f32, base, community=BOB.name)
    yield made
    made.host.close()


@pytest.fixture
async def taught(population: Trained) -> Trained:
    """Ada and bob were told the same, and bob, who here is everybody, has learned a little of it."""
    for model in (ADA, BOB):
        await population.teach(model)
    await trained(population, FEW, BOB)
    return population


async def trained(population: Trained, options: TrainingOptions, model: ModelId = ADA) -> TrainingJob:
    await population.ask(model, options)
    await population.training_loop().round()
    return await population.job(model)


async def made(population: Trained, job: TrainingJob) -> Revision:
    found = {one.digest: one for one in await population.host.list_revisions(job.model)}
    return found[job.candidate or ""]


async def served(population: Trained, model: ModelId = BOB) -> str:
    return (await population.host.show_model(model)).aliases["latest"]


def adapter(population: Trained, digest: str) -> TrainableAdapter:
    return population.runs().read(digest)


def contains(whole: TrainableAdapter, lower: TrainableAdapter) -> bool:
    return all(
        torch.equal(whole.layers[name].a[: layer.rank], layer.a)
        and torch.equal(whole.layers[name].b[:, : layer.rank], layer.b)
        for name, layer in lower.layers.items()
    )


async def test_a_training_on_everybodys_revision_becomes_one_that_contains_and_names_it(
    taught: Trained,
) -> None:
    lower = await served(taught)

    job = await trained(taught, replace(OPTIONS, on=lower))

    assert job.state == "promoted", job.reason
    revision = await made(taught, job)
    assert revision.lineage is not None
    assert (revision.rank, revision.parent, revision.lineage.on) == (8, None, lower)
    assert revision.lineage.hyper_parameters["rank"] == 4
    scores = revision.lineage.scores
    assert scores["personal_share"] in (0.25, 0.5, 1.0)
    assert scores["held_out_loss"] < scores["held_out_loss_lower"]
    assert scores["held_out_loss_lower"] == scores["held_out_loss_parent"], "that is its parent"
    whole = adapter(taught, revision.digest)
    assert whole.concatenation is not None
    assert whole.concatenation.lower == lower
    assert contains(whole, adapter(taught, lower))


async def test_the_next_training_goes_on_with_the_personal_part_on_the_same_revision_without_being_told(
    taught: Trained,
) -> None:
    taught.gate = EVERYTHING
    lower = await served(taught)
    first = await trained(taught, replace(FEW, on=lower))
    await taught.ask(ADA, FEW)
    loop = taught.training_loop()
    [waiting] = await taught.host.jobs.open_jobs()
    await loop._prepare(waiting)
    run = loop._live[ADA]

    before = adapter(taught, first.candidate or "").personal_part()
    for name, layer in before.layers.items():
        assert torch.equal(run.learner.session.adapter.layers[name].a, layer.a), "these are the first weights"
        assert torch.equal(run.learner.session.adapter.layers[name].b, layer.b)
    await taught.training_loop().round()
    second = await taught.job(ADA)

    assert (second.parent, second.options.on) == (first.candidate, lower)
    revision = await made(taught, second)
    assert revision.rank == 8, "it does not grow"
    assert contains(adapter(taught, revision.digest), adapter(taught, lower))


async def test_when_everybodys_has_moved_the_personal_part_is_carried_over_and_judged_beside_both(
    taught: Trained,
) -> None:
    taught.gate = EVERYTHING
    old = await served(taught)
    first = await trained(taught, replace(FEW, on=old))
    await trained(taught, FEW, BOB)
    new = await served(taught)
    assert new != old
    await taught.ask(ADA, replace(FEW, on=new))
    loop = taught.training_loop()
    [waiting] = await taught.host.jobs.open_jobs()
    await loop._prepare(waiting)
    learner = loop._live[ADA].learner

    part = adapter(taught, first.candidate or "").personal_part()
    assert learner.lower is not None
    assert (learner.lower.digest, learner.session.adapter.lower) == (new, new)
    for name, layer in part.layers.items():
        assert torch.equal(learner.session.adapter.layers[name].b, layer.b), "these are the first weights"
    await taught.training_loop().round()
    second = await taught.job(ADA)

    revision = await made(taught, second)
    assert revision.lineage is not None
    assert (revision.lineage.on, revision.parent) == (new, first.candidate)
    assert contains(adapter(taught, revision.digest), adapter(taught, new))
    scores = revision.lineage.scores
    assert scores["held_out_loss_parent"] != scores["held_out_loss_lower"], "it is judged beside both"


async def test_a_new_part_begins_on_a_revision_that_was_trained_alone_and_from_the_base_without_one(
    taught: Trained,
) -> None:
    taught.gate = EVERYTHING
    alone = await trained(taught, replace(FEW, from_base=True))
    lower = await served(taught)

    job = await trained(taught, replace(FEW, on=lower, rank=2))
    again = await trained(taught, replace(FEW, from_base=True, rank=3))

    first, second = await made(taught, job), await made(taught, again)
    assert (first.parent, first.rank) == (alone.candidate, 6), job.reason
    assert first.lineage is not None
    assert second.lineage is not None
    assert (second.lineage.on, second.rank) == (None, 3)


async def test_who_has_nothing_better_of_their_own_is_served_the_lower_revision(taught: Trained) -> None:
    await trained(taught, replace(OPTIONS, steps=24), BOB)
    lower = await served(taught)

    worse = await trained(taught, replace(OPTIONS, learning_rate=9.0, steps=2))

    assert worse.options.on == lower
    assert (
        worse.state,
        "its own part is not surely better than the lower revision alone" in worse.reason,
    ) == ("rejected", True)
    shown = await taught.host.show_model(ADA)
    assert (shown.aliases, shown.begins_on) == ({}, lower)


async def test_what_cannot_be_trained_on_is_said(taught: Trained) -> None:
    lower = await served(taught)
    cases = [
        (
            replace(OPTIONS, rank=13, on=lower),
            "it has rank 17, more than is served, which is 16: ask for a rank of 12 at most, or serve with",
        ),
        (replace(OPTIONS, rank=7, start="pissa", on=lower), "it has rank 18, more than is served"),
    ]
    for options, reason in cases:
        job = await trained(taught, options)
        assert (job.state, reason in job.reason) == ("failed", True), job.reason
    taught.store.revisions.path(lower).unlink()
    job = await trained(taught, replace(OPTIONS, on=lower))
    assert job.state == "failed"
    assert f"the adapter of the revision {lower[:12]} that it is trained on is not" in job.reason
    with pytest.raises(RevisionNotFound):
        await taught.ask(ADA, replace(OPTIONS, on="canary"))
    with pytest.raises(InvalidRequest):
        await taught.ask(ADA, replace(OPTIONS, on="base"))


async def test_an_alias_is_the_models_own_and_fixed_when_it_is_asked_for(taught: Trained) -> None:
    lower = await served(taught)

    job = await taught.ask(BOB, replace(OPTIONS, on="latest"))

    assert job.options.on == lower
    assert asdict(job.options) == asdict(replace(OPTIONS, on=lower))


async def test_a_training_on_a_lower_revision_is_continued_to_the_bits_of_one(taught: Trained) -> None:
    taught.gate = EVERYTHING
    lower = await served(taught)
    half = replace(OPTIONS, on=lower, steps=3, schedule_steps=6, batch=3)
    cleo = await taught.teach(ModelId("acme", "cleo"))
    await trained(taught, half)

    second = await trained(taught, replace(half, on=None, continues=True))
    whole = await trained(taught, replace(half, steps=6), cleo)

    assert second.state == "promoted", second.reason
    shares = [(await made(taught, job)).lineage for job in (second, whole)]
    assert [one.scores["personal_share"] for one in shares if one is not None] == [1.0, 1.0]
    assert second.candidate == whole.candidate
    other = await trained(taught, replace(half, on=await served(taught, ADA), continues=True))
    assert (other.state, f"has on {lower}" in other.reason) == ("failed", True), other.reason


async def test_it_is_made_again_from_the_base_on_the_same_lower_revision(taught: Trained) -> None:
    lower = await served(taught)
    job = await trained(taught, replace(OPTIONS, on=lower))
    assert job.state == "promoted", job.reason

    again = await trained(taught, TrainingOptions(rebuilds=job.candidate))

    assert (again.state, again.candidate) == ("promoted", job.candidate), again.reason
