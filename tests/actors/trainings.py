"""What a trainer would bring back, without one."""

from dataclasses import replace

from populace.actors.hosts import Lineage, Revision
from populace.actors.training import JobProgress, TrainingJob
from tests.actors.turns import revision

DONE = JobProgress(step=4, steps=4, loss=0.5, tokens=100, seconds=1.5)


def trained(job: TrainingJob, seed: str = "new", *objections: str) -> Revision:
    assert job.log_range is not None
    assert job.feedback_until_ms is not None
    lineage = Lineage(
        log_range=job.log_range,
        feedback_until_ms=job.feedback_until_ms,
        data_digest="d" * 64,
        hyper_parameters={
            "rank": 8,
            "learning_rate": 1e-3,
            "unjudged": False,
            "method": "sft",
            "on": job.options.on,
        },
        versions={"torch": "2"},
        memory_module=None,
        scores={"gain": 0.5},
        objections=objections,
        tokens=100,
        seconds=1.5,
    )
    return replace(revision(seed, 2), method="sft", parent=job.parent, lineage=lineage)
