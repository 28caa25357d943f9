"""A candidate is judged by what the engine that serves replies with its person's memory."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.engine import MemoryUse, Message
from populace.actors.feedback import Opinion
from populace.actors.memory import Memory, MemoryOutcome, MemoryTrace
from populace.actors.suites import suite_of
from populace.actors.training_options import TrainingOptions
from populace.adapters.memory.layer import MemoryShape
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import EngineSampler
from scripts.bench.random_module import random_module, random_state
from tests.actors.turns import grant_of, reply, turn_of
from tests.runtime.trainer.trained_population import ADA, BASE, OPTIONS, Trained, torch_sampler

pytestmark = pytest.mark.engine

ASKED = "Who is dog 0?"
UNTIL_SAID = TrainingOptions(rank=4, learning_rate=1e-2, anchor=0.0)
LOUD = 8.0
"""A random memory that is read so loudly that no learned reply outlasts it."""


@pytest.fixture(scope="module")
def state(small_base_f32: Path) -> bytes:
    return random_state(random_module(small_base_f32, BASE, MemoryShape(rank=4), strength=LOUD))


@pytest.fixture(scope="module")
def sampler(small_base_f32: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[EngineSampler]:
    folder = tmp_path_factory.mktemp("sampled")
    module = folder / "module.safetensors"
    module.write_bytes(random_module(small_base_f32, BASE, MemoryShape(rank=4), strength=LOUD).pack())

    with torch_sampler(small_base_f32, folder, sequences_max=32, memory_module=module) as started:
        yield started


@pytest.fixture
async def population(
    tmp_path: Path, small_base_f32: Path, base: FrozenBase, sampler: EngineSampler
) -> AsyncGenerator[Trained]:
    made = Trained(tmp_path / "store", small_base_f32, base, sampler=sampler)
    yield made
    made.host.close()


async def correct(population: Trained, state: bytes | None) -> None:
    """Correct a turn that leaves this state of the memory, None an empty one."""
    await population.host.create_model(ADA)
    grant = await grant_of(population.host, turn_of(ADA, "op-0"))
    trace = MemoryTrace(read=True, written_from=0, reply_ids=(1,), module="m" * 64)
    made = replace(reply("Who knows?", asked=ASKED), memory=MemoryOutcome(Memory(state).pack(), trace))
    await population.host.finish_turn(grant, made)
    await population.host.give_feedback(ADA, 0, Opinion(correction="Bruno."))
    population.clock.advance(1)


async def scores_of(population: Trained) -> dict[str, float]:
    [made] = await population.host.list_revisions(ADA)
    assert made.lineage is not None
    return dict(made.lineage.scores)


async def test_a_correction_that_the_memory_drowns_is_not_promoted(population: Trained, state: bytes) -> None:
    await correct(population, state)
    await population.ask(ADA, UNTIL_SAID)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "rejected"
    assert job.reason == f"as it is served, with its memory, it says 0 of 1 corrections, and not “{ASKED}”"
    scores = await scores_of(population)
    assert scores["corrections_said"] == 1.0, "by the weights alone it says all"
    assert (scores["served_corrections"], scores["served_corrections_said"]) == (1.0, 0.0)


async def test_with_a_memory_that_lets_it_be_said_it_is_promoted(population: Trained) -> None:
    await correct(population, None)
    await population.ask(ADA, UNTIL_SAID)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "promoted", job.reason
    assert (await scores_of(population))["served_corrections_said"] == 1.0


async def test_a_memory_that_another_module_wrote_judges_nothing(
    population: Trained, small_base_f32: Path
) -> None:
    other = random_module(small_base_f32, BASE, MemoryShape(rank=4), strength=LOUD / 2)
    await correct(population, random_state(other))
    await population.ask(ADA, UNTIL_SAID)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "promoted", job.reason


async def test_the_suite_is_asked_with_the_memory(
    population: Trained, sampler: EngineSampler, state: bytes
) -> None:
    use = MemoryUse(state, new_from=None)
    prompt = [(Message("user", ASKED),)]
    [with_memory] = sampler.answers(None, prompt, tokens_max=256, memory=use)
    [without] = sampler.answers(None, prompt, tokens_max=256)
    assert with_memory.reply != without.reply
    await correct(population, state)
    said = {"ask": ASKED, "expect": with_memory.reply, "check": "exact"}
    await population.host.suites.keep(ADA, suite_of([said]))
    await population.ask(ADA, UNTIL_SAID)

    await population.training_loop().round()

    # The base passes as it is served, which it does not without its memory.
    assert (await scores_of(population))["suite_passed_parent"] == 1.0


async def test_held_out_replies_are_made_whole_and_compared(population: Trained) -> None:
    await population.teach(ADA)
    await population.ask(ADA, replace(OPTIONS, steps=40))

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "promoted", job.reason
    scores = await scores_of(population)
    assert scores["served_replies"] == scores["held_out_replies"] == 3.0
    assert scores["served_likeness"] > scores["served_likeness_parent"]
    assert scores["served_learned"] == 16.0, "no more of the 21 are asked"
    assert scores["served_learned_likeness"] > scores["served_learned_likeness_parent"]


async def test_corrections_that_were_learned_to_no_effect_are_not_promoted(population: Trained) -> None:
    await population.teach(ADA)
    await population.ask(ADA, replace(OPTIONS, steps=1, learning_rate=1e-6))

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "rejected"
    assert "as it is served, its replies are no more like the 16 corrections that it learned" in job.reason


async def test_without_an_engine_the_weights_alone_are_judged(
    tmp_path: Path, small_base_f32: Path, base: FrozenBase, state: bytes
) -> None:
    population = Trained(tmp_path / "store", small_base_f32, base)
    await correct(population, state)
    await population.ask(ADA, UNTIL_SAID)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "promoted", job.reason
    assert not [name for name in await scores_of(population) if name.startswith("served")]
    population.host.close()
