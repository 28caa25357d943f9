"""A revision of sampled replies is made again from these, without an engine and to the bit."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.reward_tasks import RewardTask
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import EngineSampler
from populace.policies.evaluation_gate import GateRule
from populace.suites import rewards
from populace.suites.rewards import Task
from tests.actors.turns import wait_until
from tests.runtime.trainer.trained_population import ADA, BASE, Trained, torch_sampler

pytestmark = pytest.mark.engine

NAME = "of-a-replay"
TASKS = [
    RewardTask((Message("user", f"Say {what}.{more}"),), {})
    for what in ("tea", "rain", "Rome", "ink", "snow", "bread", "wool", "salt")
    for more in ("", " Or milk.")
]
REWARDED = TrainingOptions(
    method="rl",
    reward=NAME,
    rank=4,
    steps=4,
    schedule_steps=8,
    learning_rate=2e-2,
    batch=4,
    replies=4,
    reply_tokens=4,
    anchor=0.0,
)
DISTILLED = TrainingOptions(
    method="distillation",
    rank=4,
    steps=3,
    learning_rate=1e-3,
    batch=2,
    replies=2,
    reply_tokens=6,
    anchor=0.0,
)
EVERYTHING = GateRule(gain_min=-100.0, probe_kl_max=100.0, probe_loss_max=100.0)


@pytest.fixture(scope="module")
def base(decided_base: Path) -> FrozenBase:
    return FrozenBase(decided_base, BASE, dtype=torch.float32)


@pytest.fixture(scope="module")
def sampler(decided_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[EngineSampler]:
    with torch_sampler(decided_base, tmp_path_factory.mktemp("sampled"), sequences_max=32) as started:
        yield started


@pytest.fixture
async def population(
    tmp_path: Path, decided_base: Path, base: FrozenBase, sampler: EngineSampler
) -> AsyncGenerator[Trained]:
    made = Trained(tmp_path / "store", decided_base, base, sampler=sampler)
    made.gate = EVERYTHING
    await made.teach(ADA, turns=16)
    yield made
    made.host.close()


def vowels(prompt: Sequence[Message], reply: str, task: Task) -> float:
    del prompt, task
    return sum(character in "aeiou" for character in reply) / max(1, len(reply))


def is_asked_nothing(prompt: Sequence[Message], reply: str, task: Task) -> float:
    raise AssertionError((prompt, reply, task))


@pytest.fixture(autouse=True)
def rewarding() -> Generator[None]:
    rewards.reward(NAME)(vowels)
    yield
    rewards._registered.pop(NAME, None)


def forget_the_engine(population: Trained) -> None:
    """From here on nothing is sampled and nothing rewarded."""
    population.sampler = None
    rewards._registered[NAME] = is_asked_nothing


async def trained(population: Trained, options: TrainingOptions) -> TrainingJob:
    await population.host.jobs.ask(ADA, options, tasks=TASKS if options.method == "rl" else ())
    await population.training_loop().round()
    return await population.job(ADA)


async def test_a_rewarded_revision_is_made_again_to_the_bit_without_its_tasks(population: Trained) -> None:
    first = await trained(population, REWARDED)
    second = await trained(population, replace(REWARDED, continues=True))
    assert (first.state, second.state) == ("promoted", "promoted"), (first.reason, second.reason)
    assert second.progress.step == 8
    forget_the_engine(population)

    again = await trained(population, TrainingOptions(rebuilds=second.candidate))

    assert (again.state, again.candidate) == ("promoted", second.candidate), again.reason
    assert again.parent == first.candidate, "it is judged beside what it was judged beside before"
    [one, other] = await population.host.list_revisions(ADA)
    assert {one.digest, other.digest} == {first.candidate, second.candidate}
    once_more = await trained(population, TrainingOptions(rebuilds=second.candidate))
    assert once_more.candidate == second.candidate, "a replay is kept as what it replays is"
    population.host.check_integrity()


async def test_a_rewarded_training_that_was_stopped_within_a_round_is_replayed_with_it(
    population: Trained,
) -> None:
    await population.host.jobs.ask(ADA, replace(REWARDED, steps=9), tasks=TASKS)
    cut = population.training_loop()
    working = asyncio.create_task(cut.round())

    async def is_within_a_round() -> bool:
        return any(run.learner.session.step >= 1 for run in cut._live.values())

    await wait_until(is_within_a_round)
    cut.stop()
    await working
    await population.training_loop().round()
    made = await population.job(ADA)
    assert made.state == "promoted", made.reason
    forget_the_engine(population)

    again = await trained(population, TrainingOptions(rebuilds=made.candidate))

    assert (again.state, again.candidate) == ("promoted", made.candidate), again.reason


async def test_a_rewarded_revision_that_the_budget_dropped_is_refused_and_that_is_said(
    population: Trained,
) -> None:
    made = await trained(population, REWARDED)
    population.kept_bytes_max = 1
    await population.training_loop().round()

    with pytest.raises(InvalidRequest, match="the budget of kept trainings"):
        await population.ask(ADA, TrainingOptions(rebuilds=made.candidate))


async def test_what_other_weights_sampled_is_not_replayed(population: Trained, decided_base: Path) -> None:
    made = await trained(population, REWARDED)
    [kept] = await population.host.jobs.kept()
    session = population.sessions.read(kept.key)
    assert session is not None

    await population.ask(ADA, TrainingOptions(rebuilds=made.candidate))
    other = FrozenBase(decided_base, "e" * 64, dtype=torch.float32)
    await population.training_loop(other).round()
    job = await population.job(ADA)
    assert (job.state, "had another base" in job.reason) == ("failed", True), job.reason

    await population.ask(ADA, TrainingOptions(rebuilds=made.candidate))
    population.sessions.remove(kept.key)
    await population.training_loop().round()
    job = await population.job(ADA)
    assert (job.state, "has dropped it" in job.reason) == ("failed", True), job.reason


async def test_a_distilled_revision_is_made_again_from_the_replies_that_it_learned_from(
    population: Trained,
) -> None:
    first = await trained(population, DISTILLED)
    second = await trained(population, replace(DISTILLED, seed=3))
    assert (first.state, second.state) == ("promoted", "promoted"), (first.reason, second.reason)
    population.sampler = None

    again = await trained(population, TrainingOptions(rebuilds=second.candidate))

    assert (again.state, again.candidate) == ("promoted", second.candidate), again.reason
