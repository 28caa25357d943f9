"""A job ends in a revision that answers, or by name as what it was, whoever dies or leaves on the way."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from populace.actors.engine import AdapterRef
from populace.actors.errors import EngineUnavailable, InvalidRequest
from populace.actors.feedback import Opinion
from populace.actors.host import ModelHost
from populace.actors.training import TrainingJob, TrainingOptions
from populace.actors.turn import ModelId
from populace.learning.frozen_base import FrozenBase, Reading
from populace.learning.methods.objective import Scored
from populace.learning.trainer import Trainer
from populace.policies.evaluation_gate import GateRule
from populace.policies.hold_out import is_held_out
from populace.storage.errors import ModelNotFound, RevisionNotFound
from populace.storage.store import Store
from populace.storage.training.sessions import SessionFiles
from populace.training.pupils import PupilMaker
from populace.training.workshop import Workshop
from tests.actors.fakes import FakeClock, ScriptedEngine, spoken
from tests.actors.turns import grant_of, reply, revision, turn_of, wait_until

BASE = "f" * 64
GATE = GateRule(probe_kl_max=10.0, probe_loss_max=10.0)
"""A base of random weights has no general knowledge to lose."""

TURNS = 24
RIGHT = "Bruno. Bruno. Bruno."
CORRECTED = Opinion(correction=RIGHT)
OPTIONS = TrainingOptions(rank=4, steps=8, learning_rate=1e-2)
ADA, BOB = ModelId("acme", "ada"), ModelId("acme", "bob")


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, BASE, dtype=torch.float32)


class Engine(ScriptedEngine):
    """Fails to prepare as often as it is told to."""

    def __init__(self) -> None:
        super().__init__(spoken("Hello."))
        self.failures = 0

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        if self.failures:
            self.failures -= 1
            raise EngineUnavailable("it is restarting")
        await super().prepare(adapter, replaces)


class Population:
    """A host with its store, and workshops over it that share a base."""

    def __init__(self, path: Path, base_directory: Path, base: FrozenBase) -> None:
        self.store = Store.create_or_open(path, 2)
        self.clock = FakeClock()
        self.engine = Engine()
        self.host = ModelHost("host-0", self.store, range(2), base=BASE, clock=self.clock, engine=self.engine)
        self.sessions = SessionFiles.of_store(path)
        self._base_directory = base_directory
        self._base = base

    def workshop(self, base: FrozenBase | None = None) -> Workshop:
        served = base or self._base

        def tools() -> tuple[Trainer, PupilMaker]:
            maker = PupilMaker(served, self._base_directory, self.store.revisions, rank_max=16)
            return Trainer(served, maker.encoder, gate=GATE, rank_max=16), maker

        return Workshop(
            self.host,
            self.host.jobs,
            tools=tools,
            revisions=self.store.revisions,
            sessions=self.sessions,
            memory_module="m" * 64,
        )

    async def teach(self, model: ModelId, opinion: Opinion | None = CORRECTED, turns: int = TURNS) -> ModelId:
        """Create a model of so many turns, on each of which somebody has this opinion."""
        await self.host.create_model(model)
        await self.talk(model, 0, turns)
        for number in range(turns):
            if opinion is not None:
                await self.host.give_feedback(model, number, opinion)
        self.clock.advance(1)
        return model

    async def talk(self, model: ModelId, start: int, stop: int) -> None:
        for number in range(start, stop):
            grant = await grant_of(self.host, turn_of(model, f"op-{number}"))
            await self.host.finish_turn(grant, reply("Who knows?", asked=f"Who is dog {number}?"))

    async def ask(self, model: ModelId, options: TrainingOptions = OPTIONS) -> TrainingJob:
        return await self.host.jobs.ask(model, options)

    async def job(self, model: ModelId) -> TrainingJob:
        return (await self.host.jobs.of_model(model))[0]


@pytest.fixture
async def population(tmp_path: Path, small_base_f32: Path, base: FrozenBase) -> AsyncGenerator[Population]:
    made = Population(tmp_path / "store", small_base_f32, base)
    yield made
    made.host.close()


async def test_what_somebody_corrected_becomes_a_revision_that_says_where_it_comes_from(
    population: Population,
) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)

    assert await population.workshop().round()

    job = await population.job(ada)
    assert (job.state, job.step, job.log_range) == ("promoted", 8, (0, TURNS)), job.reason
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
    assert lineage.tokens == job.tokens > 0
    assert not await population.workshop().round(), "nothing is left to do"


async def test_the_next_training_goes_on_from_the_revision_that_serves(population: Population) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)
    await population.workshop().round()
    first = (await population.job(ada)).candidate

    await population.ask(ada, TrainingOptions(steps=2, learning_rate=1e-2))
    await population.workshop().round()

    job = await population.job(ada)
    assert job.parent == first
    second = {one.digest: one for one in await population.host.list_revisions(ada)}[job.candidate or ""]
    assert (second.parent, second.rank) == (first, 4)


async def test_a_trainer_that_is_stopped_goes_on_to_the_same_bits(population: Population) -> None:
    for model in (ADA, BOB):
        await population.ask(await population.teach(model, turns=16), replace(OPTIONS, steps=40))
    straight = population.workshop()
    await population.host.jobs.cancel(ADA)
    await straight.round()
    await population.ask(ADA, replace(OPTIONS, steps=40))

    cut = population.workshop()
    working = asyncio.create_task(cut.round())

    async def is_under_way() -> bool:
        return any(training.pupil.session.step for training in cut._live.values())

    await wait_until(is_under_way)
    cut.stop()
    await working
    between = await population.job(ADA)
    assert between.state == "running"
    assert 0 < between.step < 40
    assert len(list(population.sessions.root.iterdir())) == 1

    await population.workshop().round()

    ended = await population.job(ADA)
    assert ended.candidate == (await population.job(BOB)).candidate
    assert ended.tokens == (await population.job(BOB)).tokens
    await population.workshop().round()
    assert list(population.sessions.root.iterdir()) == [], "nobody goes on from it"


async def test_a_damaged_session_begins_anew_and_ends_the_same(population: Population) -> None:
    for model in (ADA, BOB):
        await population.ask(await population.teach(model, turns=16))
    [job, _] = await population.host.jobs.open_jobs()
    population.sessions.write(job.session_key, b"no session")

    await population.workshop().round()

    assert (await population.job(ADA)).state == "promoted"
    assert (await population.job(ADA)).step == 8


@pytest.mark.parametrize("leaves", ["cancelled", "erased"])
async def test_who_leaves_is_trained_no_further_and_the_others_are(
    population: Population, leaves: str
) -> None:
    await population.ask(await population.teach(ADA, turns=16), replace(OPTIONS, steps=100_000))
    await population.ask(await population.teach(BOB, turns=16))
    workshop = population.workshop()
    working = asyncio.create_task(workshop.round())

    async def is_under_way() -> bool:
        return (await population.job(ADA)).step > 0

    await wait_until(is_under_way)
    if leaves == "erased":
        await population.host.erase_model(ADA)
    else:
        await population.host.jobs.cancel(ADA)
    await working

    assert (await population.job(BOB)).state == "promoted"
    assert not await workshop.round()
    if leaves == "erased":
        with pytest.raises(ModelNotFound):
            await population.host.show_model(ADA)
    else:
        assert (await population.host.show_model(ADA)).cursor == 0
    assert not population.sessions.root.exists() or list(population.sessions.root.iterdir()) == []


async def test_who_asks_while_another_is_trained_joins(population: Population) -> None:
    await population.ask(await population.teach(ADA, turns=16), replace(OPTIONS, steps=100_000))
    await population.teach(BOB, turns=16)
    workshop = population.workshop()
    working = asyncio.create_task(workshop.round())

    async def is_under_way() -> bool:
        return (await population.job(ADA)).step > 0

    await wait_until(is_under_way)
    await population.ask(BOB)
    await working
    before = (await population.job(ADA)).step
    together = asyncio.create_task(workshop.round())

    async def has_ended() -> bool:
        return (await population.job(BOB)).step == 8

    await wait_until(has_ended)
    await population.host.jobs.cancel(ADA)
    await together

    assert (await population.job(BOB)).state == "promoted"
    assert (await population.job(ADA)).step > before


async def test_a_candidate_that_no_engine_takes_now_is_promoted_when_one_does(
    population: Population,
) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)
    population.engine.failures = 2
    workshop = population.workshop()

    await workshop.round()
    assert (await population.job(ada)).state == "promoting"
    await population.workshop().round()
    assert (await population.job(ada)).state == "promoting"
    await population.workshop().round()

    job = await population.job(ada)
    assert job.state == "promoted"
    assert (await population.host.show_model(ada)).aliases == {"latest": job.candidate}


class NoMemory(FrozenBase):
    """A base on a machine that has no memory for a backward pass; torch says so."""

    def score(self, readings: Sequence[Reading]) -> list[Scored]:
        if torch.is_grad_enabled():
            torch.empty(2**60)
        return super().score(readings)


@pytest.mark.parametrize(
    ("turns", "opinion", "options", "state", "reason"),
    [
        (0, None, OPTIONS, "skipped", "nobody has talked to it"),
        (9, None, OPTIONS, "skipped", "was liked or corrected"),
        (9, Opinion(thumb=False), OPTIONS, "skipped", "was liked or corrected"),
        (9, Opinion(thumb=True), replace(OPTIONS, method="preference"), "skipped", "was corrected"),
        (9, Opinion(correction="long " * 9000), OPTIONS, "skipped", "longer than the context"),
        (9, CORRECTED, replace(OPTIONS, learning_rate=10.0), "failed", "finite"),
        (9, CORRECTED, replace(OPTIONS, rank=17), "failed", "rank 17"),
        (3, CORRECTED, OPTIONS, "rejected", "too few to judge it"),
    ],
)
async def test_what_cannot_be_learned_ends_by_name_and_the_model_is_as_it_was(
    population: Population,
    turns: int,
    opinion: Opinion | None,
    options: TrainingOptions,
    state: str,
    reason: str,
) -> None:
    ada = await population.teach(ADA, opinion, turns)
    before = await population.host.show_model(ada)
    await population.ask(ada, options)

    await population.workshop().round()

    job = await population.job(ada)
    assert job.state == state, job
    assert reason in job.reason
    assert await population.host.show_model(ada) == before


async def test_a_machine_without_memory_fails_by_name(population: Population, small_base_f32: Path) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)

    await population.workshop(NoMemory(small_base_f32, BASE, dtype=torch.float32)).round()

    job = await population.job(ada)
    assert job.state == "failed"
    assert "does not fit into memory" in job.reason


async def test_a_base_that_changed_under_the_log_fails_by_name(
    population: Population, small_base_f32: Path
) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)

    await population.workshop(FrozenBase(small_base_f32, "e" * 64, dtype=torch.float32)).round()

    job = await population.job(ada)
    assert job.state == "failed"
    assert "its base is" in job.reason


async def test_a_parent_whose_file_is_missing_fails_by_name(population: Population) -> None:
    ada = await population.teach(ADA)
    await population.host.publish_revision(ada, replace(revision("lost"), base=BASE))
    await population.ask(ada)

    await population.workshop().round()

    job = await population.job(ada)
    assert job.state == "failed"
    assert "is missing" in job.reason


async def test_another_rank_than_the_parents_has_to_begin_from_the_base(population: Population) -> None:
    ada = await population.teach(ADA)
    await population.ask(ada)
    await population.workshop().round()

    await population.ask(ada, replace(OPTIONS, rank=8))
    await population.workshop().round()
    assert "begin from the base" in (await population.job(ada)).reason

    await population.ask(ada, replace(OPTIONS, rank=8, from_base=True))
    await population.workshop().round()
    job = await population.job(ada)
    assert (job.state, job.parent) in (("promoted", None), ("rejected", None)), job


async def test_a_revision_is_made_again_to_the_bit_whatever_was_said_since(population: Population) -> None:
    ada = await population.teach(ADA, turns=16)
    await population.ask(ada)
    await population.workshop().round()
    first = (await population.job(ada)).candidate
    await population.host.give_feedback(ada, 3, Opinion(correction="Rex."))
    await population.talk(ada, 16, 20)

    await population.ask(ada, TrainingOptions(rebuilds=first))
    await population.workshop().round()

    again = await population.job(ada)
    assert (again.state, again.candidate, again.log_range) == ("promoted", first, (0, 16)), again.reason
    view = await population.host.show_model(ada)
    assert (view.aliases, view.cursor) == ({"latest": first}, 16)


async def test_a_revision_is_made_again_on_another_base_and_its_model_is_of_that_base_then(
    population: Population, small_base_f32: Path
) -> None:
    ada = await population.teach(ADA, turns=16)
    await population.ask(ada)
    await population.workshop().round()
    first = (await population.job(ada)).candidate
    other = FrozenBase(small_base_f32, "e" * 64, dtype=torch.float32)

    await population.ask(ada, TrainingOptions(rebuilds=first))
    await population.workshop(other).round()

    job = await population.job(ada)
    assert job.state == "promoted", job.reason
    assert job.candidate != first
    view = await population.host.show_model(ada)
    assert (view.base, view.aliases) == ("e" * 64, {"latest": job.candidate})
    assert [one.base for one in await population.host.list_revisions(ada)] == [BASE, "e" * 64]
    population.host.check_integrity()


async def test_only_what_answers_and_was_trained_here_is_made_again(population: Population) -> None:
    ada = await population.teach(ADA, turns=1)
    brought = replace(revision("brought"), base=BASE)

    with pytest.raises(RevisionNotFound):
        await population.ask(ada, TrainingOptions(rebuilds=brought.digest))
    await population.host.publish_revision(ada, brought)
    with pytest.raises(InvalidRequest, match="was not trained here"):
        await population.ask(ada, TrainingOptions(rebuilds=brought.digest))

    assert await population.host.jobs.of_model(ada) == ()


async def test_a_step_has_as_many_examples_as_were_asked_for(population: Population) -> None:
    for model, batch in ((ADA, 1), (BOB, 2)):
        await population.ask(
            await population.teach(model, turns=16), replace(OPTIONS, batch=batch, steps=2, anchor=0.0)
        )

    await population.workshop().round()

    one, two = [(await population.job(model)).tokens for model in (ADA, BOB)]
    assert 1.8 * one < two < 2.2 * one


async def test_feedback_given_after_the_start_does_not_change_what_is_learned(
    population: Population,
) -> None:
    for model in (ADA, BOB):
        await population.ask(await population.teach(model, turns=16))
        await population.host.jobs.start(model, 0)
    population.clock.advance(1)
    await population.host.give_feedback(ADA, 3, Opinion(correction="Rex."))

    await population.workshop().round()

    made = [(await population.host.list_revisions(model))[0].lineage for model in (ADA, BOB)]
    assert made[0] is not None
    assert made[1] is not None
    assert made[0].data_digest == made[1].data_digest
    assert [one.model for one in await population.host.jobs.news()] == [ADA], "it is news for the next"
