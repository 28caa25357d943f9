"""A job ends in a revision that answers, or by name as what it was, whoever dies or leaves on the way."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from populace.actors import span_names as names
from populace.actors.errors import InvalidRequest
from populace.actors.feedback import Opinion
from populace.actors.training import JobState
from populace.actors.training_methods import Method
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Scored
from populace.learning.on_policy.sampler import EngineSampler
from populace.learning.packed_row import Reading
from populace.policies.hold_out import is_held_out
from populace.storage.records.errors import ModelNotFound, RevisionNotFound
from tests.actors.fakes import Dictation, ScriptedEngine
from tests.actors.turns import revision, wait_until
from tests.runtime.telemetry.recorded import id_of, recording, told
from tests.runtime.trainer.trained_population import (
    ADA,
    BASE,
    BOB,
    CORRECTED,
    EVERYTHING,
    OPTIONS,
    TURNS,
    Trained,
)

pytestmark = pytest.mark.engine


async def test_what_somebody_corrected_becomes_a_revision_that_says_where_it_comes_from(
    population: Trained,
) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)

    assert await population.training_loop().round()

    job = await population.job(ada)
    assert (job.state, job.progress.step, job.log_range) == ("promoted", 8, (0, TURNS)), job.reason
    view = await population.host.show_model(ada)
    assert (view.aliases, view.cursor) == ({"latest": job.candidate}, TURNS)
    [made] = await population.host.list_revisions(ada)
    assert (made.digest, made.method, made.parent, made.rank) == (job.candidate, "sft", None, 4)
    population.store.revisions.verify(made.digest)
    lineage = made.lineage
    assert lineage is not None
    assert (lineage.log_range, lineage.memory_module) == ((0, TURNS), "m" * 64)
    assert lineage.scores["held_out_replies"] == sum(map(is_held_out, range(TURNS)))
    assert lineage.scores["held_out_loss"] < lineage.scores["held_out_loss_parent"]
    assert (lineage.hyper_parameters["steps"], lineage.hyper_parameters["learning_rate"]) == (8, 1e-2)
    assert lineage.versions["torch"] == torch.__version__
    assert lineage.tokens == job.progress.tokens > 0
    assert not await population.training_loop().round(), "nothing is left to do"


async def test_a_training_is_a_trace_with_its_phases(population: Trained) -> None:
    await population.ask(await population.teach(ADA))

    with recording() as spans:
        await population.training_loop().round()
        found = spans()

    [root] = [span for span in found if span.name == names.TRAIN]
    below = [span for span in found if span.parent is not None and span.parent.span_id == id_of(root)]
    own = sorted(
        (span for span in below if span.name.startswith(names.TRAIN)), key=lambda span: span.end_time or 0
    )
    assert [span.name for span in own] == [
        names.TRAIN_PREPARE,
        names.TRAIN_STEPS,
        names.TRAIN_GATE,
        names.TRAIN_PROMOTE,
    ]
    _, steps, gate, _ = map(told, own)
    assert (steps[names.STEPS], gate[names.PROMOTES]) == (8, True)
    assert (told(root)[names.JOB_STATE], told(root)[names.TURNS]) == ("promoted", TURNS)
    assert root.links == (), "the operations of these turns have keys"


async def test_the_next_training_goes_on_from_the_revision_that_serves(population: Trained) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)
    await population.training_loop().round()
    first = (await population.job(ada)).candidate

    await population.ask(ada, TrainingOptions(steps=2, learning_rate=1e-2))
    await population.training_loop().round()

    job = await population.job(ada)
    assert job.parent == first
    second = {one.digest: one for one in await population.host.list_revisions(ada)}[job.candidate or ""]
    assert (second.parent, second.rank) == (first, 4)


async def test_a_trainer_that_is_stopped_goes_on_to_the_same_bits(population: Trained) -> None:
    for model in (ADA, BOB):
        await population.ask(await population.teach(model, turns=16), replace(OPTIONS, steps=40))
    straight = population.training_loop()
    await population.host.jobs.cancel(ADA)
    await straight.round()
    await population.ask(ADA, replace(OPTIONS, steps=40))

    cut = population.training_loop()
    working = asyncio.create_task(cut.round())

    async def is_under_way() -> bool:
        return any(training.learner.session.step for training in cut._live.values())

    await wait_until(is_under_way)
    cut.stop()
    await working
    between = await population.job(ADA)
    assert between.state == "running"
    assert 0 < between.progress.step < 40
    assert len(list(population.sessions.root.iterdir())) == 2, "hers, and his that is kept"

    await population.training_loop().round()

    ended = await population.job(ADA)
    assert ended.candidate == (await population.job(BOB)).candidate
    assert ended.progress.tokens == (await population.job(BOB)).progress.tokens
    kept = sorted(one.model for one in await population.host.jobs.kept())
    assert kept == [ADA, BOB], "others go on from it"
    assert len(list(population.sessions.root.iterdir())) == 2


async def test_a_damaged_session_begins_anew_and_ends_the_same(population: Trained) -> None:
    for model in (ADA, BOB):
        await population.ask(await population.teach(model, turns=16))
    [job, _] = await population.host.jobs.open_jobs()
    population.sessions.write(job.session_key, b"no session")

    await population.training_loop().round()

    assert (await population.job(ADA)).state == "promoted"
    assert (await population.job(ADA)).progress.step == 8


@pytest.mark.parametrize("leaves", ["cancelled", "erased"])
async def test_who_leaves_is_trained_no_further_and_the_others_are(population: Trained, leaves: str) -> None:
    await population.ask(await population.teach(ADA, turns=16), replace(OPTIONS, steps=100_000))
    await population.ask(await population.teach(BOB, turns=16))
    training_loop = population.training_loop()
    working = asyncio.create_task(training_loop.round())

    async def is_under_way() -> bool:
        return (await population.job(ADA)).progress.step > 0

    await wait_until(is_under_way)
    if leaves == "erased":
        await population.host.erase_model(ADA)
    else:
        await population.host.jobs.cancel(ADA)
    await working

    assert (await population.job(BOB)).state == "promoted"
    assert not await training_loop.round()
    if leaves == "erased":
        with pytest.raises(ModelNotFound):
            await population.host.show_model(ADA)
    else:
        assert (await population.host.show_model(ADA)).cursor == 0
    [kept] = await population.host.jobs.kept()
    assert kept.model == BOB
    assert list(population.sessions.root.iterdir()) == [population.sessions.path(kept.key)]


async def test_who_asks_while_another_is_trained_joins(population: Trained) -> None:
    await population.ask(await population.teach(ADA, turns=16), replace(OPTIONS, steps=100_000))
    await population.teach(BOB, turns=16)
    training_loop = population.training_loop()
    working = asyncio.create_task(training_loop.round())

    async def is_under_way() -> bool:
        return (await population.job(ADA)).progress.step > 0

    await wait_until(is_under_way)
    await population.ask(BOB)
    await working
    before = (await population.job(ADA)).progress.step

    await training_loop.round()

    assert (await population.job(BOB)).state == "promoted", "it does not wait for the end of the other"
    assert (await population.job(ADA)).state == "running"
    assert (await population.job(ADA)).progress.step > before


async def test_a_tenant_with_many_trainings_leaves_room_for_anothers(
    population: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("populace.trainer.loop.LEARNERS_MAX", 2)
    flood = [ModelId("flood", f"model-{number}") for number in range(3)]
    for model in flood:
        await population.ask(await population.teach(model, turns=16), replace(OPTIONS, steps=100_000))
    quiet = await population.teach(ADA, turns=16)
    training_loop = population.training_loop()
    working = asyncio.create_task(training_loop.round())

    async def are_under_way() -> bool:
        return all([(await population.job(model)).progress.step > 0 for model in flood[:2]])

    await wait_until(are_under_way)
    await population.ask(quiet)
    await working
    parked = (await population.job(flood[1])).progress.step

    await training_loop.round()

    assert (await population.job(quiet)).state == "promoted"
    assert [(await population.job(model)).progress.step for model in flood[1:]] == [parked, 0]
    assert len(training_loop._live) == 1, "the one that made room is in its file"
    working = asyncio.create_task(training_loop.round())

    async def goes_on() -> bool:
        return (await population.job(flood[1])).progress.step > parked

    await wait_until(goes_on)
    for model in flood:
        await population.host.jobs.cancel(model)
    await working


@pytest.mark.parametrize(("leaves", "state"), [("cancelled", "cancelled"), ("stopped", "running")])
async def test_replies_that_a_job_is_prepared_with_are_not_waited_for_once_it_ends_or_its_trainer_does(
    population: Trained, leaves: str, state: JobState
) -> None:
    script = Dictation()  # which says nothing
    engine = ScriptedEngine(script)
    population.sampler = EngineSampler(engine, asyncio.get_running_loop(), population.store.revisions)
    await population.ask(await population.teach(ADA, turns=3), TrainingOptions(rank=4, learning_rate=1e-2))
    training_loop = population.training_loop()

    working = asyncio.create_task(training_loop.round())
    await script.started.wait()
    if leaves == "cancelled":
        await population.host.jobs.cancel(ADA)
    else:
        training_loop.stop()
    await working

    assert engine.slots_held == 0
    assert (await population.job(ADA)).state == state


async def test_a_candidate_that_no_engine_takes_now_is_promoted_when_one_does(
    population: Trained,
) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)
    population.engine.failures = 2
    training_loop = population.training_loop()

    await training_loop.round()
    assert (await population.job(ada)).state == "promoting"
    await population.training_loop().round()
    assert (await population.job(ada)).state == "promoting"
    await population.training_loop().round()

    job = await population.job(ada)
    assert job.state == "promoted"
    assert (await population.host.show_model(ada)).aliases == {"latest": job.candidate}


class Broken(FrozenBase):
    """A base with a bug of ours: it cannot read what is longer than a few words."""

    def score(self, readings: Sequence[Reading]) -> list[Scored]:
        if torch.is_grad_enabled() and any(len(one.ids) > 60 for part in readings for one in part.sequences):
            raise ZeroDivisionError
        return super().score(readings)


async def test_a_bug_that_one_meets_ends_their_training_by_name_and_nobody_elses(
    population: Trained, small_base_f32: Path
) -> None:
    options = replace(OPTIONS, anchor=0.0)
    await population.ask(await population.teach(ADA, Opinion(correction="Bruno. " * 40), 16), options)
    await population.ask(await population.teach(BOB, turns=16), options)

    await population.training_loop(Broken(small_base_f32, BASE, dtype=torch.float32)).round()

    broken = await population.job(ADA)
    assert (broken.state, "unexpectedly (ZeroDivisionError)" in broken.reason) == ("failed", True)
    assert (await population.job(BOB)).state == "promoted", (await population.job(BOB)).reason


class NoMemory(FrozenBase):
    """A base on a machine that has no memory for a backward pass; torch says so."""

    def score(self, readings: Sequence[Reading]) -> list[Scored]:
        if torch.is_grad_enabled():
            torch.empty(2**60)
        return super().score(readings)


@pytest.mark.parametrize(
    ("turns", "opinion", "options", "state", "reason"),
    [
        (0, None, OPTIONS, "skipped", "its log has no interaction"),
        (9, None, OPTIONS, "skipped", "was liked or corrected"),
        (9, Opinion(thumb=False), OPTIONS, "skipped", "was liked or corrected"),
        (9, Opinion(thumb=True), replace(OPTIONS, method="preference"), "skipped", "was corrected"),
        (9, Opinion(correction="long " * 9000), OPTIONS, "skipped", "longer than the context"),
        (16, CORRECTED, replace(OPTIONS, learning_rate=10.0), "failed", "finite"),
        (9, CORRECTED, replace(OPTIONS, rank=17), "failed", "rank 17"),
        (3, CORRECTED, OPTIONS, "skipped", "2 are needed, and one in 8 is held out, so 16 judged turns"),
    ],
)
async def test_what_cannot_be_learned_ends_by_name_and_the_model_is_as_it_was(
    population: Trained,
    turns: int,
    opinion: Opinion | None,
    options: TrainingOptions,
    state: str,
    reason: str,
) -> None:
    ada = await population.teach(ADA, opinion, turns)
    before = await population.host.show_model(ada)
    await population.ask(ada, options)

    await population.training_loop().round()

    job = await population.job(ada)
    assert job.state == state, job
    assert reason in job.reason
    assert await population.host.show_model(ada) == before


@pytest.mark.parametrize(
    ("method", "opinion", "turns", "plan"),
    [
        ("sft", CORRECTED, 24, "learns 21 wanted replies; judged by 3 held-out replies"),
        ("preference", CORRECTED, 24, "learns 21 corrected replies; judged by 3 held-out replies"),
        ("thumbs", Opinion(thumb=True), 24, "learns 21 judged replies; judged by 3 held-out replies"),
        ("sft", CORRECTED, 9, "learns 8 wanted replies; judged by 1 held-out reply"),
        ("preference", CORRECTED, 9, "learns 8 corrected replies; judged by 1 held-out reply"),
        ("thumbs", Opinion(thumb=True), 9, "learns 8 judged replies; judged by 1 held-out reply"),
        ("thumbs", Opinion(thumb=False), 24, "learns 21 judged replies; judged by nothing"),
    ],
)
async def test_before_the_first_step_it_is_said_what_judges_and_without_enough_none_is_taken(
    population: Trained, method: Method, opinion: Opinion, turns: int, plan: str
) -> None:
    ada = await population.teach(ADA, opinion, turns)
    await population.ask(ada, replace(OPTIONS, method=method, steps=1))

    await population.training_loop().round()

    job = await population.job(ada)
    assert job.progress.plan == plan
    is_judged = "3 held-out" in plan
    assert (job.state == "skipped", job.progress.step) == (not is_judged, int(is_judged)), job.reason


async def test_a_machine_without_memory_fails_by_name(population: Trained, small_base_f32: Path) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)

    await population.training_loop(NoMemory(small_base_f32, BASE, dtype=torch.float32)).round()

    job = await population.job(ada)
    assert job.state == "failed"
    assert "does not fit into memory" in job.reason


async def test_a_base_that_changed_under_the_log_fails_by_name(
    population: Trained, small_base_f32: Path
) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)

    await population.training_loop(FrozenBase(small_base_f32, "e" * 64, dtype=torch.float32)).round()

    job = await population.job(ada)
    assert job.state == "failed"
    assert "its base is" in job.reason


async def test_a_parent_whose_file_is_missing_fails_by_name(population: Trained) -> None:
    ada = await population.teach(ADA)
    await population.host.publish_revision(ada, replace(revision("lost"), base=BASE))
    await population.ask(ada)

    await population.training_loop().round()

    job = await population.job(ada)
    assert job.state == "failed"
    assert "is missing" in job.reason


@pytest.mark.parametrize(
    ("asked", "made_with"),
    [
        ({"rank": 8}, {"alpha": 8.0}),
        ({"alpha": 4.0}, {"rank": 4}),
        ({"targets": "v_proj, q_proj"}, {"targets": "q_proj,v_proj"}),
    ],
)
async def test_another_shape_than_the_parents_has_to_begin_from_the_base(
    population: Trained, asked: dict[str, Any], made_with: dict[str, Any]
) -> None:
    population.gate = EVERYTHING
    ada = await population.teach(ADA)
    await population.ask(ada)
    await population.training_loop().round()

    await population.ask(ada, replace(OPTIONS, **asked))
    await population.training_loop().round()
    job = await population.job(ada)
    assert (job.state, "begin from the base" in job.reason) == ("failed", True), job.reason

    await population.ask(ada, replace(OPTIONS, **asked, from_base=True))
    await population.training_loop().round()
    job = await population.job(ada)
    assert (job.state, job.parent) == ("promoted", None), job.reason
    made = {one.digest: one for one in await population.host.list_revisions(ada)}[job.candidate or ""]
    assert made.lineage is not None
    assert made.lineage.hyper_parameters.items() >= {**asked, **made_with}.items()


@pytest.mark.parametrize("targets", ["q_proj,nothing", "nothing"])
async def test_targets_that_the_base_does_not_have_are_named(population: Trained, targets: str) -> None:
    await population.ask(await population.teach(ADA), replace(OPTIONS, targets=targets))

    await population.training_loop().round()

    job = await population.job(ADA)
    assert (job.state, "no layers named nothing" in job.reason) == ("failed", True), job.reason


async def test_a_revision_is_made_again_to_the_bit_whatever_was_said_since(
    population: Trained,
) -> None:
    ada = await population.teach(ADA, turns=16)
    await population.ask(ada)
    await population.training_loop().round()
    first = (await population.job(ada)).candidate
    await population.host.give_feedback(ada, 3, Opinion(correction="Rex."))
    await population.talk(ada, 16, 20)

    await population.ask(ada, TrainingOptions(rebuilds=first))
    await population.training_loop().round()

    again = await population.job(ada)
    assert (again.state, again.candidate, again.log_range) == ("promoted", first, (0, 16)), again.reason
    view = await population.host.show_model(ada)
    assert (view.aliases, view.cursor) == ({"latest": first}, 16)


async def test_a_revision_is_made_again_on_another_base_and_its_model_is_of_that_base_then(
    population: Trained, small_base_f32: Path
) -> None:
    ada = await population.teach(ADA, turns=16)
    await population.ask(ada)
    await population.training_loop().round()
    first = (await population.job(ada)).candidate
    other = FrozenBase(small_base_f32, "e" * 64, dtype=torch.float32)

    await population.ask(ada, TrainingOptions(rebuilds=first))
    await population.training_loop(other).round()

    job = await population.job(ada)
    assert job.state == "promoted", job.reason
    assert job.candidate != first
    view = await population.host.show_model(ada)
    assert (view.base, view.aliases) == ("e" * 64, {"latest": job.candidate})
    assert [one.base for one in await population.host.list_revisions(ada)] == [BASE, "e" * 64]
    population.host.check_integrity()


async def test_only_what_answers_and_was_trained_here_is_made_again(population: Trained) -> None:
    ada = await population.teach(ADA, turns=1)
    brought = replace(revision("brought"), base=BASE)

    with pytest.raises(RevisionNotFound):
        await population.ask(ada, TrainingOptions(rebuilds=brought.digest))
    await population.host.publish_revision(ada, brought)
    with pytest.raises(InvalidRequest, match="was not trained here"):
        await population.ask(ada, TrainingOptions(rebuilds=brought.digest))

    assert await population.host.jobs.of_model(ada) == ()


async def test_a_step_has_as_many_examples_as_were_asked_for(population: Trained) -> None:
    for model, batch in ((ADA, 1), (BOB, 2)):
        await population.ask(
            await population.teach(model, turns=16), replace(OPTIONS, batch=batch, steps=2, anchor=0.0)
        )

    await population.training_loop().round()

    one, two = [(await population.job(model)).progress.tokens for model in (ADA, BOB)]
    assert 1.8 * one < two < 2.2 * one


async def test_feedback_given_after_the_start_does_not_change_what_is_learned(
    population: Trained,
) -> None:
    for model in (ADA, BOB):
        await population.ask(await population.teach(model, turns=16))
        await population.host.jobs.start(model, 0)
    population.clock.advance(1)
    await population.host.give_feedback(ADA, 3, Opinion(correction="Rex."))

    await population.training_loop().round()

    made = [(await population.host.list_revisions(model))[0].lineage for model in (ADA, BOB)]
    assert made[0] is not None
    assert made[1] is not None
    assert made[0].data_digest == made[1].data_digest
    assert [one.model for one in await population.host.jobs.unsettled()] == [ADA], (
        "it is unsettled for the next"
    )
