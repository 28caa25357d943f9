"""``/v1/jobs`` and ``/v1/personal-models/{name}/jobs``: trainings, and rolling one back."""

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from populace.actors.reward_tasks import tasks_of
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.api.models import ModelObject
from populace.api.objects import Listing
from populace.api.training import JobObject
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.idempotency import idempotency_key
from populace.gateway.http.limits import room_for
from populace.gateway.http.needs import needs
from populace.gateway.http.target import LATEST, named_model
from populace.gateway.personal_models.schema import RollbackBody, TrainingBody
from populace.storage.records.errors import RevisionNotFound
from populace.telemetry.log_setup import request_id_of_job

router = keyed_router()

Limit = Annotated[int, Query(ge=1, le=1000)]


@router.post("/v1/personal-models/{name}/jobs", status_code=202, response_model=JobObject)
@needs("tenant")
async def train(request: Request, caller: Caller, name: str, body: TrainingBody) -> Response:
    """Request a training. With an ``Idempotency-Key`` a retry returns the same job."""
    options = TrainingOptions(**body.model_dump(exclude={"tasks"}))
    jobs = gateway_of(request).hosts.jobs
    model, tasks = named_model(caller, name), tasks_of(body.tasks)
    await room_for("open_jobs")
    job = await jobs.ask(model, options, idempotency_key(request), tasks)
    return answer(_object_of(job), status_code=202)


@router.get("/v1/personal-models/{name}/jobs", response_model=Listing[JobObject])
@needs("read")
async def list_jobs_of_model(request: Request, caller: Caller, name: str) -> Response:
    """List the model's trainings, newest first."""
    return _listed(await gateway_of(request).hosts.jobs.of_model(named_model(caller, name)))


@router.delete("/v1/personal-models/{name}/jobs", response_model=JobObject)
@needs("tenant")
async def cancel(request: Request, caller: Caller, name: str) -> Response:
    """Cancel the model's open training, and return its job."""
    return answer(_object_of(await gateway_of(request).hosts.jobs.cancel(named_model(caller, name))))


@router.get("/v1/jobs", response_model=Listing[JobObject])
@needs("read", all_models=True)
async def list_jobs(request: Request, caller: Caller, limit: Limit = 100) -> Response:
    """List the trainings of all of the caller's models, newest first."""
    return _listed(await gateway_of(request).hosts.jobs.of_tenant(caller.tenant, limit=limit))


@router.post("/v1/personal-models/{name}/rollback", response_model=ModelObject)
@needs("tenant")
async def roll_back(request: Request, caller: Caller, name: str, body: RollbackBody) -> Response:
    """Move ``latest`` from a revision to its parent; does nothing if it names another by then."""
    hosts, model = gateway_of(request).hosts, named_model(caller, name)
    revision = body.revision
    if revision is None:
        revision = (await hosts.show_model(model)).aliases.get(LATEST)
    if revision is None:
        raise RevisionNotFound(name, LATEST)
    return answer(ModelObject.of(await hosts.jobs.roll_back(model, revision)))


def _listed(jobs: tuple[TrainingJob, ...]) -> Response:
    return answer(Listing[JobObject](data=tuple(map(_object_of, jobs))))


def _object_of(job: TrainingJob) -> JobObject:
    return JobObject.of(job, request_id_of_job(job.model, job.number))
