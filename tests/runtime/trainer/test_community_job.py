"""A community learns what people liked who agreed to it, for as long as they do, and nothing of others."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.feedback import Opinion
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.learning.frozen_base import FrozenBase
from populace.policies.evaluation_gate import Evaluation, GeneralReplies
from populace.storage.rows import ledger
from populace.trainer.contributed import Contributions, collect, one_persons
from populace.trainer.judges import LeakJudge
from tests.actors.turns import grant_of, reply, take_turn, turn_of, wait_until
from tests.runtime.trainer.trained_population import ADA, BOB, EVERYTHING, Trained

pytestmark = pytest.mark.engine

CYD, EVERYBODY = ModelId("acme", "cyd"), ModelId("acme", "everybody")
OPTIONS = TrainingOptions(contributors=True, rank=4, steps=8, learning_rate=1e-2)
LIKED = Opinion(thumb=True)
STYLE = "With pleasure, with pleasure."
TURNS = 16


@pytest.fixture
async def population(tmp_path: Path, small_base_f32: Path, base: FrozenBase) -> AsyncGenerator[Trained]:
    """Ada and bob agreed to be learned from, cyd did not; each liked all replies."""
    made = Trained(tmp_path / "store", small_base_f32, base, community=EVERYBODY.name)
    await made.host.create_model(EVERYBODY)
    for model in (ADA, BOB, CYD):
        await made.host.create_model(model)
        await liked(made, model, range(TURNS))
    for model in (ADA, BOB):
        await made.host.contributors.consent(model, agrees=True)
    made.clock.advance(1)
    yield made
    made.host.close()


async def liked(
    population: Trained, model: ModelId, numbers: range, said: str = STYLE, opinion: Opinion = LIKED
) -> None:
    for number in numbers:
        grant = await grant_of(population.host, turn_of(model, f"op-{number}"))
        await population.host.finish_turn(grant, reply(f"{said} {number}", asked=f"How, {model.name}?"))
        await population.host.give_feedback(model, number, opinion)
    population.clock.advance(1)


async def collected(population: Trained) -> Contributions:
    await population.ask(EVERYBODY, OPTIONS)
    job = await population.host.jobs.start(EVERYBODY, (await population.job(EVERYBODY)).number)
    return await collect(population.host, job)


async def ids(population: Trained, *models: ModelId) -> list[str]:
    return sorted([str((await population.host.contributors.of_model(model)).id) for model in models])


async def test_what_those_like_who_agreed_becomes_everybodys_revision(population: Trained) -> None:
    await population.ask(EVERYBODY, OPTIONS)

    assert await population.training_loop().round()

    job = await population.job(EVERYBODY)
    assert (job.state, job.parent, job.log_range) == ("promoted", None, (0, 0)), job.reason
    [made] = await population.host.list_revisions(EVERYBODY)
    assert made.lineage is not None
    assert made.lineage.scores["held_out_people"] == 2
    assert made.lineage.scores["held_out_loss"] < made.lineage.scores["held_out_loss_parent"]
    named = str(made.lineage.hyper_parameters["contributor_ids"]).split()
    assert named == await ids(population, ADA, BOB), "and not cyd"
    for model in (ADA, CYD):
        view = await population.host.show_model(model)
        assert view.begins_on == made.digest, "also who did not agree begins on it"
    turn = await take_turn(population.host, turn_of(CYD, "op-new"))
    assert turn.revision == made.digest


async def test_who_begins_on_everybodys_trains_a_part_of_their_own_on_it(population: Trained) -> None:
    population.gate = EVERYTHING
    await population.ask(EVERYBODY, OPTIONS)
    await population.training_loop().round()
    [everybodys] = await population.host.list_revisions(EVERYBODY)

    await population.ask(CYD, TrainingOptions(rank=4, steps=2))
    await population.training_loop().round()

    job = await population.job(CYD)
    assert (job.state, job.options.on, job.parent) == ("promoted", everybodys.digest, None), job.reason
    [own] = await population.host.list_revisions(CYD)
    assert own.lineage is not None
    assert (own.lineage.on, own.rank) == (everybodys.digest, 8)
    assert "held_out_loss_lower" in own.lineage.scores
    assert (await take_turn(population.host, turn_of(CYD, "op-new"))).revision == own.digest


async def test_corrections_dislikes_and_private_words_are_not_collected(population: Trained) -> None:
    await population.host.contributors.consent(CYD, agrees=True)
    await liked(population, ADA, range(TURNS, TURNS + 4), "Bruno")
    await take_told(population, ADA, "My dog is called Bruno.")
    await liked(population, BOB, range(TURNS, TURNS + 4), opinion=Opinion(correction="Call me Bob."))
    await liked(population, CYD, range(TURNS, TURNS + 4), opinion=Opinion(thumb=False))

    found = await collected(population)

    replies = {example.reply for person in found.people for example in person.examples}
    assert {person.model for person in found.people} == {ADA, BOB, CYD}
    assert replies == {f"{STYLE} {number}" for number in range(TURNS)}
    assert found.liked == 3 * TURNS + 4
    assert found.told.private_in("Bruno") == {"bruno"}


async def take_told(population: Trained, model: ModelId, text: str, operation: str = "op-told") -> None:
    grant = await grant_of(population.host, turn_of(model, operation))
    await population.host.finish_turn(grant, reply("I see.", asked=text))
    population.clock.advance(1)


async def test_a_copy_of_a_model_tells_nothing_that_its_person_alone_did_not(population: Trained) -> None:
    host, copy = population.host, ModelId(ADA.tenant, "copy")
    await liked(population, ADA, range(TURNS, TURNS + 4), "Bruno")
    await take_told(population, ADA, "My dog is called Bruno.")
    await host.import_model(copy, await host.export_model(ADA))
    await take_told(population, copy, "My dog Bruno is a Newfoundland.", "op-new")
    await take_told(population, ADA, "It is a Newfoundland.", "op-new")
    await host.contributors.consent(copy, agrees=True)
    population.clock.advance(1)

    found = await collected(population)

    assert {person.model for person in found.people} == {ADA, BOB, copy}
    assert found.told.private_in("Bruno the Newfoundland") == {"bruno", "newfoundland"}
    replies = {example.reply for person in found.people for example in person.examples}
    assert replies == {f"{STYLE} {number}" for number in range(TURNS)}


def test_models_are_one_persons_that_have_a_turn_in_common_or_each_with_a_third() -> None:
    one, two, three, four = (("c-1", 1), ("c-2", 1), ("c-1", 2), ("c-3", 3))

    assert one_persons([{one}, {two}, {three}]) == [0, 1, 2]
    assert one_persons([{one}, {two, four}, {three}, {four}]) == [0, 1, 2, 1]
    assert one_persons([{one}, {two}, {one, two}]) == [0, 0, 0]
    assert one_persons([{one}, {two}, {three}, {three, two}, {four}, {four, one, three}]) == [0] * 6
    assert one_persons([set(), set()]) == [0, 1]
    assert one_persons([]) == []


async def test_what_is_said_or_agreed_after_the_start_is_for_the_next_one(population: Trained) -> None:
    first = await collected(population)
    await liked(population, ADA, range(TURNS, TURNS + 4))
    await population.host.contributors.consent(CYD, agrees=True)

    job = await population.job(EVERYBODY)
    again = await collect(population.host, job)

    assert [one.id for one in again.people] == [one.id for one in first.people]
    assert [one.examples for one in again.people] == [one.examples for one in first.people]


@pytest.mark.parametrize("leaves", ["withdraws", "is erased", "forgets"])
async def test_a_job_begins_again_without_who_leaves_before_its_end(population: Trained, leaves: str) -> None:
    await population.host.contributors.consent(CYD, agrees=True)
    population.clock.advance(1)
    ada, *others = [await ids(population, model) for model in (ADA, BOB, CYD)]
    await population.ask(EVERYBODY, replace(OPTIONS, steps=16))
    training_loop = population.training_loop()
    working = asyncio.create_task(training_loop.round())

    async def is_under_way() -> bool:
        return any(training.learner.session.step for training in training_loop._live.values())

    await wait_until(is_under_way)
    if leaves == "withdraws":
        await population.host.contributors.consent(ADA, agrees=False)
    elif leaves == "is erased":
        await population.host.erase_model(ADA)
    else:
        await population.host.forgetting.forget(ADA, [0, 1], "forgetting")
    await working
    first = await population.job(EVERYBODY)
    assert first.state == "running", first.reason
    assert await population.host.list_revisions(EVERYBODY) == (), "nothing with her text is kept"
    [open_job] = await population.host.jobs.open_jobs()
    assert not population.sessions.path(open_job.session_key).exists()

    await training_loop.round()

    job = await population.job(EVERYBODY)
    assert job.state == "promoted", job.reason
    [made] = await population.host.list_revisions(EVERYBODY)
    assert made.lineage is not None
    named = str(made.lineage.hyper_parameters["contributor_ids"]).split()
    kept = [one for found in others for one in found]
    assert named == sorted([*kept, *ada] if leaves == "forgets" else kept)


async def test_the_next_training_begins_from_the_base_with_who_agrees_then(population: Trained) -> None:
    await population.ask(EVERYBODY, OPTIONS)
    await population.training_loop().round()
    await population.host.contributors.consent(ADA, agrees=False)
    await population.host.contributors.consent(CYD, agrees=True)
    population.clock.advance(1)
    await population.ask(EVERYBODY, OPTIONS)

    await population.training_loop().round()

    job = await population.job(EVERYBODY)
    assert (job.state, job.parent) == ("promoted", None), job.reason
    made = {one.digest: one for one in await population.host.list_revisions(EVERYBODY)}[str(job.candidate)]
    assert made.lineage is not None
    named = str(made.lineage.hyper_parameters["contributor_ids"]).split()
    assert named == await ids(population, BOB, CYD)


async def test_too_few_people_are_told_by_how_many_there_are(population: Trained) -> None:
    await population.host.contributors.consent(ADA, agrees=False)
    await population.ask(EVERYBODY, OPTIONS)
    await population.training_loop().round()
    alone = await population.job(EVERYBODY)
    assert alone.state == "skipped"
    assert "of the 1 people who agreed 1 have liked replies" in alone.reason

    await population.host.contributors.consent(BOB, agrees=False)
    await population.ask(EVERYBODY, OPTIONS)
    await population.training_loop().round()

    nobody = await population.job(EVERYBODY)
    assert (nobody.state, "had agreed" in nobody.reason) == ("skipped", True), nobody.reason


async def test_only_the_community_learns_from_others_and_only_what_they_liked(population: Trained) -> None:
    with pytest.raises(InvalidRequest, match="POPULACE_COMMUNITY"):
        await population.ask(ADA, OPTIONS)
    for wrong in ({"unjudged": True}, {"continues": True}, {"training_file": "file-1"}):
        with pytest.raises(InvalidRequest, match="liked replies alone"):
            await population.ask(EVERYBODY, replace(OPTIONS, **wrong))
    with pytest.raises(InvalidRequest, match="Only sft"):
        await population.ask(EVERYBODY, replace(OPTIONS, method="thumbs"))


async def test_what_others_agreed_to_then_is_not_learned_again_by_a_rebuild(population: Trained) -> None:
    await population.ask(EVERYBODY, OPTIONS)
    await population.training_loop().round()
    digest = (await population.job(EVERYBODY)).candidate

    with pytest.raises(InvalidRequest, match="agreed to it then"):
        await population.ask(EVERYBODY, TrainingOptions(rebuilds=digest))


async def test_a_word_of_one_persons_in_a_general_reply_is_an_objection(population: Trained) -> None:
    await take_told(population, ADA, "My dog is called Bruno.")
    found = await collected(population)
    whole = GeneralReplies(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, said=("Bruno likes tea.",), said_base=("Tea.",))
    measured = Evaluation([1.0], [0.5], 0.0, 0.0, 0.0, general=whole)

    class Unasked:
        """A candidate's weights are not looked at for this."""

    judged = LeakJudge(found.told).judge(measured, Unasked())  # type: ignore[arg-type]

    assert judged.general is not None
    assert judged.general.private == 1


async def test_no_name_of_a_contributor_is_in_the_revisions_record(population: Trained) -> None:
    await population.ask(EVERYBODY, OPTIONS)
    await population.training_loop().round()

    with population.host._owned.read(population.host._catalogue.shard(EVERYBODY)) as txn:
        [record] = ledger.list_revisions(txn, *EVERYBODY)

    # Her name might be in a digest.
    assert BOB.name.encode() not in record.pack()
