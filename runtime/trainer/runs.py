"""Turns a job into a learner, which begins anew or continues a saved session.

The learner depends only on the job as it was fixed at its start: the log in its range, the feedback given
before, the tasks, the parent, the options. A saved session is continued if it learned from the same data.
``continuity.py`` says where a job begins that goes on with a kept training.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from populace.actors.errors import TrainingFailed
from populace.actors.owner import Owner, Rank
from populace.actors.training import JobProgress, TrainingJob
from populace.actors.training_methods import SAMPLING_METHODS
from populace.actors.training_options import steps_of
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.module import MemoryModule, digest_of
from populace.adapters.packing import read_adapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.anchors import AnchoredCurriculum, AnchorGroup, anchor_sequences
from populace.learning.curricula import Curriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.learning.general_replies import Answerer
from populace.learning.kept_readings import KeptReadings
from populace.learning.lower_part import LowerPart
from populace.learning.memory_inputs import TEXTS_MIN, KeptInputsCurriculum, MemoryInputs
from populace.learning.memory_reading import MemoryReading
from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.sft import Reads
from populace.learning.on_policy.record import RolloutRecord
from populace.learning.on_policy.sampler import EngineSampler
from populace.learning.on_policy.teachers import Teacher
from populace.learning.own_replies import WEIGHT as OWN_WEIGHT
from populace.learning.own_replies import OwnReplies, own_replies
from populace.learning.session import StepOptions, StepReport, TrainingSession
from populace.learning.session_file import pack_session, unpack_session
from populace.learning.trainer import Learner
from populace.policies.capacity import AdapterRoom, Held, larger_rank
from populace.storage.records.errors import RecordInvalid
from populace.storage.revisions import RevisionFiles
from populace.trainer.continuity import Served, Start, start_of
from populace.trainer.contributed import Contributions
from populace.trainer.datasets import MAKERS, Dataset, DatasetInputs, TrainingData
from populace.trainer.first_adapter import (
    carried_part,
    check_rank,
    check_shape,
    new_adapter,
    new_part,
    said,
    shape_of,
)
from populace.trainer.judges import judges_of
from populace.trainer.plans import learns_of
from populace.trainer.room import begun_anew, may_begin_anew, rank_most, room_of


@dataclass(slots=True)
class _Reference:
    """What replies are kept to, and its own replies once a job needed them; ``digest`` None is the base."""

    digest: str | None
    readings: KeptReadings
    own_replies: OwnReplies | None = None


class Anchoring:
    """Makes anchored curricula; what the base and the newest lower revision say is computed once."""

    def __init__(
        self,
        base: FrozenBase,
        anchors: list[TrainSequence],
        tokenizer: BaseTokenizer,
        answerer: Answerer | None,
        readings: KeptReadings | None,
    ) -> None:
        """``readings`` are those of the base, if there are some already."""
        self._base = base
        self._anchors = anchors
        self._tokenizer = tokenizer
        self._answerer = answerer
        self._of_base = _Reference(None, readings or KeptReadings(base))
        self._of_lower = self._of_base

    def anchored(
        self, curriculum: Curriculum, weight: float, lower: LowerPart | None, *, taught: Sequence[str]
    ) -> Curriculum:
        """Keep replies as they are, but those to the questions ``taught``.

        Corrections change how replies begin more than anything else does.
        """
        if not (weight and self._anchors):
            return curriculum
        reference, groups = self._reference(lower), [AnchorGroup(self._anchors)]
        if taught and self._answerer is not None:
            if reference.own_replies is None:
                packed = None if lower is None else lower.packed
                reference.own_replies = own_replies(self._answerer, self._tokenizer, packed=packed)
            groups, weight = reference.own_replies.groups(taught), OWN_WEIGHT * weight
        return AnchoredCurriculum(curriculum, groups, reference.readings, weight)

    def _reference(self, lower: LowerPart | None) -> _Reference:
        if lower is None:
            return self._of_base
        if self._of_lower.digest != lower.digest:
            self._of_lower = _Reference(lower.digest, KeptReadings(self._base, lower.adapter))
        return self._of_lower


CURVE_MAX = 256
"""Most points of a job's reported curve: a picture shows no more, and its row is written every second."""


@dataclass(slots=True)
class TrainingRun:
    """A job that is worked on. Its progress includes the work of earlier trainers.

    ``contributions`` are what a community learns, and ``contributors`` the ids of those whose text that is.
    ``curve`` has the loss, or the reward, of every step. ``learns`` says in words what is learned, and
    ``held`` how full the adapter becomes of what is learned until it is said.
    ``saved_at`` is the time on the monotonic clock when its session was last written.
    """

    job: TrainingJob
    session_key: bytes
    learner: Learner
    data_digest: str
    curve: list[tuple[int, float]]
    _progress: JobProgress
    start: Start
    served: Served
    learns: str
    contributions: Contributions | None = None
    contributors: tuple[str, ...] = ()
    held: Held | None = None
    saved_at: float = field(default_factory=time.monotonic)

    def note(self, report: StepReport, seconds: float) -> None:
        reward = report.metrics.get("reward")
        self._progress = self._progress._replace(
            loss=report.loss,
            reward=reward,
            tokens=self._progress.tokens + report.tokens,
            seconds=self._progress.seconds + seconds,
        )
        self.curve.append((report.step, report.loss if reward is None else reward))

    def plan(self, plan: str) -> None:
        """Say before the first step how much is learned, and what judges it."""
        self._progress = self._progress._replace(plan=plan)

    @property
    def progress(self) -> JobProgress:
        session, curve = self.learner.session, tuple(thinned(self.curve, CURVE_MAX))
        return self._progress._replace(step=session.step, steps=session.options.steps, curve=curve)

    @property
    def hyper_parameters(self) -> dict[str, bool | int | float | str | None]:
        """What determines the weights besides the data: the job's effective options, and the steps."""
        steps = self.learner.session.options
        shape = shape_of(self.learner.session.adapter)
        return {
            **asdict(self.job.options),
            "replies": self.job.options.replies_each or None,
            "rank": shape.rank,
            "alpha": shape.alpha,
            "targets": said(shape.targets),
            "steps": steps.steps,
            "continued_at": self.start.step or None,
            "schedule_steps": steps.schedule_steps,
            "warm_up": steps.warm_up,
            "rate_last": steps.rate_last,
            "clip": steps.clip,
            "weight_decay": steps.weight_decay,
            **({"contributor_ids": " ".join(self.contributors)} if self.contributors else {}),
        }

    def pack(self) -> bytes:
        """Make the session file that ``RunBuilder`` continues from."""
        reached = self.progress._asdict() | {"curve": self.curve}
        told = {**reached, "data_digest": self.data_digest, **self.start.told(self.job, self.served)}
        record = self.start.record
        is_sampled = self.job.options.method in SAMPLING_METHODS or record.is_needed
        sampled = record.pack() if is_sampled else b""
        return pack_session(self.learner.session, told, sampled)


class RunBuilder:
    """Makes runs for one base. Not thread-safe, as the base is not."""

    def __init__(
        self,
        base: FrozenBase,
        base_directory: Path,
        files: RevisionFiles,
        *,
        rank_max: int,
        sampler: EngineSampler | None = None,
        memory_module: Path | None = None,
        teacher: Teacher | None = None,
        answerer: Answerer | None = None,
    ) -> None:
        """Make a builder; without a ``sampler``, methods that sample replies are refused.

        With one, corrections are learned so that the base's own replies, which ``answerer`` gives, begin as
        they did, and what is asked again and again is learned too; ``teacher`` answers that, None for the
        base. ``answerer`` None is the sampler.

        Adapters are trained so that what the memory module reads stays where the base has it.
        """
        self.base_fingerprint = base.fingerprint
        module = None if memory_module is None else digest_of(memory_module.read_bytes())
        self._served = Served(base.fingerprint, module)
        self.base = base
        self._files = files
        self._rank_max = rank_max
        self._tokenizer = BaseTokenizer(base_directory)
        self.encoder = ExampleEncoder(self._tokenizer, base.context_tokens)
        self._sampler = sampler
        self._teacher = teacher
        self._anchors = anchor_sequences(self.encoder)
        self._memory = self._memory_inputs = None
        if memory_module is not None and len(self._anchors) >= TEXTS_MIN:
            attention = attention_layers(base.modules)
            self._memory = MemoryModule.read(memory_module, base.fingerprint, attention)
            self._memory.requires_grad_(False).to(base.device)
            self._memory_inputs = MemoryInputs(self._memory, attention, base, self._anchors)
        readings = None if self._memory_inputs is None else self._memory_inputs.readings
        self._anchoring = Anchoring(base, self._anchors, self._tokenizer, answerer or sampler, readings)

    def make(
        self,
        job: TrainingJob,
        session_key: bytes,
        data: TrainingData,
        saved: bytes | None,
        kept: bytes | None = None,
        record: RolloutRecord | None = None,
    ) -> TrainingRun:
        """Make the run of a job that has started; ``saved`` is what ``TrainingRun.pack`` returned earlier.

        ``kept`` is what it returned at the end of the training that the job continues or replays, ``record``
        what was sampled for it already. Raises ``TrainingFailed``, ``AdapterInvalid``, ``AdapterMismatch``
        and ``InvalidRequest``.
        """
        options, full_name = job.options, job.model.owner
        owner = Owner(*job.model, Rank.BACKGROUND)
        sampler = None if self._sampler is None else self._sampler.owned(owner)
        start = start_of(job, saved, kept, self._served, device=str(self.base.device))
        if record is not None:
            start = replace(start, record=record)
        parent = self._adapter(job, job.parent)
        origin = parent if start.origin == job.parent else self._adapter(job, start.origin)
        lower = self._lower(job, parent)
        part = None if lower is None else self._first_part(job, start.origin, origin, lower)
        if lower is not None and part is not None:
            origin = part.merged()
        data = start.data(job, data)
        trained = part or (parent if options.continues else origin)
        room = room_of(job, self.base.modules, trained)
        inputs = DatasetInputs(
            job,
            data,
            origin,
            self.base,
            self._tokenizer,
            self.encoder,
            sampler,
            room,
            start.record,
            self._teacher,
            self._reading(start.memory(data)) if options.learns_until_said else None,
        )
        dataset = MAKERS[options.method](inputs)
        rank = self._larger_rank(job, data, dataset, room, parent)
        if rank is not None:
            run = self.make(begun_anew(job, trained, rank), session_key, data, saved, kept, start.record)
            run.learns += f", at rank {rank} instead of {room.rank}"
            return run
        curriculum, digest = dataset.curriculum, dataset.data_digest
        start.check(job, digest)
        steps = options.steps or dataset.steps_max
        steps = steps or steps_of(curriculum.size, options.batch, options.passes)
        stepping = start.stepping(job, steps)
        # A replay takes whole rounds, and a session may have been saved within one.
        going_on = _unpacked(None if start.record.replays else saved, stepping, digest, self.base)
        if going_on is None:
            first = part or self._first_adapter(job, start.origin, trained)
            session = start.continued(job, full_name, stepping) or TrainingSession(full_name, first, stepping)
            reached: dict[str, Any] = {}
        else:
            session, reached = going_on
        progress = JobProgress(**{name: reached[name] for name in JobProgress._fields if name in reached})
        curve = [(step, value) for step, value in progress.curve]
        taught = () if dataset.taught is None else dataset.taught.questions
        curriculum = self._anchoring.anchored(curriculum, options.anchor, lower, taught=taught)
        if self._memory_inputs is not None:
            curriculum = KeptInputsCurriculum(curriculum, self._memory_inputs)
        learner = Learner(
            session,
            curriculum,
            lower.adapter if parent is None and lower is not None else parent,
            dataset.held_out,
            options.batch,
            taught=dataset.taught,
            judges=judges_of(
                job,
                data,
                dataset,
                self.base,
                self._tokenizer,
                sampler,
                parent=parent,
                served=self._asked(job, data, parent),
            ),
            lower=lower,
            from_base=options.from_base,
        )
        learns = learns_of(options.method, dataset)
        return TrainingRun(
            job,
            session_key,
            learner,
            digest,
            curve,
            progress,
            start,
            self._served,
            learns,
            data.contributions,
            dataset.contributors,
            dataset.held,
        )

    def _larger_rank(
        self,
        job: TrainingJob,
        data: TrainingData,
        dataset: Dataset,
        room: AdapterRoom,
        parent: TrainableAdapter | None,
    ) -> int | None:
        """Return the rank of a new adapter if what is there is too small, and the job may train another."""
        held, taught = dataset.held, dataset.taught
        if held is None or taught is None or not may_begin_anew(job, learns_anew=data.learns_anew):
            return None
        most = rank_most(self.base.modules, room.targets, self._rank_max)
        rank = larger_rank(held.needed, room, most)
        says_all = rank is not None and parent is not None and not taught.unsaid(parent)
        # What is said already needs no room, however much it is.
        return None if says_all else rank

    def _reading(self, state: bytes) -> Reads | None:
        """Return how replies read the memory ``state``; None for an empty one or without a gated module."""
        digest = self._served.memory_module
        if not state or self._memory is None or digest is None:
            return None
        reading = MemoryReading.of(self.base, self._memory, digest, state)
        return None if reading is None else reading.read

    def _adapter(self, job: TrainingJob, digest: str | None) -> TrainableAdapter | None:
        """Read the parent, or what the model serves; None is the base."""
        if digest is None:
            return None
        if not self._files.has(digest):
            what = "its parent" if digest == job.parent else "what it serves,"
            raise TrainingFailed(job.model.name, f"the adapter of {what} {digest[:12]} is missing")
        return self.read(digest)

    def _asked(
        self, job: TrainingJob, data: TrainingData, parent: TrainableAdapter | None
    ) -> TrainableAdapter | None:
        """Return what the model serves, which answers its suite beside the candidate."""
        if not data.suite or data.served == job.parent:
            return parent
        return self._adapter(job, data.served)

    def read(self, digest: str) -> TrainableAdapter:
        """Read a revision of the store. Raises ``AdapterInvalid`` and ``AdapterMismatch``."""
        path = self._files.here(digest)
        adapter = TrainableAdapter.of_revision(
            path, self.base.modules, rank_max=self._rank_max, digest=digest
        )
        return adapter.to(self.base.device)

    def _lower(self, job: TrainingJob, parent: TrainableAdapter | None) -> LowerPart | None:
        """Read the lower revision that the job is trained on; None if there is none.

        Raises ``TrainingFailed`` if its adapter is not in the store.
        """
        digest = job.options.on
        if digest is None:
            return None
        if not self._files.has(digest):
            reason = f"the adapter of the revision {digest[:12]} that it is trained on is not in the store"
            raise TrainingFailed(job.model.name, reason)
        modules, most = self.base.modules, self._rank_max
        packed = bytes(read_adapter(self._files.here(digest), modules, rank_max=most, digest=digest).data)
        adapter = TrainableAdapter.of_packed(packed, modules, rank_max=most).to(self.base.device)
        lower = LowerPart(digest, adapter, packed)
        before = carried_part(parent, job.parent, lower)
        return lower if before is None else replace(lower, begun=before.factors())

    def _first_part(
        self, job: TrainingJob, digest: str | None, origin: TrainableAdapter | None, lower: LowerPart
    ) -> TrainableAdapter:
        """Return the personal part to train on the lower revision, the origin's or a new one.

        Raises ``TrainingFailed`` for another shape than the origin's, and for a rank that is not served.
        """
        part = carried_part(origin, digest, lower)
        if part is None:
            part = new_part(job, self.base, lower, rank_max=self._rank_max)
        else:
            check_shape(job, shape_of(part))
        check_rank(job, part, lower, rank_max=self._rank_max)
        return part

    def _first_adapter(
        self, job: TrainingJob, origin: str | None, parent: TrainableAdapter | None
    ) -> TrainableAdapter:
        """Return the origin's adapter to train, or a new one, which changes nothing yet.

        Raises ``TrainingFailed`` if another shape was asked for than ``parent`` has.
        """
        if parent is None:
            assert origin is None
            return new_adapter(job, self.base, rank_max=self._rank_max)
        check_shape(job, shape_of(parent))
        # Trained as a whole, it contains no lower revision any more.
        return TrainableAdapter((parent if origin is None else self.read(origin)).layers)


def thinned(curve: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """Keep evenly spaced points and the newest, so that at most ``most`` are left."""
    stride = max(1, -(-len(curve) // (most - 1)))
    return [*curve[:-1:stride], *curve[-1:]]


def _unpacked(
    saved: bytes | None, options: StepOptions, data_digest: str, base: FrozenBase
) -> tuple[TrainingSession, dict[str, Any]] | None:
    """Unpack a session that learns from the same data; None, to begin anew, for any other."""
    if saved is None:
        return None
    try:
        session, reached = unpack_session(saved, base.device)
    except RecordInvalid:
        return None
    same = json.dumps(asdict(session.options)) == json.dumps(asdict(options))
    return (session, reached) if same and reached.get("data_digest") == data_digest else None
