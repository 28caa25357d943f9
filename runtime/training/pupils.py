"""From a job to a pupil: what the model learns, where it begins or goes on, and what judges it.

All of it follows from the job, as it was fixed when it started: the log of its range, the feedback given
before, the parent, the options. A session that was saved goes on if it learned from the same.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from populace.actors.errors import TrainingFailed
from populace.actors.feedback import Feedback
from populace.actors.training import JobProgress, TrainingJob
from populace.actors.turn import Interaction
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.anchors import AnchoredCurriculum, anchor_sequences
from populace.learning.curricula import Curriculum, make_curriculum, steps_of
from populace.learning.encoding import ExampleEncoder
from populace.learning.examples import Example, digest_of, examples_of
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.on_policy.distillation import DistillationMethod, DistillationOptions
from populace.learning.on_policy.log_queries import log_queries
from populace.learning.on_policy.rounds import RolloutCurriculum, RoundOptions
from populace.learning.on_policy.sampler import Sampler
from populace.learning.session import StepOptions, StepReport, TrainingSession
from populace.learning.session_file import pack_session, unpack_session
from populace.learning.trainer import Pupil
from populace.policies.lessons import wanted_reply
from populace.storage.errors import RecordInvalid
from populace.storage.revisions import RevisionFiles

RANK = 8
"""Of an adapter that begins anew."""


FORWARD = 0.5
"""The weight of the forward divergence: what a model would never say by itself comes too slowly without."""

CURVE_MAX = 256
"""Losses that are told of a job: a picture has no more room, and its row is written every second."""


class Material(NamedTuple):
    """What a job learns from: the interactions of its range, and what was thought of them before it began."""

    log: Sequence[Interaction]
    feedback: Sequence[Feedback]


@dataclass(slots=True)
class Training:
    """A job that is worked on. ``tokens`` and ``seconds`` are those of earlier trainers too.

    ``saved_at`` is when its session was written last, by the monotonic clock.
    """

    job: TrainingJob
    session_key: bytes
    pupil: Pupil
    data_digest: str
    loss: float | None = None
    tokens: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    saved_at: float = field(default_factory=time.monotonic)

    def note(self, report: StepReport, seconds: float) -> None:
        self.loss = report.loss
        self.tokens += report.tokens
        self.seconds += seconds
        self.curve.append((report.step, report.loss))

    @property
    def progress(self) -> JobProgress:
        session = self.pupil.session
        curve = tuple(thinned(self.curve, CURVE_MAX))
        return JobProgress(session.step, session.options.steps, self.loss, self.tokens, self.seconds, curve)

    @property
    def hyper_parameters(self) -> dict[str, bool | int | float | str | None]:
        """What the weights follow from beside the data: the job's options as they came out, and the steps."""
        steps = self.pupil.session.options
        layers = self.pupil.session.adapter.layers.values()
        return {
            **asdict(self.job.options),
            "rank": max(layer.rank for layer in layers),
            "alpha": max(layer.alpha for layer in layers),
            "steps": steps.steps,
            "warm_up": steps.warm_up,
            "rate_last": steps.rate_last,
            "clip": steps.clip,
            "weight_decay": steps.weight_decay,
        }

    def pack(self) -> bytes:
        """Make the file that ``PupilMaker`` goes on from."""
        told = {
            "data_digest": self.data_digest,
            "loss": self.loss,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "curve": self.curve,
        }
        return pack_session(self.pupil.session, told)


class PupilMaker:
    """For one base. Not thread-safe, as the base is not."""

    def __init__(
        self,
        base: FrozenBase,
        base_directory: Path,
        files: RevisionFiles,
        *,
        rank_max: int,
        sampler: Sampler | None = None,
    ) -> None:
        """Without a ``sampler`` nobody learns from their own replies."""
        self.base_fingerprint = base.fingerprint
        self._base = base
        self._files = files
        self._rank_max = rank_max
        self._sampler = sampler
        self._tokenizer = BaseTokenizer(base_directory)
        self.encoder = ExampleEncoder(self._tokenizer, base.context_tokens)

    def make(self, job: TrainingJob, session_key: bytes, material: Material, saved: bytes | None) -> Training:
        """Make a pupil of a job that has started; ``saved`` is what ``Training.pack`` made of it earlier.

        Raises ``TrainingFailed``, ``AdapterInvalid``, ``AdapterMismatch`` and ``InvalidRequest``.
        """
        options, name = job.options, job.model.name
        examples = examples_of(material.log, material.feedback)
        parent = self._parent(job)
        curriculum = self._curriculum(job, material, examples, parent)
        steps = options.steps or steps_of(curriculum.size, options.batch, options.epochs)
        stepping = StepOptions(steps=steps, learning_rate=options.learning_rate, seed=options.seed)
        digest = digest_of(examples)
        going_on = _unpacked(saved, stepping, digest)
        if going_on is None:
            adapter = self._first_adapter(job, parent)
            session, told = TrainingSession(f"{job.model.tenant}/{name}", adapter, stepping), {}
        else:
            session, told = going_on
        anchors = anchor_sequences(self.encoder) if options.anchor else []
        if anchors:
            curriculum = AnchoredCurriculum(curriculum, anchors, self._base, options.anchor)
        held_out = self._held_out(examples, unjudged=options.unjudged)
        pupil = Pupil(session, curriculum, parent, held_out, options.batch)
        return Training(
            job,
            session_key,
            pupil,
            digest,
            told.get("loss"),
            told.get("tokens", 0),
            told.get("seconds", 0.0),
            [(step, loss) for step, loss in told.get("curve", [])],
        )

    def _curriculum(
        self,
        job: TrainingJob,
        material: Material,
        examples: Sequence[Example],
        parent: TrainableAdapter | None,
    ) -> Curriculum:
        options, name = job.options, job.model.name
        if options.method != "distillation":
            return make_curriculum(
                options.method, name, examples, self.encoder, self._base, parent, unjudged=options.unjudged
            )
        if self._sampler is None:
            raise TrainingFailed(name, "this trainer samples from no engine")
        queries = log_queries(
            name,
            material.log,
            material.feedback,
            examples,
            self._tokenizer,
            retrieve=options.retrieve,
            tokens_max=self._base.context_tokens - options.reply_tokens,
        )
        method = DistillationMethod(
            queries,
            self._base,
            self._tokenizer,
            parent,
            DistillationOptions(forward=FORWARD),
            tokens_max=options.reply_tokens,
        )
        rounds = RoundOptions(replies=options.replies, tokens_max=options.reply_tokens)
        return RolloutCurriculum(method, self._sampler, self._base, rounds)

    def _parent(self, job: TrainingJob) -> TrainableAdapter | None:
        if job.parent is None:
            return None
        if not self._files.has(job.parent):
            raise TrainingFailed(job.model.name, f"the adapter of its parent {job.parent[:12]} is missing")
        return self._read(job.parent)

    def _read(self, digest: str) -> TrainableAdapter:
        path = self._files.path(digest)
        return TrainableAdapter.of_revision(path, self._base.modules, rank_max=self._rank_max, digest=digest)

    def _first_adapter(self, job: TrainingJob, parent: TrainableAdapter | None) -> TrainableAdapter:
        """The parent's weights to move, or a new adapter, which changes nothing yet."""
        rank = job.options.rank
        if parent is None:
            shape = replace(LoraShape(), rank=RANK if rank is None else rank)
            if shape.rank > self._rank_max:
                raise TrainingFailed(
                    job.model.name, f"rank {shape.rank} is more than is served, which is {self._rank_max}"
                )
            return TrainableAdapter.begin(
                self._base.model, self._base.modules, shape, job.options.start, seed=job.options.seed
            )
        has = max(layer.rank for layer in parent.layers.values())
        if rank not in (None, has):
            raise TrainingFailed(
                job.model.name, f"its adapter has rank {has}; rank {rank} has to begin from the base"
            )
        assert job.parent is not None
        return self._read(job.parent)

    def _held_out(self, examples: Sequence[Example], *, unjudged: bool) -> list[TrainSequence]:
        found: list[TrainSequence] = []
        for one in examples:
            reply = wanted_reply(one.reply, one.judged, unjudged=unjudged) if one.is_held_out else None
            sequence = None if reply is None else self.encoder.sequence(one.prompt, reply)
            if sequence is not None:
                found.append(sequence)
        return found


def thinned(curve: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """Leave every so many-th point, and the newest, so that there are ``most`` at most."""
    stride = max(1, -(-len(curve) // (most - 1)))
    return [*curve[:-1:stride], *curve[-1:]]


def _unpacked(
    saved: bytes | None, options: StepOptions, data_digest: str
) -> tuple[TrainingSession, dict[str, Any]] | None:
    """Unpack a session that learns from the same; from anything else a training begins anew."""
    if saved is None:
        return None
    try:
        session, told = unpack_session(saved)
    except RecordInvalid:
        return None
    same = json.dumps(asdict(session.options)) == json.dumps(asdict(options))
    return (session, told) if same and told.get("data_digest") == data_digest else None
