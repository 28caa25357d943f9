"""What retrieval would tell a model, its weights learn from its own replies, as a job like any other."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from populace.actors.feedback import Opinion
from populace.actors.training_options import TrainingOptions
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import EngineSampler
from tests.runtime.trainer.trained_population import ADA, BOB, EVERYTHING, Trained, torch_sampler

pytestmark = pytest.mark.engine

OPTIONS = TrainingOptions(
    method="distillation", rank=4, steps=3, learning_rate=1e-3, batch=2, replies=2, reply_tokens=6
)
LOGGED = TrainingOptions(method="sft", rank=4, steps=3, learning_rate=1e-3, batch=2)
CORRECTED = Opinion(correction="Bruno. Bruno. Bruno.")


@pytest.fixture(scope="module")
def sampler(small_base_f32: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[EngineSampler]:
    with torch_sampler(small_base_f32, tmp_path_factory.mktemp("sampled")) as started:
        yield started


@pytest.fixture
async def population(
    tmp_path: Path, small_base_f32: Path, base: FrozenBase, sampler: EngineSampler
) -> AsyncGenerator[Trained]:
    made = Trained(tmp_path / "store", small_base_f32, base, sampler=sampler)
    yield made
    made.host.close()


async def test_a_model_learns_from_its_own_replies_beside_one_that_learns_from_its_log(
    population: Trained,
) -> None:
    population.gate = EVERYTHING
    await population.ask(await population.teach(ADA, CORRECTED, 16), OPTIONS)
    await population.ask(await population.teach(BOB, CORRECTED, 16), LOGGED)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "promoted", job.reason
    assert (job.progress.step, len(job.progress.curve)) == (3, 3)
    [made] = await population.host.list_revisions(ADA)
    assert (made.method, made.lineage is not None) == ("distillation", True)
    assert (await population.job(BOB)).progress.step == 3


async def test_a_log_that_helps_with_nothing_is_skipped_by_name(population: Trained) -> None:
    await population.ask(await population.teach(ADA, Opinion(thumb=False), 9), OPTIONS)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert (job.state, "no turn of its log matches" in job.reason) == ("skipped", True)


async def test_a_trainer_without_an_engine_says_so(population: Trained) -> None:
    population.sampler = None
    await population.ask(await population.teach(ADA, CORRECTED, 9), OPTIONS)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert (job.state, "no engine" in job.reason) == ("failed", True)
