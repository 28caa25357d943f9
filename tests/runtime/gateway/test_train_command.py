"""`populace train` waits for its trainings, and its exit status says whether they were promoted."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.cli.main import app
from populace.settings.running import Running, write_running
from tests.actors.trainings import DONE, trained
from tests.actors.turns import wait_until
from tests.runtime.gateway.population import Population

ADA, BEN = ModelId("acme", "ada"), ModelId("acme", "ben")

Train = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
def train(population: Population, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Run the command with these arguments on a thread."""
    write_running(tmp_path, Running("ray", url, os.getpid(), "store"))
    monkeypatch.setenv("POPULACE_DATA", str(tmp_path))
    monkeypatch.setenv("POPULACE_API_KEY", population.keys["acme"])
    return lambda *arguments: asyncio.to_thread(CliRunner().invoke, app, ["train", *arguments])


async def promoted(population: Population, job: TrainingJob) -> None:
    await population.directory.jobs.finish(ADA, job.number, trained(job), DONE)


async def rejected(population: Population, job: TrainingJob) -> None:
    await population.directory.jobs.finish(ADA, job.number, trained(job, "new", "it is worse"), DONE)


async def skipped(population: Population, job: TrainingJob) -> None:
    await population.directory.jobs.end(ADA, job.number, "skipped", "nothing to learn")


async def failed(population: Population, job: TrainingJob) -> None:
    await population.directory.jobs.end(ADA, job.number, "failed", "it diverged")


@pytest.mark.parametrize(("end", "status"), [(promoted, 0), (rejected, 3), (skipped, 3), (failed, 1)])
async def test_the_exit_status_is_that_of_the_trainings_end(
    train: Train, population: Population, end: Callable[..., Awaitable[None]], status: int
) -> None:
    training = asyncio.create_task(train("ada"))

    async def is_asked_for() -> bool:
        return bool(await population.directory.jobs.of_model(ADA))

    await wait_until(is_asked_for)
    await end(population, await population.directory.jobs.start(ADA, 0))
    done = await training

    assert done.exit_code == status, done.output


@pytest.mark.parametrize("flags", [(), ("--rank", "4")])
async def test_a_training_that_has_begun_already_is_watched_to_its_end(
    train: Train, population: Population, flags: tuple[str, ...]
) -> None:
    jobs = population.directory.jobs
    begun = await jobs.start(ADA, (await jobs.ask(ADA, TrainingOptions(rank=4, steps=2))).number)
    await population.directory.create_model(BEN)
    watching = asyncio.create_task(train("ada", "ben", *flags, "--json"))

    async def is_asked_for() -> bool:
        return bool(await jobs.of_model(BEN))

    # Models are asked for in their order, so by then the training of ada is watched.
    await wait_until(is_asked_for)
    await promoted(population, begun)
    await jobs.end(BEN, 0, "skipped", "nothing to learn")
    watched = await watching

    assert [job["state"] for job in json.loads(watched.stdout)] == ["promoted", "skipped"]
    assert "this is its job 0" in " ".join(watched.stderr.split())
    assert len(await jobs.of_model(ADA)) == 1


@pytest.mark.parametrize("flags", [("--rank", "8"), ("--no-wait",)])
async def test_a_training_that_has_begun_otherwise_is_not_taken_for_what_is_asked(
    train: Train, population: Population, flags: tuple[str, ...]
) -> None:
    await population.directory.jobs.ask(ADA, TrainingOptions(rank=4))

    refused = await train("ada", *flags)

    assert refused.exit_code == 1
    assert "The training job 0 of `ada` has not ended" in " ".join(refused.output.split())


async def test_flags_are_the_options_of_the_job(train: Train) -> None:
    done = await train("ada", "--no-wait", "--json", "--rank", "4", "--from-base", "--start", "pissa")

    assert done.exit_code == 0, done.output
    [job] = json.loads(done.stdout)
    chosen: dict[str, Any] = {"rank": 4, "from_base": True, "start": "pissa", "method": "sft", "seed": 0}
    assert job["options"].items() >= chosen.items()


@pytest.mark.parametrize(
    ("reward", "count", "message"),
    [("best", 16, "There is no reward named `best`; there are"), ("number", 2, "Send 16 or more.")],
)
async def test_what_no_reward_could_judge_is_refused(
    train: Train, tmp_path: Path, reward: str, count: int, message: str
) -> None:
    tasks = tmp_path / "sums.jsonl"
    tasks.write_text('{"prompt": "3 + 4?", "answer": 7}\n' * count)

    done = await train("ada", "--method", "rl", "--reward", reward, "--tasks", str(tasks))

    assert (done.exit_code, message in " ".join(done.output.split())) == (1, True), done.output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("ada", "--rank", "0"), 1, "rank is from 1 to 512"),
        (("ada", "--retrieve", "2"), 1, "Only distillation can have `retrieve`"),
        (("ada", "--method", "osmosis"), 2, "osmosis"),
        (("base",), 1, "does not exist. No personal model can have this name: base, import, population are"),
        (("nobody",), 1, "does not exist. Create it with `populace model create nobody`"),
        (("--all",), 3, "There was no model to train."),
    ],
)
async def test_what_cannot_be_trained_is_refused_or_said(
    train: Train, arguments: tuple[str, ...], status: int, message: str
) -> None:
    done = await train(*arguments)

    assert (done.exit_code, message in " ".join(done.output.split())) == (status, True), done.output
