"""Describes a trained revision: its lineage, and the scores that it was judged by."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from statistics import fmean

from populace.actors.hosts import Lineage, Revision
from populace.learning.trainer import Candidate
from populace.policies.capacity import Held
from populace.policies.evaluation_gate import AskedReplies, middle_of
from populace.policies.served_gate import Served
from populace.storage.packed.adapter import PackedAdapter
from populace.trainer.runs import TrainingRun

LIBRARIES = ("populace", "torch", "transformers", "safetensors")
"""Libraries on whose versions the exact result of a training may depend."""


def revision_of(
    training: TrainingRun, candidate: Candidate, *, memory_module: str | None, now_ms: int
) -> Revision:
    """Describe a candidate as the revision that it would become."""
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
            scores=scores_of(candidate, by_person=training.contributions is not None)
            | _of_held(training.held),
            objections=candidate.verdict.objections,
            tokens=training.progress.tokens,
            seconds=training.progress.seconds,
        ),
    )


def scores_of(candidate: Candidate, *, by_person: bool = False) -> dict[str, float]:
    """Return the measured scores of a candidate: counts, shares, rewards, and others in nats per token.

    ``by_person``: the held-out losses are means of people's.
    """
    measured, judged = candidate.evaluation, candidate.verdict
    kind = "tasks" if measured.measure == "reward" else "people" if by_person else "replies"
    scores = {
        f"held_out_{kind}": float(len(measured.candidate)),
        "probe_kl": measured.probe_kl,
        "probe_loss_base": measured.probe_base,
        "probe_loss": measured.probe_candidate,
    }
    if measured.corrections is not None:
        scores |= {
            "corrections": float(measured.corrections.taught),
            "corrections_said": float(measured.corrections.taught - len(measured.corrections.unsaid)),
            "share_kept": measured.corrections.share,
        }
    if measured.asked_again is not None:
        scores |= _of_asked(measured.asked_again)
    if measured.general is not None:
        scores |= {
            "general_tokens_base": measured.general.tokens_base,
            "general_tokens": measured.general.tokens,
            "general_nats_base": measured.general.nats_base,
            "general_nats": measured.general.nats,
        }
    if measured.on is not None:
        scores["personal_share"] = measured.on.share
        if measured.on.lower:
            scores[f"held_out_{measured.measure}_lower"] = fmean(measured.on.lower)
    if measured.candidate:
        scores |= {
            f"held_out_{measured.measure}_parent": fmean(measured.parent),
            f"held_out_{measured.measure}": fmean(measured.candidate),
            "gain": judged.gain,
            "gain_error": judged.gain_error,
        }
    if measured.candidate and measured.measure == "loss":
        scores |= {
            "held_out_loss_median_parent": middle_of(measured.parent),
            "held_out_loss_median": middle_of(measured.candidate),
            "gain_median": judged.gain_median,
        }
    if measured.suite_total:
        scores |= {
            "suite": float(measured.suite_total),
            "suite_passed_parent": float(len(measured.suite_parent)),
            "suite_passed": float(len(measured.suite_candidate)),
        }
    return scores | _served_scores(measured.served)


def _served_scores(served: Served | None) -> dict[str, float]:
    """Return what was measured on replies as the model is served; likenesses are means, from 0 to 1."""
    scores: dict[str, float] = {}
    if served is None:
        return scores
    if served.corrections:
        scores |= {
            "served_corrections": float(served.corrections),
            "served_corrections_said": float(served.corrections - len(served.unsaid)),
        }
    if served.known is not None:
        scores |= {
            "served_asked_again": float(served.known.questions),
            "served_asked_again_known_parent": float(served.known.parent),
            "served_asked_again_known": float(served.known.candidate),
        }
    if served.learned is not None:
        scores |= {
            "served_learned": float(len(served.learned.candidate)),
            "served_learned_likeness_parent": fmean(served.learned.parent),
            "served_learned_likeness": fmean(served.learned.candidate),
        }
    if served.held_out is not None:
        scores |= {
            "served_replies": float(len(served.held_out.like)),
            "served_likeness_parent": fmean(served.held_out.like_parent),
            "served_likeness": fmean(served.held_out.like),
            "served_tokens_parent": served.held_out.tokens_parent,
            "served_tokens": served.held_out.tokens,
        }
    return scores


def _of_held(held: Held | None) -> dict[str, float]:
    """Return how many tokens were taught, how many fit, and how many lessons did not."""
    if held is None:
        return {}
    return {
        "taught_tokens": float(held.tokens),
        "fitting_tokens": float(held.fitting),
        "left_to_retrieval": float(held.left),
    }


def _of_asked(asked: AskedReplies) -> dict[str, float]:
    scores = {
        "asked_again": float(asked.taught),
        "asked_again_said": float(asked.taught - len(asked.unsaid)),
        "asked_again_unusable": float(asked.unusable),
        "asked_again_held_out": float(asked.held_out),
    }
    if asked.held_out:
        scores["asked_again_held_out_loss_parent"] = asked.held_out_loss_parent
        scores["asked_again_held_out_loss"] = asked.held_out_loss
    if asked.held_out_right is not None:
        scores["asked_again_held_out_right"] = float(asked.held_out_right)
    return scores


@cache
def versions() -> Mapping[str, str]:
    return {library: version(library) for library in LIBRARIES}
