"""``/v1/fine_tuning/jobs``: trainings on uploaded files, as OpenAI's clients ask for them.

A job is a training of a personal model like any other, so it takes the same queue, trainer and gate.

The events of a job are made anew from it each time they are asked for. Nothing is stored for them: a job's
record has its times and, of a long training, the losses of some steps. So the time of a step is an estimate,
from the trainer's seconds per step. An event's id has its place in the order, by which the next page begins
where the last one ended, also if the job has gone on meanwhile.
"""

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, NamedTuple

from fastapi import Query, Request
from fastapi.responses import Response

from populace.actors.api_keys import KeyHolder
from populace.actors.errors import HostUnavailable, InvalidRequest
from populace.actors.example_lines import LINES_MIN, VALIDATION_LINES_MIN, read_examples, read_tasks
from populace.actors.hosts import Revision
from populace.actors.reward_tasks import RewardTask, check_enough
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions, steps_of
from populace.actors.turn import ModelId
from populace.api.fine_tuning import (
    ERROR_CODES,
    JOB_PREFIX,
    FineTuningCheckpointObject,
    FineTuningCheckpointPage,
    FineTuningEventObject,
    FineTuningEventPage,
    FineTuningJobObject,
    FineTuningJobPage,
    FineTuningNote,
    job_id,
    model_of,
    note_of,
)
from populace.api.objects import seconds
from populace.gateway.fine_tuning.files import upload_service_of
from populace.gateway.fine_tuning.schema import FineTuningBody
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.idempotency import idempotency_key
from populace.gateway.http.limits import room_for
from populace.gateway.http.needs import needs
from populace.gateway.http.target import BASE_MODEL, LATEST, named_model, new_model, parse_target
from populace.policies.graders import filled
from populace.storage.records.errors import ModelExists, PopulaceError, UnknownOutcome
from populace.storage.records.keys import RESERVED_MODEL_NAMES, name_problem
from populace.storage.training.errors import JobEnded, JobNotFound, TrainingUnderWay
from populace.storage.uploads.errors import UploadNotFound

CREATED, STARTED, JUDGED, ENDED = 0, 1, 2**40, 2**40 + 1
"""The places of events in the order; step n, from 0, is at n + 2."""

_ID = re.compile(r"ftevent-(\d{1,15})-.+")


def place_of(event_id: str) -> int | None:
    """Return the place of an event in the order of its job, None for what is no event's id."""
    match = _ID.fullmatch(event_id)
    return None if match is None else int(match[1])


def events_of(job: TrainingJob, revision: Revision | None) -> list[tuple[int, FineTuningEventObject]]:
    """Return the events with their places, newest first. ``revision`` is the job's candidate, if any."""
    return sorted(_events(job, revision), key=lambda event: -event[0])


def _events(job: TrainingJob, revision: Revision | None) -> Iterator[tuple[int, FineTuningEventObject]]:
    yield _event(job, CREATED, job.created_ms, f"Created fine-tuning job: {job_id(job)}")
    if job.started_ms is not None:
        yield _event(job, STARTED, job.started_ms, "Fine-tuning job started")
        yield from _steps(job, job.started_ms)
    if revision is not None and revision.lineage is not None and revision.lineage.scores:
        scores = revision.lineage.scores
        message = f"New fine-tuned model created: {model_of(job, revision.digest)}"
        data = {"step": job.progress.step, **scores}
        if "held_out_loss" in scores:
            data |= {"valid_loss": scores["held_out_loss"], "full_valid_loss": scores["held_out_loss"]}
        yield _event(job, JUDGED, revision.created_ms, message, data=data)
    if job.ended_ms is not None:
        yield _ended(job, job.ended_ms)


def _steps(job: TrainingJob, started_ms: int) -> Iterator[tuple[int, FineTuningEventObject]]:
    progress = job.progress
    name = "train_loss" if progress.reward is None else "train_reward"
    for step, value in progress.curve:
        at_ms = started_ms + round(1000 * progress.seconds * (step + 1) / max(1, progress.step))
        at_ms = at_ms if job.ended_ms is None else min(at_ms, job.ended_ms)
        told = f"Step {step + 1}/{progress.steps}: {name.replace('_', ' ')}={value:.4f}"
        data = {"step": step + 1, "total_steps": progress.steps, name: value}
        yield _event(job, step + 2, at_ms, told, data=data)


def _ended(job: TrainingJob, ended_ms: int) -> tuple[int, FineTuningEventObject]:
    if job.state == "promoted":
        return _event(job, ENDED, ended_ms, "The job has successfully completed")
    if job.state == "cancelled":
        return _event(job, ENDED, ended_ms, "The job was cancelled", level="warn")
    message = f"The job failed ({ERROR_CODES[job.state]}): {job.reason}"
    return _event(job, ENDED, ended_ms, message, level="error")


def _event(
    job: TrainingJob,
    place: int,
    at_ms: int,
    message: str,
    *,
    data: dict[str, float] | None = None,
    level: str = "info",
) -> tuple[int, FineTuningEventObject]:
    event = FineTuningEventObject.model_validate(
        {
            "id": f"ftevent-{place}-{job.model.name}-{job.number}",
            "created_at": seconds(at_ms),
            "level": level,
            "type": "message" if data is None else "metrics",
            "message": message,
            "data": data,
        }
    )
    return place, event


router = keyed_router()

JOBS_PATH = "/v1/fine_tuning/jobs"
ONE_JOB = f"{JOBS_PATH}/{{job_id}}"
JOBS_MAX = 1_000_000
"""More than there are: all jobs of a tenant are read, and a page of them is returned."""

MAY_HAVE_A_JOB = (UnknownOutcome, HostUnavailable, TrainingUnderWay)
"""Errors after which a new model is not erased: the job may have been made, or another request's has."""

After = Annotated[str | None, Query(min_length=1, max_length=160)]
Limit = Annotated[int, Query(ge=1, le=1000)]


class FoundJob(NamedTuple):
    job: TrainingJob
    note: FineTuningNote


@router.post(JOBS_PATH, response_model=FineTuningJobObject)
@needs("tenant", all_models=True)
async def create_job(request: Request, caller: Caller, body: FineTuningBody) -> Response:
    """Check the files and ask for a training. With an ``Idempotency-Key`` a retry returns the same job.

    With ``model: "base"`` a model is made, named by ``suffix`` or with a name of its own.
    """
    options, key = body.options(), idempotency_key(request)
    options.check()
    hosts = gateway_of(request).hosts
    await room_for("open_jobs")
    trained = None if body.model == BASE_MODEL else await _trained(request, caller, body)
    if trained is not None and trained.from_base:
        options = replace(options, from_base=True)
    tasks = await _check_files(request, caller, body, options)
    note = FineTuningNote(
        model=body.model,
        training_file=body.training_file,
        validation_file=body.validation_file,
        suffix=body.suffix,
        metadata=body.metadata,
        grader=None if body.grader is None else body.grader.model_dump(exclude_none=True),
        made_by=None if key is None or trained else _digest(key),
    )
    model, is_new = (trained.model, False) if trained else await _new_model(request, caller, body, key)
    try:
        job = await hosts.jobs.ask(model, options, key, tasks, note.model_dump_json(exclude_none=True))
    except PopulaceError as error:
        if is_new and not isinstance(error, MAY_HAVE_A_JOB):
            await hosts.erase_model(model)
        raise
    return answer(FineTuningJobObject.of(job, note))


@router.get(JOBS_PATH, response_model=FineTuningJobPage)
@needs("read", all_models=True)
async def list_jobs(request: Request, caller: Caller, after: After = None, limit: Limit = 20) -> Response:
    """List the caller's jobs, newest first; ``metadata[key]=value`` selects those that have it."""
    wanted = {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in request.query_params.items()
        if name.startswith("metadata[")
    }
    jobs = await gateway_of(request).hosts.jobs.of_tenant(caller.tenant, limit=JOBS_MAX)
    found = [
        FineTuningJobObject.of(job, note)
        for job in jobs
        if (note := note_of(job)) is not None and wanted.items() <= (note.metadata or {}).items()
    ]
    if after is not None:
        places = [at for at, job in enumerate(found) if job.id == after]
        if not places:
            raise InvalidRequest(f"There is no job `{after}` to list the jobs after.", "after")
        found = found[places[0] + 1 :]
    return answer(FineTuningJobPage(data=tuple(found[:limit]), has_more=len(found) > limit))


@router.get(ONE_JOB, response_model=FineTuningJobObject)
@needs("read")
async def show_job(request: Request, caller: Caller, job_id: str) -> Response:
    """Describe one job."""
    return answer(FineTuningJobObject.of(*await _find(request, caller, job_id)))


@router.post(f"{ONE_JOB}/cancel", response_model=FineTuningJobObject)
@needs("tenant")
async def cancel_job(request: Request, caller: Caller, job_id: str) -> Response:
    """Cancel a job. One whose model is being promoted is returned as it is."""
    found = await _find(request, caller, job_id)
    if not found.job.is_open:
        raise JobEnded(found.job.model.name, found.job.number, found.job.state)
    cancelled = await gateway_of(request).hosts.jobs.cancel(found.job.model, found.job.number)
    return answer(FineTuningJobObject.of(cancelled, found.note))


@router.post(f"{ONE_JOB}/pause", response_model=FineTuningJobObject)
@needs("tenant")
async def pause_job(request: Request, caller: Caller, job_id: str) -> Response:
    """Refuse: a trainer pauses by itself while others use the machine."""
    await _find(request, caller, job_id)
    raise InvalidRequest("A job cannot be paused here. It can be cancelled, and asked for again.", "job_id")


@router.post(f"{ONE_JOB}/resume", response_model=FineTuningJobObject)
@needs("tenant")
async def resume_job(request: Request, caller: Caller, job_id: str) -> Response:
    """Refuse: no job is ever paused, and one that was interrupted goes on by itself."""
    await _find(request, caller, job_id)
    raise InvalidRequest("A job is never paused here, so that there is nothing to resume.", "job_id")


@router.get(f"{ONE_JOB}/events", response_model=FineTuningEventPage)
@needs("read")
async def list_events(
    request: Request, caller: Caller, job_id: str, after: After = None, limit: Limit = 20
) -> Response:
    """List what happened to a job, newest first, with the loss of its steps, or of some of many."""
    job = (await _find(request, caller, job_id)).job
    before = None if after is None else place_of(after)
    if after is not None and before is None:
        raise InvalidRequest(f"There is no event `{after}` to list the events after.", "after")
    events = events_of(job, await _candidate(request, job))
    found = [event for place, event in events if before is None or place < before]
    return answer(FineTuningEventPage(data=tuple(found[:limit]), has_more=len(found) > limit))


@router.get(f"{ONE_JOB}/checkpoints", response_model=FineTuningCheckpointPage)
@needs("read")
async def list_checkpoints(
    request: Request, caller: Caller, job_id: str, after: After = None, limit: Limit = 10
) -> Response:
    """List the revision that the job produced, also one that the gate refused; both can be asked."""
    job = (await _find(request, caller, job_id)).job
    revision = await _candidate(request, job)
    found = () if revision is None else (FineTuningCheckpointObject.of(job, revision),)
    if after is not None:
        if after not in [checkpoint.id for checkpoint in found]:
            raise InvalidRequest(f"There is no checkpoint `{after}` to list the checkpoints after.", "after")
        found = ()
    page, first = found[:limit], found[0].id if found else None
    return answer(FineTuningCheckpointPage(data=page, first_id=first, last_id=first, has_more=False))


class _Trained(NamedTuple):
    model: ModelId
    from_base: bool


async def _trained(request: Request, caller: KeyHolder, body: FineTuningBody) -> _Trained:
    """Return the model to train: ``ada`` goes on from its current revision, ``ada@base`` from the base."""
    target = parse_target(caller, body.model)
    assert target.model is not None, "the base is no personal model"
    view = await gateway_of(request).hosts.show_model(target.model)
    name, from_base = target.model.name, target.alias == BASE_MODEL
    if target.peek or not (from_base or target.alias in (LATEST, view.aliases.get(LATEST))):
        raise InvalidRequest(
            f"A training goes on from the revision that answers now, `{name}`, or begins anew from the base, "
            f"`{name}@{BASE_MODEL}`.",
            "model",
        )
    if body.suffix is not None:
        raise InvalidRequest(
            f"A suffix names the new model that a training of `{BASE_MODEL}` makes; `{name}` has its name.",
            "suffix",
        )
    return _Trained(target.model, from_base)


async def _new_model(
    request: Request, caller: KeyHolder, body: FineTuningBody, key: str | None
) -> tuple[ModelId, bool]:
    """Create a model on the base; returns it, and whether it did not exist before.

    A generated name comes from the idempotency key, so that a retry trains the model of the first call. One
    with a suffix is known by its job.
    """
    name = body.suffix
    if name is None:
        name = f"ft-{secrets.token_hex(6) if key is None else _digest(key)[:12]}"
    problem = name_problem(name, reserved=RESERVED_MODEL_NAMES)
    if problem is not None:
        raise InvalidRequest(f"The suffix names the new model, which has {problem}.", "suffix")
    model, hosts = new_model(caller, name), gateway_of(request).hosts
    try:
        await room_for("people")
        await hosts.create_model(model)
    except ModelExists:
        if key is None:
            raise
        if body.suffix is not None:
            notes = [note_of(job) for job in await hosts.jobs.of_model(model)]
            if all(note is None or note.made_by != _digest(key) for note in notes):
                raise
        return model, False
    return model, True


def _digest(key: str) -> str:
    return hashlib.blake2b(key.encode()).hexdigest()[:32]


async def _check_files(
    request: Request, caller: KeyHolder, body: FineTuningBody, options: TrainingOptions
) -> list[RewardTask]:
    """Read every line of the files; return the tasks, which only rl has. Raises ``InvalidRequest``."""
    service, method = upload_service_of(request), options.method
    least = {"training_file": LINES_MIN, "validation_file": VALIDATION_LINES_MIN}
    tasks: list[RewardTask] = []

    def count(name: str, content: Iterator[bytes]) -> None:
        examples = read_examples(content, method, name, least=least[name])
        if name == "training_file":
            _check_steps(options, len(examples))

    def read(grader: dict[str, str], name: str, content: Iterator[bytes]) -> None:
        # Nothing is compared: of a whole file that takes hours, and what a line lacks is known before.
        lines = read_tasks(
            content, name, lambda item: [filled(grader[text], item, "") for text in ("input", "reference")]
        )
        _check_steps(options, len(lines))
        check_enough(len(lines), name)
        tasks.extend(task._replace(known={**task.known, "grader": grader}) for task in lines)

    check = count if body.grader is None else partial(read, body.grader.told())
    for name in least:
        file_id = getattr(body, name)
        if file_id is None:
            continue
        try:
            upload = await service.find(caller.tenant, file_id)
            if upload.purpose != "fine-tune":
                reason = f"The file `{file_id}` is for `{upload.purpose}`, not for `fine-tune`."
                raise InvalidRequest(reason, name)
            await service.apart(caller.tenant, partial(check, name), file_id)
        except UploadNotFound as error:
            raise InvalidRequest(str(error), name) from error
    return tasks


def _check_steps(options: TrainingOptions, size: int) -> None:
    try:
        steps_of(size, options.batch, options.passes)
    except InvalidRequest as error:
        raise InvalidRequest(str(error), "n_epochs") from error


async def _find(request: Request, caller: KeyHolder, job_id: str) -> FoundJob:
    """Find a fine-tuning job of the tenant. Raises ``JobNotFound``, also for what is no job's id."""
    name, _, number = job_id.removeprefix(JOB_PREFIX).rpartition("-")
    # int() refuses thousands of digits, and no job has so many.
    is_number = number.isascii() and number.isdigit() and len(number) < 16
    if job_id.startswith(JOB_PREFIX) and name and is_number:
        for job in await gateway_of(request).hosts.jobs.of_model(named_model(caller, name)):
            note = note_of(job)
            if str(job.number) == number and note is not None:
                return FoundJob(job, note)
    raise JobNotFound(name[:128] or job_id[:128], int(number) if is_number else None)


async def _candidate(request: Request, job: TrainingJob) -> Revision | None:
    if job.candidate is None:
        return None
    revisions = await gateway_of(request).hosts.list_revisions(job.model)
    return next((revision for revision in revisions if revision.digest == job.candidate), None)
