"""A model learns from what its replies to tasks are rewarded with, as a job like any other."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from populace.actors.engine import Delta, GenerateRequest, Message
from populace.actors.owner import Owner, Rank
from populace.actors.reward_tasks import RewardTask
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import EngineSampler
from populace.suites import rewards
from populace.suites.rewards import Reward, Task
from tests.actors.turns import wait_until
from tests.runtime.trainer.trained_population import ADA, BASE, BOB, OPTIONS, Trained, torch_sampler

pytestmark = pytest.mark.engine

NAME = "of-this-job"
TASKS = [
    RewardTask((Message("user", f"Say something of {what}.{more}"),), {})
    for what in ("tea", "rain", "Rome", "ink", "snow", "bread", "wool", "salt")
    for more in ("", " And of milk.")
]
MOSTLY_LONG = [*TASKS[:3], *(RewardTask((Message("user", "tea " * 600),), {}) for _ in range(13))]
"""Three of them have room in the context."""
REWARDED = TrainingOptions(
    method="rl", reward=NAME, rank=4, steps=16, learning_rate=2e-2, batch=8, reply_tokens=4, anchor=0.0
)


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
    yield made
    made.host.close()


@pytest.fixture
def rewarding() -> Generator[Callable[[Reward], None]]:
    """Register a reward, whose name is free again after the test."""

    def register(function: Reward) -> None:
        rewards.reward(NAME)(function)

    yield register
    rewards._registered.pop(NAME, None)


def vowels(prompt: Sequence[Message], reply: str, task: Task) -> float:
    del prompt, task
    return sum(character in "aeiou" for character in reply) / max(1, len(reply))


def raises(prompt: Sequence[Message], reply: str, task: Task) -> float:
    raise LookupError(task["answer"])


def is_nan(prompt: Sequence[Message], reply: str, task: Task) -> float:
    del prompt, reply, task
    return float("nan")


def always(prompt: Sequence[Message], reply: str, task: Task) -> float:
    del prompt, reply, task
    return 1.0


async def rewarded(
    population: Trained, options: TrainingOptions = REWARDED, tasks: Sequence[RewardTask] = TASKS
) -> TrainingJob:
    await population.host.jobs.ask(ADA, options, tasks=tasks)
    training = population.training_loop()
    # What has taken its last step is judged at once, and others go on in the next round.
    while await training.round():
        pass
    return await population.job(ADA)


async def test_what_is_rewarded_becomes_a_revision_and_the_log_is_still_to_be_learned(
    population: Trained, rewarding: Callable[[Reward], None]
) -> None:
    rewarding(vowels)
    await population.teach(ADA)
    await population.ask(await population.teach(BOB), OPTIONS)

    job = await rewarded(population)

    assert job.state == "promoted", job.reason
    assert job.progress.curve[-1][1] > job.progress.curve[0][1] + 0.1, "the curve is of rewards"
    assert job.progress.reward == job.progress.curve[-1][1]
    [made] = await population.host.list_revisions(ADA)
    assert made.lineage is not None
    scores = made.lineage.scores
    assert scores["held_out_reward"] > scores["held_out_reward_parent"] + 0.1
    assert scores["held_out_tasks"] == 2
    assert (made.method, made.lineage.hyper_parameters["reward"]) == ("rl", NAME)
    assert made.lineage.log_range == (0, 0)
    view = await population.host.show_model(ADA)
    assert (view.cursor, view.aliases) == (0, {"latest": made.digest})
    assert (await population.job(BOB)).state == "promoted", "who learns from a log shares the steps"
    population.clock.advance(3600)
    assert ADA in [one.model for one in await population.host.jobs.unsettled()], (
        "what it was told is not learned"
    )

    again = await rewarded(population, replace(REWARDED, steps=2))
    assert again.parent == made.digest, "it goes on from there"


async def test_its_requests_are_those_of_its_model(
    population: Trained,
    sampler: EngineSampler,
    rewarding: Callable[[Reward], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What an engine caches of them is found by no other model, and no other tenant."""
    generate, owners = sampler._engine.generate, set[Owner]()

    def recorded(request: GenerateRequest) -> AsyncGenerator[Delta]:
        if request.prompt in [task.prompt for task in TASKS]:
            owners.add(request.owner)
        return generate(request)

    monkeypatch.setattr(sampler._engine, "generate", recorded)
    rewarding(vowels)
    await population.teach(ADA, turns=1)

    await rewarded(population, replace(REWARDED, steps=1))

    assert owners == {Owner(*ADA, Rank.BACKGROUND)}


@pytest.mark.release("learning")
async def test_a_grader_rewards_as_a_function_does(population: Trained) -> None:
    grader = {"input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "ilike"}
    tasks = [task._replace(known={"item": {"answer": "a"}, "grader": grader}) for task in TASKS]
    await population.teach(ADA, turns=1)

    job = await rewarded(population, replace(REWARDED, reward="grader"), tasks)

    assert job.state == "promoted", job.reason
    assert job.progress.curve[-1][1] > job.progress.curve[0][1]


@pytest.mark.release("learning")
async def test_a_trainer_that_is_stopped_goes_on_with_the_tasks(
    population: Trained, rewarding: Callable[[Reward], None]
) -> None:
    rewarding(vowels)
    await population.teach(ADA, turns=1)
    await population.host.jobs.ask(ADA, REWARDED, tasks=TASKS)
    cut = population.training_loop()
    working = asyncio.create_task(cut.round())

    async def is_under_way() -> bool:
        return any(training.learner.session.step > 1 for training in cut._live.values())

    await wait_until(is_under_way)
    cut.stop()
    await working
    between = await population.job(ADA)
    assert (between.state, between.progress.reward is not None) == ("running", True)
    await population.training_loop().round()
    job = await population.job(ADA)
    assert (job.state, job.progress.step) == ("promoted", REWARDED.steps)


@pytest.mark.parametrize(
    ("reward", "options", "tasks", "state", "reason"),
    [
        (raises, REWARDED, TASKS, "failed", "raised KeyError"),
        (is_nan, REWARDED, TASKS, "failed", "returned nan"),
        (always, REWARDED, TASKS, "skipped", "no reply was better than another"),
        (vowels, replace(REWARDED, reward="of-nobody"), TASKS, "failed", "no reward named `of-nobody`"),
        (vowels, replace(REWARDED, steps=2), MOSTLY_LONG, "skipped", "of its tasks 1 are held out, too few"),
        (vowels, replace(REWARDED, reply_tokens=4096), TASKS, "skipped", "has room in the context"),
        (vowels, replace(REWARDED, learning_rate=1e-9, steps=2), TASKS, "rejected", "its held-out reward is"),
    ],
)
async def test_what_teaches_nothing_ends_by_name_and_the_model_is_as_it_was(
    population: Trained,
    rewarding: Callable[[Reward], None],
    reward: Reward,
    options: TrainingOptions,
    tasks: Sequence[RewardTask],
    state: str,
    reason: str,
) -> None:
    rewarding(reward)
    await population.teach(ADA, turns=1)

    job = await rewarded(population, options, tasks)

    assert job.state == state
    assert reason in job.reason
    view = await population.host.show_model(ADA)
    assert (view.aliases, view.cursor) == ({}, 0)
