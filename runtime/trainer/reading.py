"""Reads from the hosts what a job learns from and is judged by."""

from populace.actors.engine import MemoryUse
from populace.actors.feedback import Feedback
from populace.actors.hosts import Hosts
from populace.actors.suites import Suite
from populace.actors.training import TrainingJob
from populace.actors.turn import Interaction, ModelId
from populace.storage.training.errors import SuiteNotFound
from populace.trainer.datasets import TrainingData

PAGE = 1000


async def log_of(hosts: Hosts, job: TrainingJob) -> TrainingData:
    """Read the turns in the range of a job that has started, and the feedback that was given before."""
    assert job.log_range is not None
    assert job.feedback_until_ms is not None
    model, until_ms = job.model, job.feedback_until_ms
    log: list[Interaction] = []
    given: list[Feedback] = []
    start, stop = job.log_range
    while start < stop:
        page = await hosts.read_log(model, start=start, limit=min(PAGE, stop - start))
        log += [turn for turn in page if turn.position < stop]
        if not page:
            break
        start = page[-1].position + 1
    start = job.log_range[0]
    while start < stop:
        opinions = await hosts.read_feedback(model, start=start, limit=PAGE)
        given += [
            opinion for opinion in opinions if opinion.position < stop and opinion.created_ms < until_ms
        ]
        if len(opinions) < PAGE:
            break
        # The rest of this position is read again with the next page.
        last = opinions[-1].position
        given = [opinion for opinion in given if opinion.position < last]
        start = last
    return TrainingData(log, given)


async def suite_of_model(hosts: Hosts, model: ModelId) -> Suite:
    """Read the model's suite, which has no question if there is none."""
    try:
        return await hosts.suites.show(model)
    except SuiteNotFound:
        return ()


async def memory_of(hosts: Hosts, model: ModelId) -> MemoryUse:
    """Read the model's memory as it is now, for replies that read it and write nothing."""
    return MemoryUse((await hosts.memories.show(model)).state, new_from=None)
