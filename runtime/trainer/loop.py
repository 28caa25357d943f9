"""Works on the training jobs of a population, up to ``LEARNERS_MAX`` people's at once.

It can lose all it has in memory: jobs are rows of their models, which also fix what they learn from, and a
session is saved every minute. After a crash the next trainer finds the open jobs and continues. The session
of a promoted revision is kept, see ``keeping.py``.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence, Set
from functools import partial
from typing import Any

from populace.actors.engine import MemoryUse
from populace.actors.errors import (
    EngineUnavailable,
    HostUnavailable,
    NothingToTrain,
    Refused,
    TrainingFailed,
    TrainingStopped,
)
from populace.actors.example_lines import VALIDATION_LINES_MIN, ExampleLine, read_examples
from populace.actors.hosts import Hosts
from populace.actors.span_names import TRAIN_PREPARE, TRAIN_PROMOTE
from populace.actors.suites import Suite
from populace.actors.training import EndState, JobState, OpenJob, TrainingJob, TrainingJobs
from populace.actors.training_methods import TASK_METHODS
from populace.actors.turn import ModelId
from populace.learning.examples import Example, examples_of_lines
from populace.learning.trainer import Candidate
from populace.policies.quoted_words import without_words
from populace.policies.training_shares import TrainingShares, chosen
from populace.storage.records.errors import (
    DiskRefused,
    Fenced,
    ModelNotFound,
    PopulaceError,
    RecordInvalid,
    ShardStopped,
    UnknownOutcome,
    WriteQueueFull,
)
from populace.storage.revisions import RevisionFiles
from populace.storage.rows.ledger import FIRST_ALIAS
from populace.storage.training.errors import JobEnded, JobNotFound, SuiteNotFound
from populace.storage.training.sessions import SessionFiles
from populace.storage.uploads.errors import UploadNotFound
from populace.storage.uploads.upload_files import UploadFiles
from populace.telemetry.calls import Caller, serving
from populace.telemetry.log_setup import digest_of, request_id_of_job
from populace.telemetry.tracing.spans import TRACER
from populace.trainer.continuity import kept_by
from populace.trainer.contributed import collect, is_still_agreed
from populace.trainer.datasets import TrainingData
from populace.trainer.job_traces import JobTraces, phase_of_job, record_training
from populace.trainer.keeping import KeptSessions
from populace.trainer.lineage import revision_of
from populace.trainer.loading import LoadedTrainer
from populace.trainer.log_data import read_log_data, settled_position
from populace.trainer.plans import plan_of, too_few_held_out
from populace.trainer.room import learns_parents_lessons
from populace.trainer.runs import TrainingRun
from populace.trainer.training_watch import TrainingWatch, train_all, unexpected, while_open


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


def file_examples(job: TrainingJob, uploads: UploadFiles, now_ms: int, *, held_out_min: int) -> list[Example]:
    """Read the files of the job, which are its tenant's; some of the examples judge the result.

    Raises ``TrainingFailed`` for a file that was deleted or has expired, ``InvalidRequest``, which names a
    wrong line, and what ``UploadFiles.read`` raises.
    """

    def lines(option: str, file_id: str, **least: int) -> list[ExampleLine]:
        try:
            content = uploads.read(job.model.tenant, file_id, now_ms)
            return read_examples(content, job.options.method, option, **least)
        except UploadNotFound as error:
            reason = f"its {option.replace('_', ' ')} {file_id[:80]} is not there, or not any more"
            raise TrainingFailed(job.model.name, reason) from error

    options = job.options
    assert options.training_file is not None, "a job that learns from a file names it"
    validation: list[ExampleLine] = []
    if options.validation_file is not None:
        validation = lines("validation_file", options.validation_file, least=VALIDATION_LINES_MIN)
    taught = lines("training_file", options.training_file)
    return examples_of_lines(taught, validation, held_out_min=held_out_min)


logger = logging.getLogger(__name__)

LEARNERS_MAX = 16
"""Models trained at once; others wait. Each takes some 30 MB of weights and moments at rank 8."""

SLACK_SECONDS = 10.0
"""How far the trainings of a tenant may be ahead of another's: they are faster together than in turn."""

REPORT_SECONDS = 1.0
"""A new job joins the ones in training after at most this time and the current step."""

GONE = (JobEnded, JobNotFound, ModelNotFound)
"""Errors that mean that the job was cancelled, or the model erased."""

PASSING = (
    Refused,
    EngineUnavailable,
    HostUnavailable,
    DiskRefused,
    Fenced,
    ShardStopped,
    UnknownOutcome,
    WriteQueueFull,
)
"""Errors that are not the job's fault: it stays open and is retried."""


class TrainingLoop:
    """Works on open jobs in ``round``, which continues them after any crash without further calls."""

    def __init__(
        self,
        hosts: Hosts,
        jobs: TrainingJobs,
        *,
        load: Callable[[], LoadedTrainer],
        revisions: RevisionFiles,
        sessions: SessionFiles,
        uploads: UploadFiles,
        memory_module: str | None = None,
        kept_bytes_max: int = 0,
    ) -> None:
        """Make a loop; ``load`` is called on a thread, at the first job, to load the base.

        ``uploads`` are the files that jobs may learn from. Kept trainings take ``kept_bytes_max`` at most.
        """
        self._hosts = hosts
        self._jobs = jobs
        self._load = load
        self._trainer: LoadedTrainer | None = None
        self._revisions = revisions
        self._sessions = sessions
        self._uploads = uploads
        self._keeping = KeptSessions(jobs, sessions, bytes_max=kept_bytes_max)
        self._memory_module = memory_module
        self._live: dict[ModelId, TrainingRun] = {}
        self._traces = JobTraces()
        self._shares = TrainingShares(slack_s=SLACK_SECONDS)
        self._stopping = threading.Event()

    async def round(self) -> bool:
        """Work on the open jobs for a while; returns whether there were any."""
        found = await self._jobs.open_jobs()
        still = {(open_job.job.model, open_job.job.number) for open_job in found}
        self._traces.end_others(still)
        for model, training in list(self._live.items()):
            if (model, training.job.number) not in still:
                # Whether its session is kept, the sweep finds out.
                del self._live[model]
        await self._keeping.sweep()
        for open_job in found:
            if open_job.job.state == "promoting":
                await self._of_job(open_job.job, self._promote_again(open_job.job))
        training = chosen(_by_tenant(found), LEARNERS_MAX)
        await self._park({open_job.job.model for open_job in training})
        for open_job in training:
            if not self._stopping.is_set():
                await self._of_job(open_job.job, self._prepare(open_job))
        if self._live and not self._stopping.is_set():
            await self._train()
        return bool(found)

    async def _park(self, chosen_models: Set[ModelId]) -> None:
        """Save the trainings that make room for those of other tenants; they go on from there later."""
        for model in self._live.keys() - chosen_models:
            training = self._live.pop(model)
            try:
                await asyncio.to_thread(self._save, training)
            except DiskRefused as error:
                logger.warning("the training of %s waits, and goes on from its last save: %s", model, error)

    def stop(self) -> None:
        """Make ``round`` end soon, with every session saved. May be called from any thread."""
        self._stopping.set()

    def close(self) -> None:
        """End the traces of the open jobs, after the last ``round``. Any thread may call it, also twice."""
        self._traces.close()

    async def _prepare(self, open_job: OpenJob) -> None:
        """Start the job, or take it over from an earlier trainer."""
        if open_job.job.model in self._live:
            return
        began_s = time.monotonic()
        job = await self._jobs.start(open_job.job.model, open_job.job.number)
        data = await log_of(self._hosts, job)
        self._traces.note_turns(job, data.log)
        if job.options.contributors:
            data = data._replace(contributions=await collect(self._hosts, job))
        if job.options.method in TASK_METHODS and job.options.rebuilds is None:
            data = data._replace(tasks=await self._jobs.tasks(job.model, job.number))
        trainer, runs = await self._loaded()
        needed = trainer.gate.replies_min
        if job.options.training_file is not None:
            now_ms = time.time_ns() // 1_000_000
            examples = await asyncio.to_thread(file_examples, job, self._uploads, now_ms, held_out_min=needed)
            data = data._replace(examples=examples)
        kept = await self._kept(job)
        try:
            saved = await asyncio.to_thread(self._sessions.read, open_job.session_key)
        except RecordInvalid as error:
            logger.warning("the training of %s begins anew: %s", job.model, error)
            saved = None
        view = await self._hosts.show_model(job.model)
        if view.base != runs.base_fingerprint and job.options.rebuilds is None:
            reason = f"its base is {view.base[:12]}, and here it is {runs.base_fingerprint[:12]}"
            raise TrainingFailed(job.model.name, reason)
        data = data._replace(
            suite=await suite_of_model(self._hosts, job.model),
            learns_anew=await learns_parents_lessons(self._hosts, job),
        )
        if view.base == runs.base_fingerprint:
            # Not the parent: what begins from the base replaces what is served just the same.
            memory = None if self._memory_module is None else await memory_of(self._hosts, job.model)
            now = await self._hosts.show_model(job.model)
            data = data._replace(
                served=view.aliases.get(FIRST_ALIAS) or view.begins_on,
                memory=memory,
                # What is kept of a training goes with the turns of its range, if one of them is forgotten.
                learns_with_memory=job.log_range == (now.log_start, await settled_position(self._hosts, now)),
            )
        make = partial(runs.make, job, open_job.session_key, data, saved, kept)
        async with while_open(self._jobs, job, self._stopping):
            run, corrections = await asyncio.to_thread(lambda: _with_judging_corrections(make()))
        run.plan(plan_of(run.learns, run.learner, corrections, trainer.general_replies))
        await self._jobs.report(job.model, job.number, run.progress)
        is_judged = corrections > 0 or job.options.rebuilds is not None
        if run.learner.held_out.size < needed and not is_judged:
            reason = too_few_held_out(job, data, run.learner.held_out.size, needed)
            raise NothingToTrain(job.model.name, reason)
        self._live[job.model] = run
        TRACER.record(TRAIN_PREPARE, began_s, time.monotonic(), phase_of_job())

    async def _train(self) -> None:
        trainer = (await self._loaded()).trainer
        trainings = {training.learner.name: training for training in self._live.values()}
        watch = TrainingWatch(trainings, self._save, self._shares, self._stopping)
        reporting = asyncio.create_task(self._report(watch))
        try:
            outcomes = await asyncio.to_thread(train_all, trainer, watch)
        finally:
            reporting.cancel()
        for name, outcome in outcomes.items():
            training = watch.trainings[name]
            await self._of_job(training.job, self._settle(training, outcome, watch.times_of(name)))

    async def _report(self, watch: TrainingWatch) -> None:
        """Report everyone's progress, and interrupt training when a job is added or ends."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            try:
                found = await self._jobs.open_jobs()
                still = {(open_job.job.model, open_job.job.number) for open_job in found}
                mine = {
                    (training.job.model, training.job.number): name
                    for name, training in watch.trainings.items()
                }
                watch.gone |= {name for job, name in mine.items() if job not in still}
                wanted = (open_job.job for open_job in chosen(_by_tenant(found), LEARNERS_MAX))
                if any((job.model, job.number) not in mine for job in wanted):
                    watch.is_interrupted = True
                for training in watch.trainings.values():
                    if training.learner.name not in watch.gone:
                        await self._jobs.report(training.job.model, training.job.number, training.progress)
            except PopulaceError as error:
                logger.info("how far the trainings are is said later: %s", error)

    async def _settle(
        self, training: TrainingRun, outcome: Candidate | TrainingFailed, times: tuple[float, float]
    ) -> None:
        record_training(*times, outcome)
        if isinstance(outcome, TrainingStopped):
            if self._stopping.is_set():
                await asyncio.to_thread(self._save, training)
            await self._jobs.report(training.job.model, training.job.number, training.progress)
            return
        if isinstance(outcome, TrainingFailed):
            raise outcome
        if not await self._may_end(training):
            logger.info("the training of %s begins again without who withdrew", training.job.model)
            self._forget(training.job.model)
            return
        if await self._promote(training, outcome) == "promoted":
            del self._live[training.job.model]
        else:
            self._forget(training.job.model)

    async def _may_end(self, training: TrainingRun) -> bool:
        """Whether all whose text a community has learned still agree to that."""
        learned = training.contributions
        return learned is None or await is_still_agreed(self._hosts, training.job, learned)

    async def _kept(self, job: TrainingJob) -> bytes | None:
        """Read the kept training that the job continues or replays, if it does and that is there."""
        try:
            return await self._keeping.read(job, kept_by(job))
        except RecordInvalid as error:
            logger.warning("a kept training of %s is damaged: %s", job.model, error)
            return None

    async def _promote(self, training: TrainingRun, candidate: Candidate) -> JobState:
        job = training.job
        if candidate.verdict.promotes:
            await asyncio.to_thread(self._keep, training)
        revision = revision_of(
            training, candidate, memory_module=self._memory_module, now_ms=time.time_ns() // 1_000_000
        )
        with TRACER.span(TRAIN_PROMOTE, phase_of_job()), self._revisions.adding():
            await asyncio.to_thread(self._revisions.add, candidate.packed)
            ended = await self._jobs.finish(job.model, job.number, revision, training.progress)
        self._traces.end(job.model, job.number, ended.state)
        logger.info("the training of %s was %s %s", job.model, ended.state, without_words(ended.reason))
        return ended.state

    def _keep(self, training: TrainingRun) -> None:
        """Write the session before the promotion, which hands its key over to the revision."""
        try:
            if self._keeping.keeps:
                self._save(training)
            else:
                self._sessions.remove(training.session_key)
        except DiskRefused as error:
            self._sessions.remove(training.session_key)
            logger.warning("a training is not kept: %s", error)

    async def _promote_again(self, job: TrainingJob) -> None:
        """Promote the stored candidate of a job whose trainer, or engine, died before."""
        found = [
            revision
            for revision in await self._hosts.list_revisions(job.model)
            if revision.digest == job.candidate
        ]
        [revision] = found
        self._live.pop(job.model, None)
        ended = await self._jobs.finish(job.model, job.number, revision, job.progress)
        self._traces.end(job.model, job.number, ended.state)

    async def _of_job(self, job: TrainingJob, work: Coroutine[Any, Any, None]) -> None:
        """Do a part of one job's work; an error in it ends this job and no other."""
        model, number = job.model, job.number
        try:
            with (
                serving(Caller(request_id_of_job(model, number), tenant=digest_of(model.tenant))),
                self._traces.of(job).current(),
            ):
                await work
        except GONE:
            self._forget(model)
            self._traces.gone(model, number)
        except NothingToTrain as error:
            await self._end(model, number, "skipped", error.reason, error)
        except TrainingStopped as error:
            logger.info("%s, before its first step here", error)
        except TrainingFailed as error:
            await self._end(model, number, "failed", error.reason, error)
        except PopulaceError as error:
            if isinstance(error, PASSING):
                logger.warning("the training of %s waits: %s", model, error)
            else:
                await self._end(model, number, "failed", str(error), error)
        except Exception as error:
            # A bug of ours that this job runs into: the others must not wait for it for ever.
            logger.exception("the training of %s failed unexpectedly", model)
            await self._end(model, number, "failed", unexpected(error), error)

    async def _end(self, model: ModelId, number: int, state: EndState, reason: str, error: Exception) -> None:
        self._forget(model)
        self._traces.end(model, number, state, error if state == "failed" else None)
        try:
            await self._jobs.end(model, number, state, reason)
        except GONE:
            return
        # Not the reason, which may quote: the log has its own words for an error.
        logger.info("the training of %s %s: %s", model, state, error)

    def _save(self, training: TrainingRun) -> None:
        self._sessions.write(training.session_key, training.pack())

    def _forget(self, model: ModelId) -> None:
        """Drop a training and its session file; the next sweep removes files of other trainers' jobs."""
        training = self._live.pop(model, None)
        if training is not None:
            self._sessions.remove(training.session_key)

    async def _loaded(self) -> LoadedTrainer:
        if self._trainer is None:
            self._trainer = await asyncio.to_thread(self._load)
        return self._trainer


def _by_tenant(found: Sequence[OpenJob]) -> list[tuple[str, OpenJob]]:
    """Return the jobs that are to be trained, each with its tenant, in the order in which they were asked."""
    return [(one.job.model.tenant, one) for one in found if one.job.state != "promoting"]


def _with_judging_corrections(run: TrainingRun) -> tuple[TrainingRun, int]:
    """Return how many corrections judge the candidate, too: none if it shows by others that it is better."""
    taught = run.learner.taught
    return run, 0 if taught is None or not taught.judge(run.learner.parent) else len(taught.corrections)
