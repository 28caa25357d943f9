"""What is learned until it is said is learned with the memory as it was when its training was taken up."""

from pathlib import Path

import pytest

from populace.actors.engine import MemoryUse
from populace.actors.training_options import TrainingOptions
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.trainer.datasets import TrainingData
from populace.trainer.loop import log_of
from populace.trainer.runs import RunBuilder, TrainingRun
from scripts.bench.random_module import random_module, random_state, with_gates
from tests.runtime.trainer.trained_population import ADA, BASE, Trained

pytestmark = pytest.mark.engine

GATED = MemoryShape(rank=4, gated=True, first_layer=1)
UNTIL_SAID = TrainingOptions(rank=4)


@pytest.fixture(scope="module")
def gated(small_base_f32: Path) -> MemoryModule:
    return with_gates(random_module(small_base_f32, BASE, GATED), open_=True)


@pytest.fixture
def state(gated: MemoryModule) -> bytes:
    return random_state(gated)


@pytest.fixture(autouse=True)
async def job(population: Trained) -> None:
    """Start a job that learns a correction."""
    await population.teach(ADA, turns=1)
    await population.ask(ADA, UNTIL_SAID)
    await population.host.jobs.start(ADA, 0)


@pytest.fixture
def runs(population: Trained, gated: MemoryModule, tmp_path: Path) -> RunBuilder:
    return population.runs(memory_module=written(gated, tmp_path))


def written(module: MemoryModule, folder: Path) -> Path:
    path = folder / "module.safetensors"
    path.write_bytes(module.pack())
    return path


async def made(
    population: Trained,
    runs: RunBuilder,
    state: bytes | None,
    saved: bytes | None = None,
    *,
    is_of_range: bool = True,
) -> TrainingRun:
    """Make the run of the job, with a memory of this state."""
    job = await population.job(ADA)
    data: TrainingData = await log_of(population.host, job)
    data = data._replace(memory=MemoryUse(state, new_from=None), learns_with_memory=is_of_range)
    return runs.make(job, b"k" * 32, data, saved)


def reads(run: TrainingRun) -> bool:
    assert run.learner.taught is not None
    return run.learner.taught.reading is not None


async def test_replies_read_the_memory_of_the_turns_that_are_learned(
    population: Trained, runs: RunBuilder, state: bytes
) -> None:
    assert reads(await made(population, runs, state))
    assert not reads(await made(population, runs, None)), "nothing was told yet"
    assert not reads(await made(population, runs, state, is_of_range=False)), "it has later turns too"
    assert not reads(await made(population, runs, b"damaged"))


async def test_a_module_without_gates_is_not_read(
    population: Trained, small_base_f32: Path, tmp_path: Path
) -> None:
    published = random_module(small_base_f32, BASE, MemoryShape(rank=4))
    runs = population.runs(memory_module=written(published, tmp_path))

    assert not reads(await made(population, runs, random_state(published)))


async def test_a_training_that_goes_on_reads_the_memory_with_which_it_began(
    population: Trained, runs: RunBuilder, state: bytes
) -> None:
    begun = await made(population, runs, state)
    later = await made(population, runs, None, begun.pack(), is_of_range=False)
    assert later.start.record.memory == state
    assert reads(later)

    without = await made(population, runs, None)
    assert not reads(await made(population, runs, state, without.pack()))
