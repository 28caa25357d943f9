"""Reads from the hosts what a job learns from and is judged by."""

from populace.actors.engine import MemoryUse
from populace.actors.hosts import Hosts
from populace.actors.suites import Suite
from populace.actors.training import TrainingJob
from populace.actors.turn import ModelId
from populace.storage.training.errors import SuiteNotFound
from populace.trainer.datasets import TrainingData
from populace.trainer.log_data import read_log_data


async def log_of(hosts: Hosts, job: TrainingJob) -> TrainingData:
    """Read the turns in the range of a job that has started, and the feedback that was given before."""
    assert job.log_range is not None
    assert job.feedback_until_ms is not None
    return TrainingData(*await read_log_data(hosts, job.model, job.log_range, job.feedback_until_ms))


async def suite_of_model(hosts: Hosts, model: ModelId) -> Suite:
    """Read the model's suite, which has no question if there is none."""
    try:
        return await hosts.suites.show(model)
    except SuiteNotFound:
        return ()


async def memory_of(hosts: Hosts, model: ModelId) -> MemoryUse:
    """Read the model's memory as it is now, for replies that read it and write nothing."""
    return MemoryUse((await hosts.memories.show(model)).state, new_from=None)
