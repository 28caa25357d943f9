"""What is told of a revision that was trained: where it comes from, and what it was judged by."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from statistics import fmean

from populace.actors.hosts import Lineage, Revision
from populace.learning.trainer import Candidate
from populace.storage.packed.adapter import PackedAdapter
from populace.trainer.runs import TrainingRun

LIBRARIES = ("populace", "torch", "transformers", "safetensors")
"""Whose versions the bits of a training may depend on."""


def revision_of(
    training: TrainingRun, candidate: Candidate, *, memory_module: str | None, now_ms: int
) -> Revision:
    """Describe a candidate as the revision that it would be."""
    job, packed = training.job, PackedAdapter(memoryview(candidate.packed))
    assert job.log_range is not None
    assert job.feedback_until_ms is not None
    assert packed.base is not None
    return Revision(
        digest=packed.digest,
        base=packed.base,
        method=job.options.method,
        parent=job.parent,
        rank=packed.rank,
        adapter_bytes=packed.bytes,
        created_ms=now_ms,
        lineage=Lineage(
            log_range=job.log_range,
            feedback_until_ms=job.feedback_until_ms,
            data_digest=training.data_digest,
            hyper_parameters=training.hyper_parameters,
            versions=dict(versions()),
            memory_module=memory_module,
            scores=scores_of(candidate),
            objections=candidate.verdict.objections,
            tokens=training.tokens,
            seconds=training.seconds,
        ),
    )


def scores_of(candidate: Candidate) -> dict[str, float]:
    """What the candidate was judged by, in nats a token but for rewards, as far as it was measured."""
    measured, judged = candidate.evaluation, candidate.verdict
    kind = "tasks" if measured.measure == "reward" else "replies"
    scores = {
        f"held_out_{kind}": float(len(measured.candidate)),
        "probe_kl": measured.probe_kl,
        "probe_loss_base": measured.probe_base,
        "probe_loss": measured.probe_candidate,
    }
    if measured.candidate:
        scores |= {
            f"held_out_{measured.measure}_parent": fmean(measured.parent),
            f"held_out_{measured.measure}": fmean(measured.candidate),
            "gain": judged.gain,
            "gain_error": judged.gain_error,
        }
    return scores


@cache
def versions() -> Mapping[str, str]:
    return {library: version(library) for library in LIBRARIES}
